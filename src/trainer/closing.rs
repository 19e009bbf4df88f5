//! What is measured once, after everything: whether the stages matter, what verdicts and blind tests are worth for choosing, and how far a
//! baseline without understanding gets.

use serde_json::json;

use crate::evaluation::probes::{best_of, swapped_stages};
use crate::evaluation::retrieval::Retriever;
use crate::evaluation::{Pool, SolveOptions, score, solve};
use crate::metrics::bootstrap;
use crate::warmup::own_step;

use super::TrainError;
use super::measure::attack_options;
use super::players::Pair;
use super::session::Session;
use super::summary::ClosingRow;

/// Training problems that the retrieval baseline knows at most: the first of the warm-up.
const MOST_RETRIEVED: u64 = 50_000;

impl Session<'_> {
    /// Measures the final policy on every pool: alone, with another problem's stages, and, on the first validation pool,
    /// the best of `evaluation.best_of` samples by verdict, by blind tests and by agreement; beside them nearest-neighbour retrieval.
    pub(super) fn close(&mut self) -> Result<(), TrainError> {
        let evaluation = self.config.evaluation.clone();
        if !evaluation.closing {
            return Ok(());
        }
        self.observer.note("closing measurements");
        let stages = self.config.written_stages();
        let sampling = self.sampling(evaluation.temperature);
        let key = self.key.with_name("closing");
        let warmup = &self.config.warmup;
        let best = self.best().generator;
        let (generator, judge) = (&self.roster.generators[best].policy, &self.judge);
        let seen = (warmup.generator_steps * warmup.batch_size as u64).min(MOST_RETRIEVED);
        let first = own_step(best, 0) * warmup.batch_size as u64;
        let examples = (first..first + seen).map(|index| self.source.example(index));
        let retriever = Retriever::new(examples);
        let mut alone = ClosingRow::new("pass@1");
        let mut swapped = ClosingRow::new("stages of another problem");
        let mut retrieved = ClosingRow::new("nearest training solution");
        for pool in self.validation.iter().chain(&self.report) {
            let attempts = self.attempts(generator, pool, usize::MAX)?;
            alone.add(&pool.name, bootstrap(&score(&pool.name, &attempts).passed));
            if stages.len() > 1 {
                let passed =
                    swapped_stages(generator, judge, &pool.problems, &attempts, &sampling, key)?;
                swapped.add(&pool.name, bootstrap(&passed));
            }
            if seen > 0 {
                let passed = retriever.solve(judge, &pool.problems);
                retrieved.add(&pool.name, bootstrap(&passed));
            }
        }
        let mut rows = vec![alone, swapped, retrieved];
        if let Some(pool) = self
            .validation
            .first()
            .filter(|_| self.config.game.adversary)
        {
            rows.extend(self.choose_blindly(pool, evaluation.best_of)?);
        }
        rows.retain(|row| !row.pools.is_empty());
        let line = json!({"step": self.state.step, "after": "everything", "closing": rows});
        self.log_metrics(&line)?;
        self.summary.closing = rows;
        Ok(())
    }

    fn choose_blindly(&self, pool: &Pool, samples: usize) -> Result<Vec<ClosingRow>, TrainError> {
        let sampling = self.sampling(self.config.sampling.temperature);
        let options = SolveOptions {
            sampling: &sampling,
            samples,
            stages: self.config.written_stages(),
            key: self.key.with_name("best of"),
        };
        let Pair {
            generator,
            discriminator,
        } = self.best();
        let generator = &self.roster.generators[generator].policy;
        let attempts = solve(generator, &self.judge, &pool.problems, &options)?;
        let best = best_of(
            &attempts,
            &self.roster.discriminators[discriminator].policy,
            &self.judge,
            &pool.problems,
            &attack_options(&self.config),
            options.key,
        )?;
        let row = |label: String, values: &[f64]| {
            let mut row = ClosingRow::new(&label);
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
}
