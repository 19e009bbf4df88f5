def __gauntlet_call__(name, mark, names, args, kwargs, steps):
    """Calls the program's function for tests that pass keywords, or instances of classes they define.

    `steps` are what the tests did with the instance that the call makes: (method, arguments, keywords), or (attribute,
    None, None). The last one's answer is wanted.
    """
    scope = globals()

    def enter(x):
        if type(x) is tuple and len(x) == 3 and x[0] == mark:
            cls = scope.get(x[1])
            if not isinstance(cls, type):
                raise NameError("the tests pass an instance of %s, which the program does not define" % x[1])
            made = cls.__new__(cls)
            for key, value in x[2].items():
                setattr(made, key, enter(value))
            return made
        if type(x) in (list, tuple, set, frozenset):
            return type(x)([enter(item) for item in x])
        if type(x) is dict:
            return {enter(key): enter(value) for key, value in x.items()}
        return x

    def leave(x):
        kind = type(x)
        if kind in (list, tuple, set, frozenset):
            return kind([leave(item) for item in x])
        if kind is dict:
            return {leave(key): leave(value) for key, value in x.items()}
        if kind.__name__ in names and scope.get(kind.__name__) is kind:
            found = dict(getattr(x, "__dict__", {}))
            for cls in kind.__mro__:
                slots = cls.__dict__.get("__slots__", ())
                for key in (slots,) if isinstance(slots, str) else slots:
                    if key not in ("__dict__", "__weakref__") and hasattr(x, key):
                        found[key] = getattr(x, key)
            return (mark, kind.__name__, leave(found))
        return x

    def entry():
        found = scope.get(name)
        if callable(found):
            return found
        head, _, method = name.rpartition(".")
        return getattr(scope[head.removesuffix("()") or "Solution"](), method)

    result = entry()(*enter(args), **enter(kwargs))
    for at, (part, args, kwargs) in enumerate(steps, 1):
        try:
            if args is None:
                answer = getattr(result, part)
            else:
                answer = getattr(result, part)(*enter(args), **enter(kwargs))
        except Exception:
            if at == len(steps):
                raise
    return leave(answer if steps else result)
