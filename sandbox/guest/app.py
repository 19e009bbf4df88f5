"""The guest: loads the candidate's module, calls its entry point, or runs it as a script, and says what happened.

Only code, the name of the entry point, arguments and standard input ever come in here. What goes out is data for a host
that trusts none of it, so nothing in this file guards a secret: it gives honest code its typed outcome.

`confine` runs first, so that whatever is imported after it binds the confined functions.
"""

import sys

sys.dont_write_bytecode = True

import confine
import words  # noqa: F401 (before anything that looks at the sizes it sets)

import _sitebuiltins
import atexit
import builtins
import marshal

import encode
import entry
import stdlib  # noqa: F401 (imported for what it imports)
import streams
import wit_world

_loads, _dumps, _compile, _exec = marshal.loads, marshal.dumps, compile, exec
_Forbidden, _seal, _seed = confine.Forbidden, encode.seal, confine.seed
_Output, _OutputLimit, _reader, _writer = streams.Output, streams.OutputLimit, streams.reader, streams.writer
_connect, _written, _emptied, _modules = streams.connect, streams.written, streams.emptied, sys.modules
_Module, _names = type(sys), sys.__dict__
_find = entry.find

# Where the program's source seems to lie.
FILE = "/solution.py"

MESSAGE_CHARS = 500
TRACEBACK_FRAMES = 20


class Source:
    """The loader of the program's module: it knows the source, for tracebacks and `inspect.getsource`."""

    text = None

    def get_source(self, name):
        return self.text

    def is_package(self, name):
        return False


def encoded(text):
    return text.encode("utf-8", "backslashreplace")


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
        if code.co_filename == FILE:
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
    if kind is _OutputLimit:
        return "output", None
    # The interpreter's own, which says nothing.
    if kind is MemoryError and not error.args:
        return "memory", None
    return "raised", (encoded(class_name(error)), message(error), frames(error))


# The loaded module's entry point and the cap on output.
_entry = None
_cap = 0
_no_input = _reader(b"")
# What the next program finds, made before the snapshot, since to make it costs more than many a program: an output that
# nothing was written to, modules that nothing is in, and their loader.
_out = _raw = _source = None
# The names that such a module has.
_FRESH_NAMES = 8


def forget():
    """Lets go of all that a program has left."""
    global _entry, _cap, _source, _out, _raw
    _entry = _source = _out = _raw = None
    _cap = 0
    # The places of these names stay taken, so that to put a program's module there is cheap.
    _modules["solution"] = _modules["__main__"] = None
    sys.argv = sys.stdin = sys.stdout = sys.stderr = sys.__stdin__ = sys.__stdout__ = sys.__stderr__ = None
    _connect(None, None, None)


def prepare():
    """Makes what the next program finds."""
    global _source
    _source = Source()
    for name in "solution", "__main__":
        _modules[name] = new_module(name)
    sys.argv = [FILE[1:]]
    sys.stdin = sys.__stdin__ = _no_input
    new_output()


def new_module(name):
    module = _Module(name)
    names = module.__dict__
    names["__file__"], names["__loader__"], names["__builtins__"] = FILE, _source, builtins
    return module


def new_output():
    """An output for the program, standard error in the same place."""
    global _out, _raw
    _raw = _Output(1, _cap)
    _out = _writer(_raw, "backslashreplace")
    sys.stdout = sys.stderr = sys.__stdout__ = sys.__stderr__ = _out
    _connect(_no_input.buffer.raw, _raw, _raw)


def begin():
    """Gives the program an output that holds nothing."""
    if _names.get("stdout") is not _out or _names.get("stderr") is not _out or not _emptied(_out, _raw):
        new_output()
    _raw.room = _cap
    return _out, _raw


def module_for(name, source):
    """The names of a module for the program, where `sys.modules` has one of its name."""
    names = _modules[name].__dict__
    if len(names) != _FRESH_NAMES:
        module = _modules[name] = new_module(name)
        names = module.__dict__
    _source.text = source
    return names


def compiled(code):
    """The program's code and None, or None and the status and payload of a program that does not compile."""
    try:
        return _compile(code, FILE, "exec") if type(code) is str else _loads(code), None
    except (SyntaxError, ValueError) as error:
        # ValueError: NUL bytes in the source.
        return None, ("syntax", message(error))
    except MemoryError as error:
        if not error.args:
            raise
        # The parser's own stack is full: the code nests too deeply.
        return None, ("syntax", message(error))


def load(request):
    """Runs the candidate's module. `request` is (source, name of the entry point or "", cap of output bytes, seed,
    compiled code or None).

    With None for a name the source is only compiled, and the code is the answer.
    """
    global _entry, _cap
    source, name, _cap, seed, code = _loads(request)
    if seed is not None:
        _seed(seed)
    out, raw = begin()
    try:
        code, failed = compiled(source if code is None else code)
        if failed:
            status, payload = failed
        elif name is None:
            status, payload = "compiled", _dumps(code)
        else:
            names = module_for("solution" if name else "__main__", source)
            _exec(code, names)
            _entry = _find(names, name) if name else None
            status, payload = ("loaded", None) if not name or callable(_entry) else ("missing", None)
    except BaseException as error:
        status, payload = failure(error)
        if name == "" and type(error) is SystemExit and exit_status(error.code) == 0:
            status, payload = "loaded", None
    printed = _written(out, raw)
    if raw.overflown:
        status, payload = "output", None
    return _seal(status, printed, payload, _cap)


def call(args):
    """Calls the entry point. `args` is a tuple."""
    out, raw = begin()
    try:
        status, payload = "value", _entry(*_loads(args)) if _entry is not None else None
    except BaseException as error:
        status, payload = failure(error)
    try:
        printed = _written(out, raw)
        if raw.overflown:
            status, payload = "output", None
        return _seal(status, printed, payload, _cap)
    except BaseException as error:
        # Only a hostile value gets here: a metaclass whose __hash__ raises, or memory that ran out.
        status, payload = failure(error)
        return _seal(status, b"", payload, _cap)


def script(request):
    """Runs a program from standard input to standard output. `request` is (source, arguments, cap of output bytes, seed,
    compiled code or None, standard input). The answer's payload is (what became of it, its payload, standard error, whether
    standard input was read).
    """
    source, arguments, cap, seed, code, data = _loads(request)
    if seed is not None:
        _seed(seed)
    sys.argv = [FILE[1:], *arguments]
    sys.stdin = sys.__stdin__ = _reader(data)
    raw, raw_error = _Output(1, cap), _Output(2, cap)
    out = sys.stdout = sys.__stdout__ = _writer(raw, "strict")
    error_out = sys.stderr = sys.__stderr__ = _writer(raw_error, "backslashreplace")
    raw_input = sys.stdin.buffer.raw
    _connect(raw_input, raw, raw_error)
    try:
        code, failed = compiled(source if code is None else code)
        if failed:
            status, payload = failed
        else:
            status, payload = run(code, module_for("__main__", source))
    except BaseException as error:
        status, payload = failure(error)
    printed, complaints = _written(out, raw), _written(error_out, raw_error)
    if raw.overflown or raw_error.overflown:
        status, payload = "output", None
    return _dumps(("script", printed, (status, payload, complaints, raw_input.asked)), 2)


def run(code, names):
    """Runs a script to the end of its process."""
    try:
        ended = "exited", 0
        try:
            _exec(code, names)
        except SystemExit as error:
            ended = "exited", exit_status(error.code)
        except BaseException as error:
            ended = failure(error)
            if ended[0] == "raised":
                # Without the frame of this function.
                error.__traceback__ = error.__traceback__.tb_next
                sys.excepthook(type(error), error, error.__traceback__)
        atexit._run_exitfuncs()
        for stream in _names.get("stdout"), _names.get("stderr"):
            if stream is not None and not stream.closed:
                stream.flush()
        return ended
    except SystemExit as error:
        return "exited", exit_status(error.code)


def exit_status(code):
    if code is None:
        return 0
    if isinstance(code, int):
        return int(code) & 255
    print(code, file=sys.stderr)
    return 1


class WitWorld(wit_world.WitWorld):
    """The export that componentize-py wants of every component."""

    def ready(self):
        pass


import snapshot  # noqa: E402, F401 (once this module is whole; the builder of the runtime calls it)

confine.seal()
streams.provide_descriptors()
# What `site` adds for people at a prompt, and scripts end with.
builtins.exit, builtins.quit = _sitebuiltins.Quitter("exit", "Ctrl-D"), _sitebuiltins.Quitter("quit", "Ctrl-D")
# The originals stay alive in the snapshot: to drop them would close files.
_originals = sys.__stdin__, sys.__stdout__, sys.__stderr__, sys.modules["__main__"]
sys.stdin = sys.__stdin__ = _no_input
