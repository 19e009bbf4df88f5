//! The statement of a problem: a task in a frame.

use super::Pool;
use super::dice::{Dice, alternatives};
use super::frames::{self, Mood};
use super::names::{self, Names};
use super::op::Kind;
use super::phrase::{Nouns, capitalized, imperative, third_person, with_nouns, with_second};
use super::plan::{Plan, Step};
use super::task::{Task, asked, input_words};

/// A statement and the names it is about.
#[derive(Debug, Clone)]
pub(super) struct Wording {
    pub statement: String,
    pub names: Names,
    /// The statement gives neither a name nor a signature that could be shown with it.
    pub bare: bool,
}

/// Of 100 training problems of one and of two operations, those that are asked for without a signature.
const BARE_PERCENT: [usize; 2] = [50, 10];

/// Of 100 problems, those whose name only the signature gives.
const NAMELESS_PERCENT: usize = 20;

/// Whether the problem is to be asked for without a signature. Such a problem promises nothing about its
/// empty case, so that only `None`, where there is a choice, is a fair answer.
pub(super) fn draw_bare(plan: &Plan, pool: Pool, dice: &mut Dice) -> bool {
    let percent = BARE_PERCENT.get(plan.depth() - 1).copied().unwrap_or(0);
    let chosen = |step: &Step| step.op.choice.contains('|') && step.empty != "None";
    pool == Pool::Train && !plan.steps.iter().any(chosen) && dice.chance(percent)
}

pub(super) fn draw(plan: &Plan, pool: Pool, bare: bool, dice: &mut Dice) -> Wording {
    if bare && plan.depth() == 1 {
        return bare_single(plan, pool, dice);
    }
    let held = pool == Pool::UnseenWordings;
    let given = bare.then(|| names::plain_name(plan));
    let names = Names::draw(plan, pool, given, dice);
    let frames = match (held, bare) {
        (true, _) => frames::HELD,
        (_, true) => frames::BARE_PIPELINE,
        _ if dice.chance(NAMELESS_PERCENT) => frames::NAMELESS,
        _ => frames::NAMED,
    };
    let task = Task {
        plan,
        names: &names,
        held,
        bare,
        nouns: dice.below(6),
    };
    loop {
        let frame = dice.pick(frames);
        let words = match frames::mood(frame) {
            Some(Mood::Noun) => task.noun(dice),
            Some(mood) => Some(task.chain(mood, frame, dice)),
            None => None,
        };
        if let Some(words) = words {
            let input = input(plan.input(), &names, bare, dice);
            return Wording {
                statement: fill(frame, &words, &names, &input),
                names,
                bare,
            };
        }
    }
}

/// A request as people type it: the task with its input in words, or a well-known name alone.
fn bare_single(plan: &Plan, pool: Pool, dice: &mut Dice) -> Wording {
    let step = &plan.steps[0];
    let by_name = step.params.is_empty() && dice.chance(35);
    let (frame, name) = if by_name {
        let known = names::canonical(step.op.canon, step.takes);
        (
            dice.pick(frames::CALLED),
            known[dice.below(known.len())].clone(),
        )
    } else {
        (dice.pick(frames::BARE), names::plain_name(plan))
    };
    let names = Names::draw(plan, pool, Some(name), dice);
    let task = asked(step, dice);
    let task = match frames::mood(frame) {
        Some(Mood::Third) => third_person(&task),
        _ => imperative(&task),
    };
    let mut statement = fill(frame, &task, &names, "");
    if dice.chance(50) {
        statement.push('.');
    }
    Wording {
        statement,
        names,
        bare: true,
    }
}

/// The input in words, with its names where a signature is shown too.
fn input(kind: Kind, names: &Names, bare: bool, dice: &mut Dice) -> String {
    if bare {
        return dice.alternative(input_words(kind)).to_owned();
    }
    let template = match kind {
        Kind::Ints => {
            "a list of integers {p} | a list of numbers {p} | a list {p} of integers | a list of integers"
        }
        Kind::Words => {
            "a list of words called {p} | a list of strings called {p} | a list of words | a list of strings"
        }
        Kind::Text => "a string {p} | a text {p} | the string {p} | a string",
        Kind::Int => "a number {p} | an integer {p} | the number {p} | an integer",
        Kind::TwoLists => {
            "two lists {p} and {u} | two lists of integers {p} and {u} | two lists of numbers"
        }
        Kind::TwoInts => "two numbers {p} and {u} | two integers {p} and {u} | two numbers",
        Kind::ListAndInt => {
            "a list of integers {p} and a number {u} | a list {p} and an integer {u}"
        }
        Kind::TwoTexts => "two strings {p} and {u} | the strings {p} and {u} | two strings",
        Kind::Rows => "a list of rows {p} | a list of lists of integers {p} | rows of numbers {p}",
        _ => "a dict {p} from words to numbers | a dict {p} from strings to integers",
    };
    with_second(dice.alternative(template), names).replace("{p}", names.params[0])
}

fn fill(frame: &str, task: &str, names: &Names, input: &str) -> String {
    // A task that opens a sentence opens it with a capital.
    let task = if frame.starts_with("{vi}") || frame.contains(". {vi}") {
        capitalized(task)
    } else {
        task.to_owned()
    };
    ["{vi}", "{v3}", "{np}"]
        .iter()
        .fold(frame.replace("{given}", input), |text, slot| {
            text.replace(slot, &task)
        })
        .replace("{call}", &names.call())
        .replace("{f}", &names.function)
}

/// Every form that a held-out phrase of the plan can take, in lower case, with the kind of its operation.
pub(super) fn held_forms(plan: &Plan, names: &Names) -> Vec<(&'static str, String)> {
    let mut forms = Vec::new();
    for step in &plan.steps {
        for template in alternatives(step.op.held) {
            for nouns in Nouns::of(step.takes) {
                let phrase = with_second(&with_nouns(template, step, *nouns), names);
                forms.push((step.op.kind, imperative(&phrase).to_lowercase()));
                forms.push((step.op.kind, third_person(&phrase).to_lowercase()));
            }
        }
    }
    forms
}
