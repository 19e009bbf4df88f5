//! Hostile programs: each is contained, gets its typed outcome, and leaves the next execution as it would have been.

use std::time::{Duration, Instant};

use gauntlet_sandbox::{Limits, Outcome, TimeLimit};

use crate::{call, call_within, describe};

/// Runs `f` of `code`, checks what came of it, and that the host and the next execution took no notice.
fn attack(code: &str, expected: &str) {
    let canary = "def f(): print('clean'); return [sum(range(1000)), {'a': (1.5, None)}]";
    let before = call(canary, "");
    assert_eq!(before.stdout, "clean\n");
    let limits = Limits {
        fuel: Some(3_000_000_000),
        ..Limits::default()
    };
    let found = describe(&call_within(code, "", &limits));
    assert!(
        expected.split('|').any(|expected| expected == found),
        "expected {expected}, found {found}:\n{code}"
    );
    assert_eq!(
        call(canary, ""),
        before,
        "the next execution differs after\n{code}"
    );
}

#[test]
fn endless_code_runs_out_of_fuel() {
    for code in [
        "def f():\n while True: pass",
        "def f():\n while True:\n  try:\n   while True: pass\n  except BaseException: pass",
        "def f(): return 10 ** 10 ** 8",
        "import re\ndef f(): return re.match('(a+)+$', 'a' * 40 + 'b')",
        "def f(): return [0] * 10**5 * 10**5 if sum(range(10**12)) else 0",
        "def f(): return f() if len(str(7 ** 10**6)) else 0",
        "while True: pass",
        "class A:\n def __str__(self):\n  while True: pass\ndef f(): raise ValueError(A())",
    ] {
        attack(code, "Timeout");
    }
}

#[test]
fn the_wall_clock_stops_what_fuel_does_not() {
    let limits = Limits {
        fuel: None,
        wall: Duration::from_millis(300),
        ..Limits::default()
    };
    let started = Instant::now();
    let execution = call_within("def f():\n while True: pass", "", &limits);
    assert_eq!(
        execution.result,
        Err(Outcome::Timeout {
            limit: TimeLimit::Wall
        })
    );
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn memory_and_stack_are_bounded() {
    attack(
        "def f():\n x = []\n while True: x.append(bytearray(1 << 20))",
        "OutOfMemory",
    );
    attack("def f(): return bytearray(1 << 30)", "OutOfMemory");
    attack("def f(): return [0] * 10**9", "OutOfMemory");
    attack("def f(): return 'a' * 10**9", "OutOfMemory");
    attack("def f(): return f()", "Raised RecursionError");
    attack(
        "import sys\nsys.setrecursionlimit(10**9)\ndef f(): return f()",
        "OutOfMemory|StackOverflow",
    );
    attack(
        "def f():\n a = ()\n for _ in range(10**5): a = (a,)\n return hash(a)",
        "StackOverflow|Raised RecursionError",
    );
    attack(
        "def f():\n x = 'a'\n while True:\n  try: y = x + x; x = y\n  except MemoryError: pass",
        "Timeout|OutOfMemory",
    );
}

#[test]
fn output_is_bounded() {
    attack("def f(): return 'a' * (50 << 20)", "OutputTooLarge");
    attack("def f(): return list(range(10**5))", "OutputTooLarge");
    attack(
        "def f():\n while True: print('spam' * 100)",
        "OutputTooLarge",
    );
    attack(
        "def f():\n while True:\n  try: print('spam' * 100)\n  except Exception: pass",
        "OutputTooLarge",
    );
    attack(
        "def f():\n try:\n  while True: print('spam' * 100)\n except BaseException: return 1",
        "OutputTooLarge",
    );
    attack(
        "def f():\n a = []\n a.append(a)\n return a",
        "OutputTooLarge",
    );
    attack(
        "def f():\n a = []\n for _ in range(1000): a = [a]\n return a",
        "OutputTooLarge",
    );
    attack("def f(): print('é' * 40000)", "OutputTooLarge");
}

#[test]
fn the_outside_world_is_not_there() {
    for (code, what) in [
        ("import os\ndef f(): return os.listdir('/')", "os.listdir"),
        ("def f(): return open('/etc/passwd').read()", "open"),
        ("def f(): open('x', 'w').write('x')", "open"),
        (
            "import pathlib\ndef f(): return pathlib.Path('a').read_text()",
            "open",
        ),
        ("import io\ndef f(): return io.FileIO(0)", "open"),
        ("import os\ndef f(): return os.open('/', 0)", "os.open"),
        ("import socket\ndef f(): return socket.socket()", "socket"),
        (
            "import subprocess\ndef f(): return subprocess.run(['ls'])",
            "subprocess",
        ),
        ("import os\ndef f(): return os.system('ls')", "os.system"),
        ("import os\ndef f(): return os.fork()", "os.fork"),
        (
            "import threading\ndef f(): threading.Thread(target=print).start()",
            "threads",
        ),
        (
            "from concurrent.futures import ThreadPoolExecutor as T\ndef f(): T().submit(int)",
            "threads",
        ),
        ("import os\ndef f(): os._exit(0)", "os._exit"),
        ("import os\ndef f(): os.abort()", "os.abort"),
        (
            "import sys\ndef f(): sys.__stdout__.write('x'); sys.__stdout__.flush()",
            "a system call",
        ),
        (
            "import select\ndef f(): select.select([], [], [], 1)",
            "a system call",
        ),
        (
            "import faulthandler\ndef f(): faulthandler._sigsegv()",
            "a system call",
        ),
    ] {
        attack(code, &format!("Forbidden {what}"));
    }
    for module in [
        "ctypes",
        "numpy",
        "multiprocessing",
        "_posixsubprocess",
        "mmap",
    ] {
        attack(
            &format!("def f(): import {module}"),
            "Raised ModuleNotFoundError",
        );
    }
}

#[test]
fn leaving_is_no_pass() {
    attack("import sys\ndef f(): sys.exit(0)", "Raised SystemExit");
    attack("exit(0)", "Raised SystemExit");
    attack("raise KeyboardInterrupt", "Raised KeyboardInterrupt");
    attack("def f(): raise GeneratorExit", "Raised GeneratorExit");
}

#[test]
fn values_that_play_tricks_are_opaque_or_contained() {
    for code in [
        "class A:\n def __eq__(self, other): return True\n def __hash__(self): return 0\ndef f(): return A()",
        "class A:\n __class__ = int\ndef f(): return A()",
        "class I(int):\n def __eq__(self, other): return True\n __hash__ = int.__hash__\ndef f(): return I(1)",
        "class S(str): pass\ndef f(): return [S('a')]",
        "class D(dict): pass\ndef f(): return D()",
        "class L(list):\n def __iter__(self): return iter([1])\ndef f(): return L()",
        "def f(): return (x for x in 'ab')",
        "def f(): return f",
        "def f(): return f.__code__",
        "def f(): return ...",
        "def f(): return '\\ud800'",
        "def f(): return {1: [object()]}",
        "def f(): return bytearray(b'a')",
        "import array\ndef f(): return array.array('b', [1])",
        "class B:\n def __buffer__(self, flags): return memoryview(b'a')\ndef f(): return B()",
        "from fractions import Fraction\ndef f(): return Fraction(1)",
        "from decimal import Decimal\ndef f(): return Decimal(1)",
        "class T(tuple):\n _fields = ()\n def __eq__(self, other): return True\n __hash__ = None\ndef f(): return T()",
    ] {
        attack(code, "Opaque");
    }
    let hostile_metaclass = "class M(type):\n def __hash__(cls): raise ValueError('gotcha')\n\
        class A(metaclass=M): pass\ndef f(): return A()";
    attack(hostile_metaclass, "Raised ValueError|Opaque|OutputTooLarge");
    attack(
        "class E(Exception):\n def __str__(self): 1 / 0\ndef f(): raise E",
        "Raised E",
    );
    attack(
        "class M(type):\n __name__ = property(lambda c: 1 / 0)\nclass E(Exception, metaclass=M): pass\ndef f(): raise E",
        "Raised E",
    );
}

#[test]
fn responses_that_break_the_protocol_are_malformed() {
    let seal = |response: &str| {
        format!("import sys\ndef f(): sys._getframe(1).f_globals['_seal'] = lambda *a: {response}")
    };
    for response in [
        "b''",
        "b'Passed'",
        "b'('",
        "b'(\\x03\\0\\0\\0'",
        "b'(\\xff\\xff\\xff\\x7f'",
        "b'N' * 1000",
    ] {
        attack(&seal(response), "Malformed");
    }
    // Bytes beyond any honest response are not even copied.
    attack(&seal("bytes(100 << 20)"), "Malformed");
    // What componentize-py cannot turn into bytes kills the instance.
    attack(&seal("'text'"), "Malformed|Forbidden a system call");
    attack(&seal("1 / 0"), "Malformed|Forbidden a system call");
    // A well-formed response is worth what any return value is worth.
    attack(
        &seal("__import__('marshal').dumps(('value', b'', 42), 2)"),
        "42",
    );
    attack(
        &seal("__import__('marshal').dumps(('Passed', b'', None), 2)"),
        "Malformed",
    );
}

#[test]
fn patched_builtins_and_modules_reach_no_further_than_the_candidate() {
    for code in [
        "import builtins\nbuiltins.type = builtins.len = lambda *a: 0\ndef f(): return 1",
        "import builtins\nbuiltins.str = builtins.tuple = None\ndef f(): return 1",
        "import json, marshal, sys\nmarshal.dumps = json.dumps = None\nsys.modules.clear()\ndef f(): return 1",
        "import sys\nsys.stdout = sys.stderr = None\ndef f(): return 1",
        "import gc\ngc.disable()\ngc.set_threshold(1)\ndef f(): return 1",
        "import sys\nsys.setrecursionlimit(30)\ndef f(): return 1",
    ] {
        attack(code, "1");
    }
    attack(
        "import builtins\nvars(builtins).clear()\ndef f(): return 1",
        "1|Raised NameError|Malformed|Forbidden a system call",
    );
}
