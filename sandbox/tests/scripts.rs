//! Programs from standard input to standard output.

use gauntlet_sandbox::{Limits, Outcome, ScriptJob, ScriptRun, TimeLimit};

use crate::sandbox;

fn job(code: &str, inputs: &[&str]) -> ScriptJob {
    ScriptJob {
        code: code.into(),
        args: Vec::new(),
        inputs: inputs
            .iter()
            .map(|input| input.as_bytes().to_vec())
            .collect(),
        limits: Limits::default(),
    }
}

fn run(code: &str, input: &str) -> ScriptRun {
    sandbox()
        .run_script(job(code, &[input]))
        .expect("no fault of the host")
        .remove(0)
}

/// Exit status or outcome, and what was written to standard output and standard error.
fn told(run: &ScriptRun) -> (String, &str, &str) {
    let result = match &run.result {
        Ok(status) => format!("exit {status}"),
        Err(Outcome::Raised { kind, .. }) => format!("Raised {kind}"),
        Err(outcome) => outcome.name().to_owned(),
    };
    (result, &run.stdout, &run.stderr)
}

/// Programs, standard inputs, and what `python3 solution.py` writes to standard output.
const READERS: [(&str, &str, &str); 27] = [
    ("n = int(input())\nprint(n + 1)", "3\n", "4\n"),
    ("print(input() + input())", "a\r\nb", "ab\n"),
    ("print(input('how many? '))", "3\n", "how many? 3\n"),
    (
        "a, b = map(int, input().split())\nfor _ in range(b): print(a, end=' ')",
        "7 3",
        "7 7 7 ",
    ),
    (
        "import sys\nfor line in sys.stdin: print(len(line))",
        "ab\n\nc",
        "3\n1\n1\n",
    ),
    (
        "import sys\nprint(sys.stdin.read().split())",
        " 1 2\n3",
        "['1', '2', '3']\n",
    ),
    (
        "import sys\nprint([l.strip() for l in sys.stdin.readlines()])",
        "x\ny\n",
        "['x', 'y']\n",
    ),
    (
        "import sys\ninput = sys.stdin.readline\nprint(int(input()) + int(input()), repr(input()))",
        "1\n2\n",
        "3 ''\n",
    ),
    (
        "import sys\ndata = sys.stdin.buffer.read().split()\nprint(len(data), data[0])",
        "5 6\n",
        "2 b'5'\n",
    ),
    (
        "import sys\nprint(sys.stdin.buffer.readline(), sys.stdin.buffer.readlines())",
        "a\nb\n",
        "b'a\\n' [b'b\\n']\n",
    ),
    ("print(open(0).read().split())", "1 2", "['1', '2']\n"),
    ("print(*open('/dev/stdin'), sep='|')", "1\n2\n", "1\n|2\n\n"),
    (
        "import os\nprint(os.read(0, 3), os.read(0, 100), os.read(0, 1))",
        "abcde",
        "b'abc' b'de' b''\n",
    ),
    (
        "import os, io\nprint(io.BytesIO(os.read(0, os.fstat(0).st_size)).readline())",
        "12\n3",
        "b'12\\n'\n",
    ),
    (
        "import sys\nprint(sys.stdin.fileno(), sys.stdout.fileno(), sys.stderr.fileno(), sys.stdin.isatty(), sys.stdin.encoding)",
        "",
        "0 1 2 False utf-8\n",
    ),
    (
        "import fileinput\nprint([line for line in fileinput.input()])",
        "a\nb\n",
        "['a\\n', 'b\\n']\n",
    ),
    (
        "import sys\nsys.stdout.write('a'); sys.stdout.buffer.write(b'b'); sys.stdout.flush()\nsys.stdout.buffer.write(b'c\\n')",
        "",
        "bac\n",
    ),
    (
        "import os, sys\nprint('a', flush=True)\nos.write(1, b'b\\n')\nsys.stdout.writelines(['c', 'd'])",
        "",
        "a\nb\ncd",
    ),
    (
        "import io, sys\nsys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding='utf-8', newline='\\n')\nprint('é')",
        "",
        "é\n",
    ),
    (
        "import io, os, atexit, sys\nout = io.StringIO()\nsys.stdout = out\natexit.register(lambda: os.write(1, out.getvalue().encode()))\nprint('late')",
        "",
        "late\n",
    ),
    (
        "import sys\nsys.stdout.reconfigure(line_buffering=True)\nprint(sys.stdout.encoding, sys.stdout.errors, sys.stdout.name)",
        "",
        "utf-8 strict <stdout>\n",
    ),
    (
        "import sys\nsys.setrecursionlimit(10**6)\ndef main():\n    return sum(map(int, input().split()))\nif __name__ == '__main__':\n    print(main())",
        "1 2 3",
        "6\n",
    ),
    (
        "import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()) as out: print('x')\nprint(len(out.getvalue()))",
        "",
        "2\n",
    ),
    (
        "import sys\nprint(sys.argv[1:], len(sys.argv[0]) > 0)",
        "",
        "[] True\n",
    ),
    (
        "class A: pass\nimport pickle, sys\nprint(type(pickle.loads(pickle.dumps(A()))) is A, sys.modules['__main__'].A is A)",
        "",
        "True True\n",
    ),
    (
        "import asyncio\nasync def main():\n    await asyncio.sleep(1)\n    print('done')\nasyncio.run(main())",
        "",
        "done\n",
    ),
    (
        "import sys\nprint('out'); print('err', file=sys.stderr)",
        "",
        "out\n",
    ),
];

#[test]
fn a_script_reads_standard_input_as_python_does() {
    let wrong: Vec<String> = READERS
        .iter()
        .filter_map(|(code, input, output)| {
            let run = run(code, input);
            let (result, stdout, stderr) = told(&run);
            let right = result == "exit 0" && stdout == *output;
            (!right).then(|| format!("{code}\n  {result}\n  {stdout:?} not {output:?}\n  {stderr}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_end_of_a_script_is_told() {
    for (code, result, stdout, stderr) in [
        ("import sys\nprint('ok')\nsys.exit(0)", "exit 0", "ok\n", ""),
        ("print('ok')\nexit()", "exit 0", "ok\n", ""),
        ("quit(7)", "exit 7", "", ""),
        ("raise SystemExit", "exit 0", "", ""),
        ("import sys\nsys.exit('no')", "exit 1", "", "no\n"),
        ("import sys\nsys.exit(-1)", "exit 255", "", ""),
        ("import sys\nsys.exit(True)", "exit 1", "", ""),
        (
            "def f():\n    1 / 0\nprint(1)\nf()",
            "Raised ZeroDivisionError",
            "1\n",
            "Traceback (most recent call last):\n  File \"/solution.py\", line 4, in <module>\n    f()\n    ~^^\n  File \"/solution.py\", line 2, in f\n    1 / 0\n    ~~^~~\nZeroDivisionError: division by zero\n",
        ),
        ("x = (", "SyntaxError", "", ""),
        (
            "input()",
            "Raised EOFError",
            "",
            "Traceback (most recent call last):\n  File \"/solution.py\", line 1, in <module>\n    input()\n    ~~~~~^^\nEOFError: EOF when reading a line\n",
        ),
        ("import os\nos._exit(0)", "Forbidden", "", ""),
        (
            "import atexit, sys\natexit.register(print, 'bye')\nsys.exit(3)",
            "exit 3",
            "bye\n",
            "",
        ),
        (
            "import unittest\nclass T(unittest.TestCase):\n    def test(self): pass\nunittest.main()",
            "exit 0",
            "",
            ".\n----------------------------------------------------------------------\nRan 1 test in 0.000s\n\nOK\n",
        ),
        (
            "def double(x):\n    '''\n    >>> double(2)\n    4\n    '''\n    return 2 * x\nimport doctest\nprint(doctest.testmod())",
            "exit 0",
            "TestResults(failed=0, attempted=1)\n",
            "",
        ),
        (
            "import argparse\np = argparse.ArgumentParser()\np.add_argument('--n', type=int, required=True)\np.parse_args()",
            "exit 2",
            "",
            "usage: solution.py [-h] --n N\nsolution.py: error: the following arguments are required: --n\n",
        ),
        (
            "print('\\ud800')",
            "Raised UnicodeEncodeError",
            "",
            "Traceback (most recent call last):\n  File \"/solution.py\", line 1, in <module>\n    print('\\ud800')\n    ~~~~~^^^^^^^^^^\nUnicodeEncodeError: 'utf-8' codec can't encode character '\\ud800' in position 0: surrogates not allowed\n",
        ),
    ] {
        let run = run(code, "");
        let (found, out, err) = told(&run);
        // How long the tests of a script took is the clock's.
        let err = err
            .replace("in 0.001s", "in 0.000s")
            .replace("in 0.002s", "in 0.000s");
        assert_eq!(
            (found.as_str(), out, err.as_str()),
            (result, stdout, stderr),
            "{code}"
        );
    }
}

#[test]
fn a_limit_that_a_script_reaches_is_no_answer() {
    let mut endless = job("while True: pass", &[""]);
    endless.limits.fuel = Some(100_000_000);
    let mut talker = job("import sys\nwhile True: print('x' * 100)", &["", "", ""]);
    talker.limits.output_bytes = 10_000;
    let mut complainer = job(
        "import sys\nprint(1)\nwhile True: sys.stderr.write('x' * 100)",
        &[""],
    );
    complainer.limits.output_bytes = 10_000;
    let mut eater = job("x = [0]\nwhile True: x += x", &[""]);
    eater.limits.memory_bytes = 100 << 20;
    let [endless, talker, complainer, eater] = sandbox()
        .run_script_many(vec![endless, talker, complainer, eater])
        .try_into()
        .expect("a result a job");
    let outcome = |runs: Result<Vec<ScriptRun>, _>| {
        let runs: Vec<ScriptRun> = runs.expect("no fault of the host");
        runs[0].result.clone().expect_err("no end of its own")
    };
    assert_eq!(
        outcome(endless),
        Outcome::Timeout {
            limit: TimeLimit::Fuel
        }
    );
    let talker = talker.expect("no fault of the host");
    assert_eq!(talker.len(), 3);
    for run in talker {
        assert_eq!(run.result, Err(Outcome::OutputTooLarge));
        assert!(
            run.stdout.starts_with("xxx") && run.stdout.len() <= 10_000,
            "{}",
            run.stdout.len()
        );
    }
    assert_eq!(outcome(complainer), Outcome::OutputTooLarge);
    assert_eq!(outcome(eater), Outcome::OutOfMemory);
}

#[test]
fn each_input_meets_a_fresh_interpreter_and_arguments_arrive() {
    let mut many = job(
        "import builtins, sys\nbuiltins.count = getattr(builtins, 'count', 0) + 1\nprint(sys.argv[1:], input(), builtins.count, __name__, __file__)",
        &["a", "b", "c", "d"],
    );
    many.args = vec!["--n".into(), "é 1".into()];
    let runs = sandbox().run_script(many).expect("no fault of the host");
    let printed: Vec<&str> = runs.iter().map(|run| run.stdout.as_str()).collect();
    let line = |input: &str| format!("['--n', 'é 1'] {input} 1 __main__ /solution.py\n");
    assert_eq!(printed, ["a", "b", "c", "d"].map(line));
    // Whether it is compiled apart changes nothing that a script can see or burn.
    let alone = run("print(input())", "x");
    let runs = sandbox()
        .run_script(job("print(input())", &["x", "x", "x"]))
        .expect("no fault of the host");
    assert!(
        runs.iter()
            .all(|run| run.stdout == alone.stdout && run.result == alone.result)
    );
}

#[test]
fn a_script_that_reads_says_so() {
    for (code, asked) in [
        ("print(1)", false),
        ("input", false),
        ("import sys\nsys.stdin.read()", true),
        ("try: input()\nexcept EOFError: pass", true),
        ("import sys\nsys.stdin.buffer.read()", true),
        ("import os\nos.read(0, 1)", true),
    ] {
        assert_eq!(run(code, "").asked_for_input, asked, "{code}");
    }
}

#[test]
fn what_a_script_forges_is_malformed_or_its_own() {
    for code in [
        // The guest's own functions are in reach, and what they say is read as hostile.
        "import sys\nsys.modules['app'].run = lambda code, names: ('value', 3)",
        "import sys\nsys.modules['app'].run = lambda code, names: ('exited', 300)",
        "import sys\nsys.modules['app'].run = lambda code, names: ('exited', 'x')",
        "import sys\nsys.modules['app']._written = lambda *a: 'text'",
    ] {
        let code = format!("{code}\nimport gc\n");
        let twice = format!("{code}\nsys.modules['app']._dumps = lambda *a: b'no'");
        for code in [code, twice] {
            let run = run(&code, "");
            assert!(
                matches!(
                    run.result,
                    Ok(0) | Err(Outcome::Malformed | Outcome::Raised { .. })
                ),
                "{code}: {:?}",
                run.result
            );
        }
    }
    let forged = run(
        "import sys\nsys.modules['app']._dumps = lambda *a: b'no'",
        "",
    );
    assert_eq!(forged.result, Err(Outcome::Malformed));
}
