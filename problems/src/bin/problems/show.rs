//! What the commands print.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::Result;
use gauntlet_problems::Problem;
use gauntlet_problems::read::{LeftOut, ProblemSet};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value as Json, json};

use super::args::Source;

/// Rows left out that are told one by one.
const TOLD: usize = 10;

/// Progress on a terminal as a bar, elsewhere as a line now and then.
pub struct Bar {
    bar: ProgressBar,
    label: &'static str,
    count: usize,
    printed: Option<Mutex<Instant>>,
}

impl Bar {
    /// Time between two lines.
    const EVERY: Duration = Duration::from_secs(15);

    /// Progress on standard error.
    pub fn new(label: &'static str, count: usize) -> Bar {
        let terminal = std::io::stderr().is_terminal();
        let bar = match terminal {
            true => ProgressBar::with_draw_target(Some(count as u64), ProgressDrawTarget::stderr()),
            false => ProgressBar::hidden(),
        };
        let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {eta}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(label);
        Bar {
            bar,
            label,
            count,
            printed: (!terminal).then(|| Mutex::new(Instant::now())),
        }
    }

    /// So many are done.
    pub fn set(&self, done: usize) {
        self.bar.set_position(done as u64);
        if let Some(Ok(mut printed)) = self.printed.as_ref().map(Mutex::lock)
            && printed.elapsed() >= Bar::EVERY
        {
            crate::output::say(format_args!("{}: {done}/{}", self.label, self.count));
            *printed = Instant::now();
        }
    }

    /// All are done.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// Writes a value to standard output as JSON.
pub fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)?;
    Ok(())
}

/// Tells the first rows that were left out, and how many there are.
pub fn left_out(rows: &[LeftOut]) {
    for row in rows.iter().take(TOLD) {
        crate::output::say(format_args!("left out: {row}"));
    }
    if rows.len() > TOLD {
        crate::output::say(format_args!("left out: {} more", rows.len() - TOLD));
    }
}

/// The rows that were left out, for machines.
pub fn left_out_json(rows: &[LeftOut]) -> Json {
    rows.iter()
        .map(|row| json!({"file": &*row.file, "row": row.row, "id": row.id, "why": row.why}))
        .collect()
}

/// How often each name comes.
pub fn counts(names: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    counts
}

/// Counts in one line.
pub fn listed(counts: &BTreeMap<String, usize>) -> String {
    let each = counts.iter().map(|(name, count)| format!("{name} {count}"));
    each.collect::<Vec<_>>().join(", ")
}

/// What `stats` keeps of a problem.
struct Summary {
    tests: usize,
    has: [bool; HAS.len()],
    names: [String; 3],
}

/// A question about a problem, with its name.
type Has = (&'static str, fn(&Problem) -> bool);

/// What a problem can have.
const HAS: [Has; 9] = [
    ("with_calls", |p| !p.tests.is_empty()),
    ("with_code_tests", |p| !p.code_tests.is_empty()),
    ("with_scripts", |p| !p.script_tests.is_empty()),
    ("with_inputs_alone", |p| {
        p.test_count() == 0 && !p.inputs.is_empty()
    }),
    ("with_reference", |p| p.reference.is_some()),
    ("with_validator", |p| p.input_validator.is_some()),
    ("with_checker", |p| p.checker.is_some()),
    ("with_trace", |p| p.trace.is_some()),
    ("with_incorrect", |p| !p.incorrect.is_empty()),
];

/// `problems stats`.
pub fn stats(source: &Source) -> Result<()> {
    let started = Instant::now();
    let set = ProblemSet::open(&source.from, &source.options())?;
    let read = started.elapsed();
    let formats: Vec<String> = set.formats().iter().map(ToString::to_string).collect();
    let (seen, rows) = set.map(|problem| Summary {
        tests: problem.test_count(),
        has: HAS.map(|(_, has)| has(&problem)),
        names: [problem.split.to_string(), problem.family, problem.licence],
    });
    let mut tests: Vec<usize> = seen.iter().map(|summary| summary.tests).collect();
    tests.sort_unstable();
    let mut told = serde_json::Map::new();
    told.insert("problems".into(), json!(seen.len()));
    told.insert("formats".into(), json!(formats));
    told.insert("tests".into(), json!(tests.iter().sum::<usize>()));
    told.insert("tests_median".into(), json!(tests.get(tests.len() / 2)));
    for (index, (name, _)) in HAS.iter().enumerate() {
        let count = seen.iter().filter(|summary| summary.has[index]).count();
        told.insert((*name).into(), json!(count));
    }
    for (index, name) in ["splits", "families", "licences"].into_iter().enumerate() {
        let names = seen.iter().map(|summary| summary.names[index].clone());
        told.insert(name.into(), json!(counts(names)));
    }
    told.insert("left_out".into(), left_out_json(&rows));
    // Reading alone; making and checking every problem comes on top.
    let seconds = (read.as_secs_f64() * 100.0).round() / 100.0;
    told.insert("seconds_to_read".into(), json!(seconds));
    if source.json {
        return print_json(&told);
    }
    left_out(&rows);
    for (name, value) in &told {
        let text = match value {
            Json::Object(counts) => {
                let each = counts.iter().map(|(name, count)| format!("{name} {count}"));
                each.collect::<Vec<_>>().join(", ")
            }
            Json::Array(rows) if name == "left_out" => rows.len().to_string(),
            Json::Array(items) => {
                let names = items.iter().filter_map(Json::as_str);
                names.collect::<Vec<_>>().join(", ")
            }
            other => other.to_string(),
        };
        crate::output::line(format_args!("{:<18} {text}", name.replace('_', " ")));
    }
    Ok(())
}
