"""Standard input, output and error of a program that has no files: text over bytes over memory, as CPython layers them,
with the numbers of descriptors that programs read and write them by.
"""

import builtins
import errno
import io
import os
import stat

import posix

_TextIOWrapper, _BufferedReader, _read, _readinto = io.TextIOWrapper, io.BufferedReader, io.BytesIO.read, io.BytesIO.readinto
_write, _getvalue, _close, _tell = io.BytesIO.write, io.BytesIO.getvalue, io.BytesIO.close, io.BytesIO.tell
_seek, _truncate, _flush = io.BytesIO.seek, io.BytesIO.truncate, io.TextIOWrapper.flush


class OutputLimit(BaseException):
    """More was printed than the limits allow. Not an Exception, so that `except Exception: pass` does not eat it."""


class Input(io.BytesIO):
    """What descriptor 0 reads from."""

    name, mode = "<stdin>", "rb"
    # Whether anybody has read.
    asked = False

    def fileno(self):
        return 0

    def readinto(self, buffer):
        self.asked = True
        return _readinto(self, buffer)

    def read(self, size=-1):
        self.asked = True
        return _read(self, size)


class Output(io.BytesIO):
    """What descriptor 1 or 2 writes to, up to the cap. What was written stays when it is closed."""

    mode = "wb"
    overflown = False
    kept = None

    def __init__(self, number, room):
        self.number, self.room, self.name = number, room, "<stdout>" if number == 1 else "<stderr>"

    def fileno(self):
        return self.number

    def write(self, data):
        self.room -= len(data)
        if self.room < 0:
            self.overflown = True
            raise OutputLimit
        return _write(self, data)

    def close(self):
        if self.kept is None:
            self.kept = _getvalue(self)
            _close(self)


def reader(data):
    """A standard input that holds `data`."""
    text = _TextIOWrapper(_BufferedReader(Input(data)), "utf-8", "strict")
    text.mode = "r"
    return text


def writer(raw, errors):
    """Text on top of an Output. Standard error is written to at the end of each line."""
    text = _TextIOWrapper(raw, "utf-8", errors, "\n", raw.number == 2)
    text.mode = "w"
    return text


def emptied(text, raw):
    """Takes away what was written, if both are whole; says whether they are."""
    try:
        if text.buffer is not raw or raw.kept is not None or raw.overflown:
            return False
        if _tell(raw):
            _flush(text)
            _seek(raw, 0)
            _truncate(raw)
        return True
    except Exception:
        return False


def written(text, raw):
    """The bytes that were written, those included that wait in `text`."""
    try:
        _flush(text)
    except BaseException:
        # The program has closed or detached it, or there is no more room, which `raw` knows.
        pass
    return _getvalue(raw) if raw.kept is None else raw.kept


# --- the same by the numbers of descriptors

_PATHS = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
# The streams below the text of the running program, by descriptor.
_open = [None, None, None]


def connect(standard_input, output, error):
    """Makes these the streams that descriptors 0, 1 and 2 stand for."""
    _open[:] = standard_input, output, error


def _stream(number):
    if type(number) is int and 0 <= number <= 2 and _open[number] is not None:
        return _open[number]
    return None


def provide_descriptors():
    """Lets programs use descriptors 0, 1 and 2 where `confine` has closed `open` and the functions of `os`."""
    import _io

    denied = {name: getattr(os, name) for name in ("read", "write", "fstat", "isatty")}
    denied_open = io.open

    def read(fd, length, /):
        stream = _stream(fd)
        if stream is None:
            return denied["read"](fd, length)
        if fd:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return stream.read(length)

    def write(fd, data, /):
        stream = _stream(fd)
        if stream is None:
            return denied["write"](fd, data)
        if not fd:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        stream.write(data)
        return len(data)

    def fstat(fd):
        stream = _stream(fd)
        if stream is None:
            return denied["fstat"](fd)
        size = 0 if fd else len(_getvalue(stream))
        return os.stat_result((stat.S_IFREG | 0o600, 0, 0, 1, 0, 0, size, 0, 0, 0))

    def isatty(fd, /):
        return False if _stream(fd) is not None else denied["isatty"](fd)

    for function in read, write, fstat, isatty:
        function.__module__, function.__qualname__ = "posix", function.__name__
        setattr(os, function.__name__, function)
        setattr(posix, function.__name__, function)

    def open(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, closefd=True, opener=None):
        stream = _stream(_PATHS.get(file, file) if type(file) is str else file)
        if stream is None:
            return denied_open(file)
        if stream.closed or ("r" in mode) != (stream is _open[0]) or "+" in mode:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if "b" in mode:
            return stream
        return _TextIOWrapper(stream, encoding or "utf-8", errors, newline)

    open.__module__, open.__qualname__ = "_io", "open"
    for module in builtins, io, _io:
        module.open = open

