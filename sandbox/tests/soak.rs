//! Good and hostile executions by the thousand leave nothing behind: no memory, no thread, no descriptor.
//!
//! Counting takes a process of its own, so the test that CI runs starts this binary again with the long one's name.

use std::time::Duration;

use gauntlet_sandbox::{
    CodeCheckJob, CodeTest, Comparison, ExecuteJob, Limits, Mode, Outcome, Sandbox,
};

use crate::{program, tests};

/// How many executions the long soak makes.
const COUNT: &str = "GAUNTLET_SOAK";

#[test]
fn a_short_soak_leaves_nothing_behind() {
    if !std::path::Path::new("/proc/self/status").exists() {
        eprintln!("skipped: /proc is not there to count with");
        return;
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "soak::one_hundred_thousand_executions",
            "--nocapture",
        ])
        .env(COUNT, "600")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(text.contains("1 passed"), "{text}");
}

/// What this process holds.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) megabytes: usize,
    pub(crate) threads: usize,
    pub(crate) descriptors: usize,
}

impl Held {
    /// A field of this process's status.
    pub(crate) fn field(name: &str) -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn now() -> Held {
        Held {
            megabytes: Held::field("VmRSS:") >> 10,
            threads: Held::field("Threads:"),
            descriptors: std::fs::read_dir("/proc/self/fd").unwrap().count(),
        }
    }
}

/// Programs and what is to come of each.
const MIX: [(&str, &str); 18] = [
    ("def f(): return sum(range(100))", "4950"),
    (
        "import collections\ndef f(): return collections.Counter('aab')",
        "{'a': 2, 'b': 1}",
    ),
    (
        "class A:\n def __init__(self): self.x = [1]\ndef f(): return [A().x for _ in range(50)] == [[1]] * 50",
        "True",
    ),
    (
        "def f(): print('x' * 1000); return {1: (2, None)}",
        "{1: (2, None)}",
    ),
    (
        "def f(): return {frozenset({1}): b'x', 10 ** 50: 1.5}.keys() and 3",
        "3",
    ),
    (
        "import json, re\ndef f(): return json.loads('[1, 2]') + re.findall('a', 'aa')",
        "[1, 2, 'a', 'a']",
    ),
    ("def f(): raise ValueError('no')", "Raised"),
    ("def f(: pass", "SyntaxError"),
    ("def f():\n while True: pass", "Timeout"),
    ("def f(): return 'a' * (1 << 20)", "OutputTooLarge"),
    (
        "def f():\n while True: print('spam' * 1000)",
        "OutputTooLarge",
    ),
    ("def f(): return open('/etc/passwd')", "Forbidden"),
    ("def f(): return f()", "Raised"),
    ("def f(): return object()", "Opaque"),
    (
        "import sys\ndef f(): sys._getframe(1).f_globals['_seal'] = lambda *a: b'('",
        "Malformed",
    ),
    ("def f(): return bytes(100 << 20)", "OutOfMemory"),
    (
        "import threading\ndef f(): threading.Event().wait()",
        "Forbidden",
    ),
    (
        "def f(): exec(f.__code__.replace(co_code=b'\\xff' * 100))",
        "Crashed",
    ),
];

fn round(sandbox: &Sandbox) -> usize {
    let limits = Limits {
        fuel: Some(60_000_000),
        memory_bytes: 96 << 20,
        ..Limits::default()
    };
    let job = |(code, _): &(&str, &str)| ExecuteJob {
        program: program(code),
        inputs: vec![vec![]],
        limits: limits.clone(),
        mode: Mode::Pure,
    };
    let results = sandbox.execute_many(MIX.iter().map(job).collect());
    for ((code, expected), result) in MIX.iter().zip(results) {
        let found = match &result.expect("no fault of the host")[0].result {
            Ok(value) => value.to_literal(),
            Err(outcome) => outcome.name().into(),
        };
        assert_eq!(found, *expected, "{code}");
    }
    let report = sandbox
        .check(
            &program("def f(n): return n * n"),
            &tests(&[("1", "1"), ("2", "4")]),
            &Comparison::Exact,
            &limits,
            Mode::Fast,
        )
        .unwrap();
    assert_eq!(report.outcome, Outcome::Passed);
    let job = CodeCheckJob {
        program: program("def f(n): return n * n"),
        test: CodeTest {
            code: "assert [f(n) for n in range(3)] == [0, 1, 4]".into(),
            setup: String::new(),
        },
        limits,
        mode: Mode::Pure,
    };
    for report in sandbox.check_code_many(vec![job; 2]) {
        assert_eq!(report.unwrap().outcome, Outcome::Passed);
    }
    // Interpreters: the mix; one and two for the check; one a call and the tests' own, for each check by code.
    MIX.len() + 3 + 2 * 4
}

/// A job whose caller loses patience.
fn abandoned(sandbox: &Sandbox, runtime: &tokio::runtime::Runtime) {
    let job = ExecuteJob {
        program: program("def f():\n while True: pass"),
        inputs: vec![vec![]; 10],
        limits: Limits {
            fuel: None,
            ..Limits::default()
        },
        mode: Mode::Pure,
    };
    runtime.block_on(async {
        let call = sandbox.execute_async(job);
        assert!(
            tokio::time::timeout(Duration::from_millis(5), call)
                .await
                .is_err()
        );
    });
}

#[test]
#[ignore = "an hour's work; see docs/sandbox.md for the command"]
fn one_hundred_thousand_executions() {
    let count: usize = std::env::var(COUNT).map_or(100_000, |count| count.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let sandbox = Sandbox::open().unwrap();
    // The first rounds fill every slot and every cache.
    for _ in 0..8 {
        round(&sandbox);
    }
    abandoned(&sandbox, &runtime);
    let before = Held::now();
    let (mut done, mut rounds) = (0, 0);
    while done < count {
        done += round(&sandbox);
        rounds += 1;
        if rounds % 10 == 0 {
            abandoned(&sandbox, &runtime);
        }
        if rounds % 100 == 0 {
            println!("{done} executions: {:?}", Held::now());
        }
    }
    let after = Held::now();
    println!("{done} executions: {before:?} before, {after:?} after");
    assert_eq!(after.threads, before.threads);
    assert_eq!(after.descriptors, before.descriptors);
    // Which slots are warm, and how warm, changes from round to round.
    assert!(
        after.megabytes <= before.megabytes + 64,
        "{before:?} before, {after:?} after {done} executions"
    );
}
