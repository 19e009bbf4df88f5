//! The standard library in the guest, its clock and its randomness.

use gauntlet_sandbox::{Limits, Value};

use crate::{call, call_within, describe, result};

/// Calls a function with this body.
fn body(code: &str) -> String {
    let lines: Vec<String> = code.lines().map(|line| format!("    {line}")).collect();
    result(&format!("def f():\n{}\n", lines.join("\n")), "")
}

#[test]
fn modules_that_solutions_import_work() {
    for (code, expected) in [
        (
            "import datetime\nreturn datetime.datetime.now().isoformat()[:19]",
            "'2023-11-14T22:13:20'",
        ),
        (
            "import datetime\nreturn str(datetime.date.today())",
            "'2023-11-14'",
        ),
        (
            "import datetime\nreturn (datetime.date(2024, 2, 28) + datetime.timedelta(2)).strftime('%a %d %b')",
            "'Fri 01 Mar'",
        ),
        (
            "import datetime\nreturn datetime.datetime.strptime('2020-02-03', '%Y-%m-%d').day",
            "3",
        ),
        (
            "import time\nt = time.perf_counter(); time.sleep(2)\nreturn time.perf_counter() - t >= 2",
            "True",
        ),
        (
            "import time\nreturn [time.gmtime().tm_year, time.localtime(0).tm_year, time.strftime('%Y')]",
            "[2023, 1970, '2023']",
        ),
        (
            "import random\nrandom.seed(5)\nreturn [random.randint(1, 6), random.sample(range(9), 3), random.choice('ab')]",
            "[5, [4, 5, 6], 'a']",
        ),
        (
            "import asyncio\nasync def g(): await asyncio.sleep(5); return 7\nreturn asyncio.run(g())",
            "7",
        ),
        (
            "import asyncio\nasync def g():\n q = asyncio.Queue(); await q.put(1)\n return await asyncio.wait_for(q.get(), 1)\nreturn asyncio.run(g())",
            "1",
        ),
        (
            "import functools\n@functools.cache\ndef g(n): return n if n < 2 else g(n - 1) + g(n - 2)\nreturn g(90)",
            "2880067194370816120",
        ),
        (
            "import functools\nreturn functools.reduce(lambda a, b: a * b, range(1, 6))",
            "120",
        ),
        (
            "import heapq\nh = [3, 1, 2]; heapq.heapify(h)\nreturn [heapq.heappop(h), heapq.nlargest(1, h), heapq.merge([1], [0]).__next__()]",
            "[1, [3], 0]",
        ),
        (
            "import re\nreturn re.sub(r'(\\w)(\\d)', r'\\2\\1', 'a1 b2') + str(re.fullmatch('a+', 'aa').span())",
            "'1a 2b(0, 2)'",
        ),
        (
            "import decimal\nreturn str(decimal.Decimal('0.1') + decimal.Decimal('0.2'))",
            "'0.3'",
        ),
        (
            "import fractions\nreturn str(fractions.Fraction(3, 9) + 1)",
            "'4/3'",
        ),
        (
            "import itertools\nreturn [list(itertools.permutations('ab')), list(itertools.batched('abc', 2))]",
            "[[('a', 'b'), ('b', 'a')], [('a', 'b'), ('c',)]]",
        ),
        (
            "from typing import List, Optional, Generic, TypeVar, Protocol\nreturn str(Optional[List[int]])",
            "'typing.List[int] | None'",
        ),
        (
            "from dataclasses import dataclass, field, asdict\n@dataclass(order=True)\nclass P:\n x: int\n y: list = field(default_factory=list)\nreturn [asdict(P(1)), P(1) < P(2), repr(P(3))]",
            "[{'x': 1, 'y': []}, True, 'f.<locals>.P(x=3, y=[])']",
        ),
        (
            "import string\nreturn string.ascii_lowercase[:3] + string.Template('$a').substitute(a=1)",
            "'abc1'",
        ),
        (
            "import hashlib\nreturn [hashlib.md5(b'a').hexdigest()[:6], hashlib.sha256(b'a').hexdigest()[:6], hashlib.sha3_256(b'a').hexdigest()[:6]]",
            "['0cc175', 'ca9781', '80084b']",
        ),
        (
            "import json\nreturn [json.loads('{\"a\": [1, null]}'), json.dumps({'b': 1.5}, indent=1)]",
            "[{'a': [1, None]}, '{\\n \"b\": 1.5\\n}']",
        ),
        (
            "import sys\nsys.setrecursionlimit(10**6)\ndef g(n): return n and 1 + g(n - 1)\nreturn g(20000)",
            "20000",
        ),
        (
            "import collections\nreturn [collections.ChainMap({1: 2}, {3: 4})[3], list(collections.deque([1, 2], maxlen=1))]",
            "[4, [2]]",
        ),
        (
            "import bisect, math, cmath, operator, statistics\nreturn [bisect.bisect([1, 2], 1), math.comb(5, 2), cmath.sqrt(-1).imag, operator.itemgetter(1)('ab'), statistics.median([3, 1, 2])]",
            "[1, 10, 1.0, 'b', 2]",
        ),
        (
            "import copy, enum, abc, contextlib, textwrap\nE = enum.Enum('E', 'A B')\nwith contextlib.suppress(KeyError): {}[1]\nreturn [copy.deepcopy([[1]]), E.B.value, textwrap.dedent(' a')]",
            "[[[1]], 2, 'a']",
        ),
        (
            "import array, struct, zlib, base64, binascii\nreturn [array.array('i', [1]).tolist(), struct.pack('<H', 258), zlib.decompress(zlib.compress(b'x')), base64.b64encode(b'x'), binascii.crc32(b'x')]",
            "[[1], b'\\x02\\x01', b'x', b'eA==', 2363233923]",
        ),
        (
            "import ast, inspect, io, csv, pprint, difflib, graphlib, calendar, unicodedata, secrets, uuid, queue, logging\nreturn [ast.literal_eval('[1]'), list(csv.reader(['a,b'])), calendar.isleap(2024), unicodedata.name('a'), len(secrets.token_hex(4)), list(graphlib.TopologicalSorter({1: [2]}).static_order()), io.StringIO('x').read(), len(str(uuid.uuid4()))]",
            "[[1], [['a', 'b']], True, 'LATIN SMALL LETTER A', 8, [2, 1], 'x', 36]",
        ),
        (
            "import threading, queue\nwith threading.Lock(): q = queue.Queue(); q.put(1)\nreturn q.get()",
            "1",
        ),
    ] {
        assert_eq!(body(code), expected, "{code}");
    }
}

#[test]
fn what_is_absent_is_not_found_and_can_be_done_without() {
    for module in [
        "numpy",
        "pandas",
        "requests",
        "sortedcontainers",
        "sqlite3",
        "tkinter",
        "ctypes",
        "multiprocessing",
        "venv",
        "xml.sax",
        "no_such_module",
        "collections.nope",
    ] {
        assert_eq!(
            body(&format!("import {module}")),
            "Raised ModuleNotFoundError",
            "{module}"
        );
    }
    let fallback = "try: import numpy\nexcept ImportError: numpy = None\nreturn numpy";
    assert_eq!(body(fallback), "None");
}

#[test]
fn every_module_of_pythons_library_is_there_or_not_found() {
    let code = "
import sys
def f():
    outcomes = {}
    for name in sorted(sys.stdlib_module_names):
        try: __import__(name); outcome = 'there'
        except BaseException as error: outcome = type(error).__name__
        outcomes.setdefault(outcome, []).append(name)
    return [sorted(outcomes), len(outcomes['there']) > 150]
";
    assert_eq!(result(code, ""), "[['ModuleNotFoundError', 'there'], True]");
}

#[test]
fn a_seed_changes_what_is_random_and_nothing_else() {
    let code = "
import os, random, secrets, time, uuid
def f(): return [[random.random(), random.Random().random(), os.urandom(8), secrets.token_hex(4), str(uuid.uuid4())],
                 [hash('a'), list({'a', 'b', 'c', 'd'}), time.time()]]
";
    let with = |seed| {
        let limits = Limits {
            seed,
            ..Limits::default()
        };
        let execution = call_within(code, "", &limits);
        match execution.result {
            Ok(Value::List(parts)) => <[Value; 2]>::try_from(parts).expect("two parts"),
            _ => panic!("{}", describe(&execution)),
        }
    };
    let ([random, fixed], [seeded, same]) = (with(0), with(7));
    assert_eq!(fixed, same);
    let (Value::List(random), Value::List(seeded)) = (&random, &seeded) else {
        panic!("lists")
    };
    for (a, b) in random.iter().zip(seeded) {
        assert_ne!(a, b);
    }
    assert_eq!(with(7), with(7));
    assert_ne!(with(7), with(8));
}

#[test]
fn outcome_and_fuel_are_the_same_on_every_thread() {
    let code = "
import random, re, time
class A: pass
def f(n):
    d = {str(i): A() for i in range(n)}
    s = {object() for _ in range(50)} | set(map(str, range(50)))
    print(time.time(), sorted(map(id, s - set(d)))[:3], [x for x in s if type(x) is str])
    return [random.random(), len(re.findall('1', str(list(d)))), sorted(d, key=hash)[:5]]
";
    let first = call(code, "300");
    assert!(
        first.result.is_ok() && first.fuel.is_some(),
        "{}",
        describe(&first)
    );
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5 {
                    assert_eq!(call(code, "300"), first);
                }
            });
        }
    });
    // Without fuel there is no count, and the same outcome.
    let clock = call_within(
        code,
        "300",
        &Limits {
            fuel: None,
            ..Limits::default()
        },
    );
    assert_eq!(
        (clock.fuel, clock.result, clock.stdout),
        (None, first.result, first.stdout)
    );
}
