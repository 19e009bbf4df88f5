//! The inputs of a problem's tests, and the validator that says which inputs the problem allows.

use gauntlet_sandbox::Value;
use serde_json::{Value as Json, json};

use super::dice::Dice;
use super::names::Names;
use super::op::{Domain, Kind};
use super::plan::Plan;

/// How many inputs a draft has.
const COUNT: usize = 13;

const WORDS: &[&str] = &[
    "apple", "ant", "level", "banana", "bob", "bread", "cat", "civic", "Cloud", "dog", "Delta",
    "door", "lamp", "little", "lion", "moon", "mom", "Maple", "pear", "pop", "plan", "rain",
    "radar", "River", "sun", "stats", "Stone", "tree", "tent", "tart", "eel", "idea", "noon",
    "oil", "x", "is", "an", "to", "WORD", "Zebra", "queen", "fish", "garden", "hello", "world",
    "python", "kayak", "jump", "under", "vase", "elephant", "mountain", "Umbrella", "keyboard",
    "notebook", "dolphin", "corner", "printer",
];

const TEXTS: &[&str] = &[
    "",
    "a",
    "Hello World",
    "racecar",
    "abc 123, xyz!",
    "the cat sat on the mat",
    "AaBbCc",
    "zebra crossing",
];

const LISTS: &[&[i64]] = &[
    &[],
    &[7],
    &[-3, -8, -1],
    &[4, 4, 2, 2, 4],
    &[0, 5, 0, -5],
    &[1, 2, 3, 4, 5, 6, 7, 8],
];

/// Arguments that the validator accepts: the edges of the kind first, then random ones, none twice.
pub(super) fn draw(plan: &Plan, dice: &mut Dice) -> Vec<Vec<Value>> {
    let source = Source {
        plan,
        domain: plan.steps[0].op.domain,
    };
    let mut drawn: Vec<Json> = Vec::new();
    // Few distinct inputs exist for some problems; more draws than wanted find most of them.
    for attempt in 0..COUNT * 4 {
        let args = source.args(attempt, dice);
        if drawn.len() < COUNT && !drawn.contains(&args) {
            drawn.push(args);
        }
    }
    drawn
        .iter()
        .map(|args| args.as_array().into_iter().flatten().map(value).collect())
        .collect()
}

fn value(json: &Json) -> Value {
    Value::from_json(json).expect("inputs are plain JSON")
}

struct Source<'a> {
    plan: &'a Plan,
    domain: Domain,
}

impl Source<'_> {
    /// The arguments of one test. The first few of each kind are its edges.
    fn args(&self, attempt: usize, dice: &mut Dice) -> Json {
        match self.plan.input() {
            Kind::Ints => json!([self.list(attempt, dice)]),
            Kind::Words => json!([self.words(attempt, dice)]),
            Kind::Text => json!([self.text(attempt, dice)]),
            Kind::Int => json!([self.int(attempt, dice)]),
            Kind::TwoLists => {
                let first = self.list(attempt, dice);
                let second = match attempt {
                    0 | 2 => self.list(attempt, dice),
                    _ => self.related(&first, dice),
                };
                json!([first, second])
            }
            Kind::TwoInts => {
                let first = self.int(attempt, dice);
                let second = match dice.below(3) {
                    0 => first / dice.between(1, 3),
                    _ => self.int(dice.below(12), dice),
                };
                json!([first, second])
            }
            Kind::ListAndInt => {
                let list = self.list(attempt, dice);
                let target = match (list.len(), dice.below(3)) {
                    (0, _) | (_, 0) => dice.between(-5, 12),
                    (n, 1) => list[dice.below(n)],
                    (n, _) => list[dice.below(n)] + list[dice.below(n)],
                };
                json!([list, target])
            }
            Kind::TwoTexts => {
                let first = self.text(attempt, dice);
                let second = match dice.below(3) {
                    0 => first.chars().rev().collect(),
                    1 => self.text(attempt + 1, dice),
                    _ => WORDS[dice.below(WORDS.len())].to_owned(),
                };
                json!([first, second])
            }
            Kind::Rows => {
                let count = if attempt < 2 { attempt } else { dice.below(5) };
                let rows: Vec<Vec<i64>> = (0..count).map(|_| self.short_list(dice)).collect();
                json!([rows])
            }
            _ => {
                let count = if attempt < 2 { attempt } else { dice.below(7) };
                let pairs = (0..count).map(|_| (self.word(dice), Json::from(dice.between(-9, 20))));
                json!([Json::Object(pairs.collect())])
            }
        }
    }

    fn list(&self, attempt: usize, dice: &mut Dice) -> Vec<i64> {
        if let Some(&list) = LISTS.get(attempt) {
            return list.to_vec();
        }
        let length = 2 + dice.below(7);
        let (low, high) = [(-20, 50), (-9, 9), (0, 12), (1, 40)][dice.below(4)];
        (0..length).map(|_| dice.between(low, high)).collect()
    }

    fn short_list(&self, dice: &mut Dice) -> Vec<i64> {
        let length = dice.below(5);
        (0..length).map(|_| dice.between(-9, 20)).collect()
    }

    /// A list that shares some of its elements with another.
    fn related(&self, other: &[i64], dice: &mut Dice) -> Vec<i64> {
        let length = 1 + dice.below(6);
        (0..length)
            .map(|_| match other.len() {
                n if n > 0 && dice.chance(50) => other[dice.below(n)],
                _ => dice.between(-9, 20),
            })
            .collect()
    }

    fn int(&self, attempt: usize, dice: &mut Dice) -> i64 {
        let (low, high) = match self.domain {
            Domain::Default => (0, 10_000),
            Domain::UpTo(limit) => (0, limit),
            Domain::Signed(limit) => (-limit, limit),
        };
        let near = dice.between(0, high.min(30));
        let far = dice.between(0, high.min(9999));
        let negative = -dice.between(1, 40);
        let edges = [0, 1, 2, 7, 10, near, far, 12, 97, 100, far, negative];
        match edges.get(attempt) {
            Some(&edge) if (low..=high).contains(&edge) => edge,
            _ if low < 0 && dice.chance(30) => negative,
            _ if dice.chance(60) => near,
            _ => far,
        }
    }

    fn words(&self, attempt: usize, dice: &mut Dice) -> Vec<String> {
        let fixed: &[&str] = match attempt {
            0 => &[],
            1 => &["level"],
            2 => &["", "a", "A", "bb"],
            3 => &["tree", "tree", "rain", "moon", "rain"],
            _ => {
                let length = 2 + dice.below(6);
                return (0..length).map(|_| self.word(dice)).collect();
            }
        };
        fixed.iter().map(|word| (*word).to_owned()).collect()
    }

    /// A word, often one that a letter of the plan matters to.
    fn word(&self, dice: &mut Dice) -> String {
        let mut params = self.plan.steps.iter().flat_map(|step| &step.params);
        let letter = params.find_map(|param| param.strip_prefix('\'')?.chars().next());
        let fitting: Vec<&str> = match letter {
            Some(letter) if dice.chance(50) => WORDS
                .iter()
                .copied()
                .filter(|word| word.starts_with(letter) || word.ends_with(letter))
                .collect(),
            _ => Vec::new(),
        };
        let words = if fitting.is_empty() { WORDS } else { &fitting };
        words[dice.below(words.len())].to_owned()
    }

    fn text(&self, attempt: usize, dice: &mut Dice) -> String {
        if let Some(text) = TEXTS.get(attempt) {
            return (*text).to_owned();
        }
        let length = 1 + dice.below(6);
        let words: Vec<String> = (0..length).map(|_| self.word(dice)).collect();
        let text = words.join(" ");
        match dice.below(8) {
            0 => text + "  1 2",
            1 => text.to_uppercase(),
            2 => text + "!",
            _ => text,
        }
    }
}

/// Python that defines `valid` for the plan's inputs. Types are exact: a bool is no int.
pub(super) fn validator(plan: &Plan, names: &Names) -> String {
    let domain = plan.steps[0].op.domain;
    let p = names.params[0];
    let u = names.params.get(1).copied().unwrap_or_default();
    let limit = match domain {
        Domain::Signed(limit) => limit,
        _ => 1_000_000,
    };
    let ints = |p: &str| {
        format!(
            "type({p}) is list and len({p}) <= 50 and all(type(x) is int and abs(x) <= {limit} for x in {p})"
        )
    };
    let int = |p: &str| match domain {
        Domain::Default => format!("type({p}) is int and 0 <= {p} <= 10000"),
        Domain::UpTo(limit) => format!("type({p}) is int and 0 <= {p} <= {limit}"),
        Domain::Signed(limit) => format!("type({p}) is int and abs({p}) <= {limit}"),
    };
    let text = |p: &str| format!("type({p}) is str and len({p}) <= 100");
    let test = match plan.input() {
        Kind::Ints => ints(p),
        Kind::Words => {
            format!(
                "type({p}) is list and len({p}) <= 50 and all(type(x) is str and len(x) <= 30 for x in {p})"
            )
        }
        Kind::Text => text(p),
        Kind::Int => int(p),
        Kind::TwoLists => format!("{} and {}", ints(p), ints(u)),
        Kind::TwoInts => format!("{} and {}", int(p), int(u)),
        Kind::ListAndInt => format!("{} and type({u}) is int and abs({u}) <= 1000000", ints(p)),
        Kind::TwoTexts => format!("{} and {}", text(p), text(u)),
        Kind::Rows => format!(
            "type({p}) is list and len({p}) <= 8 and all(type(row) is list and len(row) <= 8 \
             and all(type(x) is int and abs(x) <= {limit} for x in row) for row in {p})"
        ),
        _ => format!(
            "type({p}) is dict and len({p}) <= 50 and all(type(x) is str and len(x) <= 30 \
             and type(y) is int and abs(y) <= {limit} for x, y in {p}.items())"
        ),
    };
    format!("def valid({}):\n    return {test}", names.params.join(", "))
}
