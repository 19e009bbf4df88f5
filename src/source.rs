//! Where a run's problems come from: written ones out of files, composed ones without end.
//!
//! Problems of training, validation and report never mix: written problems carry their split, compositions are split by
//! the composer.

use std::borrow::Cow;

use gauntlet_sandbox::Sandbox;

use crate::problems::compose::{Composer, Pool as ComposedPool};
use crate::problems::ground::{GroundError, ground};
use crate::problems::{Draft, Problem, Split};
use crate::rng::DrawKey;

/// A named set of problems.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Name in metrics and tables.
    pub name: String,
    /// The problems.
    pub problems: Vec<Problem>,
}

/// Composed problems of the game begin here, so that none of them was part of the warm-up.
const GAME_OFFSET: u64 = 1 << 40;
/// Composed problems that teach the discriminator begin here.
const DISCRIMINATOR_OFFSET: u64 = 1 << 41;

/// What training problems are drawn for; the same index gives another problem for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Traces the generator imitates.
    GeneratorWarmup,
    /// Problems whose executed chains and tests teach the discriminator.
    DiscriminatorWarmup,
    /// The game.
    Game,
}

/// Problems to train on and to measure on.
pub struct ProblemSource {
    composers: Option<Composers>,
    composed_share: f64,
    /// How many composed problems have traces to imitate; 0 for no end of them.
    traces: u64,
    written: Vec<Problem>,
    key: DrawKey,
}

/// What composes problems to train on, and what composes those to measure on.
struct Composers {
    /// Another one for each seed.
    training: Composer,
    /// The same for every seed, so that runs are measured on the same problems.
    pools: Composer,
}

impl ProblemSource {
    /// Draws from `written` (all splits) and, where problems are `composed`, a share of composed ones, of which `traces`
    /// may be imitated (0: as many as are asked for). Training problems depend on `seed`, those to measure on do not.
    pub fn new(
        written: Vec<Problem>,
        composed: bool,
        composed_share: f64,
        traces: u64,
        seed: u64,
    ) -> Self {
        let key = DrawKey::new(seed).with_name("problems");
        Self {
            composers: composed.then(|| Composers {
                training: Composer::new(seed),
                pools: Composer::new(0),
            }),
            composed_share,
            traces,
            written,
            key,
        }
    }

    /// Written problems of one split.
    pub fn written(&self, split: Split) -> impl Iterator<Item = &Problem> {
        self.written
            .iter()
            .filter(move |problem| problem.split == split)
    }

    /// The training problem at `index`; composed ones come as drafts, without tests.
    fn draw(&self, purpose: Purpose, index: u64) -> Drawn<'_> {
        let key = self.key.with(purpose as u64).with(index);
        let mut train: Vec<&Problem> = self.written(Split::Train).collect();
        // Only traces can be imitated; a set that has none is played all the same.
        if purpose == Purpose::GeneratorWarmup && train.iter().any(|p| p.trace.is_some()) {
            train.retain(|problem| problem.trace.is_some());
        }
        if let Some(composers) = &self.composers
            && (train.is_empty() || key.uniform(0) < self.composed_share)
        {
            let composition = match purpose {
                Purpose::GeneratorWarmup if self.traces > 0 => {
                    (key.uniform(2) * self.traces as f64) as u64
                }
                Purpose::GeneratorWarmup => index,
                Purpose::Game => GAME_OFFSET + index,
                Purpose::DiscriminatorWarmup => DISCRIMINATOR_OFFSET + index,
            };
            let draft = composers.training.draft(ComposedPool::Train, composition);
            return Drawn::Composed(Box::new(draft));
        }
        Drawn::Written(train[(key.uniform(1) * train.len() as f64) as usize])
    }

    /// The training problem at `index` for imitation: statement, signature and trace, possibly without tests.
    pub fn example(&self, index: u64) -> Cow<'_, Problem> {
        match self.draw(Purpose::GeneratorWarmup, index) {
            Drawn::Composed(draft) => Cow::Owned(draft.problem),
            Drawn::Written(problem) => Cow::Borrowed(problem),
        }
    }

    /// Training problems `from..from + count` with their tests; composed ones are grounded by executing their references.
    pub fn problems(
        &self,
        sandbox: &Sandbox,
        purpose: Purpose,
        from: u64,
        count: usize,
    ) -> Result<Vec<Problem>, GroundError> {
        let drawn: Vec<Drawn> = (from..from + count as u64)
            .map(|index| self.draw(purpose, index))
            .collect();
        let drafts: Vec<Draft> = drawn
            .iter()
            .filter_map(|d| {
                if let Drawn::Composed(draft) = d {
                    Some((**draft).clone())
                } else {
                    None
                }
            })
            .collect();
        let mut grounded = ground(sandbox, drafts)?.into_iter();
        let mut problems: Vec<Problem> = Vec::with_capacity(count);
        for drawn in drawn {
            let problem = match drawn {
                Drawn::Written(problem) => problem.clone(),
                Drawn::Composed(_) => grounded.next().expect("one problem for every draft"),
            };
            // The same written problem twice in a batch would be one group in two parts.
            if !problems.iter().any(|p| p.id == problem.id) {
                problems.push(problem);
            }
        }
        Ok(problems)
    }

    /// Pools that choose `best`: composed and written validation problems, at most `count` of each (0: 64 composed ones,
    /// all written ones).
    pub fn validation(&self, sandbox: &Sandbox, count: usize) -> Result<Vec<Pool>, GroundError> {
        self.pools(
            sandbox,
            count,
            &[("validation", ComposedPool::Validation)],
            ("validation_written", Split::Validation),
        )
    }

    /// Pools that are only reported: unseen wordings, unseen compositions, unseen written problems.
    pub fn report(&self, sandbox: &Sandbox, count: usize) -> Result<Vec<Pool>, GroundError> {
        let composed = [
            ("unseen_wordings", ComposedPool::UnseenWordings),
            ("unseen_compositions", ComposedPool::UnseenCompositions),
        ];
        self.pools(sandbox, count, &composed, ("unseen_written", Split::Report))
    }

    /// The names of the pools that [`Self::validation`] and [`Self::report`] make.
    pub const POOLS: [&str; 5] = [
        "validation",
        "validation_written",
        "unseen_wordings",
        "unseen_compositions",
        "unseen_written",
    ];

    /// The pool of that name, if there are problems for it.
    pub fn pool(
        &self,
        sandbox: &Sandbox,
        name: &str,
        count: usize,
    ) -> Result<Option<Pool>, GroundError> {
        let mut pools = match name.starts_with("validation") {
            true => self.validation(sandbox, count)?,
            false => self.report(sandbox, count)?,
        };
        let at = pools.iter().position(|pool| pool.name == name);
        Ok(at.map(|at| pools.swap_remove(at)))
    }

    fn pools(
        &self,
        sandbox: &Sandbox,
        count: usize,
        composed: &[(&str, ComposedPool)],
        written: (&str, Split),
    ) -> Result<Vec<Pool>, GroundError> {
        let mut pools = Vec::new();
        if let Some(composers) = &self.composers {
            let wanted = if count == 0 { 64 } else { count } as u64;
            for (name, pool) in composed {
                let drafts = (0..wanted)
                    .map(|index| composers.pools.draft(*pool, index))
                    .collect();
                pools.push(Pool {
                    name: (*name).to_owned(),
                    problems: ground(sandbox, drafts)?,
                });
            }
        }
        let limit = if count == 0 { usize::MAX } else { count };
        let problems: Vec<Problem> = self.written(written.1).take(limit).cloned().collect();
        if !problems.is_empty() {
            pools.push(Pool {
                name: written.0.to_owned(),
                problems,
            });
        }
        Ok(pools)
    }
}

enum Drawn<'a> {
    Composed(Box<Draft>),
    Written(&'a Problem),
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn composed(traces: u64, seed: u64) -> ProblemSource {
        ProblemSource::new(Vec::new(), true, 1.0, traces, seed)
    }

    fn imitated(source: &ProblemSource) -> HashSet<String> {
        let statements = (0..400).map(|index| source.example(index).statement.clone());
        statements.collect()
    }

    fn played(source: &ProblemSource, index: u64) -> String {
        match source.draw(Purpose::Game, index) {
            Drawn::Composed(draft) => draft.problem.statement,
            Drawn::Written(problem) => problem.statement.clone(),
        }
    }

    #[test]
    fn a_limited_number_of_traces_comes_again_and_limits_nothing_else() {
        let (limited, endless) = (composed(20, 0), composed(0, 0));
        assert!((18..=20).contains(&imitated(&limited).len()));
        assert!(imitated(&endless).len() > 350);
        assert!(imitated(&limited).is_subset(&imitated(&endless)));
        assert!((0..100).all(|index| played(&limited, index) == played(&endless, index)));
    }

    #[test]
    fn seeds_train_on_different_problems_and_are_measured_on_the_same() {
        let (one, other) = (composed(0, 0), composed(0, 1));
        let shared = imitated(&one).intersection(&imitated(&other)).count();
        assert!(shared < 40, "{shared} of 400 statements are the same");
        assert!((0..20).all(|index| played(&one, index) != played(&other, index)));
        let measured = |source: &ProblemSource| -> Vec<String> {
            let pools = &source.composers.as_ref().unwrap().pools;
            let drafts = (0..20).map(|index| pools.draft(ComposedPool::Validation, index));
            drafts.map(|draft| draft.problem.statement).collect()
        };
        assert_eq!(measured(&one), measured(&other));
    }
}
