//! `problems strengthen`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use gauntlet_problems::Problem;
use gauntlet_problems::each::{Journal, each, key};
use gauntlet_problems::strengthen::{Options, Strengthened, strengthen};
use serde_json::{Value as Json, json};

use super::args::Source;
use super::show::{Bar, counts, left_out, left_out_json, print_json};
use super::{load, sandbox, write};

/// Adds tests and writes the set.
pub fn run(source: &Source, to: &Path, candidates: Option<&Path>, options: &Options) -> Result<()> {
    options.rule.check().map_err(|why| anyhow!("{why}"))?;
    ensure!(
        options.tests > 0,
        "--tests 0: a problem has one test at least"
    );
    let loaded = load(source)?;
    let candidates = candidates.map(solutions).transpose()?.unwrap_or_default();
    let sandbox = sandbox()?;
    let mut partial = to.as_os_str().to_owned();
    partial.push(".progress");
    let partial = PathBuf::from(partial);
    let journal = Journal::open(&partial).with_context(|| partial.display().to_string())?;
    let bar = Bar::new("strengthening", loaded.problems.len());
    let none = Vec::new();
    let results = each(
        &loaded.problems,
        |problem| {
            let own = candidates.get(&problem.id).unwrap_or(&none);
            let own: Vec<&str> = own.iter().map(String::as_str).collect();
            let text = serde_json::to_string(problem)?;
            let settings = format!("{options:?}");
            let key = key(
                &problem.id,
                &[&[text.as_str(), &settings], own.as_slice()].concat(),
            );
            if let Some(known) = journal.get(&key) {
                return Ok(serde_json::from_value(known.clone())?);
            }
            let done = strengthen(&sandbox, problem, &own, options)
                .with_context(|| format!("problem {:?}", problem.id))?;
            journal.keep(&key, &done)?;
            anyhow::Ok(done)
        },
        |done| bar.set(done),
    );
    bar.finish();
    let results: Vec<Strengthened> = results.into_iter().collect::<Result<_>>()?;
    let problems: Vec<Problem> = results.iter().map(|done| done.problem.clone()).collect();
    write(to, &problems)?;
    std::fs::remove_file(&partial).with_context(|| partial.display().to_string())?;
    let sum = |what: fn(&Strengthened) -> usize| results.iter().map(what).sum::<usize>();
    let skipped: Vec<&Strengthened> = results.iter().filter(|d| d.skipped.is_some()).collect();
    let reasons = skipped.iter().filter_map(|done| done.skipped.clone());
    // Reasons carry details of their problem; what stands before the first colon is the kind.
    let kinds = counts(reasons.map(|why| why.split(':').next().unwrap_or_default().to_owned()));
    if source.json {
        let each: Vec<Json> = results
            .iter()
            .map(|done| {
                json!({
                    "problem": done.problem.id, "before": done.before, "added": done.added, "wrong": done.wrong,
                    "killed_before": done.killed_before, "killed_after": done.killed_after, "skipped": done.skipped,
                })
            })
            .collect();
        return print_json(&json!({"results": each, "left_out": left_out_json(&loaded.left_out)}));
    }
    left_out(&loaded.left_out);
    for (why, count) in &kinds {
        crate::output::line(format_args!("{count} without further tests: {why}"));
    }
    crate::output::line(format_args!(
        "{}: {} problems, {} tests of which {} are added; of {} wrong programs the given tests kill {}, all tests {}",
        to.display(),
        results.len(),
        sum(|done| done.problem.test_count()),
        sum(|done| done.added),
        sum(|done| done.wrong),
        sum(|done| done.killed_before),
        sum(|done| done.killed_after),
    ));
    Ok(())
}

/// Solutions by problem, out of rows `{task_id, solution}` or `{task_id, completion}`.
fn solutions(path: &Path) -> Result<HashMap<String, Vec<String>>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let mut found: HashMap<String, Vec<String>> = HashMap::new();
    for (line, number) in text.lines().zip(1..) {
        if line.trim().is_empty() {
            continue;
        }
        let place = || format!("{}:{number}", path.display());
        let row: Json = serde_json::from_str(line).with_context(place)?;
        let field = |names: [&str; 2]| {
            let value = names.iter().find_map(|name| row.get(*name)?.as_str());
            value.map(str::to_owned)
        };
        let id = field(["task_id", "id"]);
        let code = field(["solution", "completion"]);
        let (Some(id), Some(code)) = (id, code) else {
            return Err(anyhow!("needs `task_id` and `solution`, both texts").context(place()));
        };
        found.entry(id).or_default().push(code);
    }
    Ok(found)
}
