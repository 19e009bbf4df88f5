//! pass@k of a checkpoint on a problem file.

use std::path::Path;

use anyhow::{Result, bail};
use gauntlet::cli::UsageError;
use gauntlet::evaluation::{SolveOptions, solve};
use gauntlet::judge::Judgement;
use gauntlet::metrics::{Interval, bootstrap, pass_at_k};
use gauntlet::model::sampling::DrawKey;
use gauntlet::problems::load_jsonl;
use serde::Serialize;

use crate::loaded::Loaded;

/// What a benchmark found.
#[derive(Serialize)]
pub struct Report {
    /// The problem file.
    pub file: String,
    /// Problems in it.
    pub problems: usize,
    /// Attempts at each.
    pub samples: usize,
    /// Their temperature.
    pub temperature: f64,
    /// pass@k with a 95 % interval over problems, by k.
    pub pass_at_k: Vec<PassAtK>,
    /// Share of attempts cut short by a token limit.
    pub truncated: f64,
    /// Attempts that the host failed to judge; they count nowhere.
    pub masked: usize,
    /// Right attempts of each problem, by id.
    pub right: Vec<(String, usize)>,
}

/// One k.
#[derive(Serialize)]
pub struct PassAtK {
    /// k.
    pub k: usize,
    /// Mean over problems.
    pub mean: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

/// Solves every problem of `file` as often as the largest k asks.
pub fn run(
    loaded: &Loaded,
    file: &Path,
    ks: &[usize],
    temperature: Option<f64>,
    seed: u64,
) -> Result<Report> {
    let problems = load_jsonl(file).map_err(UsageError::new)?;
    let samples = ks.iter().copied().max().unwrap_or(1);
    if ks.contains(&0) || problems.is_empty() {
        bail!(UsageError::new(
            "--benchmark needs at least one problem and every k at least 1"
        ));
    }
    let temperature = temperature.unwrap_or(if samples > 1 { 0.8 } else { 0.0 });
    let sampling = loaded.sampling(temperature);
    let options = SolveOptions {
        sampling: &sampling,
        samples,
        stages: loaded.config.written_stages(),
        key: DrawKey::new(seed).with_name("benchmark"),
    };
    let attempts = solve(&loaded.generator, &loaded.judge, &problems, &options)?;
    let masked = |judgement: &Judgement| matches!(judgement, Judgement::Masked(_));
    let counts: Vec<(usize, usize)> = attempts
        .iter()
        .map(|tries| {
            let counted = tries.iter().filter(|a| !masked(&a.judgement)).count();
            (
                counted,
                tries.iter().filter(|a| a.judgement.passed()).count(),
            )
        })
        .collect();
    let pass = |k: usize| {
        let values: Vec<f64> = counts
            .iter()
            .filter(|(n, _)| *n >= k)
            .map(|(n, right)| pass_at_k(*n, *right, k))
            .collect();
        let Interval { mean, low, high } = bootstrap(&values);
        PassAtK { k, mean, low, high }
    };
    let all = attempts.iter().flatten();
    Ok(Report {
        file: file.display().to_string(),
        problems: problems.len(),
        samples,
        temperature,
        pass_at_k: ks.iter().map(|k| pass(*k)).collect(),
        truncated: all.clone().filter(|a| a.chain.truncated()).count() as f64
            / (problems.len() * samples) as f64,
        masked: all.filter(|a| masked(&a.judgement)).count(),
        right: problems
            .iter()
            .zip(&counts)
            .map(|(problem, (_, right))| (problem.id.clone(), *right))
            .collect(),
    })
}

impl Report {
    /// The figures for a person.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{}: {} problems, {} attempts each\n",
            self.file, self.problems, self.samples
        );
        for PassAtK { k, mean, low, high } in &self.pass_at_k {
            text += &format!(
                "pass@{k}  {:.1} %  [{:.1}, {:.1}]\n",
                100.0 * mean,
                100.0 * low,
                100.0 * high
            );
        }
        text + &format!(
            "truncated {:.1} %, masked {}\n",
            100.0 * self.truncated,
            self.masked
        )
    }
}
