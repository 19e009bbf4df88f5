//! Programs that never end.

use super::Attack;

pub(super) const ATTACKS: &[Attack] = &[
    ("a loop", "Timeout", "def f():\n while True: pass"),
    ("a loop at load time", "Timeout", "while True: pass"),
    (
        "a loop that catches everything",
        "Timeout",
        "def f():\n while True:\n  try:\n   while True: pass\n  except BaseException: pass",
    ),
    (
        "a loop on the way out",
        "Timeout",
        "def f():\n try: return 1\n finally:\n  while True: pass",
    ),
    (
        "a loop in an exception's text",
        "Timeout",
        "class A:\n def __str__(self):\n  while True: pass\ndef f(): raise ValueError(A())",
    ),
    (
        "a loop in a destructor",
        "Timeout",
        "class A:\n def __del__(self):\n  while True: pass\ndef f(): A()",
    ),
    (
        "a loop where the encoder asks for a hash",
        "Timeout",
        "class M(type):\n def __hash__(c):\n  while True: pass\nclass A(metaclass=M): pass\ndef f(): return A()",
    ),
    (
        "a loop in a trace function",
        "Timeout",
        "import sys\ndef spin(*a):\n while True: pass\ndef f(): sys.settrace(spin); (lambda: 0)()",
    ),
    (
        "a loop of tasks",
        "Timeout",
        "import asyncio\nasync def g():\n while True: await asyncio.sleep(1)\ndef f(): asyncio.run(g())",
    ),
    (
        "a task that nothing wakes",
        "Raised RuntimeError",
        "import asyncio\ndef f(): asyncio.run(asyncio.Event().wait())",
    ),
    (
        "a lock that nobody releases",
        "Forbidden waiting for another thread",
        "import threading\ndef f():\n l = threading.Lock()\n l.acquire(); l.acquire()",
    ),
    (
        "a queue that nobody fills",
        "Forbidden waiting for another thread",
        "import queue\ndef f(): queue.Queue().get()",
    ),
    (
        "a sleep of years",
        "None",
        "import time\ndef f(): time.sleep(10 ** 9)",
    ),
    (
        "a number too large to compute",
        "Timeout|OutOfMemory",
        "def f(): return 10 ** 10 ** 8",
    ),
    (
        "a factorial in C",
        "Timeout",
        "import math\ndef f(): return math.factorial(10 ** 7)",
    ),
    (
        "a number too long to write",
        "Timeout",
        "import sys\nsys.set_int_max_str_digits(0)\ndef f(): return len(str(7 ** 10 ** 7))",
    ),
    (
        "a sum in C",
        "Timeout",
        "def f(): return sum(range(10 ** 12))",
    ),
    (
        "an iterator in C that never ends",
        "Timeout",
        "import collections, itertools\ndef f(): collections.deque(itertools.repeat(1), maxlen=0)",
    ),
    (
        "a regular expression that backtracks",
        "Timeout",
        "import re\ndef f(): return re.match('(a+)+$', 'a' * 40 + 'b')",
    ),
    (
        "a search of a long string",
        "Timeout",
        "def f():\n a = 'ab' * 10 ** 6\n while True: a.find('ba' * 1000 + 'c')",
    ),
    (
        "a parser fed with much",
        "Timeout",
        "def f():\n while True: compile('x = [' + '1, ' * 10 ** 5 + ']', '', 'exec')",
    ),
];
