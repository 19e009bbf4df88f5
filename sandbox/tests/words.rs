//! What programs see of the machine's words is what they see on 64 bits.

use gauntlet_sandbox::{Limits, Mode, SetOrder};

use crate::{args, call_within, describe, program, result, sandbox};

/// Expressions of the argument's modules, and what 64-bit CPython makes of them (`python3.13 -c "print(..)"`).
const EXPRESSIONS: [(&str, &str); 82] = [
    ("sys.maxsize", "9223372036854775807"),
    (
        "sys.maxsize > 2**32, -sys.maxsize - 1",
        "(True, -9223372036854775808)",
    ),
    ("min([3000000000], default=0) < sys.maxsize", "True"),
    (
        "sys.hash_info.width, sys.hash_info.modulus, sys.hash_info.hash_bits",
        "(64, 2305843009213693951, 64)",
    ),
    ("sys.hash_info.inf, sys.hash_info.imag", "(314159, 1000003)"),
    // hashes
    (
        "hash(2**40), hash(-(2**40)), hash(2**31), hash(-(2**31))",
        "(1099511627776, -1099511627776, 2147483648, -2147483648)",
    ),
    (
        "hash(2**61), hash(2**61 - 1), hash(2**61 - 2), hash(-(2**61))",
        "(1, 0, 2305843009213693950, -2)",
    ),
    (
        "hash(10**30), hash(-(10**30)), hash(2**200 + 7)",
        "(465258685558744706, -465258685558744706, 131079)",
    ),
    (
        "hash(-1), hash(-1.0), hash(True), hash(0), hash(-0.0)",
        "(-2, -2, 1, 0, 0)",
    ),
    (
        "hash(0.5), hash(-1.5), hash(2.25), hash(1e300), hash(5e-324)",
        "(1152921504606846976, -1152921504606846977, 576460752303423490, 1224995262755759164, 16777216)",
    ),
    (
        "hash(3.0), hash(2.0**70), hash(float('inf')), hash(float('-inf'))",
        "(3, 512, 314159, -314159)",
    ),
    (
        "hash(1j), hash(2 + 1j), hash(0.5 - 2j)",
        "(1000003, 1000005, 1152921504604846970)",
    ),
    (
        "hash(()), hash((1, 2, 3)), hash((3, 1))",
        "(5740354900026072187, 529344067295497451, 8756109708711196808)",
    ),
    (
        "hash((1, (2, (3.5, None)))), hash((2**40, -1))",
        "(-6970658018546564331, 3038955864163947612)",
    ),
    ("hash(None)", "4238894112"),
    (
        "hash(frozenset()), hash(frozenset([1, 2, 3]))",
        "(133146708735736, -272375401224217160)",
    ),
    ("hash(frozenset([(1, 2), 0.5]))", "4346396547646725922"),
    (
        "hash(frozenset([2**40, frozenset([1])]))",
        "-3483594809083182149",
    ),
    (
        "hash(Decimal('0.5')) == hash(0.5), hash(Decimal(2**40)), hash(Decimal('-1E+100')) == hash(-10**100)",
        "(True, 1099511627776, True)",
    ),
    (
        "hash(Fraction(1, 3)), hash(Fraction(1, 2)) == hash(0.5)",
        "(1537228672809129301, True)",
    ),
    (
        "(2**40).__hash__(), (0.5).__hash__(), (1, 2, 3).__hash__()",
        "(1099511627776, 1152921504606846976, 529344067295497451)",
    ),
    (
        "hash(Point(1, 2)) == hash((1, 2)), hash(Point(3, 1))",
        "(True, 8756109708711196808)",
    ),
    (
        "hash(Own(2**40)), hash(Own(2**62 + 5)), hash(Own(2**70)), hash(Own(-1))",
        "(1099511627776, 4611686018427387909, 512, -2)",
    ),
    ("hash(Data(1, 2)) == hash((1, 2))", "True"),
    (
        "hash('') == hash(b'') == 0, hash('a') == hash('a'), abs(hash('abc')) > 2**32",
        "(True, True, True)",
    ),
    (
        "len({hash(str(n)) >> 32 for n in range(1000)}) > 900",
        "True",
    ),
    // values that are equal are found whatever their type
    (
        "2**40 in {float(2**40)}, Decimal(2**40) in {2**40}, Fraction(1, 2) in {0.5}",
        "(True, True, True)",
    ),
    (
        "{2**33: 1}[2.0**33], {2**33: 1}[Own(2**33)], {0.5: 2}[Decimal('0.5')]",
        "(1, 1, 2)",
    ),
    (
        "{1, 2} in {frozenset({1, 2})}, {1, 3} in {frozenset({1, 2})}",
        "(True, False)",
    ),
    (
        "removed({frozenset({1}), frozenset({2})})",
        "([frozenset({2})], 'KeyError({1})')",
    ),
    (
        "(2**40, 0.5) in {(2**40, Fraction(1, 2))}, {(1, (2, 3)): 4}[1, (2, 3)]",
        "(True, 4)",
    ),
    // lengths and indices
    (
        "len(range(10**12)), len(range(0, 10**18, 7)), len(range(2**63 - 1))",
        "(1000000000000, 142857142857142858, 9223372036854775807)",
    ),
    (
        "[len(range(n)) for n in (5, 2**31, 2**40) for _ in range(20)][::20]",
        "[5, 2147483648, 1099511627776]",
    ),
    ("lengths([range(2**40)] * 30 + [[1]])", "[1, 1099511627776]"),
    (
        "range(10**12)[10**11], range(10**12)[-1], range(10**12)[5:10**11:10**10]",
        "(100000000000, 999999999999, range(5, 100000000000, 10000000000))",
    ),
    (
        "10**11 in range(10**12), range(10**12).index(10**11), list(range(2**31 - 1, 2**31 + 2))",
        "(True, 100000000000, [2147483647, 2147483648, 2147483649])",
    ),
    (
        "bisect.bisect_left(range(10**12), 10**11), bisect.bisect(range(10**12), 10**11)",
        "(100000000000, 100000000001)",
    ),
    (
        "bisect.bisect_left(range(10**15), True, key=lambda n: n * n >= 10**20)",
        "10000000000",
    ),
    (
        "bisect.bisect_left(range(10**15), 7, 3, 9), bisect.bisect_right([1, 2, 3], 2, 0, sys.maxsize if 0 else 3)",
        "(7, 2)",
    ),
    (
        "random.Random(1).choice(range(10**12)) < 10**12, len(random.Random(1).sample(range(10**15), 3))",
        "(True, 3)",
    ),
    (
        "[1, 2, 3][:sys.maxsize], [1, 2, 3][-sys.maxsize:10**30], 'abc'[1:10**10]",
        "([1, 2, 3], [1, 2, 3], 'bc')",
    ),
    (
        "raised(lambda: [1][10**10]), raised(lambda: 'a'[-10**10]), raised(lambda: (1,)[sys.maxsize])",
        "('IndexError: list index out of range', 'IndexError: string index out of range', 'IndexError: tuple index out of range')",
    ),
    (
        "raised(lambda: [1][2**63])",
        "\"IndexError: cannot fit 'int' into an index-sized integer\"",
    ),
    (
        "raised(lambda: 'x' * sys.maxsize), raised(lambda: [0] * 10**12), raised(lambda: b'ab' * 2**50)",
        "('MemoryError: ', 'MemoryError: ', 'MemoryError: ')",
    ),
    (
        "raised(lambda: list(range(10**12))), raised(lambda: [1] * 2**63)",
        "('MemoryError: ', \"OverflowError: cannot fit 'int' into an index-sized integer\")",
    ),
    (
        "'' * 10**10, [] * sys.maxsize, 'x' * -10**10",
        "('', [], '')",
    ),
    (
        "[1, 2].index(2, 0, sys.maxsize), 'abcb'.find('b', 2, sys.maxsize), 'abcb'.rfind('b', 0, 10**12)",
        "(1, 3, 3)",
    ),
    (
        "'a b c'.split(' ', sys.maxsize), 'aaa'.replace('a', 'b', 10**10), b'a,b'.split(b',', 2**40)",
        "(['a', 'b', 'c'], 'bbb', [b'a', b'b'])",
    ),
    (
        "inserted([1, 2], 10**10, 3), inserted([1, 2], -10**10, 0), raised(lambda: [1].pop(10**10))",
        "([1, 2, 3], [0, 1, 2], 'IndexError: pop index out of range')",
    ),
    (
        "list(itertools.islice('abc', sys.maxsize)), list(itertools.islice('abcd', 1, 10**12, 2))",
        "(['a', 'b', 'c'], ['b', 'd'])",
    ),
    (
        "list(itertools.islice(itertools.count(2**31 - 1), 3)), list(zip(itertools.repeat(1, 10**10), 'ab'))",
        "([2147483647, 2147483648, 2147483649], [(1, 'a'), (1, 'b')])",
    ),
    (
        "list(enumerate('ab', 2**31 - 1)), list(enumerate('ab', 10**12))",
        "([(2147483647, 'a'), (2147483648, 'b')], [(1000000000000, 'a'), (1000000000001, 'b')])",
    ),
    (
        "list(itertools.combinations('ab', 10**6)), list(itertools.permutations('ab', sys.maxsize % 10**6))",
        "([], [])",
    ),
    (
        "list(collections.deque('abc', sys.maxsize)), raised(lambda: collections.deque('abc')[10**10])",
        "(['a', 'b', 'c'], 'IndexError: deque index out of range')",
    ),
    (
        "re.compile('b').search('abc', 0, sys.maxsize).start(), re.sub('a', 'b', 'aa', count=10**10)",
        "(1, 'bb')",
    ),
    (
        "csv.field_size_limit(sys.maxsize) > 0, csv.field_size_limit() > 2**30",
        "(True, True)",
    ),
    (
        "io.StringIO('abc').read(sys.maxsize), io.BytesIO(b'abc').read(10**10)",
        "('abc', b'abc')",
    ),
    (
        "functools.lru_cache(maxsize=10**10)(abs)(-3), round(2.5, 10**10), round(2**40 + 0.5)",
        "(3, 2.5, 1099511627776)",
    ),
    (
        "heapq.nsmallest(sys.maxsize, [2, 1]), sum(range(2**31, 2**31 + 3))",
        "([1, 2], 6442450947)",
    ),
    (
        "slice(0, 10**12).indices(10**11), range(2**40)[::-1][0]",
        "((0, 100000000000, 1), 1099511627775)",
    ),
    // numbers of C
    (
        "struct.calcsize('l'), struct.calcsize('P') * 8, struct.calcsize('nN'), struct.calcsize('il')",
        "(8, 64, 16, 16)",
    ),
    (
        "struct.unpack('l', struct.pack('l', -(2**40))), struct.pack('=l', 1), struct.calcsize('<l')",
        "((-1099511627776,), b'\\x01\\x00\\x00\\x00', 4)",
    ),
    (
        "struct.pack('L', 2**64 - 1), struct.unpack('n', struct.pack('n', 2**62))",
        "(b'\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff', (4611686018427387904,))",
    ),
    (
        "array('l').itemsize, array('L').itemsize, array('i').itemsize, array('q').itemsize",
        "(8, 8, 4, 8)",
    ),
    (
        "array('l', [2**40, -1]).tolist(), sum(array('L', [2**63, 1])), array('l', [1]).typecode",
        "([1099511627776, -1], 9223372036854775809, 'l')",
    ),
    (
        "pickle.loads(pickle.dumps(array('l', [2**40, 3]))).tolist(), copy.deepcopy(array('L', [5])).tolist()",
        "([1099511627776, 3], [5])",
    ),
    (
        "memoryview(array('l', [2**40, -2])).tolist(), array('l', [1, 2]).tobytes()[:9]",
        "([1099511627776, -2], b'\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x02')",
    ),
    // sizes
    (
        "[sys.getsizeof(x) for x in (0, 1, 2**30, 2**60, True, 1.5, 1j, None)]",
        "[28, 28, 32, 36, 28, 24, 32, 16]",
    ),
    (
        "[sys.getsizeof(x) for x in ('', 'abc', b'', b'abc', bytearray(), '日本')]",
        "[41, 44, 33, 36, 56, 62]",
    ),
    (
        "[sys.getsizeof(x) for x in ([], [1, 2, 3], list(range(10)), set(), {1, 2}, frozenset())]",
        "[56, 88, 136, 216, 216, 216]",
    ),
    (
        "[sys.getsizeof(x) for x in ({}, {'a': 1}, {1: 1}, {i: i for i in range(10)}, range(3), object())]",
        "[64, 184, 224, 352, 48, 16]",
    ),
    ("sys.getsizeof(Sized())", "1032"),
    // what hangs on a hash
    (
        "[random.Random(s).random() for s in (0.5, 7, 'a')]",
        "[0.2794930785867423, 0.32383276483316237, 0.2720295377534757]",
    ),
    (
        "list({3, 1, 2}), list({10, -1, -5, 7})",
        "([1, 2, 3], [10, -5, -1, 7])",
    ),
    (
        "list({5000000000, 1, 4294967297})",
        "[5000000000, 1, 4294967297]",
    ),
    ("list({0.5, 2.25, -1.5, 3.75})", "[0.5, 2.25, 3.75, -1.5]"),
    ("list({(3, 1), (1, 2), (2, 9)})", "[(3, 1), (2, 9), (1, 2)]"),
    (
        "list({True, 2.5, 7, 100000000000})",
        "[100000000000, True, 2.5, 7]",
    ),
    (
        "list(set(range(-5, 5)))",
        "[0, 1, 2, 3, 4, -1, -5, -4, -3, -2]",
    ),
    (
        "digest(set((x, y) for x in range(40) for y in range(40)))",
        "'985579aca59c'",
    ),
    (
        "digest({x * 0.37 for x in range(-500, 500)} | {10**k for k in range(40)})",
        "'1701243e1577'",
    ),
    (
        "digest({frozenset(range(k, k + 3)) for k in range(200)} | {(x, (x, -x / 7)) for x in range(200)})",
        "'9f5eef2f2dc5'",
    ),
];

const MODULES: &str = "
import bisect, collections, copy, csv, functools, hashlib, heapq, io, itertools, operator, pickle, random, re, struct, sys
from array import array
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

Point = collections.namedtuple('Point', 'x y')

@dataclass(frozen=True)
class Data:
    x: int
    y: int

class Own:
    def __init__(self, value): self.value = value
    def __hash__(self): return self.value
    def __eq__(self, other): return self.value == other

class Sized:
    def __sizeof__(self): return 1000

def raised(do):
    try: do()
    except Exception as error: return '%s: %s' % (type(error).__name__, error)

def inserted(items, at, item):
    items.insert(at, item)
    return items

def removed(items):
    items.discard({3})
    items.remove({1})
    try: items.remove({1})
    except KeyError as error: return list(items), repr(error)

def lengths(things):
    return sorted({len(thing) for thing in things})

def digest(items):
    return hashlib.sha256(repr(list(items)).encode()).hexdigest()[:12]
";

#[test]
fn words_are_those_of_64_bits() {
    let rows: Vec<String> = EXPRESSIONS
        .iter()
        .map(|(code, _)| format!("lambda: ({code})"))
        .collect();
    let code = format!(
        "{MODULES}\nrows = [{}]\ndef f(at): return repr(rows[at]())",
        rows.join(",\n")
    );
    let inputs: Vec<_> = (0..rows.len()).map(|at| args(&at.to_string())).collect();
    let executions = sandbox()
        .execute(&program(&code), &inputs, &Limits::default(), Mode::Pure)
        .expect("no fault of the host");
    let wrong: Vec<String> = EXPRESSIONS
        .iter()
        .zip(&executions)
        .filter_map(|((code, expected), execution)| {
            // What is expected is itself Python, so that numbers may be written as sums.
            let expected = result(&format!("def f(): return repr({expected})"), "");
            let found = describe(execution);
            (found != expected).then(|| format!("{code}\n  is {found}\n  not {expected}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn sets_can_be_walked_from_their_end() {
    let reversed = Limits {
        set_order: SetOrder::Reversed,
        ..Limits::default()
    };
    for (code, forward, backward) in [
        ("list({3, 1, 2})", "[1, 2, 3]", "[3, 2, 1]"),
        ("tuple(frozenset({3, 1, 2}))", "(1, 2, 3)", "(3, 2, 1)"),
        ("[x for x in {3, 1, 2}]", "[1, 2, 3]", "[3, 2, 1]"),
        (
            "[*{3, 1, 2}], repr({2, 1})",
            "([1, 2, 3], '{1, 2}')",
            "([3, 2, 1], '{2, 1}')",
        ),
        ("drained({3, 1, 2})", "[1, 2, 3]", "[3, 2, 1]"),
        (
            "drained(set(range(50)))[:2], len(drained(set(range(50))))",
            "([0, 1], 50)",
            "([49, 48], 50)",
        ),
        (
            "sorted({3, 1, 2}), sum({1, 2}), {1, 2} == {2, 1}, {1, 2} & {2}, len({1, 2, 3} - {2})",
            "([1, 2, 3], 3, True, {2}, 2)",
            "([1, 2, 3], 3, True, {2}, 2)",
        ),
        (
            "raised(lambda: set().pop()), raised(changed)",
            "('KeyError', 'RuntimeError')",
            "('KeyError', 'RuntimeError')",
        ),
        (
            "list(dict.fromkeys([3, 1, 2])), list({1: 2, 0: 3})",
            "([3, 1, 2], [1, 0])",
            "([3, 1, 2], [1, 0])",
        ),
    ] {
        let code = format!(
            "
def drained(items):
    out = []
    while items: out.append(items.pop())
    return out
def changed():
    items = {{1, 2}}
    for x in items: items.add(x + 10)
def raised(do):
    try: do()
    except Exception as error: return type(error).__name__
def f(): return {code}"
        );
        assert_eq!(result(&code, ""), forward, "{code}");
        assert_eq!(
            describe(&call_within(&code, "", &reversed)),
            backward,
            "{code}"
        );
    }
}
