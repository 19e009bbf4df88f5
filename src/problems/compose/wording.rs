//! The statement of a problem: operations as phrases, joined, in a frame.

use super::Pool;
use super::dice::{Dice, alternatives};
use super::frames::{self, Mood};
use super::names::{self, Names};
use super::op::{Area, Kind};
use super::phrase::{
    Nouns, capitalized, imperative, is_noun, third_person, with_nouns, with_params,
};
use super::plan::{Plan, Step};

/// A statement and what it was made of.
#[derive(Debug, Clone)]
pub(super) struct Wording {
    pub statement: String,
    pub names: Names,
    /// The statement gives neither a name nor a signature that could be shown with it.
    pub bare: bool,
}

/// Of 100 training problems of one and of two operations, those that are asked for without a signature.
const BARE_PERCENT: [usize; 2] = [45, 10];

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
    let writer = Writer {
        plan,
        held: pool == Pool::UnseenWordings,
        bare,
        nouns: dice.below(6),
    };
    if bare && plan.depth() == 1 {
        return writer.bare_single(pool, dice);
    }
    let given = bare.then(|| names::plain_name(plan));
    let names = Names::draw(plan, pool, given, dice);
    let frames = match () {
        () if writer.held => frames::HELD,
        () if bare => frames::BARE_PIPELINE,
        () if dice.chance(NAMELESS_PERCENT) => frames::NAMELESS,
        () => frames::NAMED,
    };
    loop {
        let frame = dice.pick(frames);
        let task = match frames::mood(frame) {
            Some(Mood::Noun) => writer.noun(&names, dice),
            Some(Mood::Third) => Some(writer.chain(&names, Mood::Third, frame, dice)),
            _ => Some(writer.chain(&names, Mood::Imperative, frame, dice)),
        };
        if let Some(task) = task {
            let statement = fill(frame, &task, &names, &writer.given(&names, dice));
            return Wording {
                statement,
                names,
                bare,
            };
        }
    }
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

/// Fills in the name of the second parameter.
fn with_second(phrase: &str, names: &Names) -> String {
    phrase.replace("{u}", names.params.get(1).unwrap_or(&""))
}

struct Writer<'a> {
    plan: &'a Plan,
    held: bool,
    bare: bool,
    /// Which nouns the statement uses throughout.
    nouns: usize,
}

impl Writer<'_> {
    /// A request as people type it: the task with its input in words, or a well-known name alone.
    fn bare_single(&self, pool: Pool, dice: &mut Dice) -> Wording {
        let step = &self.plan.steps[0];
        let (frame, name) = if dice.chance(25) && step.params.is_empty() {
            let known = names::canonical(step.op.canon, step.takes);
            (
                dice.pick(frames::CALLED),
                known[dice.below(known.len())].clone(),
            )
        } else {
            (dice.pick(frames::BARE), names::plain_name(self.plan))
        };
        let names = Names::draw(self.plan, pool, Some(name), dice);
        let task = self.ask(step, dice);
        let task = if frames::mood(frame) == Some(Mood::Third) {
            third_person(&task)
        } else {
            imperative(&task)
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

    fn nouns(&self, kind: Kind) -> Nouns {
        let choices = Nouns::of(kind);
        choices[self.nouns % choices.len()]
    }

    /// The operation alone with its input in words.
    fn ask(&self, step: &Step, dice: &mut Dice) -> String {
        let nouns = Nouns::of(step.takes)[0];
        let template = dice
            .alternative(step.op.asks)
            .replace("{a}", dice.alternative(input_words(step.takes)));
        with_nouns(&template, step, nouns)
    }

    /// The operations one after the other, as verbs.
    fn chain(&self, names: &Names, mood: Mood, frame: &str, dice: &mut Dice) -> String {
        let mut parts: Vec<String> = Vec::new();
        for (index, step) in self.plan.steps.iter().enumerate() {
            let last = index + 1 == self.plan.depth();
            let part = self.phrase(names, step, index, last, dice);
            let bent = match mood {
                Mood::Third => third_person(&part),
                _ => imperative(&part),
            };
            parts.push(bent);
        }
        // Several sentences need a frame that the task ends, and begins or follows a full stop.
        let sentences =
            mood == Mood::Imperative && (frame == "{vi}." || frame.ends_with(". {vi}."));
        join(&parts, sentences, dice)
    }

    fn phrase(
        &self,
        names: &Names,
        step: &Step,
        index: usize,
        last: bool,
        dice: &mut Dice,
    ) -> String {
        let nouns = self.nouns(step.takes);
        let alone = self.plan.depth() == 1;
        if alone && !self.held && dice.chance(50) {
            return self.ask(step, dice) + &empty_clause(step, true, dice);
        }
        let template = dice.alternative(if self.held {
            step.op.held
        } else {
            step.op.says
        });
        let mut phrase = with_second(&with_nouns(template, step, nouns), names);
        if is_noun(&phrase) {
            let verbs: &[&str] = match (last, phrase.starts_with("whether ")) {
                (true, true) => &["return", "tell", "check"],
                (true, false) => &["return", "return", "give", "find", "compute"],
                (false, _) => &["take", "find", "compute"],
            };
            phrase = format!("{} {phrase}", dice.pick(verbs));
        } else if last && index > 0 && !phrase.starts_with("check ") && dice.chance(30) {
            phrase += dice.pick(&[" and ~return the result", ", and ~return the result"]);
        }
        phrase + &empty_clause(step, last, dice)
    }

    /// The whole as one noun phrase; `None` where the operations do not nest well.
    fn noun(&self, names: &Names, dice: &mut Dice) -> Option<String> {
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
            // What trails behind its noun would seem to belong to the inner one, but for a slice of a sorted list.
            let next = plan.steps.get(index + 1);
            let sliced =
                step.op.area == Area::Sort && next.is_some_and(|next| next.op.area == Area::Slice);
            let last = next.is_none() || sliced && index + 2 == plan.depth();
            if template.starts_with("{x}") && !last || !step.op.choice.is_empty() && next.is_some()
            {
                return None;
            }
            let nouns = self.nouns(step.takes);
            let place = self.place(names, step.takes, dice);
            let (x, within) = match &inner {
                Some(inner) => (inner.clone(), format!("among {inner}")),
                None => (
                    self.elements(step.takes, &place, nouns, dice),
                    format!("in {place}"),
                ),
            };
            let bare_x = x.strip_prefix("the ").unwrap_or(&x).to_owned();
            let phrase = with_nouns(template, step, nouns)
                .replace("{x}", &x)
                .replace("{y}", &bare_x)
                .replace("{in}", &within)
                .replace("{u}", names.params.get(1).unwrap_or(&""));
            inner = Some(phrase);
        }
        let last = plan.steps.last()?;
        Some(inner? + &empty_clause(last, true, dice))
    }

    /// The input by name or in words.
    fn place(&self, names: &Names, kind: Kind, dice: &mut Dice) -> String {
        if self.bare
            || matches!(kind, Kind::TwoLists | Kind::TwoInts | Kind::TwoTexts) && dice.chance(30)
        {
            return dice.alternative(input_words(kind)).to_owned();
        }
        match names.params.as_slice() {
            [first, second] if kind != Kind::ListAndInt => format!("{first} and {second}"),
            [first, ..] => (*first).to_owned(),
            [] => String::new(),
        }
    }

    /// What an operation that looks at elements works on.
    fn elements(&self, kind: Kind, place: &str, nouns: Nouns, dice: &mut Dice) -> String {
        match kind {
            Kind::Ints | Kind::Words if dice.chance(60) => format!("the {} in {place}", nouns.many),
            _ => place.to_owned(),
        }
    }

    /// The input in words, with its names where a signature is shown too.
    fn given(&self, names: &Names, dice: &mut Dice) -> String {
        let kind = self.plan.input();
        if self.bare {
            return dice.alternative(input_words(kind)).to_owned();
        }
        let (first, second) = (names.params[0], names.params.get(1).unwrap_or(&""));
        let template = match kind {
            Kind::Ints => {
                "a list of integers {p} | a list of numbers {p} | a list {p} of integers | a list of integers"
            }
            Kind::Words => {
                "a list of words {p} | a list of strings {p} | a list {p} of words | a list of strings"
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
            Kind::Rows => {
                "a list of rows {p} | a list of lists of integers {p} | rows of numbers {p}"
            }
            _ => "a dict {p} from words to numbers | a dict {p} from strings to integers",
        };
        dice.alternative(template)
            .replace("{p}", first)
            .replace("{u}", second)
    }
}

/// The input of a request that names nothing.
fn input_words(kind: Kind) -> &'static str {
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
    if parts.len() == 1 {
        return parts[0].clone();
    }
    let last = parts.len() - 1;
    if sentences && dice.chance(35) {
        let tail: Vec<String> = parts[1..]
            .iter()
            .enumerate()
            .map(|(index, part)| match index + 1 == last && parts.len() > 2 {
                true => format!("Finally, {part}"),
                false => format!("Then {part}"),
            })
            .collect();
        return format!("{}. {}", parts[0], tail.join(". ")).replace(",.", ".");
    }
    let separators: [&str; 2] = match dice.below(5) {
        0 => [", then ", ", then "],
        1 => [", ", ", and then "],
        2 => [", ", " and "],
        3 => [", then ", " and "],
        _ => [", then ", ", and "],
    };
    let mut text = parts[0].clone();
    for (index, part) in parts.iter().enumerate().skip(1) {
        // A part that returns the result has an "and" of its own.
        let returns = part.contains(" return the result") || part.contains(" returns the result");
        let separator = if index == last && !returns {
            separators[1]
        } else {
            separators[0]
        };
        let separator = if text.ends_with(',') {
            separator.trim_start_matches(',')
        } else {
            separator
        };
        text += separator;
        text += part;
    }
    text
}

fn fill(frame: &str, task: &str, names: &Names, given: &str) -> String {
    // A task that opens a sentence opens it with a capital.
    let task = if ["{vi}", "{v3}"].iter().any(|slot| frame.starts_with(slot))
        || frame.contains(". {vi}")
    {
        capitalized(task)
    } else {
        task.to_owned()
    };
    frame
        .replace("{given}", given)
        .replace("{vi}", &task)
        .replace("{v3}", &task)
        .replace("{np}", &task)
        .replace("{call}", &names.call())
        .replace("{f}", &names.function)
}
