//! `sandbox bench`: what an execution costs on this machine.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use gauntlet_sandbox::{ExecuteJob, Limits, Mode, Program, Sandbox};
use serde_json::{Value as Json, json};

#[derive(Args)]
pub(crate) struct Bench {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// How often each figure is taken; the best and the median are told
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..))]
    rounds: u8,
}

/// The programs, by the names they have in the output. Each runs as a script, in a fresh interpreter.
const PROGRAMS: [(&str, &str); 3] = [
    ("sum", "print(sum(range(1000)))"),
    ("class", include_str!("../../../benches/programs/class.py")),
    (
        "dijkstra",
        include_str!("../../../benches/programs/dijkstra.py"),
    ),
];

/// Two million additions.
const HEAVY: &str = include_str!("../../../benches/programs/heavy.py");

/// How long a program is run for one figure.
const ROUND: Duration = Duration::from_millis(500);

/// Slots that memory is measured on.
const SLOTS: usize = 8;

pub(crate) fn bench(args: &Bench) -> Result<bool> {
    let first = first_execution(args.rounds)?;
    let one = Sandbox::open_with(1)?;
    let two = Sandbox::open_with(2)?;
    let mut cpu = vec![Vec::new(); PROGRAMS.len()];
    let mut rates = [Vec::new(), Vec::new()];
    // Interleaved, so that what else the machine does meets all of them.
    for _ in 0..args.rounds {
        for (at, (_, code)) in PROGRAMS.iter().enumerate() {
            cpu[at].push(round(&one, code)?.cpu_ms);
        }
        for (rates, sandbox) in rates.iter_mut().zip([&one, &two]) {
            rates.push(-round(sandbox, PROGRAMS[0].1)?.rate);
        }
    }
    let mut heavy = [Vec::new(), Vec::new()];
    for _ in 0..args.rounds {
        heavy[0].push(heavy_seconds(&one, None)?);
        heavy[1].push(heavy_seconds(&one, Some(u64::MAX))?);
    }
    let memory = memory_mb_per_slot()?;
    let [one, two] = rates.map(|rates| spread(rates, -1.0));
    let report = json!({
        "cpu_ms_per_execution": PROGRAMS.iter().zip(cpu).map(|((name, _), cpu)| ((*name).to_owned(), spread(cpu, 1.0)))
            .collect::<serde_json::Map<_, _>>(),
        "executions_per_second": { "threads_1": one, "threads_2": two },
        "first_execution_ms": spread(first, 1.0),
        "heavy_cpu_s": { "epoch": spread(heavy[0].clone(), 1.0), "fuel": spread(heavy[1].clone(), 1.0) },
        "memory_mb_per_slot": memory,
    });
    print(&report, args.json)?;
    Ok(true)
}

fn print(report: &Json, as_json: bool) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if as_json {
        writeln!(out, "{report}")?;
        return Ok(());
    }
    writeln!(out, "{:<42} {:>10} {:>10}", "", "best", "median")?;
    let line = |out: &mut dyn Write, name: &str, value: &Json| match value {
        Json::Object(map) if map.contains_key("best") => {
            writeln!(
                out,
                "{name:<42} {:>10} {:>10}",
                map["best"].to_string(),
                map["median"].to_string()
            )
        }
        value => writeln!(out, "{name:<42} {:>10}", value.to_string()),
    };
    for (name, value) in report.as_object().into_iter().flatten() {
        match value {
            Json::Object(map) if !map.contains_key("best") => {
                for (part, value) in map {
                    line(&mut out, &format!("{name} {part}"), value)?;
                }
            }
            value => line(&mut out, name, value)?,
        }
    }
    Ok(())
}

/// Best and median of figures of which less is better once multiplied by `sign`.
fn spread(mut figures: Vec<f64>, sign: f64) -> Json {
    figures.sort_by(f64::total_cmp);
    let pick = |at: usize| (figures[at] * sign * 1e3).round() / 1e3;
    json!({ "best": pick(0), "median": pick(figures.len() / 2) })
}

struct Round {
    cpu_ms: f64,
    rate: f64,
}

/// Runs a program again and again for [`ROUND`].
fn round(sandbox: &Sandbox, code: &str) -> Result<Round> {
    let job = job(code, Some(u64::MAX));
    execute(sandbox, vec![job.clone(); 20])?;
    let (cpu, start, mut count) = (cpu_seconds()?, Instant::now(), 0.0);
    while start.elapsed() < ROUND {
        execute(sandbox, vec![job.clone(); 50])?;
        count += 50.0;
    }
    Ok(Round {
        cpu_ms: (cpu_seconds()? - cpu) * 1e3 / count,
        rate: count / start.elapsed().as_secs_f64(),
    })
}

fn heavy_seconds(sandbox: &Sandbox, fuel: Option<u64>) -> Result<f64> {
    let before = cpu_seconds()?;
    execute(sandbox, vec![job(HEAVY, fuel)])?;
    Ok(cpu_seconds()? - before)
}

fn job(code: &str, fuel: Option<u64>) -> ExecuteJob {
    let entry_point = String::new();
    ExecuteJob {
        program: Program {
            code: code.into(),
            entry_point,
        },
        inputs: vec![vec![]],
        limits: Limits {
            fuel,
            wall: Duration::from_secs(60),
            ..Limits::default()
        },
        mode: Mode::Pure,
    }
}

fn execute(sandbox: &Sandbox, jobs: Vec<ExecuteJob>) -> Result<()> {
    for result in sandbox.execute_many(jobs) {
        for execution in result? {
            if let Err(outcome) = execution.result {
                bail!("a benchmark program failed: {outcome}");
            }
        }
    }
    Ok(())
}

/// CPU time of this process's threads, user and system, in seconds.
fn cpu_seconds() -> Result<f64> {
    let mut nanoseconds = 0.0;
    for thread in std::fs::read_dir("/proc/self/task").context("this needs Linux")? {
        let path = thread?.path().join("schedstat");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let field = text
            .split(' ')
            .next()
            .and_then(|field| field.parse::<f64>().ok());
        nanoseconds += field.with_context(|| format!("{} holds {text:?}", path.display()))?;
    }
    Ok(nanoseconds / 1e9)
}

/// From the start of a process to the end of its first execution and of itself.
fn first_execution(rounds: u8) -> Result<Vec<f64>> {
    let program = std::env::current_exe().context("cannot find this program")?;
    (0..rounds).map(|_| first_once(&program)).collect()
}

fn first_once(program: &Path) -> Result<f64> {
    let start = Instant::now();
    let mut child = Command::new(program)
        .args(["run", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(PROGRAMS[0].1.as_bytes())?;
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{} run ended with {status}", program.display());
    }
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

/// What [`SLOTS`] slots keep once many executions have been through them and none is left, each.
fn memory_mb_per_slot() -> Result<f64> {
    let before = private_kb()?;
    let sandbox = Sandbox::open_with(SLOTS)?;
    for (_, code) in PROGRAMS {
        execute(&sandbox, vec![job(code, Some(u64::MAX)); 50 * SLOTS])?;
    }
    let megabytes = (private_kb()? - before) / 1024.0 / SLOTS as f64;
    Ok((megabytes * 1e3).round() / 1e3)
}

/// Memory of this process that it shares with no file, in KB.
fn private_kb() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").context("this needs Linux")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Anonymous:"));
    let kb = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    kb.context("/proc/self/smaps_rollup has no line Anonymous")
}
