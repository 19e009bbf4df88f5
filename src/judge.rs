//! The judge: runs candidates, references and attacks in the sandbox and reports what happened, without scoring it.
//!
//! Equal work is executed once: members of a group often write the same code.

use std::collections::HashMap;

use gauntlet_sandbox::{
    CheckJob, ExecuteJob, Fault, Limits, Mode, Outcome, Program, Report, Sandbox, Test, TimeLimit,
    Value,
};

use crate::problems::Problem;
use crate::problems::schema::VALIDATOR;
use crate::rewards::{Evidence, Trial, check_attacks, novel_attacks};
use crate::rollout::{CheckedAttack, Mask, ParsedAttack};

/// What became of a piece of code on a list of tests.
#[derive(Clone, Debug)]
pub enum Judgement {
    /// The completion held no code.
    NoCode,
    /// Executed: one outcome a test.
    Ran(Report),
    /// The host failed or the wall clock struck: no statement about the code.
    Masked(Mask),
}

impl Judgement {
    /// Code that met no test.
    fn untested() -> Self {
        Judgement::Ran(Report {
            outcome: Outcome::Passed,
            tests: Vec::new(),
            fuel: None,
            wall_ms: 0.0,
        })
    }

    /// Whether every test passed.
    pub fn passed(&self) -> bool {
        matches!(self, Judgement::Ran(report) if report.outcome.passed())
    }

    /// Whether it ran and a test failed. No code fails nothing.
    pub fn failed(&self) -> bool {
        matches!(self, Judgement::Ran(report) if !report.outcome.passed())
    }

    /// Whether each test passed; empty when nothing ran.
    pub fn passes(&self) -> Vec<bool> {
        match self {
            Judgement::Ran(report) => report.tests.iter().map(|t| t.outcome.passed()).collect(),
            _ => Vec::new(),
        }
    }

    /// A word for logs: the outcome's name.
    pub fn name(&self) -> &'static str {
        match self {
            Judgement::NoCode => "NoCode",
            Judgement::Ran(report) => report.outcome.name(),
            Judgement::Masked(_) => "Masked",
        }
    }
}

/// One piece of code and the tests it is to meet.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The problem: entry point and comparison.
    pub problem: &'a Problem,
    /// The candidate's code, if it wrote any.
    pub code: Option<&'a str>,
    /// The tests.
    pub tests: &'a [Test],
}

/// The sandbox with the limits of this run.
#[derive(Clone)]
pub struct Judge {
    sandbox: Sandbox,
    limits: Limits,
}

impl Judge {
    /// A judge that applies `limits` to every call.
    pub fn new(sandbox: Sandbox, limits: Limits) -> Self {
        Self { sandbox, limits }
    }

    /// The sandbox.
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// The limits of each call.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Runs every case, equal ones once, side by side; results in the order of `cases`.
    pub fn run(&self, cases: &[Case]) -> Vec<Judgement> {
        let mut jobs: Vec<CheckJob> = Vec::new();
        let mut seen: HashMap<(&str, &str, *const Test), usize> = HashMap::new();
        let slots: Vec<Option<usize>> = cases
            .iter()
            .map(|case| {
                let code = case.code?;
                if case.tests.is_empty() {
                    return None;
                }
                let key = (case.problem.id.as_str(), code, case.tests.as_ptr());
                Some(*seen.entry(key).or_insert_with(|| {
                    jobs.push(self.job(case.problem, code, case.tests));
                    jobs.len() - 1
                }))
            })
            .collect();
        let judged: Vec<Judgement> = self
            .sandbox
            .check_many(jobs)
            .into_iter()
            .map(judgement)
            .collect();
        cases
            .iter()
            .zip(slots)
            .map(|(case, slot)| match slot {
                Some(i) => judged[i].clone(),
                None if case.code.is_none() => Judgement::NoCode,
                None => Judgement::untested(),
            })
            .collect()
    }

    fn job(&self, problem: &Problem, code: &str, tests: &[Test]) -> CheckJob {
        CheckJob {
            program: Program {
                code: code.to_owned(),
                entry_point: problem.entry_point.clone(),
            },
            tests: tests.to_vec(),
            comparison: problem.comparison,
            limits: self.limits.clone(),
            mode: Mode::Fast,
        }
    }

    /// Judges the attacks of several sets by their problem's validator and reference. The reference runs in two
    /// interpreters, in different orders, and must answer alike.
    pub fn check_attacks(
        &self,
        sets: &[(&Problem, &[Result<ParsedAttack, String>])],
    ) -> Vec<Vec<CheckedAttack>> {
        // One execution a problem covers the inputs of all its sets.
        let mut problems: Vec<(&Problem, Vec<Vec<Value>>)> = Vec::new();
        let mut novel: Vec<(usize, Vec<usize>)> = Vec::with_capacity(sets.len());
        for (problem, attacks) in sets {
            let place = problems
                .iter()
                .position(|(p, _)| p.id == problem.id)
                .unwrap_or_else(|| {
                    problems.push((problem, Vec::new()));
                    problems.len() - 1
                });
            let lines = novel_attacks(attacks, &problem.tests);
            for attack in lines.iter().filter_map(|&line| attacks[line].as_ref().ok()) {
                if !problems[place].1.contains(&attack.args) {
                    problems[place].1.push(attack.args.clone());
                }
            }
            novel.push((place, lines));
        }
        let evidence = self.evidence(&problems);
        sets.iter()
            .zip(&novel)
            .map(|((problem, attacks), (place, lines))| {
                let found = |line: &usize| {
                    let args = &attacks[*line].as_ref().expect("novel lines parse").args;
                    let at = problems[*place].1.iter().position(|input| input == args);
                    evidence[*place][at.expect("every novel input is listed")].clone()
                };
                let evidence: Vec<Evidence> = lines.iter().map(found).collect();
                check_attacks(attacks, lines, &evidence, &problem.comparison)
            })
            .collect()
    }

    /// What validator and reference say about each input of each problem.
    fn evidence(&self, problems: &[(&Problem, Vec<Vec<Value>>)]) -> Vec<Vec<Evidence>> {
        let job = |code: &str, entry_point: &str, inputs: Vec<Vec<Value>>| ExecuteJob {
            program: Program {
                code: code.to_owned(),
                entry_point: entry_point.to_owned(),
            },
            inputs,
            limits: self.limits.clone(),
            mode: Mode::Fast,
        };
        let jobs = problems
            .iter()
            .flat_map(|(problem, inputs)| {
                let reversed: Vec<Vec<Value>> = inputs.iter().rev().cloned().collect();
                [
                    job(&problem.input_validator, VALIDATOR, inputs.clone()),
                    job(&problem.reference, &problem.entry_point, inputs.clone()),
                    job(&problem.reference, &problem.entry_point, reversed),
                ]
            })
            .collect();
        let results = self.sandbox.execute_many(jobs);
        problems
            .iter()
            .zip(results.chunks(3))
            .map(|((_, inputs), runs)| match runs {
                [Ok(valid), Ok(first), Ok(second)] => {
                    let both = first.iter().zip(second.iter().rev());
                    valid
                        .iter()
                        .zip(both)
                        .map(|(valid, (a, b))| Evidence::new(valid, [a, b]))
                        .collect()
                }
                _ => vec![Evidence::HostFault; inputs.len()],
            })
            .collect()
    }
}

/// The row of the matrix that a candidate's judgements make: gold tests, pooled attacks, replayed kills.
pub fn trial(gold: &Judgement, attacks: &Judgement, replays: &Judgement) -> Result<Trial, Mask> {
    let mut rows: [Vec<Outcome>; 3] = Default::default();
    for (row, judgement) in rows.iter_mut().zip([gold, attacks, replays]) {
        match judgement {
            Judgement::Masked(mask) => return Err(*mask),
            // Fails every test; how many there were is not kept.
            Judgement::NoCode => return Ok(Trial::without_code(1, 0, 0)),
            Judgement::Ran(report) => {
                *row = report
                    .tests
                    .iter()
                    .map(|test| test.outcome.clone())
                    .collect()
            }
        }
    }
    Ok(Trial::new(&rows[0], &rows[1], &rows[2]))
}

fn judgement(result: Result<Report, Fault>) -> Judgement {
    match result {
        Err(_) => Judgement::Masked(Mask::HostFault),
        Ok(report) => {
            let wall = report.tests.iter().any(|t| {
                matches!(
                    t.outcome,
                    Outcome::Timeout {
                        limit: TimeLimit::Wall
                    }
                )
            });
            if wall {
                Judgement::Masked(Mask::WallClock)
            } else {
                Judgement::Ran(report)
            }
        }
    }
}
