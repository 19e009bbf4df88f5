"""The guest: loads the candidate's module, calls its entry point, and says what happened.

Only code, the name of the entry point and arguments ever come in here. What goes out is data for a host that trusts
none of it, so nothing in this file guards a secret: it gives honest code its typed outcome.

`confine` runs first, so that whatever is imported after it binds the confined functions.
"""

import sys

sys.dont_write_bytecode = True

import confine

import io
import marshal

import encode
import stdlib  # noqa: F401 (imported for what it imports)
import wit_world

_loads, _dumps, _compile, _exec, _StringIO = marshal.loads, marshal.dumps, compile, exec, io.StringIO
_Forbidden, _NO_FILE, _seal, _seed = confine.Forbidden, confine.NO_FILE, encode.seal, confine.seed
_FILE = "<code>" + _NO_FILE

MESSAGE_CHARS = 500
TRACEBACK_FRAMES = 20


class OutputLimit(BaseException):
    """More was printed than the limits allow. Not an Exception, so that `except Exception: pass` does not eat it."""


class Capture(io.StringIO):
    """Standard output, up to the cap."""

    room = 0
    overflown = False

    def write(self, text):
        self.room -= len(text)
        if self.room < 0:
            self.overflown = True
            raise OutputLimit
        return _StringIO.write(self, text)


def encoded(text):
    return text.replace(_NO_FILE, "").encode("utf-8", "backslashreplace")


def printed(out):
    return encoded(_StringIO.getvalue(out))


def class_name(error):
    name = type.__dict__["__name__"].__get__(type(error))
    return name[:MESSAGE_CHARS] if type(name) is str else "?"


def message(error):
    try:
        text = str(error)
        text = text if type(text) is str else ""
    except Exception:
        text = ""
    return encoded(text[:MESSAGE_CHARS])


def frames(error):
    """The candidate's own frames, outermost first."""
    lines = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_filename == _FILE:
            lines.append("line %d, in %s" % (trace.tb_lineno, code.co_name))
        trace = trace.tb_next
    if len(lines) > TRACEBACK_FRAMES:
        half = TRACEBACK_FRAMES // 2
        lines[half:-half] = ["... %d more" % (len(lines) - 2 * half)]
    return encoded("\n".join(lines))


def failure(error):
    """The status and payload of an exception that reached us."""
    kind = type(error)
    if kind is _Forbidden:
        return "forbidden", message(error)
    if kind is OutputLimit:
        return "output", None
    # The interpreter's own, which says nothing.
    if kind is MemoryError and not error.args:
        return "memory", None
    return "raised", (encoded(class_name(error)), message(error), frames(error))


# The loaded module's entry point and the cap on output.
_entry = None
_cap = 0


def forget():
    """Goes back to what a fresh interpreter holds."""
    global _entry, _cap
    _entry, _cap = None, 0


def begin():
    out = Capture()
    out.room = _cap
    sys.stdout = sys.stderr = sys.__stdout__ = sys.__stderr__ = out
    return out


def load(request):
    """Runs the candidate's module. `request` is (source, name of the entry point or "", cap of output bytes, seed).

    With None for a name the source is only compiled, and the code is the answer, which may stand in the source's place.
    """
    global _entry, _cap
    code, name, _cap, seed = _loads(request)
    if seed is not None:
        _seed(seed)
    out = begin()
    module = {"__name__": "solution" if name else "__main__", "__builtins__": __builtins__}
    try:
        try:
            code = _compile(code, _FILE, "exec") if type(code) is str else _loads(code)
        except (SyntaxError, ValueError) as error:
            # ValueError: NUL bytes in the source.
            status, payload = "syntax", message(error)
        except MemoryError as error:
            if not error.args:
                raise
            # The parser's own stack is full: the code nests too deeply.
            status, payload = "syntax", message(error)
        else:
            if name is None:
                status, payload = "compiled", _dumps(code)
            else:
                _exec(code, module)
                _entry = module.get(name) if name else None
                status, payload = ("loaded", None) if not name or callable(_entry) else ("missing", None)
    except BaseException as error:
        status, payload = failure(error)
    if out.overflown:
        status, payload = "output", None
    return _seal(status, printed(out), payload, _cap)


def call(args):
    """Calls the entry point. `args` is a tuple."""
    out = begin()
    try:
        status, payload = "value", _entry(*_loads(args)) if _entry is not None else None
    except BaseException as error:
        status, payload = failure(error)
    try:
        if out.overflown:
            status, payload = "output", None
        return _seal(status, printed(out), payload, _cap)
    except BaseException as error:
        # Only a hostile value gets here: a metaclass whose __hash__ raises, or memory that ran out.
        status, payload = failure(error)
        return _seal(status, b"", payload, _cap)


class WitWorld(wit_world.WitWorld):
    """The export that componentize-py wants of every component."""

    def ready(self):
        pass


import snapshot  # noqa: E402, F401 (once this module is whole; the builder of the runtime calls it)

confine.seal()
sys.argv = [""]
# The originals stay alive in the snapshot: to drop them would close files.
_streams = sys.__stdin__, sys.__stdout__, sys.__stderr__
sys.stdin = sys.__stdin__ = io.StringIO("")
