//! Pools several runs of one configuration (seeds) into the table of docs/results.md:
//! `cargo run --release --example results_table -- RUN_DIR...`.
//!
//! A problem's score is its mean over the runs; the interval is the bootstrap over problems of that mean.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use gauntlet::metrics::{Interval, bootstrap, mean};
use serde_json::Value;

/// Labels in the order they first came in, each with pools in theirs, each with one list of passes a run.
type Rows = Vec<(String, Vec<(String, Vec<Vec<f64>>)>)>;

fn main() -> Result<()> {
    let runs: Vec<String> = std::env::args().skip(1).collect();
    if runs.is_empty() {
        bail!("usage: results_table RUN_DIR... (each holds a metrics.jsonl)");
    }
    let mut rows = Rows::new();
    let mut scalars: BTreeMap<(String, &str), Vec<f64>> = BTreeMap::new();
    for run in &runs {
        let path = Path::new(run).join("metrics.jsonl");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("reading {}", path.display()))?;
        for (number, line) in text.lines().enumerate() {
            let line: Value = serde_json::from_str(line)
                .with_context(|| format!("{}:{}", path.display(), number + 1))?;
            let (Some(label), Some(passed)) = (line["after"].as_str(), line["passed"].as_object())
            else {
                continue;
            };
            for (pool, passes) in passed {
                let passes = passes.as_array().context("a list of passes")?;
                let passes = passes.iter().filter_map(Value::as_f64).collect();
                entry(entry(&mut rows, label), pool).push(passes);
            }
            for name in ["bank_kill_rate", "verdict_auc"] {
                if let Some(value) = line["evaluation"][name].as_f64() {
                    scalars
                        .entry((label.to_owned(), name))
                        .or_default()
                        .push(value);
                }
            }
        }
    }
    let Some((_, pools)) = rows.first() else {
        bail!("no evaluation lines in {}", runs.join(", "));
    };
    let names: Vec<&str> = pools.iter().map(|(name, _)| name.as_str()).collect();
    println!(
        "| after | {} | bank kills | verdict AUC |",
        names.join(" | ").replace('_', " ")
    );
    println!("|---|{}---|---|", "---|".repeat(names.len()));
    for (label, pools) in &rows {
        let cells: Vec<String> = pools
            .iter()
            .map(|(_, runs)| percent(pooled(runs)))
            .collect();
        let scalar = |name| match scalars.get(&(label.clone(), name)) {
            Some(values) => format!("{:.3}", mean(values)),
            None => "-".to_owned(),
        };
        let (kills, auc) = (scalar("bank_kill_rate"), scalar("verdict_auc"));
        println!("| {label} | {} | {kills} | {auc} |", cells.join(" | "));
    }
    Ok(())
}

fn entry<'a, T: Default>(list: &'a mut Vec<(String, T)>, name: &str) -> &'a mut T {
    let at = list.iter().position(|(n, _)| n == name).unwrap_or_else(|| {
        list.push((name.to_owned(), T::default()));
        list.len() - 1
    });
    &mut list[at].1
}

/// The interval over problems of each problem's mean over runs. Runs in which the host failed to judge a problem have
/// fewer values, so that problems cannot be matched; then all values count alike.
fn pooled(runs: &[Vec<f64>]) -> Interval {
    let problems = runs.first().map_or(0, Vec::len);
    if runs.iter().any(|run| run.len() != problems) {
        return bootstrap(&runs.concat());
    }
    let means: Vec<f64> = (0..problems)
        .map(|problem| mean(&runs.iter().map(|run| run[problem]).collect::<Vec<_>>()))
        .collect();
    bootstrap(&means)
}

fn percent(interval: Interval) -> String {
    let [mean, low, high] = [interval.mean, interval.low, interval.high].map(|x| 100.0 * x);
    format!("{mean:.1} [{low:.1}, {high:.1}]")
}
