//! The five stages of a reference trace, and the code that is both its last stage and the reference.

use super::dice::{Dice, alternatives};
use super::names::Names;
use super::op::{Area, Kind};
use super::phrase::{Nouns, capitalized, with_nouns, with_second};
use super::plan::{Plan, Step};

/// Pieces (words and single marks) that a whole trace may have.
pub(super) const MAX_PIECES: usize = 125;

/// The five stages. Where they would be too long, the remark goes first, then the invariants.
pub(super) fn draw(plan: &Plan, names: &Names, dice: &mut Dice) -> [String; 5] {
    let trace = Trace { plan, names };
    let clauses = trace.clauses(dice);
    let remark = trace.remark(dice);
    let invariants = trace.invariants();
    let empty = trace.empty(dice);
    let mut stages = [
        String::new(),
        trace.structured(),
        trace.pseudocode(),
        String::new(),
        trace.code(),
    ];
    // The last invariant is the one nearest to the result, so the first to go is the first.
    for dropped in 0..=invariants.len() + 1 {
        let remark = remark.as_deref().filter(|_| dropped == 0);
        let invariants = &invariants[dropped.saturating_sub(1).min(invariants.len())..];
        stages[0] = remark.map_or_else(
            || format!("{clauses}."),
            |remark| format!("{clauses}; {remark}."),
        );
        stages[3] = trace.constraints(invariants, empty.as_deref());
        if pieces(&stages.join("\n")) <= MAX_PIECES {
            break;
        }
    }
    stages
}

/// Words and single marks: an estimate from above of what a tokenizer trained on such text makes of it,
/// where runs of marks and indents are one token.
pub(super) fn pieces(text: &str) -> usize {
    let mut count = 0;
    let mut in_word = false;
    for c in text.chars() {
        let word = c.is_alphanumeric() || c == '_';
        if word && !in_word || !word && !c.is_whitespace() {
            count += 1;
        }
        in_word = word;
    }
    count
}

struct Trace<'a> {
    plan: &'a Plan,
    names: &'a Names,
}

impl Trace<'_> {
    /// Why the steps are what they are.
    fn clauses(&self, dice: &mut Dice) -> String {
        let clauses: Vec<String> = self
            .plan
            .steps
            .iter()
            .map(|step| self.fill(dice.alternative(step.op.why), step))
            .collect();
        let text = match clauses.as_slice() {
            [a, b] => match dice.below(3) {
                0 => format!("{a}, and then {b}"),
                _ => format!("{a}, then {b}"),
            },
            [a, b, c] => match dice.below(3) {
                0 => format!("{a}, then {b}, and in the end {c}"),
                _ => format!("{a}, then {b}, and {c}"),
            },
            [a, b, c, d] => format!("{a}, then {b}, {c}, and {d}"),
            _ => clauses.concat(),
        };
        capitalized(&text)
    }

    /// A remark on two neighbours, on one operation, or on the empty case; the longer the plan, the rarer.
    fn remark(&self, dice: &mut Dice) -> Option<String> {
        if !dice.chance([75, 70, 40, 0][self.plan.depth() - 1]) {
            return None;
        }
        let mut remarks: Vec<String> = Vec::new();
        for pair in self.plan.steps.windows(2) {
            remarks.extend(
                alternatives(order_remark(&pair[0], &pair[1]))
                    .into_iter()
                    .map(|r| self.fill(r, &pair[1])),
            );
        }
        for step in &self.plan.steps {
            remarks.extend(
                alternatives(step.op.note)
                    .into_iter()
                    .map(|note| self.fill(note, step)),
            );
        }
        if let Some(value) = self.plan.on_empty() {
            let input = if self.plan.input() == Kind::Text {
                "text"
            } else {
                "list"
            };
            let input = if self.plan.input() == Kind::Counts {
                "dict"
            } else {
                input
            };
            remarks.push(format!("an empty {input} gives {value}"));
        }
        (!remarks.is_empty()).then(|| remarks.swap_remove(dice.below(remarks.len())))
    }

    /// The numbered steps.
    fn structured(&self) -> String {
        let mut lines: Vec<String> = Vec::new();
        for step in &self.plan.steps {
            for part in alternatives(step.op.step) {
                lines.push(format!("{}. {}", lines.len() + 1, self.fill(part, step)));
            }
        }
        lines.join("\n")
    }

    fn pseudocode(&self) -> String {
        let mut lines: Vec<String> = Vec::new();
        for (index, step) in self.plan.steps.iter().enumerate() {
            let parts = alternatives(step.op.arrow);
            for (part_index, part) in parts.iter().enumerate() {
                let text = self.fill(part, step);
                let whole = part_index + 1 == parts.len();
                lines.push(match (whole, index + 1 == self.plan.depth()) {
                    (true, true) => format!("return {text}"),
                    (true, false) => format!("{} <- {text}", self.variable()),
                    (false, _) => text,
                });
            }
        }
        lines.join("\n")
    }

    /// The type of the input, what holds after the steps, the empty case, the type of the result.
    fn constraints(&self, invariants: &[String], empty: Option<&str>) -> String {
        let mut parts = vec![self.input_type()];
        parts.extend_from_slice(invariants);
        parts.extend(empty.map(str::to_owned));
        parts.push(format!("returns {}", result_type(self.plan)));
        parts.join("; ")
    }

    /// The first and the last invariant: they bound the pipeline.
    fn invariants(&self) -> Vec<String> {
        let all: Vec<String> = (self.plan.steps.iter().enumerate())
            .filter(|(_, step)| !step.op.holds.is_empty())
            .map(|(index, step)| {
                let holds = self.fill(step.op.holds, step);
                match self.plan.depth() {
                    1 => format!("result: {holds}"),
                    _ => format!("after step {}: {holds}", index + 1),
                }
            })
            .collect();
        match all.as_slice() {
            [first, .., last] if all.len() > 2 => vec![first.clone(), last.clone()],
            _ => all,
        }
    }

    fn empty(&self, dice: &mut Dice) -> Option<String> {
        let value = self.plan.on_empty()?;
        dice.chance(70).then(|| format!("empty -> {value}"))
    }

    fn input_type(&self) -> String {
        let kind = self.plan.input();
        let params = self.names.params.iter();
        let typed: Vec<String> = match kind.annotations() {
            [one, other] if one == other => {
                vec![format!("{}: {one}", self.names.params.join(", "))]
            }
            types => params
                .zip(types)
                .map(|(param, kind)| format!("{param}: {kind}"))
                .collect(),
        };
        typed.join(", ")
    }

    /// One idiom an operation, one variable throughout, `return` on the last line.
    fn code(&self) -> String {
        let variable = self.variable();
        let mut lines = vec![format!("def {}:", self.names.call())];
        for (index, step) in self.plan.steps.iter().enumerate() {
            lines.extend(
                step.op
                    .lines
                    .iter()
                    .map(|line| format!("    {}", self.fill(line, step))),
            );
            let value = self.fill(step.op.expr, step);
            if index + 1 == self.plan.depth() {
                lines.push(format!("    return {value}"));
            } else if value != variable {
                lines.push(format!("    {variable} = {value}"));
            }
        }
        lines.join("\n")
    }

    fn variable(&self) -> &'static str {
        self.names.params[0]
    }

    fn fill(&self, template: &str, step: &Step) -> String {
        let text = with_nouns(template, step, Nouns::of(step.takes)[0]);
        with_second(&text, self.names).replace("{v}", self.variable())
    }
}

/// The annotation of the result.
pub(super) fn result_type(plan: &Plan) -> String {
    let annotation = plan.output().annotations()[0];
    if plan.may_give_none() {
        format!("{annotation} | None")
    } else {
        annotation.to_owned()
    }
}

/// Why the second operation comes after the first.
fn order_remark(first: &Step, second: &Step) -> &'static str {
    match (first.op.area, second.op.area) {
        (Area::Filter, Area::Slice) => {
            "the filter goes first, or dropped {n} would be taken | dropped {n} must not use up the places"
        }
        (Area::Slice, Area::Filter) => {
            "positions count before the filter | the slice does not know who stays"
        }
        (Area::Filter, Area::Filter) => "both tests must hold | either filter may drop a {one}",
        (Area::Filter, Area::Map) => "the test sees the old {n} | testing comes before changing",
        (Area::Map, Area::Filter) => {
            "the test sees the changed {n} | changing comes before testing"
        }
        (Area::Map, Area::Map) => {
            "the order of both changes matters | the second change sees the first"
        }
        (Area::Sort, Area::Slice) => {
            "sorted order makes the slice meaningful | sort before taking, not after"
        }
        (Area::Slice, Area::Sort) => {
            "the slice comes before the sort | positions are those before sorting"
        }
        (Area::Map, Area::Sort) => "the changed {n} are sorted | sort only after the change",
        (Area::Filter, Area::Sort) => {
            "fewer {n} are left to sort | filtering first keeps the sort short"
        }
        (Area::Sort, Area::Map) => "the order is that before the change",
        (Area::Filter, Area::Fold) => "dropped {n} must not reach the end | filter before folding",
        (Area::Map, Area::Fold) => "change first, fold after",
        (Area::Slice, Area::Fold) => "the rest does not count",
        (Area::Slice, Area::Map) => "only what is kept needs changing",
        (Area::Map, Area::Slice) => "changing all and then slicing is fine",
        (Area::Filter, Area::Window) => "neighbours are those after the filter",
        (Area::Window, Area::Filter) => "the test sees the combined {n}",
        (Area::Sort, Area::Window) => "neighbours are those after sorting",
        (Area::Slice, Area::Window) => "neighbours are those that were kept",
        (Area::Window, Area::Fold) => "a short list may leave no {n}",
        (Area::Filter, Area::Group) => "dropped {n} get no key",
        (Area::Map, Area::Group) => "keys come from the changed {n}",
        (Area::Slice, Area::Group) => "only kept {n} are counted",
        (Area::Text, Area::Slice) => "positions are those after the change",
        (Area::Slice, Area::Text) => "only what is kept changes",
        (Area::Text, Area::Fold) => "the change comes before the measure",
        (Area::Fold, Area::Number) => "from there on it is one number",
        (Area::Number, Area::Fold) => "one number becomes many and one again",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_words_and_single_marks() {
        assert_eq!(pieces("x_1 <- [a, b]"), 8);
        assert_eq!(pieces("  return nums"), 2);
        assert_eq!(pieces(""), 0);
    }
}
