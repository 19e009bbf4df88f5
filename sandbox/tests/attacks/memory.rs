//! Programs that take all the memory or all the stack.

use super::Attack;

pub(super) const ATTACKS: &[Attack] = &[
    (
        "block after block",
        "OutOfMemory",
        "def f():\n x = []\n while True: x.append(bytearray(1 << 20))",
    ),
    (
        "an endless list",
        "OutOfMemory",
        "def f():\n a = []\n while True: a += [0] * 1000",
    ),
    (
        "an endless dict",
        "OutOfMemory",
        "import itertools\ndef f(): return {n: str(n) * 100 for n in itertools.count()}",
    ),
    (
        "one large block",
        "OutOfMemory",
        "def f(): return bytearray(1 << 30)",
    ),
    (
        "the largest block there is",
        "OutOfMemory",
        "def f(): return bytearray(2 ** 31 - 2)",
    ),
    (
        "a list of a billion",
        "OutOfMemory",
        "def f(): return [0] * 10 ** 9",
    ),
    (
        "a string of a gigabyte",
        "OutOfMemory",
        "def f(): return 'a' * 10 ** 9",
    ),
    (
        "a format that pads",
        "OutOfMemory",
        "def f(): return f'{1:1000000000}'",
    ),
    (
        "a number of a gigabyte",
        "OutOfMemory",
        "def f(): return 1 << 8 * 10 ** 9",
    ),
    (
        "more than an address can say",
        "OutOfMemory",
        "def f(): return b'a' * 10 ** 12",
    ),
    (
        "a string that doubles while MemoryError is caught",
        "Timeout|OutOfMemory",
        "def f():\n x = 'a'\n while True:\n  try: y = x + x; x = y\n  except MemoryError: pass",
    ),
    (
        "a compressed bomb",
        "OutOfMemory|Timeout",
        "import zlib\ndef f():\n z = zlib.compressobj()\n b = b''.join(z.compress(bytes(1 << 20)) for _ in range(400)) + z.flush()\n return len(zlib.decompress(b))",
    ),
    (
        "entropy without end",
        "Timeout|OutOfMemory",
        "import os\ndef f(): return os.urandom(10 ** 9)",
    ),
    (
        "garbage that is never collected",
        "OutOfMemory",
        "import gc\ngc.disable()\ndef f():\n while True:\n  a = [bytes(10 ** 4)]\n  a.append(a)",
    ),
    (
        "a MemoryError of the program's own",
        "Raised MemoryError",
        "def f(): raise MemoryError('mine')",
    ),
    ("recursion", "Raised RecursionError", "def f(): return f()"),
    (
        "recursion with the limit raised",
        "OutOfMemory|StackOverflow",
        "import sys\nsys.setrecursionlimit(10 ** 9)\ndef f(): return f()",
    ),
    (
        "recursion through C",
        "Raised RecursionError",
        "import sys\nsys.setrecursionlimit(10 ** 9)\ndef f(*a): return max([1], key=f)",
    ),
    (
        "recursion through an operator",
        "Raised RecursionError",
        "import sys\nsys.setrecursionlimit(10 ** 9)\nclass A:\n def __eq__(s, o): return s == o\ndef f(): return A() == A()",
    ),
    (
        "recursion through attributes",
        "Raised RecursionError",
        "class A:\n def __getattr__(s, n): return getattr(s, n + 'x')\ndef f(): return A().x",
    ),
    (
        "recursion through repr",
        "Raised RecursionError",
        "import sys\nsys.setrecursionlimit(10 ** 9)\nclass A:\n def __repr__(s): return repr(s)\ndef f(): return repr(A())",
    ),
    (
        "recursion through a class that is its own __call__",
        "Raised RecursionError",
        "class A: pass\nA.__call__ = A()\ndef f(): A()()",
    ),
    (
        "the hash of a deep tuple",
        "StackOverflow",
        "def f():\n a = ()\n for _ in range(10 ** 6): a = (a,)\n return hash(a)",
    ),
    (
        "the comparison of deep lists",
        "Raised RecursionError",
        "def f():\n a, b = [], []\n for _ in range(10 ** 5): a, b = [a], [b]\n return a == b",
    ),
    // Each level looks through all levels above it.
    (
        "the repr of a deep tuple",
        "Timeout|Raised RecursionError",
        "def f():\n a = ()\n for _ in range(10 ** 5): a = (a,)\n return len(repr(a))",
    ),
    (
        "a deep list as JSON",
        "Raised RecursionError",
        "import json\ndef f():\n a = []\n for _ in range(10 ** 5): a = [a]\n return json.dumps(a)",
    ),
    (
        "deep JSON",
        "Raised RecursionError",
        "import json\ndef f(): return json.loads('[' * 10 ** 5)",
    ),
    (
        "a deep chain of iterators",
        "StackOverflow|Raised RecursionError|Timeout",
        "def f():\n a = iter([1])\n for _ in range(10 ** 5): a = map(abs, a)\n return next(a)",
    ),
    (
        "a deep chain of exceptions",
        "Raised Exception",
        "def f():\n e = None\n for _ in range(10 ** 5):\n  n = Exception()\n  n.__context__ = e\n  e = n\n raise e",
    ),
];
