//! Programs that reach for the world outside: files, processes, sockets, threads, clocks.

use super::Attack;

pub(super) const ATTACKS: &[Attack] = &[
    (
        "a folder listed",
        "Forbidden os.listdir",
        "import os\ndef f(): return os.listdir('/')",
    ),
    (
        "a folder walked",
        "[]",
        "import os\ndef f(): return list(os.walk('/'))",
    ),
    (
        "a folder scanned",
        "Forbidden os.scandir",
        "import pathlib\ndef f(): return list(pathlib.Path('/').iterdir())",
    ),
    (
        "a file's status",
        "Forbidden os.stat",
        "import os\ndef f(): return os.stat('/etc/passwd')",
    ),
    (
        "a file read",
        "Forbidden open",
        "def f(): return open('/etc/passwd').read()",
    ),
    (
        "a file written",
        "Forbidden open",
        "def f(): open('x', 'w').write('x')",
    ),
    (
        "a file read through pathlib",
        "Forbidden open",
        "import pathlib\ndef f(): return pathlib.Path('a').read_text()",
    ),
    (
        "a file read through io",
        "Forbidden open",
        "import io\ndef f(): return io.open_code('/etc/passwd')",
    ),
    (
        "a file read through linecache",
        "[]",
        "import linecache\ndef f(): return linecache.getlines('/etc/passwd')",
    ),
    (
        "a file read by a loader",
        "Forbidden open",
        "import importlib.machinery as m\ndef f(): return m.SourceFileLoader('a', '/a.py').get_data('/etc/passwd')",
    ),
    (
        "a file read by the FileIO of the original streams",
        "Raised OSError",
        "import gc\ndef f():\n gc.unfreeze()\n kind = next(type(o) for o in gc.get_objects() if type(o).__name__ == 'FileIO')\n return kind('/etc/passwd').read()",
    ),
    (
        "a file that a broken source is quoted from",
        "Raised SyntaxError",
        "# of another file:\nexec(compile('x = (', '/etc/passwd', 'exec'))",
    ),
    (
        "a temporary file",
        "Raised FileNotFoundError",
        "import tempfile\ndef f(): return tempfile.mkdtemp()",
    ),
    (
        "a descriptor",
        "Forbidden open",
        "import io\ndef f(): return io.FileIO(0)",
    ),
    (
        "a descriptor opened",
        "Forbidden os.open",
        "import os\ndef f(): return os.open('/', 0)",
    ),
    (
        "a descriptor written",
        "Forbidden os.write",
        "import posix\ndef f(): return posix.write(3, b'Passed')",
    ),
    (
        "the descriptor of standard output written, which is what print writes to",
        "6",
        "import posix\ndef f(): return posix.write(1, b'Passed')",
    ),
    (
        "a descriptor written that is for reading",
        "Raised OSError",
        "import os\ndef f(): return os.write(0, b'x')",
    ),
    (
        "a file by a descriptor's path",
        "Forbidden open",
        "def f(): return open('/dev/fd/0').read() + open('/proc/self/fd/0').read()",
    ),
    (
        "the original standard input",
        "''",
        "import sys\ndef f(): return sys.__stdin__.read()",
    ),
    (
        "standard input",
        "Raised EOFError",
        "def f(): return input()",
    ),
    ("a debugger", "Raised SystemExit", "def f(): breakpoint()"),
    (
        "a socket",
        "Forbidden socket",
        "import socket\ndef f(): return socket.socket()",
    ),
    (
        "a socket of C",
        "Raised OSError",
        "import _socket\ndef f(): return _socket.socket()",
    ),
    (
        "a connection",
        "Forbidden socket",
        "import socket\ndef f(): return socket.create_connection(('127.0.0.1', 80))",
    ),
    (
        "a name looked up",
        "Raised gaierror",
        "import socket\ndef f(): return socket.gethostbyaddr('localhost')",
    ),
    (
        "a wait for descriptors",
        "Forbidden select.select",
        "import select\ndef f(): select.select([], [], [], 1)",
    ),
    (
        "a wait for descriptors by a selector",
        "Raised OSError",
        "import selectors\ndef f(): selectors.DefaultSelector().select(1)",
    ),
    (
        "a subprocess",
        "Forbidden subprocess",
        "import subprocess\ndef f(): return subprocess.run(['ls'])",
    ),
    (
        "a shell",
        "Forbidden os.system",
        "import os\ndef f(): return os.system('ls')",
    ),
    (
        "a pipe to a shell",
        "Forbidden os.popen",
        "import os\ndef f(): return os.popen('ls')",
    ),
    (
        "a shell in a pickle",
        "Forbidden os.system",
        "import pickle\ndef f(): return pickle.loads(b'cos\\nsystem\\n(S\"ls\"\\ntR.')",
    ),
    (
        "a program spawned",
        "Forbidden os.posix_spawn",
        "import os\ndef f(): os.posix_spawn('/bin/ls', [], {})",
    ),
    (
        "a program run in place of this one",
        "Forbidden os.execv",
        "import os\ndef f(): os.execv('/bin/ls', ['ls'])",
    ),
    (
        "a fork",
        "Forbidden os.fork",
        "import os\ndef f(): return os.fork()",
    ),
    (
        "a signal to others",
        "Forbidden os.kill",
        "import os\ndef f(): os.kill(1, 9)",
    ),
    (
        "a signal to itself",
        "Forbidden signal.raise_signal",
        "import signal\ndef f(): signal.raise_signal(9)",
    ),
    (
        "a signal of C",
        "Forbidden signal.raise_signal",
        "import _signal\ndef f(): _signal.raise_signal(6)",
    ),
    (
        "os._exit",
        "Forbidden os._exit",
        "import os\ndef f(): os._exit(0)",
    ),
    (
        "os.abort",
        "Forbidden os.abort",
        "import os\ndef f(): os.abort()",
    ),
    (
        "a broken pointer",
        "Forbidden faulthandler._sigsegv",
        "import faulthandler\ndef f(): faulthandler._sigsegv()",
    ),
    (
        "a thread",
        "Forbidden threads",
        "import threading\ndef f(): threading.Thread(target=print).start()",
    ),
    (
        "a thread of C",
        "Forbidden threads",
        "import _thread\ndef f(): _thread.start_new_thread(print, ())",
    ),
    (
        "a timer",
        "Forbidden threads",
        "import threading\ndef f(): threading.Timer(1, print).start()",
    ),
    (
        "a pool of threads",
        "Forbidden threads",
        "from concurrent.futures import ThreadPoolExecutor as T\ndef f(): T().submit(int)",
    ),
    (
        "a pool of processes",
        "Raised ModuleNotFoundError",
        "from concurrent.futures import ProcessPoolExecutor as P\ndef f(): P()",
    ),
    (
        "a thread of asyncio",
        "Forbidden threads",
        "import asyncio\ndef f(): asyncio.run(asyncio.to_thread(print))",
    ),
    (
        "a subprocess of asyncio",
        "Raised NotImplementedError",
        "import asyncio\ndef f(): asyncio.run(asyncio.create_subprocess_shell('ls'))",
    ),
    (
        "a wait for a thread, with an end",
        "False",
        "import threading\ndef f(): return threading.Event().wait(1)",
    ),
    (
        "another process, by its number",
        "Raised OSError",
        "import sys\ndef f(): sys.remote_exec(1, '/a.py')",
    ),
    (
        "a library loaded",
        "Raised ImportError",
        "import importlib.machinery as m\ndef f(): m.ExtensionFileLoader('a', '/a.so').create_module(m.ModuleSpec('a', None, origin='/a.so'))",
    ),
    (
        "a path to import from",
        "Raised ModuleNotFoundError",
        "import sys\nsys.path.append('/usr/lib/python3')\ndef f(): import antigravity",
    ),
    (
        "import hooks put back",
        "Raised ModuleNotFoundError",
        "import sys, importlib.machinery as m\nsys.path.append('/')\nsys.path_hooks.append(m.FileFinder.path_hook((m.SourceFileLoader, ['.py'])))\nsys.meta_path.append(m.PathFinder)\ndef f(): import etc",
    ),
    (
        "the environment",
        "{}",
        "import os\ndef f(): return dict(os.environ)",
    ),
    (
        "the environment changed",
        "'1'",
        "import os\ndef f():\n os.environ['A'] = '1'\n return os.environ['A']",
    ),
    (
        "the machine's name",
        "'(none)'",
        "import socket\ndef f(): return socket.gethostname()",
    ),
    (
        "the real clock",
        "[1700000000, 1700000000]",
        "import time, datetime\ndef f(): return [int(time.time()), int(datetime.datetime.now().timestamp())]",
    ),
    (
        "a clock of C",
        "1700000000",
        "import time\ndef f(): return int(time.clock_gettime(0))",
    ),
    (
        "entropy of C",
        "Raised OSError",
        "import _random\ndef f(): return 0 <= _random.Random().random() < 1",
    ),
    (
        "import ctypes",
        "Raised ModuleNotFoundError",
        "def f(): import ctypes",
    ),
    (
        "import _ctypes",
        "Raised ModuleNotFoundError",
        "def f(): import _ctypes",
    ),
    (
        "import ssl",
        "Raised ModuleNotFoundError",
        "def f(): import ssl",
    ),
    (
        "import mmap",
        "Raised ModuleNotFoundError",
        "def f(): import mmap",
    ),
    (
        "import fcntl",
        "Raised ModuleNotFoundError",
        "def f(): import fcntl",
    ),
    (
        "import resource",
        "Raised ModuleNotFoundError",
        "def f(): import resource",
    ),
    (
        "import multiprocessing",
        "Raised ModuleNotFoundError",
        "def f(): import multiprocessing",
    ),
    (
        "import _posixsubprocess",
        "Raised ModuleNotFoundError",
        "def f(): import _posixsubprocess",
    ),
    (
        "import _interpreters",
        "Raised ModuleNotFoundError",
        "def f(): import _interpreters",
    ),
    (
        "import _testcapi",
        "Raised ModuleNotFoundError",
        "def f(): import _testcapi",
    ),
    (
        "import sqlite3",
        "Raised ModuleNotFoundError",
        "def f(): import sqlite3",
    ),
    (
        "import numpy",
        "Raised ModuleNotFoundError",
        "def f(): import numpy",
    ),
];
