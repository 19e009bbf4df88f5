"""What a candidate finds in place of the outside world: a clock that ticks by itself, entropy with a seed, no files,
no processes, no threads. The WASI calls behind the originals are stubs that trap; these give an exception to catch.

Import before anything that binds `time.monotonic` or `os.urandom` by name.
"""

import builtins
import gc
import hashlib
import os
import sys
import time
import types


class Forbidden(PermissionError):
    """Raised in place of what the sandbox does not provide."""


def _deny(what):
    def denied(*args, **kwargs):
        raise Forbidden(what)

    denied.__name__ = what.rpartition(".")[2]
    return denied


# --- the clock: one tick of 100 microseconds a reading, from a fixed start

_now = [1_700_000_000_000_000_000]


def _time_ns():
    _now[0] += 100_000
    return _now[0]


def _time():
    return _time_ns() / 1e9


def _sleep(seconds):
    _now[0] += max(0, int(seconds * 1e9))


def _confine_time():
    for name in "time", "monotonic", "perf_counter", "process_time", "thread_time":
        setattr(time, name, _time)
        setattr(time, name + "_ns", _time_ns)
    time.sleep = _sleep
    for name in "gmtime", "localtime", "ctime":
        original = getattr(time, name)
        setattr(time, name, lambda seconds=None, original=original: original(_time() if seconds is None else seconds))
    clock_info = types.SimpleNamespace(implementation="tick", monotonic=True, adjustable=False, resolution=1e-4)
    time.get_clock_info = lambda name: clock_info
    gmtime, strftime, asctime = time.gmtime, time.strftime, time.asctime
    time.strftime = lambda format, t=None: strftime(format, gmtime() if t is None else t)
    time.asctime = lambda t=None: asctime(gmtime() if t is None else t)
    time.clock_gettime = lambda clock: _time()
    time.clock_gettime_ns = lambda clock: _time_ns()
    time.clock_getres = lambda clock: clock_info.resolution
    time.clock_settime = time.clock_settime_ns = _deny("time.clock_settime")


# --- entropy: a hash chain from a fixed seed

_state = [b""]


def _urandom(n):
    blocks = []
    for _ in range(n // 64 + 1):
        _state[0] = hashlib.sha512(_state[0]).digest()
        blocks.append(hashlib.sha512(_state[0] + b"out").digest())
    return b"".join(blocks)[:n]


def _confine_random():
    os.urandom = _urandom
    import _random
    import random

    random._urandom = _urandom
    seed = random.Random.seed

    def seeded(self, a=None, version=2):
        if a is None:
            a = int.from_bytes(_urandom(16))
        elif isinstance(a, float):
            # The original takes the machine's word that hashes a float.
            a = hash(a) % 2**64
        return seed(self, a, version)

    # The C constructor asks the operating system for a seed unless it is given one.
    random.Random.__new__ = staticmethod(lambda cls, *args, **kwargs: _random.Random.__new__(cls, 0))
    random.Random.seed = seeded


def _patch_type(kind, **members):
    """Sets attributes of a type written in C: its dict is reachable, and nothing has cached these names yet."""
    gc.get_referents(kind.__dict__)[0].update(members)


def _confine_datetime():
    import datetime

    def now(cls, tz=None):
        return cls.fromtimestamp(_time(), tz)

    def utcnow(cls):
        return cls.fromtimestamp(_time(), datetime.UTC).replace(tzinfo=None)

    def today(cls):
        return cls.fromtimestamp(_time())

    _patch_type(datetime.datetime, now=classmethod(now), utcnow=classmethod(utcnow), today=classmethod(today))
    _patch_type(datetime.date, today=classmethod(today))


# --- asyncio: a loop that has nothing to wait for but the clock


def _confine_asyncio():
    import asyncio
    import asyncio.base_events
    import asyncio.events

    class Selector:
        def select(self, timeout):
            if timeout is None:
                raise RuntimeError("every task waits for something that never comes")
            _sleep(timeout)
            return []

    class EventLoop(asyncio.base_events.BaseEventLoop):
        def __init__(self):
            super().__init__()
            self._selector = Selector()

        def _process_events(self, events):
            pass

        def _write_to_self(self):
            pass

    asyncio.SelectorEventLoop = asyncio.EventLoop = EventLoop
    asyncio.new_event_loop = asyncio.events.new_event_loop = EventLoop


# --- files, processes, threads

_HARMLESS = frozenset("fspath strerror cpu_count urandom getpid putenv unsetenv".split())
_PROCESS = "fork forkpty system popen kill execv execve spawnv spawnl posix_spawn wait waitpid _exit abort".split()


def _confine_os():
    import posix

    os.environ.clear()
    names = {name for name in dir(posix) if callable(getattr(posix, name)) and not name.startswith("__")}
    for name in sorted(names.union(_PROCESS) - _HARMLESS):
        if isinstance(getattr(posix, name, None), type):
            continue
        denied = _deny("os." + name)
        setattr(os, name, denied)
        setattr(posix, name, denied)
    posix.urandom = _urandom
    os.getcwd = lambda: "/"
    os.getcwdb = lambda: b"/"


def _confine_io():
    import _io
    import io

    for module in builtins, io, _io:
        module.open = _deny("open")
    for module in io, _io:
        module.FileIO = module.open_code = _deny("open")


def _confine_threads():
    import _thread
    import threading

    for name in "start_new_thread", "start_new", "start_joinable_thread":
        setattr(_thread, name, _deny("threads"))
    for name in "_start_joinable_thread", "_start_new_thread":
        if hasattr(threading, name):
            setattr(threading, name, _deny("threads"))


def _confine_processes():
    import _signal
    import faulthandler
    import select
    import signal
    import subprocess

    for name in "alarm", "raise_signal", "setitimer", "pause":
        for module in signal, _signal:
            if hasattr(module, name):
                setattr(module, name, _deny("signal." + name))
    for name in "select", "poll":
        setattr(select, name, _deny("select." + name))
    for name in dir(faulthandler):
        if not name.startswith("__"):
            # To crash or to print is denied; to be told to print at a crash changes nothing.
            denied = name.startswith(("_", "dump"))
            setattr(faulthandler, name, _deny("faulthandler." + name) if denied else lambda *args, **kwargs: None)
    # asyncio.run installs a handler for Ctrl-C.
    signal.signal = signal.getsignal = lambda number, handler=None: None
    subprocess.Popen.__init__ = _deny("subprocess")
    try:
        import socket
    except ImportError:
        return
    socket.socket.__init__ = _deny("socket")
    for name in "create_connection", "create_server", "getaddrinfo", "gethostbyname", "socketpair":
        setattr(socket, name, _deny("socket"))


def _confine_imports():
    import importlib.machinery

    # Modules that are not in the snapshot are not found; the file system is never asked.
    sys.path[:] = []
    sys.path_hooks[:] = []
    sys.path_importer_cache.clear()
    sys.meta_path[:] = [importlib.machinery.BuiltinImporter, importlib.machinery.FrozenImporter]


def seal():
    """Closes the doors that building the snapshot itself needs open."""
    _confine_asyncio()
    _confine_os()
    _confine_io()
    _confine_threads()
    _confine_processes()
    _confine_imports()
    reset()


def reset():
    """Sets clock and entropy to where every execution starts."""
    _now[0] = 1_700_000_000_000_000_000
    seed(0)


def seed(number):
    """Starts entropy anew, as the number says."""
    import random

    _state[0] = b"gauntlet %d" % number
    random.seed(number)


_confine_time()
_confine_random()
_confine_datetime()
