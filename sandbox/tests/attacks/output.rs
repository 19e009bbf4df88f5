//! Programs that print or return more than they may.

use super::Attack;

pub(super) const ATTACKS: &[Attack] = &[
    (
        "50 MB returned",
        "OutputTooLarge",
        "def f(): return 'a' * (50 << 20)",
    ),
    (
        "a long list",
        "OutputTooLarge",
        "def f(): return list(range(10 ** 5))",
    ),
    (
        "a list that is small in memory and long when written",
        "OutputTooLarge",
        "def f():\n a = [0] * 10\n for _ in range(4): a = [a] * 10\n return a",
    ),
    (
        "a long number",
        "OutputTooLarge",
        "def f(): return 1 << 10 ** 7",
    ),
    (
        "a long name of a class",
        "Opaque",
        "def f(): return type('A' * 10 ** 7, (), {})()",
    ),
    (
        "a long message of an exception",
        "Raised ValueError",
        "def f(): raise ValueError('a' * 10 ** 7)",
    ),
    (
        "a long name of an exception",
        "Raised A*",
        "def f(): raise type('A' * 10 ** 7, (Exception,), {})",
    ),
    (
        "a long traceback",
        "Raised RecursionError",
        "import sys\nsys.setrecursionlimit(10 ** 5)\ndef f(): f()",
    ),
    (
        "an endless print",
        "OutputTooLarge",
        "def f():\n while True: print('spam' * 100)",
    ),
    (
        "an endless print at load time",
        "OutputTooLarge",
        "while True: print('spam' * 100)",
    ),
    (
        "a print that catches exceptions",
        "OutputTooLarge",
        "def f():\n while True:\n  try: print('spam' * 100)\n  except Exception: pass",
    ),
    (
        "a print that catches everything",
        "OutputTooLarge",
        "def f():\n try:\n  while True: print('spam' * 100)\n except BaseException: return 1",
    ),
    (
        "a print of two bytes a character",
        "OutputTooLarge",
        "def f(): print('é' * 40000)",
    ),
    (
        "the original standard output",
        "OutputTooLarge",
        "import sys\ndef f(): sys.__stdout__.write('a' * 10 ** 6)",
    ),
    (
        "standard error",
        "OutputTooLarge",
        "import sys\ndef f(): sys.stderr.write('a' * 10 ** 6)",
    ),
    (
        "a cap that is lifted",
        "OutputTooLarge",
        "import sys\ndef f():\n sys.stdout.room = 10 ** 9\n print('a' * 10 ** 6)",
    ),
    (
        "a list that holds itself",
        "OutputTooLarge",
        "def f():\n a = []\n a.append(a)\n return a",
    ),
    (
        "a dict that holds itself",
        "OutputTooLarge",
        "def f():\n a = {}\n a[1] = [a]\n return a",
    ),
    (
        "a list in a thousand lists",
        "OutputTooLarge",
        "def f():\n a = []\n for _ in range(1000): a = [a]\n return a",
    ),
];
