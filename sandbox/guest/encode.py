"""Values on their way out: exact built-in types by `marshal`, which writes them in C; anything else is opaque.

The standard containers that compare as built-ins do cross as those: OrderedDict, defaultdict and Counter as dict, a
namedtuple as tuple. They are known by type objects captured here, before a candidate runs.
"""

from collections import Counter, OrderedDict, defaultdict
from marshal import dumps as _dumps

_SCALARS = frozenset({int, str, float, bool, type(None), bytes, complex})
_SEQUENCES = frozenset({list, tuple, set, frozenset})
_DICTS = frozenset({OrderedDict, defaultdict, Counter})

_NAME_CHARS = 500

# Captured by value: a candidate may rebind what the names mean in builtins.
_type, _set, _map, _all, _len, _list, _tuple, _dict = type, set, map, all, len, list, tuple, dict


class Opaque(Exception):
    """Holds the name of a type that does not cross."""


def _plain(x):
    """Whether x is made of exact built-in types only. (marshal alone would pass any buffer as bytes.)"""
    kind = _type(x)
    if kind in _SCALARS:
        return True
    if kind in _SEQUENCES:
        return _set(_map(_type, x)) <= _SCALARS or _all(_map(_plain, x))
    if kind is _dict:
        return (_set(_map(_type, x)) <= _SCALARS or _all(_map(_plain, x))) and (
            _set(_map(_type, x.values())) <= _SCALARS or _all(_map(_plain, x.values()))
        )
    return False


def _convert(x):
    """x with the standard containers replaced by the built-ins they compare as."""
    kind = _type(x)
    if kind in _SCALARS:
        return x
    if kind in _SEQUENCES:
        return kind(_map(_convert, x))
    if kind is _dict or kind in _DICTS:
        return {_convert(key): _convert(value) for key, value in _dict.items(x)}
    if kind.__bases__ == (_tuple,) and _type(kind.__dict__.get("_fields")) is _tuple and "__eq__" not in kind.__dict__:
        return _tuple(_map(_convert, _tuple.__iter__(x)))
    name = _type.__dict__["__name__"].__get__(kind)
    raise Opaque(name[:_NAME_CHARS] if _type(name) is str else "?")


def seal(status, printed, payload, cap):
    """The bytes of a response."""
    if status == "value":
        try:
            if not _plain(payload):
                payload = _convert(payload)
            sealed = _dumps((status, printed, payload), 2)
            if _len(sealed) <= cap + _len(printed) + 64:
                return sealed
            status, payload = "output", None
        except Opaque as error:
            status, payload = "opaque", error.args[0].encode("utf-8", "backslashreplace")
        except (RecursionError, ValueError):
            # Nested too deeply, or a container that holds itself.
            status, payload = "output", None
    return _dumps((status, printed, payload), 2)
