//! A program is a module like any other, in a process like any other.

use gauntlet_sandbox::{Limits, Mode};

use crate::{args, describe, program, sandbox};

/// Programs, and what `f()` returns.
const PROGRAMS: [(&str, &str); 40] = [
    ("def f(): return __name__", "'solution'"),
    (
        "import sys\ndef f(): return sys.modules[__name__].f is f",
        "True",
    ),
    (
        "import importlib\ndef f(): return importlib.import_module(__name__).f is f",
        "True",
    ),
    ("import solution\ndef f(): return solution.f is f", "True"),
    (
        "entered = __name__ == '__main__'\ndef f(): return entered",
        "False",
    ),
    (
        "def f(): return __file__, __doc__, __spec__, __package__",
        "('/solution.py', None, None, None)",
    ),
    ("'''About.'''\ndef f(): return __doc__", "'About.'"),
    (
        "from __future__ import annotations\nfrom dataclasses import dataclass, field\nfrom typing import ClassVar\n@dataclass(order=True)\nclass A:\n    x: int\n    y: str = field(compare=False)\n    z: ClassVar[int] = 0\ndef f(): return A(1, 'b') < A(2, 'a')",
        "True",
    ),
    (
        "from __future__ import annotations\nfrom dataclasses import dataclass, KW_ONLY\n@dataclass\nclass A:\n    x: int\n    _: KW_ONLY\n    y: int = 2\ndef f(): return repr(A(1, y=3))",
        "'A(x=1, y=3)'",
    ),
    (
        "import pickle\nclass A:\n    def __init__(self): self.x = [1]\ndef f():\n    b = pickle.loads(pickle.dumps(A()))\n    return type(b) is A, b.x",
        "(True, [1])",
    ),
    (
        "import pickle\nfrom enum import Enum\nfrom collections import namedtuple\nclass S(Enum):\n    A = 1\nP = namedtuple('P', 'x')\ndef f(): return pickle.loads(pickle.dumps(S.A)) is S.A, pickle.loads(pickle.dumps(P(1))) == P(1), pickle.loads(pickle.dumps(f)) is f",
        "(True, True, True)",
    ),
    (
        "import typing\nclass A:\n    left: 'A | None'\n    n: 'list[int]'\ndef f(): return typing.get_type_hints(A) == {'left': A | None, 'n': list[int]}",
        "True",
    ),
    (
        "import inspect\nclass A:\n    def m(self): return 1\ndef f(): return inspect.getsource(A.m), inspect.getsource(A).count('def'), inspect.getsourcelines(f)[1], inspect.getfile(A)",
        "('    def m(self): return 1\\n', 1, 4, '/solution.py')",
    ),
    (
        "import inspect, sys\ndef f(): return inspect.getmodule(f) is sys.modules[__name__], f.__module__",
        "(True, 'solution')",
    ),
    (
        "import traceback\ndef f():\n    try: 1 / 0\n    except ZeroDivisionError: return traceback.format_exc()",
        "'Traceback (most recent call last):\\n  File \"/solution.py\", line 3, in f\\n    try: 1 / 0\\n         ~~^~~\\nZeroDivisionError: division by zero\\n'",
    ),
    (
        "def f():\n    try: compile('1 +', '<string>', 'exec')\n    except SyntaxError as e: return str(e), e.filename, e.lineno, e.text",
        "('invalid syntax (<string>, line 1)', '<string>', 1, '1 +\\n')",
    ),
    (
        "import ast\ndef f():\n    try: ast.parse('(')\n    except SyntaxError as e: return str(e)",
        "\"'(' was never closed (<unknown>, line 1)\"",
    ),
    (
        "def f():\n    try: eval('1 +', {})\n    except SyntaxError as e: return str(e)",
        "'invalid syntax (<string>, line 1)'",
    ),
    (
        "def f(): return compile('x', 'a.py', 'eval').co_filename, f.__code__.co_filename",
        "('a.py', '/solution.py')",
    ),
    (
        "from __future__ import annotations\ndef f():\n    code = compile('def g(x: undefined): pass', 'a', 'exec')\n    ns = {}\n    exec(code, ns)\n    return ns['g'].__annotations__",
        "{'x': 'undefined'}",
    ),
    ("import sys\ndef f(): return sys.argv", "['solution.py']"),
    (
        "import argparse\ndef f():\n    p = argparse.ArgumentParser()\n    p.add_argument('--n', type=int, default=3)\n    return p.parse_args().n, p.prog",
        "(3, 'solution.py')",
    ),
    (
        "import sys\ninput = sys.stdin.buffer.readline\ndef f(): return input()",
        "b''",
    ),
    (
        "import sys\ndef f(): return sys.stdin.read(), sys.stdin.isatty(), sys.stdin.fileno(), list(sys.stdin)",
        "('', False, 0, [])",
    ),
    (
        "import sys\ndef f():\n    sys.stdout.buffer.write(b'x')\n    sys.stdout.flush()\n    sys.stdout.reconfigure(line_buffering=True)\n    return sys.stdout.encoding, sys.stdout.isatty()",
        "('utf-8', False)",
    ),
    (
        "def f():\n    try: input()\n    except EOFError as e: return str(e)",
        "'EOF when reading a line'",
    ),
    ("data = open(0).read()\ndef f(): return data", "''"),
    (
        "def double(x):\n    '''\n    >>> double(2)\n    5\n    '''\n    return 2 * x\nimport doctest, sys\ndef f(): return doctest.testmod(sys.modules[__name__]).failed",
        "1",
    ),
    (
        "import unittest, io\nclass T(unittest.TestCase):\n    def test_a(self): self.assertEqual(1, 1)\n    def test_b(self): self.assertEqual(1, 2)\ndef f():\n    result = unittest.main(module=__name__, exit=False, argv=['x'], testRunner=unittest.TextTestRunner(stream=io.StringIO())).result\n    return result.testsRun, len(result.failures)",
        "(2, 1)",
    ),
    (
        "def f():\n    try: exit(3)\n    except SystemExit as e: return e.code",
        "3",
    ),
    (
        "import logging\nlogging.basicConfig()\ndef f():\n    logging.warning('x')\n    return logging.getLogger(__name__).name",
        "'solution'",
    ),
    (
        "import asyncio\nasync def g(x):\n    await asyncio.sleep(0.1)\n    return x\ndef f(): return asyncio.run(g(3)), asyncio.run(asyncio.wait_for(g(4), 1))",
        "(3, 4)",
    ),
    (
        "import copy\nclass A: pass\ndef f(): return type(copy.deepcopy(A())) is A",
        "True",
    ),
    (
        "import abc, functools\nclass B(abc.ABC):\n    @abc.abstractmethod\n    def m(self): ...\n@functools.singledispatch\ndef g(x): return 'any'\n@g.register\ndef _(x: int): return 'int'\ndef f():\n    try: B()\n    except TypeError as e: return str(e), g(1)",
        "(\"Can't instantiate abstract class B without an implementation for abstract method 'm'\", 'int')",
    ),
    (
        "from typing import NamedTuple, TypedDict\nclass P(NamedTuple):\n    x: int\nclass D(TypedDict):\n    y: int\ndef f(): return P(1).x, D(y=2)['y'], P.__module__",
        "(1, 2, 'solution')",
    ),
    (
        "class A: pass\ndef f(): return repr(A).replace(__name__, 'm'), A.__module__, f.__globals__ is globals()",
        "(\"<class 'm.A'>\", 'solution', True)",
    ),
    (
        "count = 0\ndef f():\n    global count\n    count += 1\n    return count, 'count' in globals(), vars(__import__('sys').modules[__name__])['count']",
        "(1, True, 1)",
    ),
    (
        "import linecache\ndef f(): return linecache.getline(__file__, 1, globals())",
        "'import linecache\\n'",
    ),
    (
        "import warnings\ndef f():\n    with warnings.catch_warnings(record=True) as caught:\n        warnings.simplefilter('always')\n        warnings.warn('w')\n    return caught[0].filename, str(caught[0].message)",
        "('/solution.py', 'w')",
    ),
    (
        "import contextlib, io, sys\ndef f():\n    out = io.StringIO()\n    with contextlib.redirect_stdout(out): print('x', end='')\n    old, sys.stdout = sys.stdout, out\n    print('y', end='')\n    sys.stdout = old\n    return out.getvalue()",
        "'xy'",
    ),
];

#[test]
fn a_program_is_a_module() {
    for mode in [Mode::Pure, Mode::Fast] {
        let wrong: Vec<String> = PROGRAMS
            .iter()
            .filter_map(|(code, expected)| {
                let execution = sandbox()
                    .execute(&program(code), &[args("")], &Limits::default(), mode)
                    .expect("no fault of the host")
                    .remove(0);
                let found = describe(&execution);
                let right = found == *expected;
                (!right).then(|| format!("{code}\n  is {found}\n  not {expected}\n{execution:?}"))
            })
            .collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

#[test]
fn what_a_program_does_to_its_streams_ends_with_the_call() {
    let code = "import sys, io
def f(what):
    if what == 'close': sys.stdout.close()
    if what == 'detach': sys.stdout.detach()
    if what == 'replace': sys.stdout = io.StringIO()
    if what == 'none': sys.stdout = sys.stderr = None
    if what == 'buffer': sys.stdout.buffer.write(b'bytes')
    if what == 'wrap': sys.stdout = io.TextIOWrapper(sys.stdout.buffer)
    print('text', flush=True) if what not in ('close', 'detach') else None
    return what
";
    let inputs = [
        "close", "detach", "replace", "none", "buffer", "wrap", "plain",
    ];
    for mode in [Mode::Pure, Mode::Fast] {
        let arguments: Vec<_> = inputs
            .iter()
            .map(|what| args(&format!("'{what}'")))
            .collect();
        let executions = sandbox()
            .execute(&program(code), &arguments, &Limits::default(), mode)
            .expect("no fault of the host");
        let found: Vec<(String, &str)> = executions
            .iter()
            .map(|execution| (describe(execution), execution.stdout.as_str()))
            .collect();
        let printed = ["", "", "", "", "bytestext\n", "text\n", "text\n"];
        let expected: Vec<(String, &str)> = inputs
            .iter()
            .zip(printed)
            .map(|(what, printed)| (format!("'{what}'"), printed))
            .collect();
        assert_eq!(found, expected);
    }
}
