//! Where a run's problems come from: written ones out of files, composed ones without end.
//!
//! Problems of training, validation and report never mix: written problems carry their split, compositions are split by
//! the composer.

use std::borrow::Cow;

use gauntlet_sandbox::Sandbox;

use crate::evaluation::Pool;
use crate::model::sampling::DrawKey;
use crate::problems::compose::{Composer, Pool as ComposedPool};
use crate::problems::ground::{GroundError, ground};
use crate::problems::{Draft, Problem, Split};

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
    composer: Option<Composer>,
    composed_share: f64,
    written: Vec<Problem>,
    key: DrawKey,
}

impl ProblemSource {
    /// Draws from `written` (all splits) and, with a `composer`, a share of composed problems.
    pub fn new(
        written: Vec<Problem>,
        composer: Option<Composer>,
        composed_share: f64,
        seed: u64,
    ) -> Self {
        let key = DrawKey::new(seed).with_name("problems");
        Self {
            composer,
            composed_share,
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
        let train: Vec<&Problem> = self.written(Split::Train).collect();
        if let Some(composer) = &self.composer
            && (train.is_empty() || key.uniform(0) < self.composed_share)
        {
            let offset = match purpose {
                Purpose::GeneratorWarmup => 0,
                Purpose::Game => GAME_OFFSET,
                Purpose::DiscriminatorWarmup => DISCRIMINATOR_OFFSET,
            };
            return Drawn::Composed(Box::new(
                composer.draft(ComposedPool::Train, offset + index),
            ));
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

    fn pools(
        &self,
        sandbox: &Sandbox,
        count: usize,
        composed: &[(&str, ComposedPool)],
        written: (&str, Split),
    ) -> Result<Vec<Pool>, GroundError> {
        let mut pools = Vec::new();
        if let Some(composer) = &self.composer {
            let wanted = if count == 0 { 64 } else { count } as u64;
            for (name, pool) in composed {
                let drafts = (0..wanted)
                    .map(|index| composer.draft(*pool, index))
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
