//! The mistake book: attacks that once killed a candidate, kept to be replayed against later ones.
//!
//! After "Code-A1" (arXiv 2603.15611): without it a policy may forget what it was once taught. One line of
//! `mistake_book.jsonl` is one [`Mistake`]; reading the file back gives the same book, in the same order.

use std::collections::VecDeque;

use gauntlet_sandbox::{Expected, Test, Value};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::attacks::same_args;
use crate::rng::DrawKey;

/// An attack and the candidate it killed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mistake {
    /// The problem's id.
    pub problem: String,
    /// The arguments of the call.
    pub args: Vec<Value>,
    /// The right answer, by the reference.
    pub expected: Value,
    /// The code it killed first.
    pub killed: String,
    /// The step it happened at.
    pub step: u64,
    /// Who wrote the attack.
    pub by: String,
}

/// A line that is no mistake.
#[derive(Debug, Error)]
#[error("mistake book, line {line}")]
pub struct MistakeBookError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub source: serde_json::Error,
}

/// Past kills, oldest first. Each input of a problem is kept once; of what exceeds the limits the oldest goes first.
#[derive(Clone, Debug, PartialEq)]
pub struct MistakeBook {
    mistakes: VecDeque<Mistake>,
    per_problem: usize,
    total: usize,
}

impl Default for MistakeBook {
    /// A book of 32 mistakes a problem and 20,000 in all.
    fn default() -> Self {
        MistakeBook::new(32, 20_000)
    }
}

impl MistakeBook {
    /// An empty book that keeps at most so many.
    pub fn new(per_problem: usize, total: usize) -> Self {
        MistakeBook {
            mistakes: VecDeque::new(),
            per_problem,
            total,
        }
    }

    /// How many mistakes it holds.
    pub fn len(&self) -> usize {
        self.mistakes.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.mistakes.is_empty()
    }

    /// Every mistake, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Mistake> {
        self.mistakes.iter()
    }

    /// The mistakes made on one problem, oldest first.
    pub fn of<'a>(&'a self, problem: &'a str) -> impl Iterator<Item = &'a Mistake> {
        self.iter()
            .filter(move |mistake| mistake.problem == problem)
    }

    /// Writes a mistake down, unless its input is in the book already. Says whether it did.
    pub fn record(&mut self, mistake: Mistake) -> bool {
        if self
            .of(&mistake.problem)
            .any(|known| same_args(&known.args, &mistake.args))
        {
            return false;
        }
        self.mistakes.push_back(mistake);
        let problem = &self.mistakes[self.len() - 1].problem;
        if self.of(problem).count() > self.per_problem {
            let oldest = self
                .mistakes
                .iter()
                .position(|known| known.problem == *problem);
            oldest.map(|oldest| self.mistakes.remove(oldest));
        }
        if self.len() > self.total {
            self.mistakes.pop_front();
        }
        true
    }

    /// At most `limit` past kills of a problem, to be run against its candidates. Which ones is drawn by `key`: the same
    /// key and book give the same tests, oldest first.
    pub fn replay(&self, problem: &str, limit: usize, key: DrawKey) -> Vec<Test> {
        let mut drawn: Vec<(u64, usize, &Mistake)> = self
            .of(problem)
            .enumerate()
            .map(|(place, mistake)| {
                let input = Value::Tuple(mistake.args.clone()).to_literal();
                (key.with_name(&input).value(), place, mistake)
            })
            .collect();
        drawn.sort_unstable_by_key(|&(draw, place, _)| (draw, place));
        drawn.truncate(limit);
        drawn.sort_by_key(|&(_, place, _)| place);
        let test = |(_, _, mistake): (_, _, &Mistake)| Test {
            args: mistake.args.clone(),
            expected: Expected::Value(mistake.expected.clone()),
            tags: Vec::new(),
        };
        drawn.into_iter().map(test).collect()
    }

    /// The book as JSONL.
    pub fn to_jsonl(&self) -> String {
        let line =
            |mistake| serde_json::to_string(mistake).expect("a mistake is plain data") + "\n";
        self.iter().map(line).collect()
    }

    /// Puts the mistakes of a JSONL text into the book, as if recorded one by one.
    pub fn read_jsonl(&mut self, text: &str) -> Result<(), MistakeBookError> {
        for (index, line) in text.lines().enumerate() {
            let mistake = serde_json::from_str(line).map_err(|source| MistakeBookError {
                line: index + 1,
                source,
            })?;
            self.record(mistake);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake(problem: &str, arg: &str, step: u64) -> Mistake {
        Mistake {
            problem: problem.into(),
            args: vec![Value::parse_literal(arg).unwrap()],
            expected: Value::None,
            killed: format!("def f(x): return {arg}"),
            step,
            by: "discriminator".into(),
        }
    }

    fn book(count: u64) -> MistakeBook {
        let mut book = MistakeBook::default();
        for step in 0..count {
            assert!(book.record(mistake("a", &step.to_string(), step)));
        }
        book
    }

    #[test]
    fn an_input_is_kept_once_a_problem() {
        let mut book = MistakeBook::default();
        for (problem, arg, kept) in [
            ("a", "1", true),
            ("a", "1", false),
            ("a", "1.0", false),
            ("a", "'1'", true),
            ("b", "1", true),
            ("a", "float('nan')", true),
            ("a", "float('nan')", false),
        ] {
            assert_eq!(
                book.record(mistake(problem, arg, 0)),
                kept,
                "{problem} {arg}"
            );
        }
        assert_eq!(book.len(), 4);
    }

    #[test]
    fn the_oldest_goes_first() {
        let mut book = MistakeBook::new(2, 3);
        for (step, (problem, arg)) in [("a", "1"), ("a", "2"), ("a", "3"), ("b", "1"), ("b", "2")]
            .into_iter()
            .enumerate()
        {
            book.record(mistake(problem, arg, step as u64));
        }
        let steps: Vec<u64> = book.iter().map(|mistake| mistake.step).collect();
        assert_eq!(steps, [2, 3, 4]);
    }

    #[test]
    fn a_replay_repeats_by_its_key_and_differs_between_keys() {
        let book = book(30);
        let replay = book.replay("a", 8, DrawKey::new(7));
        assert_eq!(replay.len(), 8);
        assert_eq!(replay, book.replay("a", 8, DrawKey::new(7)));
        assert!((0..5).any(|key| book.replay("a", 8, DrawKey::new(key)) != replay));
        let seen: std::collections::BTreeSet<String> = (0..40)
            .flat_map(|key| book.replay("a", 8, DrawKey::new(key)))
            .map(|test| test.args[0].to_literal())
            .collect();
        assert_eq!(seen.len(), 30, "every mistake comes back sooner or later");
        assert_eq!(book.replay("a", 99, DrawKey::new(0)).len(), 30);
        assert!(
            book.replay("a", 0, DrawKey::new(0)).is_empty()
                && book.replay("b", 8, DrawKey::new(0)).is_empty()
        );
    }

    #[test]
    fn the_file_gives_the_same_book_back() {
        let mut book = book(5);
        book.record(mistake("b", "(1, {'a': b'x'}, {2})", 9));
        let text = book.to_jsonl();
        assert!(text.starts_with(r#"{"problem":"a","args":[0],"expected":null,"killed":"def f(x): return 0","step":0,"by":"#));
        let mut read = MistakeBook::default();
        read.read_jsonl(&text).unwrap();
        assert_eq!(read, book);
        assert_eq!(read.to_jsonl(), text);
        assert_eq!(
            read.replay("a", 3, DrawKey::new(1)),
            book.replay("a", 3, DrawKey::new(1))
        );
    }

    #[test]
    fn broken_lines_are_named() {
        for broken in ["{}", "", "{\"problem\": ", "{\"problem\":1}", "[]"] {
            let text = format!("{}{broken}\n", book(2).to_jsonl());
            let error = MistakeBook::default().read_jsonl(&text).unwrap_err();
            assert_eq!(error.to_string(), "mistake book, line 3", "{broken}");
        }
    }
}
