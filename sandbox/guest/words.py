"""The numbers by which a program sees how wide the machine's words are, as on a machine of 64 bits.

`words.wat` has what CPython computes in C; the functions here that it calls are `decimal_hash`, `bisect_left`,
`bisect_right` and `set_repr`. Import before anything that looks at `sys.maxsize` or `sys.hash_info`.
"""

import copy
import sys

_PRIME = 2**61 - 1
_INFINITY = 314159

sys.maxsize = 2**63 - 1
sys.hash_info = copy.replace(sys.hash_info, width=64, modulus=_PRIME, hash_bits=64)


def decimal_hash(x):
    """The hash of the int or the float that a Decimal equals."""
    from decimal import Decimal

    if Decimal.is_snan(x):
        raise TypeError("Cannot hash a signaling NaN value")
    if Decimal.is_nan(x):
        return object.__hash__(x)
    sign, digits, exponent = Decimal.as_tuple(x)
    if Decimal.is_infinite(x):
        return -_INFINITY if sign else _INFINITY
    hashed = int("".join(map(str, digits))) * pow(10, exponent, _PRIME) % _PRIME
    return -hashed if sign else hashed


def _bisect(a, x, lo, hi, key, before):
    if lo < 0:
        raise ValueError("lo must be non-negative")
    hi = len(a) if hi is None else hi
    while lo < hi:
        middle = (lo + hi) // 2
        item = a[middle] if key is None else key(a[middle])
        if before(item):
            lo = middle + 1
        else:
            hi = middle
    return lo


def bisect_left(a, x, lo=0, hi=None, *, key=None):
    """`bisect.bisect_left` in a range that is longer than a list could be."""
    return _bisect(a, x, lo, hi, key, lambda item: item < x)


def bisect_right(a, x, lo=0, hi=None, *, key=None):
    """`bisect.bisect_right` in a range that is longer than a list could be."""
    return _bisect(a, x, lo, hi, key, lambda item: not x < item)


def set_repr(x):
    """The repr of a set that is walked from its end."""
    name = type(x).__name__
    if not len(x):
        return name + "()"
    items = repr([*x])[1:-1]
    return "{" + items + "}" if type(x) is set else name + "({" + items + "})"


# --- sys.getsizeof: on 32 bits most objects take half as much

_getsizeof = sys.getsizeof
_NONE = object()


def _dict_size(size):
    """Of a dict that takes `size` bytes on 32 bits: what is no pointer, its table of indices, does not double."""
    for log in range(3, 31):
        slots = 1 << log
        indices = slots * (1 if log < 8 else 2 if log < 16 else 4)
        for entry in 8, 12:
            if size == 60 + indices + slots * 2 // 3 * entry:
                return 2 * size - indices - 24
    return 2 * size - 16


def getsizeof(object, default=_NONE):
    """getsizeof(object [, default]) -> int

    Return the size of object in bytes."""
    size = _getsizeof(object) if default is _NONE else _getsizeof(object, default)
    kind = type(object)
    if size is default:
        return size
    if hasattr(kind.__sizeof__, "__code__"):
        # A number of the program's own, and what the interpreter keeps in front of an object.
        return 2 * size - kind.__sizeof__(object)
    if kind is int or kind is bool:
        return 24 + 4 * max(1, (object.bit_length() + 29) // 30)
    if kind is str:
        return size + (20 if object.isascii() else 28)
    if kind is float:
        return 24
    if kind is complex:
        return 32
    if kind is bytes:
        return 33 + len(object)
    if kind is bytearray:
        return size + 28
    if kind is dict:
        return _dict_size(size)
    return 2 * size


getsizeof.__module__, getsizeof.__qualname__ = "sys", "getsizeof"
sys.getsizeof = getsizeof
