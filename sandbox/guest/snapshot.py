"""What the builder of the runtime runs in the interpreter around the final snapshot; no candidate needs it.

Each function takes and returns bytes, as all that the host calls.
"""

import functools
import gc
import struct
from array import array
from types import CodeType, FunctionType

import app
import confine
import encode
import streams


# Names that candidates often use. A name that is known already is not entered into the interpreter's table of names.
_NAMES = """
a acc active adj adjacency ahead ancestors ans answer area arr array at average b backtrack balance base best bfs bits block
board bottom bound boundary buckets budget buf build bucket c cache candidate candidates capacity card carry cell cells center
change char characters chars check child children choice chosen chunk class_name clean closest code coins col cols color column
columns combo common component compare components cost costs count counter counts cur curr current cursor cycle d data date day
days dc decode deg degree degrees delta depth dest dfs diag dict_ diff digit digits dijkstra direction directions dist distance
distances div divisor divisors dp dr dst dx dy e edge edges elem element elements email empty encode end ends entry evaluate even
expected expr f fact factor factorial factors fast fill first flag flat flatten flip found freq frequency frequencies func g
gap generate get get_value graph Graph greater grid group groups grouped h half has_cycle head height helper high hi hours i idx
in_degree indegree index indices info inner inorder insert interval intervals inverse is_palindrome is_prime is_valid item items
j k key keys kind l label last lcs left len_ length lengths letter letters level levels limit line lines list_ lo longest lookup
low lst m main mapping mask mat matches matrix max_ max_len max_length max_profit max_sum max_val maximum maxlen maxval median
memo merge merged mid middle min_ min_len min_val minimum missing mod month moves n name names nd nei neighbor neighbors
neighbour neighbours new new_col new_row new_word next_ next_node nodes node none_count not_found nr nums num number numbers num1
num2 nxt o obj odd offset op open_ operator_ ops order ordered other out outer output p pair pairs pal palindrome parent parents
parse part parts partial partition password path paths pattern pattern_ payload peak perm perms pivot player point points popped
position positions pos positive pow_ power powers pq pre prefix prefixes prev previous price prices prime prod product_ profit q
queue quick_sort quotient r radius ratio reachable rec record records remainder remaining remove repeat res reset rest result
results ret rev reverse reversed_ right rolling root rotated row rows rule run s sample scale score scores search seen segment
sell sentence seq sequence sequences sets shape shift shortest side sign simple size sizes skip slow smallest solution Solution
solve_ sort_key sorted_ source spaces split square squared squares src stack start starts state steps stop store string_ strings
strip style sub subarray subset subsets substring suffix sum_ summary swap swapped symbol symbols t table tail take target
targets temp temperature text_ threshold time_ times tmp token tokens top total_sum totals transform traverse tree triplet turn
tuples two_sum typ u union unique unvisited up upper used user users v val valid valid_count value_ values vals vertex vertices
visit visited vowels w walk ways weight weights width window windows word word1 word2 x x1 x2 xs y y1 y2 year years z zero zeros
__name__ __main__ self args kwargs __init__ __repr__ __str__ __eq__ __lt__ __hash__ __len__ __iter__ __next__ __getitem__
__setitem__ __contains__ __add__ __sub__ __mul__ __call__ __enter__ __exit__ __bool__ __slots__ __post_init__ __annotations__
"""


def gather(_):
    """Allocates the code of the functions that every execution runs anew, so that it lies together: the interpreter
    counts in it, and so writes its pages."""
    compile("=".join(_NAMES.split()) + "=0", "<names>", "exec")
    fresh = []
    for module in app, encode, streams:
        for value in list(vars(module).values()):
            members = [value] if type(value) is FunctionType else vars(value).values() if isinstance(value, type) else ()
            for function in members:
                if type(function) is FunctionType and function.__module__ in ("app", "encode", "streams"):
                    fresh.append((function, function.__code__.replace()))
    for function, code in fresh:
        function.__code__ = code
    return b""


def settle(_):
    """Goes back to what a fresh interpreter holds. Leaves no garbage, and what is there to no collection."""
    app.forget()
    confine.reset()
    gc.collect()
    gc.collect()
    gc.freeze()
    return b""


def prepare(_):
    """Makes what the first program finds, once the holes in the heap are filled: so it lies together, where the program's
    own objects will."""
    app.prepare()
    gc.freeze()
    return b""


def _everything():
    """All objects, by address. Many are not known to the collector, but what refers to them is, or code is, whose constants
    it does not know."""
    found = {id(x): x for x in gc.get_objects()}
    pending = list(found.values())
    while pending:
        x = pending.pop()
        referents = gc.get_referents(x) if type(x) is not CodeType else [x.co_consts, x.co_names, x.co_exceptiontable]
        for x in referents:
            if id(x) not in found:
                found[id(x)] = x
                pending.append(x)
    return found


def addresses(_):
    """The addresses of all objects, as 32-bit numbers."""
    gc.unfreeze()
    return array("I", _everything()).tobytes()


# --- hashes in 64 bits (words.wat), in an interpreter that has begun with 32

# Where a tuple and a frozenset remember their hash.
_TUPLE_HASH, _FROZENSET_HASH = 12, 24


def remembered(_):
    """The addresses of all hashes that are remembered, as 32-bit numbers."""
    places = []
    for address, x in _everything().items():
        if isinstance(x, tuple):
            places.append(address + _TUPLE_HASH)
        elif isinstance(x, frozenset):
            places.append(address + _FROZENSET_HASH)
    return array("I", places).tobytes()


def _lost(container):
    """Whether something in a dict or a set is not where its hash says."""
    try:
        return any(x not in container for x in container)
    except TypeError:
        # A weak reference to what is gone has no hash.
        return False


def frozen(_):
    """The addresses of the types frozenset and set, and of the frozensets that `rehash` must see as sets."""
    lost = [address for address, x in _everything().items() if type(x) is frozenset and _lost(x)]
    return array("I", [id(frozenset), id(set), *lost]).tobytes()


def rehash(_):
    """Puts what dicts and sets hold where its hash says. Returns a complaint where that fails."""
    try:
        return _rehash().encode()
    except Exception as error:
        return ("%s: %s" % (type(error).__name__, error)).encode()


def _rehash():
    found = _everything()
    for x in list(found.values()):
        if type(x) is functools._lru_cache_wrapper:
            x.cache_clear()
    struct._clearcache()
    for x in list(found.values()):
        if x is found:
            continue
        if isinstance(x, dict) and _lost(x):
            items = list(dict.items(x))
            kind = type(x) if isinstance(x, encode.OrderedDict) else dict
            kind.clear(x)
            for key, value in items:
                kind.__setitem__(x, key, value)
        elif isinstance(x, set) and _lost(x):
            items = list(set.__iter__(x))
            set.clear(x)
            set.update(x, items)
    lost = [x for x in found.values() if isinstance(x, (dict, set, frozenset)) and x is not found and _lost(x)]
    if lost:
        return "%d containers do not find what they hold, such as %.500r" % (len(lost), lost[0])
    return ""
