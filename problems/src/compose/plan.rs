//! A plan: which operations, in which order, with which parameters.
//!
//! A walk over the table of operations, by type and by the facts of [`fact`], so that what comes out is
//! something a person would ask for: nothing is sorted to be summed, no filter repeats another.

use super::dice::{Dice, alternatives};
use super::op::{Domain, Kind, Op, Param, Place, fact};
use super::ops;
use super::splits::Share;

/// An operation with its parameters drawn.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub op: &'static Op,
    /// The kind it takes here.
    pub takes: Kind,
    /// The kind it gives here.
    pub gives: Kind,
    /// `{k}` and `{j}`, as they stand in code.
    pub params: Vec<String>,
    /// `{e}`; empty where the operation has no choice.
    pub empty: &'static str,
}

/// A pipeline of one to four operations.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub steps: Vec<Step>,
}

/// Percent of plans of depth 1, 2, 3 and 4.
const DEPTHS: [usize; 4] = [25, 40, 25, 10];

/// How often a pipeline begins with each kind.
const INPUTS: [(Kind, usize); 9] = [
    (Kind::Ints, 40),
    (Kind::Text, 18),
    (Kind::Words, 16),
    (Kind::Int, 11),
    (Kind::TwoLists, 5),
    (Kind::TwoInts, 3),
    (Kind::TwoTexts, 2),
    (Kind::Rows, 3),
    (Kind::Counts, 2),
];

/// Neighbours that make sense apart and none together.
const CLASHES: &[(&str, &str)] = &[
    ("split", "join_spaces"),
    ("characters", "concat_words"),
    ("characters", "count"),
    ("characters", "sort"),
    ("characters", "unique"),
    ("characters", "tally_words"),
    ("characters", "lengths"),
    ("running_totals", "last"),
    ("running_totals", "first"),
    ("running_max", "last"),
    ("running_max", "first"),
    ("running_max", "max"),
    ("weights", "first"),
    ("up_to", "max"),
    ("up_to", "min"),
    ("up_to", "count"),
    ("up_to", "first"),
    ("up_to", "last"),
    ("up_to", "spread"),
    ("up_to", "median"),
    ("up_to", "second_largest"),
    ("up_to", "mean"),
    ("up_to", "has_duplicates"),
    ("up_to", "tally"),
    ("up_to", "differences"),
    ("up_to", "any_even"),
    ("up_to", "all_even"),
    ("divisors", "first"),
    ("divisors", "last"),
    ("divisors", "min"),
    ("divisors", "max"),
    ("digits", "last"),
    ("lengths", "all_positive"),
    ("to_strings", "upper_each"),
    ("to_strings", "lower_each"),
    ("to_strings", "capitalize_each"),
    ("to_strings", "keep_starting"),
    ("to_strings", "keep_ending"),
    ("to_strings", "keep_containing"),
    ("initials", "longest"),
    ("initials", "shortest"),
    ("initials", "lengths"),
    ("initials", "length_table"),
    ("keep_vowels", "count_vowels"),
    ("concat", "zip_sum"),
    ("dict_keys", "keep_repeated"),
];

impl Plan {
    /// How many operations a plan of `share` is to have.
    pub(super) fn draw_depth(share: Share, dice: &mut Dice) -> usize {
        // Single operations are all in the training share.
        let shortest = if share == Share::Train { 1 } else { 2 };
        shortest + dice.weighted(&DEPTHS[shortest - 1..])
    }

    /// A plan of `depth` operations whose composition belongs to `share`.
    pub(super) fn draw(depth: usize, share: Share, dice: &mut Dice) -> Plan {
        // A walk may end where nothing fits, and its composition may belong elsewhere.
        loop {
            if let Some(plan) = walk(depth, dice)
                && Share::of(plan.ops()) == share
            {
                return plan;
            }
        }
    }

    pub(super) fn ops(&self) -> impl Iterator<Item = &'static Op> {
        self.steps.iter().map(|step| step.op)
    }

    pub(super) fn depth(&self) -> usize {
        self.steps.len()
    }

    /// The kind of the arguments.
    pub(super) fn input(&self) -> Kind {
        self.steps[0].takes
    }

    /// The kind of the result.
    pub(super) fn output(&self) -> Kind {
        self.steps[self.depth() - 1].gives
    }

    /// Whether empty input gives `None`.
    pub(super) fn may_give_none(&self) -> bool {
        self.steps[self.depth() - 1].empty == "None"
    }

    /// What the whole gives for empty input, where that is known without executing it.
    pub(super) fn on_empty(&self) -> Option<&'static str> {
        let mut value = self.input().empty()?;
        for step in &self.steps {
            // An operation says what it does with the empty value of its kind, and with no other.
            if step.takes.empty() != Some(value) {
                return None;
            }
            value = match step.op.on_empty {
                "" => return None,
                "=" => step.gives.empty()?,
                "{e}" => step.empty,
                literal => literal,
            };
        }
        Some(value)
    }
}

fn walk(depth: usize, dice: &mut Dice) -> Option<Plan> {
    let single = depth == 1;
    let mut kind = if single {
        single_kind(dice)
    } else {
        let weights: Vec<usize> = INPUTS.iter().map(|input| input.1).collect();
        INPUTS[dice.weighted(&weights)].0
    };
    let mut facts = None;
    let mut steps: Vec<Step> = Vec::with_capacity(depth);
    for position in 0..depth {
        let last = position + 1 == depth;
        let fitting: Vec<&Op> = ops::all()
            .filter(|op| fits(op, kind, facts, &steps) && (single || op.place != Place::Alone))
            .collect();
        if fitting.is_empty() {
            return None;
        }
        // In pipelines the usual operations lead by more, so that rare ones do not take most of the
        // pairs; alone, each must come often enough to be learnt.
        let power = if single { 1 } else { 2 };
        let weights: Vec<usize> = fitting.iter().map(|op| op.weight.pow(power)).collect();
        let op = fitting[dice.weighted(&weights)];
        let step = Step {
            op,
            takes: kind,
            gives: op.gives.unwrap_or(kind),
            params: op.params.iter().map(|param| value(*param, dice)).collect(),
            empty: empty_value(op, last, dice),
        };
        let before = facts.unwrap_or_else(|| initial_facts(kind, op));
        facts = Some((before & !op.clears) | op.adds);
        kind = step.gives;
        steps.push(step);
    }
    Some(Plan { steps })
}

/// For an operation alone, kinds are drawn by the operations they have, so that each comes as often.
fn single_kind(dice: &mut Dice) -> Kind {
    let all: Vec<&Op> = ops::all().collect();
    let weights: Vec<usize> = all.iter().map(|op| op.weight).collect();
    let op = all[dice.weighted(&weights)];
    op.takes[dice.below(op.takes.len())]
}

fn fits(op: &Op, kind: Kind, facts: Option<u32>, before: &[Step]) -> bool {
    let known = facts.unwrap_or_else(|| initial_facts(kind, op));
    op.takes.contains(&kind)
        && known & op.bars == 0
        && known & op.needs == op.needs
        && (op.place != Place::Start || before.is_empty())
        && before.iter().all(|step| step.op.kind != op.kind)
        && before
            .last()
            .is_none_or(|step| !CLASHES.contains(&(step.op.kind, op.kind)))
}

/// What the input's validator promises to the first operation.
fn initial_facts(kind: Kind, first: &Op) -> u32 {
    let small = |limit: i64| if limit <= 10_000 { fact::SMALL } else { 0 };
    match (first.domain, kind) {
        (Domain::Default, Kind::Int) => fact::NONNEG | fact::SMALL,
        (Domain::Default, _) => 0,
        (Domain::UpTo(limit), _) => fact::NONNEG | small(limit),
        (Domain::Signed(limit), _) => small(limit),
    }
}

fn value(param: Param, dice: &mut Dice) -> String {
    match param {
        Param::Int(low, high) => dice.between(low, high).to_string(),
        Param::Letter(letters) => {
            let letters: Vec<char> = letters.chars().collect();
            format!("'{}'", letters[dice.below(letters.len())])
        }
    }
}

/// `None` ends a pipeline, as no operation takes it.
fn empty_value(op: &Op, last: bool, dice: &mut Dice) -> &'static str {
    match alternatives(op.choice).as_slice() {
        [] => "",
        choices if last => dice.pick(choices),
        choices => choices[0],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(share: Share, count: u64) -> Vec<Plan> {
        (0..count)
            .map(|index| {
                let dice = &mut Dice::new(index, "plan");
                let depth = Plan::draw_depth(share, dice);
                Plan::draw(depth, share, dice)
            })
            .collect()
    }

    #[test]
    fn depths_come_as_often_as_they_should() {
        let mut counts = [0usize; 5];
        for plan in drawn(Share::Train, 2000) {
            counts[plan.depth()] += 1;
        }
        for (depth, percent) in DEPTHS.into_iter().enumerate() {
            let off = counts[depth + 1].abs_diff(percent * 20);
            assert!(off < 100, "depth {}: {counts:?}", depth + 1);
        }
    }

    #[test]
    fn held_out_plans_have_two_operations_or_more() {
        for plan in drawn(Share::Report, 200) {
            assert!(plan.depth() >= 2 && Share::of(plan.ops()) == Share::Report);
        }
    }

    #[test]
    fn kinds_follow_on_each_other_and_none_comes_last_only() {
        for plan in drawn(Share::Train, 2000) {
            for pair in plan.steps.windows(2) {
                assert_eq!(pair[0].gives, pair[1].takes);
                assert_ne!(pair[0].empty, "None");
            }
        }
    }
}
