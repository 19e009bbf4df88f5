//! Expected outputs where there is no reference: what candidates that pass the given tests agree on.
//!
//! [`decide`] turns the answers of candidates to one input into an expected value, or says that it is undecided, and
//! nothing is ever scored by an undecided input. [`consensus`] asks candidates. [`error_rate`] measures how often a
//! consensus is wrong, on a problem whose reference is known.

use gauntlet_sandbox::{
    Comparison, ExecuteJob, Expected, Fault, Limits, Mode, Outcome, Sandbox, Value,
};
use serde::{Deserialize, Serialize};

use super::grade::{Solution, agree, grade_many};
use super::schema::Problem;
use super::script::{Runs, run_many};
use super::{FUEL, limits};

/// When candidates agree enough.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// Candidates that must have run, at least; fewer decide nothing.
    pub min_candidates: usize,
    /// The share of all candidates that must give the winning answer, at least.
    pub min_share: f64,
    /// By how large a share of all candidates the winner must lead the next answer, at least.
    pub min_lead: f64,
    /// What happens where two answers lead alike.
    pub ties: Ties,
    /// The share of candidates that must return a value for the input to be allowed, at least: without a validator and
    /// a reference, candidates say which inputs a problem takes.
    pub min_valid: f64,
}

/// What happens where two answers lead alike.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ties {
    /// Nothing is decided.
    #[default]
    Undecided,
    /// The answer of the first candidate among the leading ones counts.
    First,
}

impl Default for Rule {
    fn default() -> Rule {
        Rule {
            min_candidates: 3,
            min_share: 0.5,
            min_lead: 0.1,
            ties: Ties::Undecided,
            min_valid: 0.5,
        }
    }
}

impl Rule {
    /// Refuses bounds that mean nothing.
    ///
    /// # Errors
    /// Names the bound and its range.
    pub fn check(&self) -> Result<(), String> {
        let shares = [
            ("min_share", self.min_share),
            ("min_lead", self.min_lead),
            ("min_valid", self.min_valid),
        ];
        for (name, share) in shares {
            if !(0.0..=1.0).contains(&share) {
                return Err(format!("{name} is {share}; it goes from 0 to 1"));
            }
        }
        if self.min_candidates == 0 {
            return Err("min_candidates is 0; one candidate at least must have run".into());
        }
        Ok(())
    }
}

/// What candidates say about one input.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// They agree.
    Decided {
        /// What they give.
        expected: Expected,
        /// How many of them.
        votes: usize,
        /// Of how many.
        of: usize,
    },
    /// They do not agree enough. Nothing is scored by this input.
    Undecided {
        /// Why not.
        why: Undecided,
    },
}

/// Why nothing is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undecided {
    /// Fewer candidates than [`Rule::min_candidates`].
    TooFew,
    /// Too few of them return a value: the problem may not allow the input.
    NotAllowed,
    /// The leading answer has too small a share, or too small a lead.
    Split,
    /// Two answers lead alike.
    Tie,
}

/// What one candidate answered: a value, or what happened in its place.
pub type Answer = Result<Value, Outcome>;

/// What `answers` to one input of the problem agree on.
///
/// Answers are alike as the problem compares them; exceptions are alike by the name of their class. A candidate that
/// reached a limit, or gave nothing that can be compared, votes for nothing and still counts among all.
pub fn decide(rule: &Rule, comparison: &Comparison, script: bool, answers: &[Answer]) -> Decision {
    let undecided = |why| Decision::Undecided { why };
    if answers.len() < rule.min_candidates {
        return undecided(Undecided::TooFew);
    }
    let of = answers.len();
    let share = |count: usize| count as f64 / of as f64;
    let mut groups: Vec<(Expected, usize)> = Vec::new();
    let mut values = 0;
    for answer in answers {
        let vote = match answer {
            // What does not equal itself can be expected of nobody.
            Ok(value) if !agree(comparison, script, value, value) => continue,
            Ok(value) => {
                values += 1;
                Expected::Value(value.clone())
            }
            Err(Outcome::Raised { kind, .. }) if !of_the_host(kind) => {
                Expected::Raises(kind.clone())
            }
            Err(_) => continue,
        };
        let alike = |known: &Expected| match (known, &vote) {
            (Expected::Value(a), Expected::Value(b)) => agree(comparison, script, a, b),
            (Expected::Raises(a), Expected::Raises(b)) => a == b,
            _ => false,
        };
        match groups.iter_mut().find(|(known, _)| alike(known)) {
            Some((_, votes)) => *votes += 1,
            None => groups.push((vote, 1)),
        }
    }
    if share(values) < rule.min_valid {
        return undecided(Undecided::NotAllowed);
    }
    // A stable sort keeps the first candidate's answer before others with as many votes.
    groups.sort_by_key(|(_, votes)| std::cmp::Reverse(*votes));
    let mut ranked = groups.into_iter();
    let Some((expected, votes)) = ranked.next() else {
        return undecided(Undecided::Split);
    };
    let next = ranked.next().map_or(0, |(_, votes)| votes);
    if next == votes {
        return match rule.ties {
            Ties::First if share(votes) >= rule.min_share => Decision::Decided {
                expected,
                votes,
                of,
            },
            _ => undecided(Undecided::Tie),
        };
    }
    if share(votes) < rule.min_share || share(votes - next) < rule.min_lead {
        return undecided(Undecided::Split);
    }
    Decision::Decided {
        expected,
        votes,
        of,
    }
}

/// These say that the sandbox is small, which is no part of any problem.
fn of_the_host(kind: &str) -> bool {
    matches!(kind, "MemoryError" | "RecursionError")
}

/// The candidates that pass all tests the problem gives, by their places.
///
/// # Errors
/// Where the host fails, or the problem's own tests do.
pub fn passing(
    sandbox: &Sandbox,
    problem: &Problem,
    candidates: &[&str],
    limits: &Limits,
) -> Result<Vec<usize>, Fault> {
    let solutions: Vec<Solution<'_>> = candidates
        .iter()
        .map(|code| Solution { problem, code })
        .collect();
    let mut passed = Vec::new();
    for (index, report) in grade_many(sandbox, &solutions, limits, Mode::Fast)
        .into_iter()
        .enumerate()
    {
        if report?.outcome.passed() {
            passed.push(index);
        }
    }
    Ok(passed)
}

/// What each candidate answers to each input: a row an input, a column a candidate. Inputs of a script are one string.
///
/// # Errors
/// Only where the host fails.
pub fn answers(
    sandbox: &Sandbox,
    problem: &Problem,
    candidates: &[&str],
    inputs: &[Vec<Value>],
    limits: &Limits,
) -> Result<Vec<Vec<Answer>>, Fault> {
    let columns: Vec<Vec<Answer>> = if problem.is_script() {
        let stdin = |input: &Vec<Value>| match input.first() {
            Some(Value::Str(text)) => text.clone(),
            _ => String::new(),
        };
        let job = |code: &&str| Runs {
            code: problem.program(code).code,
            stdins: inputs.iter().map(stdin).collect(),
            limits: limits.clone(),
        };
        let results = run_many(sandbox, candidates.iter().map(job).collect());
        let text = |stdout: Result<String, Outcome>| stdout.map(|text| Value::from(text.as_str()));
        results
            .into_iter()
            .map(|runs| Ok(runs?.into_iter().map(|run| text(run.stdout)).collect()))
            .collect::<Result<_, Fault>>()?
    } else {
        let job = |code: &&str| ExecuteJob {
            program: problem.program(code),
            inputs: inputs.to_vec(),
            limits: limits.clone(),
            mode: Mode::Fast,
        };
        let results = sandbox.execute_many(candidates.iter().map(job).collect());
        let each = results.into_iter();
        each.map(|runs| Ok(runs?.into_iter().map(|run| run.result).collect()))
            .collect::<Result<_, Fault>>()?
    };
    let row = |index: usize| columns.iter().map(move |c| c[index].clone());
    Ok((0..inputs.len())
        .map(|index| row(index).collect())
        .collect())
}

/// What candidates that pass the problem's tests agree on, an input each.
///
/// # Errors
/// Where the host fails, or the problem's own tests do.
pub fn consensus(
    sandbox: &Sandbox,
    problem: &Problem,
    candidates: &[&str],
    inputs: &[Vec<Value>],
    rule: &Rule,
) -> Result<Vec<Decision>, Fault> {
    let limits = limits(FUEL);
    let passed = passing(sandbox, problem, candidates, &limits)?;
    let voters: Vec<&str> = passed.iter().map(|index| candidates[*index]).collect();
    if voters.len() < rule.min_candidates {
        let why = Undecided::TooFew;
        return Ok(vec![Decision::Undecided { why }; inputs.len()]);
    }
    let answers = answers(sandbox, problem, &voters, inputs, &limits)?;
    let decided = answers
        .iter()
        .map(|row| decide(rule, &problem.comparison, problem.is_script(), row));
    Ok(decided.collect())
}

/// How often a consensus is wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ConsensusErrors {
    /// Inputs asked about, on which the reference gives an answer.
    pub inputs: usize,
    /// Those decided.
    pub decided: usize,
    /// Those decided otherwise than the reference does.
    pub wrong: usize,
}

impl ConsensusErrors {
    /// The share of decided inputs that are wrong; none where nothing is decided.
    pub fn rate(&self) -> Option<f64> {
        (self.decided > 0).then(|| self.wrong as f64 / self.decided as f64)
    }

    /// The errors of two measurements together.
    pub fn and(self, other: ConsensusErrors) -> ConsensusErrors {
        ConsensusErrors {
            inputs: self.inputs + other.inputs,
            decided: self.decided + other.decided,
            wrong: self.wrong + other.wrong,
        }
    }
}

/// Compares the consensus of candidates with the problem's reference; nothing is measured without one.
///
/// # Errors
/// Where the host fails, or the problem's own tests do.
pub fn error_rate(
    sandbox: &Sandbox,
    problem: &Problem,
    candidates: &[&str],
    inputs: &[Vec<Value>],
    rule: &Rule,
) -> Result<ConsensusErrors, Fault> {
    let Some(reference) = problem.reference.as_deref() else {
        return Ok(ConsensusErrors::default());
    };
    let truth = answers(sandbox, problem, &[reference], inputs, &limits(FUEL))?;
    let decisions = consensus(sandbox, problem, candidates, inputs, rule)?;
    let mut errors = ConsensusErrors::default();
    for (truth, decision) in truth.iter().zip(&decisions) {
        let right = |expected: &Expected| match (expected, &truth[0]) {
            (Expected::Value(a), Ok(b)) => agree(&problem.comparison, problem.is_script(), b, a),
            (Expected::Raises(a), Err(Outcome::Raised { kind, .. })) => a == kind,
            _ => false,
        };
        if !matches!(truth[0], Ok(_) | Err(Outcome::Raised { .. })) {
            continue;
        }
        errors.inputs += 1;
        if let Decision::Decided { expected, .. } = decision {
            errors.decided += 1;
            errors.wrong += usize::from(!right(expected));
        }
    }
    Ok(errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raised(kind: &str) -> Answer {
        Err(Outcome::Raised {
            kind: kind.into(),
            message: String::new(),
            traceback: String::new(),
        })
    }

    /// Reads `1 1 x 2`: numbers are values, a capital letter begins an exception, `-` is a limit.
    fn told(rule: &Rule, votes: &str) -> String {
        let answer = |word: &str| match word {
            "-" => Err(Outcome::OutOfMemory),
            "nan" => Ok(Value::Float(f64::NAN)),
            word if word.starts_with(char::is_uppercase) => raised(word),
            word => Ok(Value::parse_literal(word).unwrap()),
        };
        let answers: Vec<Answer> = votes.split_whitespace().map(answer).collect();
        match decide(rule, &Comparison::Exact, false, &answers) {
            Decision::Decided {
                expected,
                votes,
                of,
            } => format!("{expected} {votes}/{of}"),
            Decision::Undecided { why } => format!("{why:?}"),
        }
    }

    #[test]
    fn a_clear_majority_decides_and_nothing_else_does() {
        let rule = Rule::default();
        for (votes, expected) in [
            ("1 1 1 2", "1 3/4"),
            ("1 1.0 1 2", "1 3/4"),
            ("1 1", "TooFew"),
            ("1 1 2 2", "Tie"),
            ("1 1 2 3 4", "Split"),
            ("1 1 1 2 2 2 2", "2 4/7"),
            ("1 1 - -", "1 2/4"),
            ("1 - - -", "NotAllowed"),
            ("1 ValueError ValueError ValueError", "NotAllowed"),
            ("1 1 ValueError ValueError", "Tie"),
            ("MemoryError MemoryError 1 1 1", "1 3/5"),
            ("nan nan nan", "NotAllowed"),
        ] {
            assert_eq!(told(&rule, votes), expected, "{votes}");
        }
        let first = Rule {
            ties: Ties::First,
            ..rule
        };
        assert_eq!(told(&first, "2 1 1 2"), "2 2/4");
        let loose = Rule {
            min_valid: 0.0,
            ..rule
        };
        assert_eq!(
            told(&loose, "1 ValueError ValueError ValueError"),
            "ValueError to be raised 3/4"
        );
        let strict = Rule {
            min_share: 0.9,
            ..rule
        };
        assert_eq!(told(&strict, "1 1 1 2"), "Split");
    }

    #[test]
    fn bounds_have_ranges() {
        assert_eq!(Rule::default().check(), Ok(()));
        let wrong = Rule {
            min_share: 1.5,
            ..Rule::default()
        };
        assert_eq!(
            wrong.check().unwrap_err(),
            "min_share is 1.5; it goes from 0 to 1"
        );
    }
}
