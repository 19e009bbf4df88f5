//! `problems`: reads, checks, converts, strengthens and splits problems.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage, 3 `check` found something wrong.

mod args;
mod check;
mod output;
mod show;
mod strengthen;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use gauntlet_problems::each::each;
use gauntlet_problems::ground::complete;
use gauntlet_problems::read::{Loaded, ProblemSet};
use gauntlet_problems::similar::{contamination, split};
use gauntlet_problems::{Problem, write_jsonl};
use gauntlet_sandbox::Sandbox;
use serde_json::json;

use args::{Cli, Command, Source};
use show::{Bar, left_out, print_json};

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(3),
        Err(error) => {
            crate::output::say(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Does what was asked; false where a check found something.
fn run(command: Command) -> Result<bool> {
    match command {
        Command::Check {
            source,
            resume,
            no_run,
        } => return check::run(&source, resume.as_deref(), no_run),
        Command::Convert { source, to, no_run } => convert(&source, &to, no_run)?,
        Command::Strengthen {
            source,
            to,
            tests,
            seed,
            candidates,
            min_share,
            min_candidates,
        } => {
            let rule = gauntlet_problems::consensus::Rule {
                min_share,
                min_candidates,
                ..Default::default()
            };
            let options = gauntlet_problems::strengthen::Options {
                tests,
                seed,
                rule,
                ..Default::default()
            };
            strengthen::run(&source, &to, candidates.as_deref(), &options)?;
        }
        Command::Stats { source } => show::stats(&source)?,
        Command::Contamination {
            source,
            against,
            statement,
            code,
            drop_to,
        } => overlap(&source, &against, (statement, code), drop_to.as_deref())?,
        Command::Split {
            source,
            to,
            validation,
            report,
            seed,
        } => divide(&source, &to, (validation, report), seed)?,
    }
    Ok(true)
}

/// Reads all problems of a source.
pub fn load(source: &Source) -> Result<Loaded> {
    let loaded = ProblemSet::open(&source.from, &source.options())?.load();
    if let Some(first) = loaded.left_out.first().filter(|_| source.strict) {
        anyhow::bail!("{first}");
    }
    if let Some(first) = loaded
        .left_out
        .first()
        .filter(|_| loaded.problems.is_empty())
    {
        anyhow::bail!("{}: holds no problem; the first row: {first}", source.from);
    }
    Ok(loaded)
}

/// Opens the sandbox for work that executes code.
pub fn sandbox() -> Result<Sandbox> {
    Sandbox::open().context("this executes code; --no-run of check and convert does without")
}

/// Writes problems so that they can be read again.
pub fn write(to: &Path, problems: &[Problem]) -> Result<()> {
    write_jsonl(to, problems)?;
    Ok(())
}

fn convert(source: &Source, to: &Path, no_run: bool) -> Result<()> {
    let mut loaded = load(source)?;
    let mut unanswered = Vec::new();
    if !no_run && loaded.problems.iter().any(|p| !p.inputs.is_empty()) {
        let sandbox = sandbox()?;
        let bar = Bar::new("executing references", loaded.problems.len());
        let done = each(
            &loaded.problems,
            |problem| {
                let mut problem = problem.clone();
                let left = complete(&sandbox, &mut problem)?;
                Ok::<_, gauntlet_sandbox::Fault>((problem, left))
            },
            |done| bar.set(done),
        );
        bar.finish();
        loaded.problems.clear();
        for result in done {
            let (problem, left) = result?;
            unanswered.extend(left);
            loaded.problems.push(problem);
        }
    }
    write(to, &loaded.problems)?;
    let (written, tests) = (loaded.problems.len(), count_tests(&loaded.problems));
    if source.json {
        return print_json(&json!({
            "written": written, "tests": tests, "unanswered": unanswered, "left_out": show::left_out_json(&loaded.left_out),
        }));
    }
    left_out(&loaded.left_out);
    for line in unanswered.iter().take(10) {
        crate::output::say(format_args!("no expected value: {line}"));
    }
    crate::output::line(format_args!(
        "{}: {written} problems with {tests} tests",
        to.display()
    ));
    Ok(())
}

fn count_tests(problems: &[Problem]) -> usize {
    problems.iter().map(Problem::test_count).sum()
}

fn overlap(
    source: &Source,
    against: &str,
    (statement, code): (f64, f64),
    drop_to: Option<&Path>,
) -> Result<()> {
    let loaded = load(source)?;
    let other = ProblemSet::open(against, &Default::default())?.load();
    let mut found = contamination(&loaded.problems, &other.problems);
    found.retain(|overlap| overlap.statement >= statement || overlap.code >= code);
    if let Some(to) = drop_to {
        let dirty: std::collections::HashSet<&str> = found
            .iter()
            .map(|overlap| overlap.problem.as_str())
            .collect();
        let mut clean = loaded.problems.clone();
        clean.retain(|problem| !dirty.contains(problem.id.as_str()));
        write(to, &clean)?;
    }
    if source.json {
        return print_json(&json!({
            "problems": loaded.problems.len(), "against": other.problems.len(), "overlaps": found,
            "left_out": show::left_out_json(&loaded.left_out),
        }));
    }
    left_out(&loaded.left_out);
    for overlap in &found {
        crate::output::line(format_args!(
            "{}: {:.0} % of its statement and {:.0} % of its code stand in {}",
            overlap.problem,
            overlap.statement * 100.0,
            overlap.code * 100.0,
            overlap.with
        ));
    }
    crate::output::line(format_args!(
        "{} of {} problems overlap with {} of {against}",
        found.len(),
        loaded.problems.len(),
        other.problems.len()
    ));
    Ok(())
}

fn divide(source: &Source, to: &Path, (validation, report): (f64, f64), seed: u64) -> Result<()> {
    ensure!(
        validation >= 0.0 && report >= 0.0 && validation + report <= 1.0,
        "--validation {validation} and --report {report} must be shares that leave something to train on"
    );
    let mut loaded = load(source)?;
    split(&mut loaded.problems, validation, report, seed);
    write(to, &loaded.problems)?;
    let counts = show::counts(loaded.problems.iter().map(|p| p.split.to_string()));
    if source.json {
        return print_json(&json!({
            "splits": counts, "left_out": show::left_out_json(&loaded.left_out),
        }));
    }
    left_out(&loaded.left_out);
    crate::output::line(format_args!("{}: {}", to.display(), show::listed(&counts)));
    Ok(())
}
