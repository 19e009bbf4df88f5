//! What is measured once, after everything: whether the stages matter, what verdicts and blind tests are worth for
//! choosing, and how far a baseline without understanding gets.

use crate::metrics::bootstrap;
use crate::players::{Pair, Roster};
use crate::source::ProblemSource;

use super::attacks::AttackOptions;
use super::harness::{Harness, Stopped};
use super::probes::{best_of, swapped_stages};
use super::retrieval::Retriever;
use super::summary::FinalRow;
use super::{Pool, SolveOptions, score, solve};

/// Training problems that the retrieval baseline knows at most: the first of the warm-up.
const MOST_RETRIEVED: u64 = 50_000;

/// Measures the best players on every pool: alone, with another problem's stages, and, on the first validation pool, the
/// best of `evaluation.best_of` samples by verdict, by blind tests and by agreement; beside them nearest-neighbour
/// retrieval among the training problems that begin at `first_example`.
pub fn final_eval(
    harness: &Harness,
    roster: &Roster,
    best: Pair,
    source: &ProblemSource,
    first_example: u64,
) -> Result<Vec<FinalRow>, Stopped> {
    let (evaluation, warmup) = (&harness.config.evaluation, &harness.config.warmup);
    let stages = harness.config.written_stages();
    let sampling = harness.sampling(evaluation.temperature);
    let key = harness.key.with_name("closing");
    let (generator, executor) = (&roster.generators[best.generator].policy, harness.executor);
    let seen = (warmup.generator_steps * warmup.batch_size as u64).min(MOST_RETRIEVED);
    let examples = (first_example..first_example + seen).map(|index| source.example(index));
    let retriever = Retriever::new(examples);
    let mut alone = FinalRow::new("pass@1");
    let mut swapped = FinalRow::new("stages of another problem");
    let mut retrieved = FinalRow::new("nearest training solution");
    for pool in harness.validation.iter().chain(harness.report) {
        let attempts = harness.attempts(generator, pool, usize::MAX)?;
        alone.add(&pool.name, bootstrap(&score(&pool.name, &attempts).passed));
        let problems = &pool.problems;
        if stages.len() > 1 {
            let passed = swapped_stages(generator, executor, problems, &attempts, &sampling, key)?;
            swapped.add(&pool.name, bootstrap(&passed));
        }
        if seen > 0 {
            let passed = retriever.solve(executor, problems);
            retrieved.add(&pool.name, bootstrap(&passed));
        }
    }
    let mut rows = vec![alone, swapped, retrieved];
    let pool = harness.validation.first();
    if let Some(pool) = pool.filter(|_| harness.config.game.adversary) {
        rows.extend(choose_blindly(harness, roster, best, pool)?);
    }
    rows.retain(|row| !row.pools.is_empty());
    Ok(rows)
}

fn choose_blindly(
    harness: &Harness,
    roster: &Roster,
    best: Pair,
    pool: &Pool,
) -> Result<Vec<FinalRow>, Stopped> {
    let config = harness.config;
    let samples = config.evaluation.best_of;
    let sampling = harness.sampling(config.sampling.temperature);
    let options = SolveOptions {
        sampling: &sampling,
        samples,
        stages: config.written_stages(),
        key: harness.key.with_name("best of"),
    };
    let generator = &roster.generators[best.generator].policy;
    let attempts = solve(generator, harness.executor, &pool.problems, &options)?;
    let best = best_of(
        &attempts,
        &roster.discriminators[best.discriminator].policy,
        harness.executor,
        &pool.problems,
        &AttackOptions::of(config),
        options.key,
    )?;
    let row = |label: String, values: &[f64]| {
        let mut row = FinalRow::new(&label);
        row.add(&pool.name, bootstrap(values));
        row
    };
    Ok(vec![
        row(format!("mean of {samples} samples"), &best.mean),
        row(format!("best of {samples} by verdict"), &best.by_verdict),
        row(format!("best of {samples} by blind tests"), &best.by_tests),
        row(
            format!("best of {samples} by agreement of answers"),
            &best.by_answers,
        ),
        row(format!("any of {samples}"), &best.any),
        row("verdict AUC within a problem".into(), &best.ordered),
    ])
}
