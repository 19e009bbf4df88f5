class _Raises:
    def __init__(self, expected, match=None):
        self.expected, self.match, self.value = expected, match, None

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is None:
            raise AssertionError("nothing was raised")
        if not issubclass(kind, self.expected):
            return False
        if self.match is not None:
            import re

            assert re.search(self.match, str(value)), "the message is %r" % str(value)
        self.value = value
        return True


class _Approx:
    def __init__(self, expected, rel=None, abs=None):
        self.expected, self.rel, self.abs = expected, rel, abs

    def __eq__(self, got):
        if isinstance(self.expected, (list, tuple)):
            return len(got) == len(self.expected) and all(
                _Approx(e, self.rel, self.abs) == g for e, g in zip(self.expected, got)
            )
        if got == self.expected:
            return True
        relative = (1e-6 if self.rel is None and self.abs is None else self.rel or 0) * abs(self.expected)
        return abs(got - self.expected) <= max(relative, 1e-12 if self.abs is None else self.abs)

    __hash__ = None


class _Mark:
    def parametrize(self, names, cases, ids=None):
        names = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)

        def decorate(function):
            def run(**given):
                for case in cases:
                    values = case if len(names) > 1 else (case,)
                    function(**dict(zip(names, values)), **given)

            return run

        return decorate

    def __getattr__(self, name):
        return lambda *args, **kwargs: args[0] if len(args) == 1 and callable(args[0]) else (lambda function: function)


class _Pytest:
    raises, approx, mark = _Raises, _Approx, _Mark()

    @staticmethod
    def fail(message=""):
        raise AssertionError(message)


pytest = _Pytest()
