"""What the name of an entry point calls."""

_callable, _getattr, _isinstance, _type = callable, getattr, isinstance, type


def find(module, name):
    """The function, the class, or the method of a new instance that `name` names; None if it names nothing to call.

    `Solution().add` and `Solution.add` are methods; so is a plain `add` that only `class Solution` has.
    """
    found = module.get(name)
    if _callable(found):
        return found
    head, _, method = name.rpartition(".")
    owner = module.get(head.removesuffix("()") or "Solution")
    if not (_isinstance(owner, _type) and _callable(_getattr(owner, method, None))):
        return None

    def call(*args, **kwargs):
        return _getattr(owner(), method)(*args, **kwargs)

    return call
