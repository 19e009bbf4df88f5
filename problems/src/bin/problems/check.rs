//! `problems check`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use gauntlet_problems::each::{Journal, each, key};
use gauntlet_problems::examine::{Examination, Found, Wrong, examine};
use gauntlet_problems::similar::groups;
use serde_json::json;

use super::args::Source;
use super::show::{Bar, left_out, left_out_json, listed, print_json};
use super::{load, sandbox};

/// Tells everything that is wrong; false where there is anything.
pub fn run(source: &Source, resume: Option<&Path>, no_run: bool) -> Result<bool> {
    let loaded = load(source)?;
    let problems = &loaded.problems;
    let mut examined: Vec<Examination> = match no_run {
        true => problems
            .iter()
            .map(|problem| Examination {
                problem: problem.id.clone(),
                tests: problem.test_count(),
                ..Examination::default()
            })
            .collect(),
        false => {
            let sandbox = sandbox()?;
            let journal = match resume {
                Some(path) => Journal::open(path).with_context(|| path.display().to_string())?,
                None => Journal::none(),
            };
            let bar = Bar::new("checking", problems.len());
            let results = each(
                problems,
                |problem| {
                    let text = serde_json::to_string(problem)?;
                    let key = key(&problem.id, &["check", &text]);
                    if let Some(known) = journal.get(&key) {
                        return Ok(serde_json::from_value(known.clone())?);
                    }
                    let seen = examine(&sandbox, problem)?;
                    journal.keep(&key, &seen)?;
                    anyhow::Ok(seen)
                },
                |done| bar.set(done),
            );
            bar.finish();
            results.into_iter().collect::<Result<_>>()?
        }
    };
    for (index, first) in groups(problems).into_iter().enumerate() {
        if first != index {
            examined[index].found.push(Found {
                what: Wrong::Duplicate,
                detail: format!("says nearly the same as {:?}", problems[first].id),
            });
        }
    }
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for found in examined.iter().flat_map(|seen| &seen.found) {
        let name = serde_json::to_value(found.what)?;
        *counts
            .entry(name.as_str().unwrap_or_default().to_owned())
            .or_default() += 1;
    }
    let total = |what: fn(&Examination) -> usize| examined.iter().map(what).sum::<usize>();
    let (told_apart, killed) = (total(|seen| seen.told_apart), total(|seen| seen.killed));
    let good = counts.is_empty() && loaded.left_out.is_empty();
    if source.json {
        print_json(&json!({
            "problems": problems.len(), "tests": total(|seen| seen.tests), "wrong_programs": told_apart, "killed": killed,
            "found": counts, "examined": examined, "left_out": left_out_json(&loaded.left_out),
        }))?;
        return Ok(good);
    }
    left_out(&loaded.left_out);
    for seen in &examined {
        for found in &seen.found {
            let what = serde_json::to_value(found.what)?;
            let what = what.as_str().unwrap_or_default().replace('_', " ");
            crate::output::line(format_args!("{}: {what}: {}", seen.problem, found.detail));
        }
    }
    crate::output::line(format_args!(
        "{} problems, {} tests; they kill {killed} of {told_apart} wrong programs",
        problems.len(),
        total(|seen| seen.tests)
    ));
    crate::output::line(format_args!(
        "found: {}; left out: {}",
        if counts.is_empty() {
            "nothing".to_owned()
        } else {
            listed(&counts)
        },
        loaded.left_out.len()
    ));
    Ok(good)
}
