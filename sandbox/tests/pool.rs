//! The workers: whoever brings a job gets its turn, and whoever goes away is not waited for.

use std::time::{Duration, Instant};

use gauntlet_sandbox::{
    CheckJob, Comparison, ExecuteJob, Fault, Limits, Mode, Outcome, Program, Sandbox, Value,
};

use crate::{program, tests};

/// Calls of a tenth of a second or so each.
fn slow(calls: usize) -> ExecuteJob {
    ExecuteJob {
        program: program(
            "def f():\n total = 0\n for i in range(500_000): total += i\n return total",
        ),
        inputs: vec![vec![]; calls],
        limits: Limits::default(),
        mode: Mode::Pure,
    }
}

fn quick() -> ExecuteJob {
    ExecuteJob {
        program: program("def f(): return 1"),
        inputs: vec![vec![]],
        limits: Limits::default(),
        mode: Mode::Pure,
    }
}

fn endless(wall: Duration) -> ExecuteJob {
    ExecuteJob {
        program: program("def f():\n while True: pass"),
        limits: Limits {
            fuel: None,
            wall,
            ..Limits::default()
        },
        ..quick()
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
}

#[test]
fn slow_jobs_of_many_turns_starve_nobody() {
    // A sandbox of its own, so that no other test's jobs stand in line.
    let sandbox = Sandbox::open().unwrap();
    let slow_ones = std::thread::available_parallelism().unwrap().get() * 2;
    let order = runtime().block_on(async {
        let order = std::sync::Mutex::new(Vec::new());
        let run = async |name: &'static str, job: ExecuteJob| {
            let executions = sandbox.execute_async(job).await.unwrap();
            assert!(executions.iter().all(|execution| execution.result.is_ok()));
            order.lock().unwrap().push(name);
        };
        let slow_jobs = (0..slow_ones).map(|_| run("slow", slow(12)));
        let quick_jobs = (0..slow_ones).map(|_| run("quick", quick()));
        tokio::join!(join_all(slow_jobs), join_all(quick_jobs));
        order.into_inner().unwrap()
    });
    // The slow ones came first, keep every worker busy for many turns, and are overtaken by all of the quick ones.
    let expected = [vec!["quick"; slow_ones], vec!["slow"; slow_ones]].concat();
    assert_eq!(order, expected);
}

async fn join_all(futures: impl Iterator<Item = impl Future<Output = ()>>) {
    let mut futures: Vec<_> = futures.map(Box::pin).collect();
    std::future::poll_fn(|context| {
        futures.retain_mut(|future| future.as_mut().poll(context).is_pending());
        if futures.is_empty() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
}

#[test]
fn a_caller_that_goes_away_takes_its_running_job_with_it() {
    let sandbox = Sandbox::open().unwrap();
    let workers = std::thread::available_parallelism().unwrap().get();
    let started = Instant::now();
    runtime().block_on(async {
        // More than there is room for: some run, some stand in line, some wait for room.
        let jobs = (0..workers * 8)
            .map(|_| endless(Duration::from_secs(600)))
            .collect();
        let abandoned = sandbox.execute_many_async(jobs);
        let outcome = tokio::time::timeout(Duration::from_millis(300), abandoned).await;
        assert!(outcome.is_err(), "an endless job came to an end");
        let executions = sandbox.execute_async(quick()).await.unwrap();
        assert_eq!(executions[0].result, Ok(Value::from(1)));
    });
    assert!(started.elapsed() < Duration::from_secs(120));
}

#[test]
fn there_is_room_for_so_many_and_the_next_one_waits() {
    let sandbox = Sandbox::open().unwrap();
    let workers = std::thread::available_parallelism().unwrap().get();
    runtime().block_on(async {
        let mut jobs =
            Box::pin(
                sandbox.execute_many_async(vec![endless(Duration::from_millis(700)); workers * 4]),
            );
        let full = tokio::time::timeout(Duration::from_millis(50), &mut jobs).await;
        assert!(full.is_err());
        let mut next = Box::pin(sandbox.execute_async(quick()));
        // It does not even get in line, and gives the executor back its thread.
        let waiting = tokio::time::timeout(Duration::from_millis(50), &mut next).await;
        assert!(waiting.is_err());
        let (done, next) = tokio::join!(jobs, next);
        assert_eq!(done.len(), workers * 4);
        for executions in done {
            assert!(matches!(
                executions.unwrap()[0].result,
                Err(Outcome::Timeout { .. })
            ));
        }
        assert_eq!(next.unwrap()[0].result, Ok(Value::from(1)));
    });
}

#[test]
fn blocking_calls_work_on_an_executors_own_thread() {
    runtime().block_on(async {
        let executions = crate::sandbox()
            .execute(
                &program("def f(): return 2"),
                &[vec![]],
                &Limits::default(),
                Mode::Pure,
            )
            .unwrap();
        assert_eq!(executions[0].result, Ok(Value::from(2)));
    });
}

#[test]
fn a_matrix_has_a_row_a_candidate() {
    let candidates: Vec<Program> = ["n * n", "n + n", "n * n", "n ** 2", "1 / 0"]
        .iter()
        .map(|body| program(&format!("def f(n): return {body}")))
        .collect();
    let tests = tests(&[("2", "4"), ("3", "9"), ("0", "0")]);
    for mode in [Mode::Pure, Mode::Fast] {
        let reports: Vec<_> = crate::sandbox()
            .run_matrix(
                &candidates,
                &tests,
                &Comparison::Exact,
                &Limits::default(),
                mode,
            )
            .into_iter()
            .map(Result::unwrap)
            .collect();
        let passes: Vec<Vec<bool>> = reports
            .iter()
            .map(|report| {
                report
                    .tests
                    .iter()
                    .map(|test| test.outcome.passed())
                    .collect()
            })
            .collect();
        let expected = [
            [true, true, true],
            [true, false, true],
            [true, true, true],
            [true, true, true],
            [false, false, false],
        ];
        assert_eq!(passes, expected, "{mode:?}");
        // The same candidate has the same row, down to the clock: it was run once.
        assert_eq!(reports[0], reports[2]);
        assert_ne!(reports[0], reports[3]);
    }
}

#[test]
fn compiled_once_or_for_each_input_the_outcomes_are_the_same() {
    let codes = [
        "from __future__ import annotations\nimport math\nclass A:\n x: int = 3\ndef f(n): return [A.x + n, f.__doc__, __name__]",
        "def f(n):\n 'Says so.'\n return [f.__doc__, n, (lambda: n)(), [i for i in range(n)]]",
        "def f(n):\n if n == 1: raise ValueError(n)\n return f'{n:>5}'",
        "def f(n: return n",
        "def g(n): return n",
        "x = '\\0'\ndef f(n): return x",
    ];
    for code in codes {
        let inputs: Vec<Vec<Value>> = (0..3).map(|n| vec![Value::from(n)]).collect();
        let run = |inputs: &[Vec<Value>]| {
            let executions = crate::sandbox()
                .execute(&program(code), inputs, &Limits::default(), Mode::Pure)
                .unwrap();
            executions
                .into_iter()
                .map(|execution| (execution.result, execution.stdout))
                .collect::<Vec<_>>()
        };
        let alone: Vec<_> = inputs
            .iter()
            .flat_map(|input| run(std::slice::from_ref(input)))
            .collect();
        assert_eq!(run(&inputs), alone, "{code}");
    }
}

#[test]
fn limits_that_nothing_could_keep_are_refused() {
    let zero = [
        Limits {
            fuel: Some(0),
            ..Limits::default()
        },
        Limits {
            wall: Duration::ZERO,
            ..Limits::default()
        },
        Limits {
            memory_bytes: 0,
            ..Limits::default()
        },
        Limits {
            memory_bytes: 1 << 20,
            ..Limits::default()
        },
        Limits {
            output_bytes: 0,
            ..Limits::default()
        },
    ];
    for (limits, name) in zero
        .into_iter()
        .zip(["fuel", "time", "memory", "memory", "output"])
    {
        let check = CheckJob {
            program: program("def f(): return 1"),
            tests: tests(&[("", "1")]),
            comparison: Comparison::Exact,
            limits,
            mode: Mode::Pure,
        };
        for result in crate::sandbox().check_many(vec![check; 2]) {
            match result {
                Err(Fault::Limit { limit, .. }) => assert_eq!(limit, name),
                other => panic!("{name}: {other:?}"),
            }
        }
    }
}
