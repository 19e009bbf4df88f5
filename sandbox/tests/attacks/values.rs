//! Values that pretend to be something else, and exceptions that do not like to be looked at.

use super::Attack;

pub(super) const ATTACKS: &[Attack] = &[
    (
        "equal to everything",
        "Opaque",
        "class A:\n def __eq__(self, other): return True\n def __hash__(self): return 0\ndef f(): return A()",
    ),
    (
        "__class__ says int",
        "Opaque",
        "class A:\n __class__ = int\ndef f(): return A()",
    ),
    (
        "a repr that is the answer",
        "Opaque",
        "class A:\n def __repr__(self): return '42'\n __str__ = __repr__\ndef f(): return A()",
    ),
    (
        "a subclass of int",
        "Opaque",
        "class I(int):\n def __eq__(self, other): return True\n __hash__ = int.__hash__\ndef f(): return I(1)",
    ),
    (
        "a subclass of str in a list",
        "Opaque",
        "class S(str): pass\ndef f(): return [S('a')]",
    ),
    (
        "a subclass of float as a key",
        "Opaque",
        "class F(float): pass\ndef f(): return {F(1): 1}",
    ),
    (
        "a subclass of dict",
        "Opaque",
        "class D(dict): pass\ndef f(): return D()",
    ),
    (
        "a list with an iterator of its own",
        "Opaque",
        "class L(list):\n def __iter__(self): return iter([1])\ndef f(): return L()",
    ),
    (
        "a namedtuple that is none",
        "Opaque",
        "class T(tuple):\n _fields = ()\n def __eq__(self, other): return True\n __hash__ = None\ndef f(): return T()",
    ),
    (
        "a buffer",
        "Opaque",
        "class B:\n def __buffer__(self, flags): return memoryview(b'a')\ndef f(): return B()",
    ),
    ("a bytearray", "Opaque", "def f(): return bytearray(b'a')"),
    (
        "an array",
        "Opaque",
        "import array\ndef f(): return array.array('b', [1])",
    ),
    ("a generator", "Opaque", "def f(): return (x for x in 'ab')"),
    ("a function", "Opaque", "def f(): return f"),
    ("its code", "Opaque", "def f(): return f.__code__"),
    ("an ellipsis", "Opaque", "def f(): return ..."),
    ("NotImplemented", "Opaque", "def f(): return NotImplemented"),
    ("a type", "Opaque", "def f(): return int"),
    ("a lone surrogate", "Opaque", "def f(): return '\\ud800'"),
    (
        "a lone surrogate as a key",
        "Opaque",
        "def f(): return {'\\udfff': 1}",
    ),
    (
        "an object deep inside",
        "Opaque",
        "def f(): return {1: [object()]}",
    ),
    (
        "a Fraction",
        "Opaque",
        "from fractions import Fraction\ndef f(): return Fraction(1)",
    ),
    (
        "a Decimal",
        "Opaque",
        "from decimal import Decimal\ndef f(): return Decimal(1)",
    ),
    ("a NUL", "'a\\x00b'", "def f(): return 'a\\0b'"),
    (
        "two keys that are no number",
        "{float('nan'): 1, float('nan'): 2}",
        "def f(): return {float('nan'): 1, float('nan'): 2}",
    ),
    (
        "a hash that raises",
        "Raised ValueError|Opaque|OutputTooLarge",
        "class M(type):\n def __hash__(cls): raise ValueError('gotcha')\nclass A(metaclass=M): pass\ndef f(): return A()",
    ),
    (
        "a list that grows while it is encoded",
        "Opaque|OutputTooLarge|Timeout",
        "a = []\nclass M(type):\n def __hash__(c): a.append(A()); return 0\nclass A(metaclass=M): pass\ndef f(): a.append(A()); return a",
    ),
    (
        "an exception whose text raises",
        "Raised E",
        "class E(Exception):\n def __str__(self): 1 / 0\ndef f(): raise E",
    ),
    (
        "an exception whose text leaves",
        "Raised SystemExit|Malformed|Raised E",
        "import sys\nclass E(Exception):\n def __str__(self): sys.exit(0)\ndef f(): raise E",
    ),
    (
        "an exception whose name raises",
        "Raised E",
        "class M(type):\n __name__ = property(lambda c: 1 / 0)\nclass E(Exception, metaclass=M): pass\ndef f(): raise E",
    ),
    (
        "an exception that calls itself a pass",
        "Raised Passed",
        "class Passed(Exception): pass\ndef f(): raise Passed",
    ),
    (
        "an exception that is its own context",
        "Raised E",
        "class E(Exception): pass\ndef f():\n e = E()\n e.__context__ = e.__cause__ = e\n raise e",
    ),
    (
        "a traceback that is a circle",
        "Raised ValueError",
        "def f():\n try: 1 / 0\n except Exception as e: t = e.__traceback__\n try: t.tb_next = t\n except ValueError: raise",
    ),
];
