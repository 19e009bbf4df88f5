//! Runs candidates, references and attacks in the sandbox and says what each test said, without scoring it.
//!
//! Equal work is executed once: members of a group often write the same code.

use std::collections::HashMap;

use gauntlet_sandbox::{CheckJob, ExecuteJob, Limits, Mode, Program, Sandbox, Test, Value};

use crate::attacks::{Evidence, check_attacks, novel_attacks};
use crate::problems::Problem;
use crate::problems::schema::VALIDATOR;
use crate::results::TestRun;
use crate::rollout::{CheckedAttack, ParsedAttack};

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
pub struct Executor {
    sandbox: Sandbox,
    limits: Limits,
}

impl Executor {
    /// An executor that applies `limits` to every call.
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
    pub fn run(&self, cases: &[Case]) -> Vec<TestRun> {
        let mut jobs: Vec<CheckJob> = Vec::new();
        let mut seen: HashMap<(&str, &str, *const Test), usize> = HashMap::new();
        let of_case: Vec<Option<usize>> = cases
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
        let counts: Vec<usize> = jobs.iter().map(|job| job.tests.len()).collect();
        let reports = self.sandbox.check_many(jobs).into_iter().zip(counts);
        let runs: Vec<TestRun> = reports
            .map(|(report, tests)| TestRun::new(report, tests))
            .collect();
        cases
            .iter()
            .zip(of_case)
            .map(|(case, job)| match job {
                Some(job) => runs[job].clone(),
                None if case.code.is_none() => TestRun::without_code(case.tests.len()),
                None => TestRun::untested(),
            })
            .collect()
    }

    fn job(&self, problem: &Problem, code: &str, tests: &[Test]) -> CheckJob {
        CheckJob {
            program: problem.program(code),
            tests: tests.to_vec(),
            comparison: problem.comparison,
            limits: self.limits.clone(),
            mode: Mode::Fast,
        }
    }

    /// Checks the attacks of several sets by their problem's validator and reference. The reference runs in two
    /// interpreters, in different orders, and must answer alike.
    pub fn check_attacks(
        &self,
        sets: &[(&Problem, &[Result<ParsedAttack, String>])],
    ) -> Vec<Vec<CheckedAttack>> {
        // One execution a problem covers the inputs of all its sets.
        let mut problems: Vec<(&Problem, Vec<Vec<Value>>)> = Vec::new();
        let mut novel: Vec<(usize, Vec<usize>)> = Vec::with_capacity(sets.len());
        for (problem, attacks) in sets {
            let at = problems
                .iter()
                .position(|(p, _)| p.id == problem.id)
                .unwrap_or_else(|| {
                    problems.push((problem, Vec::new()));
                    problems.len() - 1
                });
            let lines = novel_attacks(attacks, &problem.tests);
            for attack in lines.iter().filter_map(|&line| attacks[line].as_ref().ok()) {
                if !problems[at].1.contains(&attack.args) {
                    problems[at].1.push(attack.args.clone());
                }
            }
            novel.push((at, lines));
        }
        let evidence = self.evidence(&problems);
        sets.iter()
            .zip(&novel)
            .map(|((problem, attacks), (problem_at, lines))| {
                let found = |line: &usize| {
                    let args = &attacks[*line].as_ref().expect("novel lines parse").args;
                    let at = problems[*problem_at]
                        .1
                        .iter()
                        .position(|input| input == args);
                    evidence[*problem_at][at.expect("every novel input is listed")].clone()
                };
                let evidence: Vec<Evidence> = lines.iter().map(found).collect();
                check_attacks(attacks, lines, &evidence, &problem.comparison)
            })
            .collect()
    }

    /// What validator and reference say about each input of each problem.
    fn evidence(&self, problems: &[(&Problem, Vec<Vec<Value>>)]) -> Vec<Vec<Evidence>> {
        let job = |program: Program, inputs: Vec<Vec<Value>>| ExecuteJob {
            program,
            inputs,
            limits: self.limits.clone(),
            mode: Mode::Fast,
        };
        // Without a reference nothing is known of an input; without a validator the reference takes it or does not.
        let judged = problems.iter().map(|(problem, inputs)| {
            let reference = problem.reference_program()?;
            let reversed: Vec<Vec<Value>> = inputs.iter().rev().cloned().collect();
            let mut jobs = vec![
                job(reference.clone(), inputs.clone()),
                job(reference, reversed),
            ];
            jobs.extend(problem.input_validator.as_ref().map(|code| {
                let entry_point = VALIDATOR.to_owned();
                let code = code.clone();
                job(Program { code, entry_point }, inputs.clone())
            }));
            Some(jobs)
        });
        let judged: Vec<Option<Vec<ExecuteJob>>> = judged.collect();
        let counts: Vec<usize> = judged
            .iter()
            .map(|jobs| jobs.as_ref().map_or(0, Vec::len))
            .collect();
        let jobs = judged.into_iter().flatten().flatten().collect();
        let mut results = self.sandbox.execute_many(jobs).into_iter();
        problems
            .iter()
            .zip(counts)
            .map(|((_, inputs), count)| {
                let runs: Result<Vec<_>, _> = results.by_ref().take(count).collect();
                match runs.as_deref() {
                    Ok([first, second, validator @ ..]) => (0..inputs.len())
                        .map(|at| {
                            let again = &second[inputs.len() - 1 - at];
                            let validator = validator.first().map(|runs| &runs[at]);
                            Evidence::new(validator, [&first[at], again])
                        })
                        .collect(),
                    _ => vec![Evidence::HostFault; inputs.len()],
                }
            })
            .collect()
    }
}
