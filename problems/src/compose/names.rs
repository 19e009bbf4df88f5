//! Names of functions and parameters.

use super::Pool;
use super::dice::{Dice, alternatives};
use super::op::Kind;
use super::plan::Plan;

/// Words of function names that have nothing to do with the task, so that a name must be copied.
const WORDS: &[&str] = &[
    "kite", "maple", "river", "helper", "solve", "task", "run", "process", "compute", "work",
    "handle", "make", "build", "step", "apply", "answer", "result", "func", "main", "calc", "get",
    "convert", "check", "stone", "cloud", "tiger", "lemon", "pixel", "orbit", "delta", "sigma",
    "alpha", "nova", "rocket", "piano", "garden", "winter", "yellow", "bridge", "candle", "market",
    "forest", "silver", "button", "planet", "basket", "copy", "scan", "fold", "plan", "quick",
    "magic", "simple", "tool", "item", "job", "flow", "code", "test", "demo",
];

/// Words of function names that only the pool of unseen wordings has.
pub(super) const HELD_WORDS: &[&str] = &[
    "lantern", "copper", "otter", "violet", "harbor", "pebble", "falcon", "cedar", "marble",
    "thistle", "ember", "walnut", "saddle", "glacier", "anchor", "mango", "velvet", "badger",
];

/// Words in front of names made of operations.
const VERBS: &[&str] = &[
    "get", "find", "make", "do", "calc", "compute", "build", "give",
];

/// Names that a function or a parameter must not hide, and the locals of the code.
const TAKEN: &[&str] = &[
    "sum",
    "max",
    "min",
    "len",
    "sorted",
    "list",
    "dict",
    "str",
    "int",
    "abs",
    "any",
    "all",
    "range",
    "zip",
    "set",
    "chr",
    "ord",
    "bin",
    "enumerate",
    "total",
    "groups",
    "seen",
    "a",
    "b",
    "d",
    "i",
    "x",
    "row",
];

/// The names of a problem.
#[derive(Debug, Clone)]
pub(super) struct Names {
    pub function: String,
    pub params: Vec<&'static str>,
}

impl Names {
    /// `given` is the function's name where the statement settles it.
    pub(super) fn draw(plan: &Plan, pool: Pool, given: Option<String>, dice: &mut Dice) -> Names {
        let (params, function) = match given {
            Some(name) => (params(plan.input())[0], name),
            None => {
                let lists = params(plan.input());
                (lists[dice.below(lists.len())], String::new())
            }
        };
        let mut names = Names {
            function,
            params: params.to_vec(),
        };
        while names.function.is_empty() || names.clash() {
            names.function = match pool {
                Pool::UnseenWordings => held_name(dice),
                _ if dice.chance(40) => related_name(plan, dice),
                _ => random_name(dice),
            };
        }
        names
    }

    /// `kite_map(nums)`
    pub(super) fn call(&self) -> String {
        format!("{}({})", self.function, self.params.join(", "))
    }

    fn clash(&self) -> bool {
        let name = self.function.as_str();
        TAKEN.contains(&name) || self.params.contains(&name)
    }
}

/// The name that a pipeline has when nobody gives it one: the names of its operations, in order.
pub(super) fn plain_name(plan: &Plan) -> String {
    let [step] = plan.steps.as_slice() else {
        return joined(plan.ops().map(|op| alternatives(op.word)[0]));
    };
    canonical(step.op.canon, step.takes)[0].clone()
}

/// The names people give to an operation alone.
pub(super) fn canonical(canon: &str, kind: Kind) -> Vec<String> {
    let container = if kind == Kind::Text { "string" } else { "list" };
    alternatives(canon)
        .into_iter()
        .map(|name| name.replace("{t}", container))
        .collect()
}

fn related_name(plan: &Plan, dice: &mut Dice) -> String {
    let mut words: Vec<&str> = plan.ops().map(|op| dice.alternative(op.word)).collect();
    // Two or three words make a name; more make a sentence.
    while words.len() > 2 {
        words.remove(dice.below(words.len()));
    }
    if dice.chance(30) {
        words.reverse();
    }
    match dice.below(6) {
        0 => words.insert(0, dice.pick(VERBS)),
        1 => return format!("{}_{}", joined(words), dice.between(1, 99)),
        2 => words.push(dice.pick(WORDS)),
        _ if words.len() == 1 => words.push(dice.pick(WORDS)),
        _ => {}
    }
    joined(words)
}

fn random_name(dice: &mut Dice) -> String {
    let word = foreign_word(dice);
    match dice.below(6) {
        0 => format!("{word}_{}", dice.between(1, 99)),
        1 => format!("{word}{}", dice.between(1, 20)),
        2 => word,
        _ => joined([word.as_str(), &foreign_word(dice)]),
    }
}

/// A listed word or, more often, one that is made up on the spot. From a list alone a model learns to recognise names;
/// words without end can only be copied, as the names of a user must be.
fn foreign_word(dice: &mut Dice) -> String {
    const STARTS: &[&str] = &[
        "b", "c", "d", "f", "g", "h", "j", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "z",
        "br", "ch", "cl", "dr", "fl", "gr", "pl", "sh", "st", "th", "tr",
    ];
    const VOWELS: &[&str] = &["a", "e", "i", "o", "u", "ai", "ea", "ee", "io", "ou"];
    const ENDS: &[&str] = &[
        "", "", "", "l", "m", "n", "r", "s", "t", "ck", "ld", "nd", "ng", "rt",
    ];
    if dice.chance(30) {
        return dice.pick(WORDS).to_owned();
    }
    loop {
        let mut word = String::new();
        for _ in 0..dice.between(1, 3) {
            for part in [STARTS, VOWELS, ENDS] {
                word += dice.pick(part);
            }
        }
        if word.len() > 2
            && !HELD_WORDS.contains(&word.as_str())
            && !KEYWORDS.contains(&word.as_str())
        {
            return word;
        }
    }
}

/// Words of three letters and more that Python does not take as a name and that syllables can spell.
const KEYWORDS: &[&str] = &[
    "del", "for", "not", "with", "while", "raise", "class", "pass", "def",
];

fn held_name(dice: &mut Dice) -> String {
    let word = dice.pick(HELD_WORDS);
    match dice.below(5) {
        0 => format!("{word}_{}", dice.between(1, 99)),
        1 => format!("{}_{word}", dice.pick(WORDS)),
        2 => format!("{word}_{}", dice.pick(WORDS)),
        _ => joined([word, dice.pick(HELD_WORDS)]),
    }
}

/// Joins words with underscores; a word that comes twice in a row is said once.
fn joined<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let mut parts: Vec<&str> = words.into_iter().flat_map(|word| word.split('_')).collect();
    parts.dedup();
    parts.join("_")
}

/// The lists of parameters a kind may have; the first is the one to choose when none is given.
fn params(kind: Kind) -> &'static [&'static [&'static str]] {
    match kind {
        Kind::Ints => &[
            &["nums"],
            &["xs"],
            &["values"],
            &["items"],
            &["data"],
            &["seq"],
            &["arr"],
        ],
        Kind::Words => &[
            &["words"],
            &["strings"],
            &["names"],
            &["items"],
            &["tokens"],
            &["terms"],
        ],
        Kind::Text => &[
            &["s"],
            &["text"],
            &["line"],
            &["phrase"],
            &["msg"],
            &["word"],
        ],
        Kind::Int => &[&["n"], &["num"], &["m"], &["value"], &["start"]],
        Kind::TwoLists => &[
            &["xs", "ys"],
            &["first", "second"],
            &["left", "right"],
            &["nums", "others"],
        ],
        Kind::TwoInts => &[
            &["a", "b"],
            &["m", "n"],
            &["first", "second"],
            &["left", "right"],
        ],
        Kind::ListAndInt => &[
            &["nums", "target"],
            &["xs", "k"],
            &["values", "t"],
            &["items", "goal"],
        ],
        Kind::TwoTexts => &[
            &["s", "t"],
            &["first", "second"],
            &["left", "right"],
            &["text", "other"],
        ],
        Kind::Rows => &[&["rows"], &["grid"], &["matrix"], &["table"]],
        Kind::Counts => &[&["scores"], &["counts"], &["stock"], &["prices"]],
        Kind::Bool | Kind::IntCounts | Kind::Groups | Kind::ByLength => &[&["value"]],
    }
}
