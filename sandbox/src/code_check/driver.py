"""Runs tests that are code, in an interpreter that the program under test never enters.

There is no way out of an interpreter, so a call of the program ends the run with a question. The host has the question
answered and the tests run again from their start, with the answers so far: nothing here depends on anything but those,
so that each run asks the same questions, and is checked to.
"""

import ast
import builtins
import collections
import marshal
import random

_MARK = "\0instance"
# The answer that is an instance, or a method of one.
_OBJECT = object()
_START = random.getstate()
_LAYOUTS = int, float, complex, str, bytes, list, tuple, dict, set, frozenset, BaseException


class Ask(BaseException):
    """Ends a run at a question without an answer. Not an Exception, so that `except Exception` lets it pass."""


class Wrong(BaseException):
    """The tests cannot be run."""


class Instance:
    """An instance of the class that is tested. It stays where the program is: each question makes it anew, and repeats
    what was done with it."""

    def __init__(self, tests, args, kwargs):
        self.__dict__["_made"] = tests, args, kwargs, []

    def __getattr__(self, name):
        tests, args, kwargs, steps = self.__dict__["_made"]
        answer = tests.ask(args, kwargs, [*steps, (name, None, None)])
        return Method(self, name) if answer is _OBJECT else answer

    def __setattr__(self, name, value):
        raise Wrong("they set %s of an instance of the program's class" % name)

    def __bool__(self):
        raise Wrong("they ask whether an instance of the program's class is true")

    __hash__ = object.__hash__


class Method:
    """A method of such an instance."""

    def __init__(self, instance, name):
        self.instance, self.name = instance, name

    def __call__(self, *args, **kwargs):
        tests, made, named, steps = self.instance.__dict__["_made"]
        steps.append((self.name, args, kwargs))
        return tests.ask(made, named, list(steps))


for _name in "len getitem setitem delitem contains call str repr eq ne lt le gt ge add sub mul".split():
    _name = "__%s__" % _name
    setattr(Instance, _name, lambda self, *args, _name=_name, **kwargs: Method(self, _name)(*args, **kwargs))


class Tests:
    def __init__(self, name, setup, code):
        self.name, self.sources = name, {"setup": setup, "code": code}
        self.compiled = {part: self.compile(part) for part in self.sources}
        self.asked, self.answers = [], []
        self.program = self.candidate

    def compile(self, part):
        try:
            return compile(self.sources[part], "<tests %s>" % part, "exec")
        except (SyntaxError, ValueError) as error:
            raise Wrong("%s: %s: %s" % (part, type(error).__name__, plain_text(error)))

    def run(self):
        """What the next question is, or how the tests end."""
        random.setstate(_START)
        self.at, self.question, self.raised = 0, None, None
        self.names = {"__name__": "tests", "__builtins__": builtins}
        try:
            exec(self.compiled["setup"], self.names)
            self.names.pop("check", None)
            self.names[self.name] = self.program
            exec(self.compiled["code"], self.names)
            if self.names.get("check", self.program) is not self.program:
                self.names["check"](self.program)
        except Wrong:
            raise
        except BaseException as error:
            if self.question is None:
                return self.failure(error)
        # Whatever the tests made of a question that has no answer yet does not count.
        return self.question or ("passed",)

    def candidate(self, *args, **kwargs):
        answer = self.ask(args, kwargs, [])
        return Instance(self, args, kwargs) if answer is _OBJECT else answer

    def ask(self, args, kwargs, steps):
        """The answer to a call, and to what is then done with the instance that it makes."""
        if self.question is not None:
            raise Ask
        classes = self.classes()
        call = *[self.outgoing(x, classes) for x in (args, kwargs)], sorted(classes), self.outgoing(steps, classes)
        call_bytes = marshal.dumps(call, 2)
        if self.at == len(self.answers):
            self.asked.append(call_bytes)
            self.question = ("ask", *call)
            raise Ask
        if call_bytes != self.asked[self.at]:
            raise Wrong("call %d of the program has other arguments each time the tests run" % (self.at + 1))
        kind, value = marshal.loads(self.answers[self.at])
        self.at += 1
        if kind is None:
            return self.incoming(value, classes)
        if kind == 0:
            return _OBJECT
        self.raised = self.exception(kind, value)
        raise self.raised

    def exception(self, kind, message):
        """The exception as the tests know it: a built-in one or one of their own, else a plain Exception."""
        cls = self.names.get(kind) or getattr(builtins, kind, None)
        if isinstance(cls, type) and issubclass(cls, Exception) and not issubclass(cls, (StopIteration, StopAsyncIteration)):
            try:
                return cls(message)
            except Exception:
                pass
        return Exception("%s: %s" % (kind, message))

    def classes(self):
        """The classes that setup and tests define, by name; their instances can cross."""
        return {
            name: value
            for name, value in self.names.items()
            if type(value) is type and value.__module__ == "tests" and value.__name__ == name and not issubclass(value, _LAYOUTS)
        }

    def outgoing(self, x, classes):
        kind = type(x)
        if kind in (int, float, complex, bool, str, bytes, type(None)):
            return x
        if kind in (list, tuple, set, frozenset):
            return kind([self.outgoing(item, classes) for item in x])
        if kind in (dict, collections.OrderedDict, collections.defaultdict, collections.Counter):
            return {self.outgoing(key, classes): self.outgoing(value, classes) for key, value in x.items()}
        if classes.get(kind.__name__) is kind:
            return (_MARK, kind.__name__, self.outgoing(attributes(x), classes))
        if isinstance(x, tuple) and hasattr(kind, "_fields"):
            return tuple([self.outgoing(item, classes) for item in x])
        raise Wrong("an argument of call %d of the program is a %s, which cannot cross" % (self.at + 1, kind.__name__))

    def incoming(self, x, classes):
        kind = type(x)
        if kind is dict:
            return {self.incoming(key, classes): self.incoming(value, classes) for key, value in x.items()}
        if kind is tuple and len(x) == 3 and x[0] == _MARK and type(x[1]) is str and type(x[2]) is dict:
            cls = classes.get(x[1])
            if cls is not None and all(type(name) is str for name in x[2]):
                made = object.__new__(cls)
                for name, value in x[2].items():
                    object.__setattr__(made, name, self.incoming(value, classes))
                return made
        if kind in (list, tuple, set, frozenset):
            return kind([self.incoming(item, classes) for item in x])
        return x

    def failure(self, error):
        place, assertion = self.locate(error)
        if not isinstance(error, AssertionError):
            assertion = None
        return "failed", type(error).__name__, plain_text(error), place, assertion, error is self.raised

    def locate(self, error):
        """The innermost line of the tests that the error passed through, and the assert statement on it."""
        files = {code.co_filename: part for part, code in self.compiled.items()}
        found, trace = None, error.__traceback__
        while trace is not None:
            part = files.get(trace.tb_frame.f_code.co_filename)
            if part is not None:
                found = part, trace.tb_lineno
            trace = trace.tb_next
        if found is None:
            return "", None
        part, line = found
        asserts = [
            node
            for node in ast.walk(ast.parse(self.sources[part]))
            if isinstance(node, ast.Assert) and node.lineno <= line <= node.end_lineno
        ]
        text = ast.get_source_segment(self.sources[part], asserts[-1].test) if asserts else None
        return "line %d of the %s" % (line, "setup" if part == "setup" else "tests"), text and text[:2000]


def attributes(x):
    """The instance's attributes, in slots or not."""
    found = dict(getattr(x, "__dict__", {}))
    for cls in type(x).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(x, name):
                found[name] = getattr(x, name)
    return found


def plain_text(error):
    try:
        return str(error)[:500].encode("utf-8", "backslashreplace").decode()
    except Exception:
        return ""


_tests = None


def step(what, *parts):
    """`begin` (entry point, setup, code), `answer` (value), `object` (an instance of the entry point, or a method of one) or
    `raised` (class name, message)."""
    global _tests
    try:
        if what == "begin":
            _tests = Tests(*parts)
        elif what == "object":
            _tests.answers.append(marshal.dumps((0, None), 2))
        elif what == "answer":
            _tests.answers.append(marshal.dumps((None, parts[0]), 2))
        else:
            _tests.answers.append(marshal.dumps(parts, 2))
        return _tests.run()
    except Wrong as error:
        return "wrong", plain_text(error)
