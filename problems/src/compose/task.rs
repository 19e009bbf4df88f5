//! What a statement asks for: the operations of a plan as one chain of verbs, or as one noun phrase.

use super::dice::{Dice, alternatives};
use super::frames::Mood;
use super::names::Names;
use super::op::{Area, Kind};
use super::phrase::{
    Nouns, imperative, is_noun, third_person, with_nouns, with_params, with_second,
};
use super::plan::{Plan, Step};

/// A plan to be put into words.
pub(super) struct Task<'a> {
    pub plan: &'a Plan,
    pub names: &'a Names,
    /// In held-out phrases.
    pub held: bool,
    /// Without the names of parameters.
    pub bare: bool,
    /// Which nouns the statement uses throughout.
    pub nouns: usize,
}

impl Task<'_> {
    /// The operations one after the other, as verbs: "keep the even numbers, then return the sum".
    pub(super) fn chain(&self, mood: Mood, frame: &str, dice: &mut Dice) -> String {
        let parts: Vec<String> = (0..self.plan.depth())
            .map(|index| {
                let part = self.phrase(index, frame, dice);
                match mood {
                    Mood::Third => third_person(&part),
                    _ => imperative(&part),
                }
            })
            .collect();
        // Several sentences need a frame that ends in the task and in which it is a sentence already.
        let sentences =
            mood == Mood::Imperative && (frame == "{vi}." || frame.ends_with(". {vi}."));
        join(&parts, sentences, dice)
    }

    fn phrase(&self, index: usize, frame: &str, dice: &mut Dice) -> String {
        let step = &self.plan.steps[index];
        let last = index + 1 == self.plan.depth();
        let clause = empty_clause(step, last, dice);
        // A frame that gives the input would give it twice.
        if self.plan.depth() == 1 && !self.held && !frame.contains("{given}") && dice.chance(50) {
            return asked(step, dice) + &clause;
        }
        let template = self.template(step, index, dice);
        let mut phrase = with_second(
            &with_nouns(template, step, self.nouns(step.takes)),
            self.names,
        );
        if is_noun(&phrase) {
            phrase = format!("{} {phrase}", verb(&phrase, last, dice));
        } else if last && index > 0 && !phrase.starts_with("check ") && dice.chance(30) {
            phrase += dice.pick(&[" and ~return the result", ", and ~return the result"]);
        }
        phrase + &clause
    }

    /// One of the operation's phrases. The first of a chain has nothing that "it" could stand for.
    fn template(&self, step: &Step, index: usize, dice: &mut Dice) -> &'static str {
        let all = alternatives(if self.held {
            step.op.held
        } else {
            step.op.says
        });
        let clear: Vec<&str> = (all.iter().copied())
            .filter(|phrase| {
                !phrase
                    .split(' ')
                    .any(|word| ["it", "its", "them"].contains(&word))
            })
            .collect();
        dice.pick(if index == 0 && !clear.is_empty() {
            &clear
        } else {
            &all
        })
    }

    /// The whole as one noun phrase, "the sum of the even numbers in nums"; `None` where the operations
    /// do not nest well.
    pub(super) fn noun(&self, dice: &mut Dice) -> Option<String> {
        let plan = self.plan;
        if plan.depth() > 3 {
            return None;
        }
        let mut inner: Option<String> = None;
        for (index, step) in plan.steps.iter().enumerate() {
            let options = alternatives(step.op.nouns);
            if options.is_empty() {
                return None;
            }
            let template = dice.pick(&options);
            // What trails behind its noun could belong to any noun before it, unless those only choose.
            let last = index + 1 == plan.depth();
            let chosen = (plan.steps[..index].iter()).all(|step| step.op.area == Area::Filter);
            let trails = template.starts_with("{x}");
            if trails && !(last && chosen) || !step.op.choice.is_empty() && !last {
                return None;
            }
            let nouns = self.nouns(step.takes);
            let place = self.place(step.takes, dice);
            let (x, within) = match &inner {
                Some(inner) => (inner.clone(), format!("among {inner}")),
                None => (
                    elements(step.takes, &place, nouns, dice),
                    format!("in {place}"),
                ),
            };
            let phrase = with_second(&with_nouns(template, step, nouns), self.names)
                .replace("{x}", &x)
                .replace("{y}", x.strip_prefix("the ").unwrap_or(&x))
                .replace("{in}", &within);
            inner = Some(phrase);
        }
        let last = plan.steps.last()?;
        Some(inner? + &empty_clause(last, true, dice))
    }

    fn nouns(&self, kind: Kind) -> Nouns {
        let choices = Nouns::of(kind);
        choices[self.nouns % choices.len()]
    }

    /// The input by name or in words.
    fn place(&self, kind: Kind, dice: &mut Dice) -> String {
        let two = matches!(kind, Kind::TwoLists | Kind::TwoInts | Kind::TwoTexts);
        if self.bare || two && dice.chance(30) {
            return dice.alternative(input_words(kind)).to_owned();
        }
        match self.names.params.as_slice() {
            [first, second] if two => format!("{first} and {second}"),
            [first, ..] => (*first).to_owned(),
            [] => String::new(),
        }
    }
}

/// What the first operation of a noun phrase works on.
fn elements(kind: Kind, place: &str, nouns: Nouns, dice: &mut Dice) -> String {
    match kind {
        Kind::Ints | Kind::Words if dice.chance(60) => format!("the {} in {place}", nouns.many),
        _ => place.to_owned(),
    }
}

/// An operation alone, with its input in words: "reverse a string".
pub(super) fn asked(step: &Step, dice: &mut Dice) -> String {
    let template = dice
        .alternative(step.op.asks)
        .replace("{a}", dice.alternative(input_words(step.takes)));
    with_nouns(&template, step, Nouns::of(step.takes)[0])
}

/// The input of a request that names nothing.
pub(super) fn input_words(kind: Kind) -> &'static str {
    match kind {
        Kind::Ints => "a list of numbers | a list of integers | a list",
        Kind::Words => "a list of words | a list of strings",
        Kind::Text => "a string",
        Kind::Int => "a number",
        Kind::TwoLists => "two lists",
        Kind::TwoInts => "two numbers",
        Kind::ListAndInt => "a list of numbers",
        Kind::TwoTexts => "two strings",
        Kind::Rows => "a list of lists",
        _ => "a dict",
    }
}

/// How noun phrases begin that are arrived at by calculating, and not found or taken.
const COMPUTED: &[&str] = &[
    "the sum",
    "the total",
    "the product",
    "the mean",
    "the average",
    "the count",
    "the number of",
    "the length",
    "the difference",
    "the distance",
    "the digit sum",
    "the remainder",
    "the factorial",
    "the absolute",
    "the greatest common",
];

/// The verb for a noun phrase: compute the sum, take the first 3, tell whether.
fn verb(phrase: &str, last: bool, dice: &mut Dice) -> &'static str {
    if phrase.starts_with("whether ") {
        return dice.pick(&["return", "tell", "check"]);
    }
    if phrase.starts_with("how ") {
        return dice.pick(if last {
            &["return", "find", "compute"]
        } else {
            &["find", "compute"]
        });
    }
    let computed = COMPUTED.iter().any(|start| phrase.starts_with(start));
    dice.pick(match (last, computed) {
        (true, true) => &["return", "return", "give", "find", "compute"],
        (true, false) => &["return", "return", "give", "find"],
        (false, true) => &["take", "find", "compute"],
        (false, false) => &["take", "find"],
    })
}

/// What comes out of emptiness, said where the operation has a choice.
fn empty_clause(step: &Step, last: bool, dice: &mut Dice) -> String {
    if step.empty.is_empty() {
        return String::new();
    }
    // What asks for more than one element lacks its answer not only when it gets nothing.
    let template = match (step.op.on_empty.is_empty(), last) {
        (false, true) => {
            ", or {e} if there is none | , or {e} if empty | , {e} if the list is empty | , {e} if none"
        }
        (true, true) => ", or {e} if there is none | , {e} if there is none | , or {e} if none",
        (_, false) => "({e} if none) | , {e} if there is none, | , {e} if none,",
    };
    let clause = with_params(dice.alternative(template), step);
    // Alternatives are trimmed; a clause that opens with a comma needs no space before it.
    if clause.starts_with(',') {
        clause
    } else {
        format!(" {clause}")
    }
}

/// Joins the parts of a chain. A part that ends in a comma brings its own.
fn join(parts: &[String], sentences: bool, dice: &mut Dice) -> String {
    let last = parts.len() - 1;
    if sentences && last > 0 && dice.chance(35) {
        return in_sentences(parts);
    }
    let [middle, end] = dice.pick(&[
        &[", then ", ", then "],
        &[", ", ", and then "],
        &[", ", " and "],
        &[", then ", " and "],
        &[", then ", ", and "],
    ]);
    let mut text = parts[0].clone();
    for (index, part) in parts.iter().enumerate().skip(1) {
        // A part that returns the result has an "and" of its own.
        let returns = part.contains(" return the result") || part.contains(" returns the result");
        let separator = if index == last && !returns {
            end
        } else {
            middle
        };
        text += match text.ends_with(',') {
            true => separator.trim_start_matches(','),
            false => separator,
        };
        text += part;
    }
    text
}

fn in_sentences(parts: &[String]) -> String {
    let last = parts.len() - 1;
    let mut text = parts[0].clone();
    for (index, part) in parts.iter().enumerate().skip(1) {
        text.truncate(text.trim_end_matches(',').len());
        text += if index == last && last > 1 {
            ". Finally, "
        } else {
            ". Then "
        };
        text += part;
    }
    text
}
