//! The composition generator: unlimited problems made of operations, with statement, reference, inputs and
//! a five-stage trace.
//!
//! A problem is a pipeline of one to four operations (`ops`, typed) whose parameters are drawn at random. The
//! sequence of operation kinds, without parameters, is its *composition*: it stands in the problem's `tags`.
//!
//! ```text
//! plan     which operations, by type and by what makes sense     keep_even -> square -> sum
//! wording  a phrase for each, joined, in a frame                 Write a function `kite_map` that ...
//! trace    five stages; the last is the reference                def kite_map(nums): ...
//! inputs   edges and random arguments, and their validator       [[]], [[7]], [[4, 4, 2]]
//! ```
//!
//! # What is held out
//!
//! | pool | compositions | phrases and frames | function names |
//! |---|---|---|---|
//! | [`Pool::Train`] | all single operations, 76 % of the others | training | training |
//! | [`Pool::Validation`] | 12 % of those of two or more | training | training |
//! | [`Pool::UnseenCompositions`] | another 12 % | training | training |
//! | [`Pool::UnseenWordings`] | those of Train | held out, all of them | held out |
//!
//! - A composition's share is a hash of its *set* of kinds, so no reordering of a held-out composition is trained
//!   on, however worded. An operation that does the work of several (`digit_sum`) counts as those. A held-out
//!   composition can be part of a longer trained one: the whole is what is unseen. And what is unseen is the recipe:
//!   now and then another one computes the same (reverse, then the first 3; the last 3, then reverse).
//! - Each operation has two phrases, and there are eight frames, that only UnseenWordings uses; there, every phrase and
//!   the frame are held-out ones. They are made of words that training uses in other phrases (drop the *even*
//!   numbers, leave out the *odd* numbers), so the pool asks for generalisation and not for unknown words.
//!   A draft of another pool that would say a held-out phrase by chance is drawn again.
//! - A name of UnseenWordings holds at least one word that no name elsewhere has. These are the only words that
//!   training never shows.
//!
//! Some training problems are asked for as people type them, without a signature: see [`is_bare`].

mod dice;
mod frames;
mod inputs;
mod names;
mod op;
mod ops;
mod phrase;
mod plan;
mod splits;
mod task;
mod trace;
mod wording;

use self::dice::Dice;
use self::plan::Plan;
use self::splits::Share;
use self::wording::Wording;
use super::schema::{Draft, Problem, Split};

/// The tag of a problem whose prompt must not show the signature: its statement is all there is.
pub const BARE: &str = "bare";

/// The most pieces a statement has.
const MAX_STATEMENT_PIECES: usize = 48;

/// Which problems to draw; see the table of the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pool {
    /// To be trained on.
    Train,
    /// Compositions that training never shows, to choose the `best` checkpoint by.
    Validation,
    /// Trained compositions in phrases, frames and names that training never shows; to be reported.
    UnseenWordings,
    /// Compositions that neither training nor validation shows; to be reported.
    UnseenCompositions,
}

impl Pool {
    /// Every pool.
    pub const ALL: [Pool; 4] = [
        Pool::Train,
        Pool::Validation,
        Pool::UnseenWordings,
        Pool::UnseenCompositions,
    ];

    /// The pool's name in problem ids.
    pub fn name(self) -> &'static str {
        match self {
            Pool::Train => "train",
            Pool::Validation => "validation",
            Pool::UnseenWordings => "unseen_wordings",
            Pool::UnseenCompositions => "unseen_compositions",
        }
    }

    fn split(self) -> Split {
        match self {
            Pool::Train => Split::Train,
            Pool::Validation => Split::Validation,
            Pool::UnseenWordings | Pool::UnseenCompositions => Split::Report,
        }
    }
}

/// Draws problems. The draft of a pool and an index is always the same for one seed, and the shares of
/// compositions are the same for every seed.
#[derive(Debug, Clone, Copy)]
pub struct Composer {
    seed: u64,
}

impl Composer {
    /// A composer whose drafts depend on `seed`.
    pub fn new(seed: u64) -> Composer {
        Composer { seed }
    }

    /// The problem at `index` of `pool`, without its tests, and the inputs to make them of.
    pub fn draft(&self, pool: Pool, index: u64) -> Draft {
        let (plan, wording, trace) = self.compose(pool, index);
        let names = &wording.names;
        let annotations = plan.input().annotations();
        let params: Vec<String> = names
            .params
            .iter()
            .zip(annotations)
            .map(|(param, annotation)| format!("{param}: {annotation}"))
            .collect();
        let mut tags: Vec<String> = plan.ops().map(|op| op.kind.to_owned()).collect();
        if wording.bare {
            tags.push(BARE.to_owned());
        }
        let problem = Problem {
            signature: Some(format!(
                "def {}({}) -> {}",
                names.function,
                params.join(", "),
                trace::result_type(&plan)
            )),
            entry_point: Some(names.function.clone()),
            reference: Some(trace[4].clone()),
            input_validator: Some(inputs::validator(&plan, names)),
            trace: Some(trace),
            family: "compose".to_owned(),
            difficulty: Some(plan.depth() as u8),
            tags,
            split: pool.split(),
            source: "gauntlet-compose".to_owned(),
            licence: "MIT OR Apache-2.0".to_owned(),
            ..Problem::new(
                format!("compose/{}/{index}", pool.name()),
                wording.statement,
            )
        };
        let inputs = inputs::draw(&plan, &mut self.dice(pool, index, "inputs"));
        Draft { problem, inputs }
    }

    /// Redraws until statement and trace are short enough, and nothing held out is said by chance.
    fn compose(&self, pool: Pool, index: u64) -> (Plan, Wording, [String; 5]) {
        let share = Share::of_pool(pool);
        // Drawn once: redrawing it with the rest would make the deep ones, which are often too long, rare.
        let depth = Plan::draw_depth(share, &mut self.dice(pool, index, "depth"));
        for attempt in 0u32.. {
            let dice = &mut self.dice(pool, index, &attempt.to_string());
            let plan = Plan::draw(depth, share, dice);
            let bare = wording::draw_bare(&plan, pool, dice);
            let wording = wording::draw(&plan, pool, bare, dice);
            let trace = trace::draw(&plan, &wording.names, dice);
            let short = trace::pieces(&wording.statement) <= MAX_STATEMENT_PIECES
                && trace::pieces(&trace.join("\n")) <= trace::MAX_PIECES;
            // A training phrase behind a verb, or nested in another, can come out as a held-out one.
            let leaks = pool != Pool::UnseenWordings
                && wording::held_forms(&plan, &wording.names)
                    .iter()
                    .any(|(_, form)| wording.statement.to_lowercase().contains(form));
            if short && !leaks {
                return (plan, wording, trace);
            }
        }
        unreachable!("attempts do not end")
    }

    fn dice(&self, pool: Pool, index: u64, purpose: &str) -> Dice {
        Dice::new(self.seed, &format!("{}/{index}/{purpose}", pool.name()))
    }
}

/// Whether a problem's prompt must not show its signature: the statement alone asks for it, as people type it.
pub fn is_bare(problem: &Problem) -> bool {
    problem.tags.last().is_some_and(|tag| tag == BARE)
}

/// The composition of a problem: the kinds of its operations in order, such as `keep_even+square+sum`.
pub fn composition(problem: &Problem) -> String {
    let kinds: Vec<&str> = problem
        .tags
        .iter()
        .map(String::as_str)
        .filter(|tag| *tag != BARE)
        .collect();
    kinds.join("+")
}

#[cfg(test)]
mod tests;
