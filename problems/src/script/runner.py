import builtins as _builtins
import io as _io
import sys as _sys
import traceback as _traceback


def run_script(code, stdin):
    """What the script printed, or how it ended where it did not end well."""
    try:
        compiled = compile(code, "<script>", "exec")
    except (SyntaxError, ValueError) as error:
        return "syntax", "%s: %s" % (type(error).__name__, error)
    data = _io.BytesIO(stdin.encode("utf-8"))
    out = _io.BytesIO()
    _sys.stdin = _io.TextIOWrapper(data, encoding="utf-8")
    _sys.stdout = _io.TextIOWrapper(out, encoding="utf-8", errors="backslashreplace", newline="\n", write_through=True)
    stdout = _sys.stdout
    try:
        exec(compiled, {"__name__": "__main__", "__builtins__": _builtins})
    except SystemExit as error:
        if error.code not in (None, 0):
            return "raised", "SystemExit", str(error.code), ""
    except (MemoryError, RecursionError):
        raise
    except BaseException as error:
        frames = [frame for frame in _traceback.extract_tb(error.__traceback__) if frame.filename == "<script>"]
        lines = ["line %d, in %s" % (frame.lineno, frame.name) for frame in frames[-20:]]
        return "raised", type(error).__name__, str(error)[:500], "\n".join(lines)
    stdout.flush()
    return out.getvalue().decode("utf-8", "backslashreplace")
