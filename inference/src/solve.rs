//! One problem: candidates, tests, ranking.

use std::time::Instant;

use anyhow::{Result, bail};
use gauntlet::cli::UsageError;
use gauntlet::evaluation::ranking::{
    BLIND_SETS, answer_agreement, as_written, blind_tests, dual_agreement, keep_new,
};
use gauntlet::extract::{Wanted, entry_point};
use gauntlet::generator::ChainStart;
use gauntlet::problems::signature::Signature;
use gauntlet::rng::DrawKey;
use gauntlet::rollout::{Chain, ParsedAttack};
use gauntlet::stage::Stage;
use gauntlet_sandbox::{CheckJob, Comparison, Mode, Outcome, Program, Test, Value};

use crate::live::LiveStage;
use crate::loaded::Loaded;
use crate::progress::Progress;
use crate::results::{CandidateResult, CheckpointInfo, Results, TestKind, TestResult, Timing};

/// How a problem is solved.
pub struct Options {
    /// Header of the wanted function, if it is known.
    pub signature: Option<String>,
    /// Whether the discriminator writes tests.
    pub generate_tests: bool,
    /// Candidates.
    pub samples: usize,
    /// Temperature of the stages.
    pub temperature: f64,
    /// Seed of the draws.
    pub seed: u64,
    /// Whether stages are printed as they are written.
    pub stream: bool,
}

/// A `def` line in the problem's own text.
pub fn signature_in(problem: &str) -> Option<String> {
    let line = problem
        .lines()
        .map(str::trim)
        .find(|line| line.starts_with("def ") && line.contains('('))?;
    Some(line.trim_end_matches(':').to_owned())
}

/// Writes candidates, tests them, and puts the best first.
pub fn solve(
    loaded: &Loaded,
    problem: &str,
    options: &Options,
    progress: &Progress,
) -> Result<Results> {
    let begun = Instant::now();
    let key = DrawKey::new(options.seed).with_name("inference");
    let generator = &loaded.generator;
    let prompt = generator
        .encoder
        .problem(problem, options.signature.as_deref())?;
    let code = generator
        .encoder
        .code_opening(options.signature.as_deref())?;
    let budget: usize = loaded.config.sampling.max_new_tokens.iter().sum();
    let longest = generator.model.config().max_position_embeddings as usize;
    if prompt.len() + budget > longest {
        bail!(UsageError::new(format!(
            "the problem is {} tokens long; this model reads at most {longest} with its {budget} tokens of stages: shorten \
             it to about {} tokens",
            prompt.len(),
            longest.saturating_sub(budget)
        )));
    }
    let mut chains: Vec<(Chain, DrawKey)> = (0..options.samples as u64)
        .map(|sample| (Chain::default(), key.with(sample)))
        .collect();
    for &stage in loaded.config.written_stages() {
        progress.begin(format!("{}. {}", stage.number(), stage.name()));
        // Stage by stage, so that each can be shown; a chain that was cut short stays as it is.
        let sampling = loaded.sampling(options.temperature);
        let starts: Vec<ChainStart> = chains
            .iter()
            .filter(|(chain, _)| !chain.truncated())
            .map(|(chain, key)| ChainStart {
                prompt: prompt.clone(),
                code: code.clone(),
                chain: chain.clone(),
                key: key.with(u64::from(stage.number())),
            })
            .collect();
        let mut live = (options.stream && !starts.is_empty()).then(|| {
            let opening = if stage == Stage::Code {
                &code.header
            } else {
                ""
            };
            LiveStage::begin(stage, opening, &generator.encoder)
        });
        let mut on_token = |_, token| {
            if let Some(live) = &mut live {
                live.hear(token);
            }
        };
        let mut written = generator
            .write_streaming(&starts, &[stage], &sampling, &mut on_token)?
            .into_iter();
        if let Some(live) = live {
            live.end();
        }
        for (chain, _) in chains.iter_mut().filter(|(chain, _)| !chain.truncated()) {
            *chain = written.next().expect("one chain for every start");
        }
    }
    let generated = begun.elapsed();
    let mut candidates: Vec<Candidate> = chains
        .into_iter()
        .map(|(chain, _)| Candidate::new(loaded, chain, options))
        .collect();
    read_verdicts(loaded, problem, options, &mut candidates)?;
    let mut tests: Vec<ParsedAttack> = Vec::new();
    let mut are_blind = 0;
    if options.generate_tests {
        progress.begin("tests");
        tests = blind(loaded, problem, options, &candidates, key)?;
        are_blind = tests.len();
        run_tests(loaded, &mut candidates, &tests);
        rank(loaded, &mut candidates, &tests);
        // Tests that saw the best candidate are shown, but ranked nothing.
        add_white_box(loaded, problem, options, &candidates[0], key, &mut tests)?;
        run_tests(loaded, &mut candidates[..1], &tests[are_blind..]);
    }
    let best = &candidates[0];
    let results = best
        .outcomes
        .iter()
        .zip(&tests)
        .enumerate()
        .map(|(index, (outcome, attack))| TestResult {
            args: attack.args.clone(),
            expected: attack.expected.clone(),
            outcome: outcome.clone(),
            kind: match index < are_blind {
                true => TestKind::Blind,
                false => TestKind::WhiteBox,
            },
        });
    Ok(Results {
        problem: problem.to_owned(),
        reasoning_chain: best.chain.texts(),
        final_code: best.code.clone().unwrap_or_default(),
        entry_point: best.entry_point.clone(),
        checkpoint: CheckpointInfo {
            path: loaded.path.clone(),
            manifest: loaded.manifest.clone(),
            players: loaded.players.clone(),
        },
        seed: options.seed,
        tests: results.collect(),
        verdicts: best.verdicts.clone(),
        outcome: best.outcome(),
        truncated: best.chain.truncated(),
        timing: Timing {
            generate_s: generated.as_secs_f64(),
            total_s: begun.elapsed().as_secs_f64(),
        },
        candidates: if options.samples > 1 {
            candidates.iter().map(Candidate::result).collect()
        } else {
            Vec::new()
        },
    })
}

/// A chain with what is known of it.
struct Candidate {
    chain: Chain,
    code: Option<String>,
    entry_point: String,
    verdicts: Vec<f32>,
    outcomes: Vec<Outcome>,
    agreement: f64,
    on_tests: f64,
}

impl Candidate {
    fn new(loaded: &Loaded, chain: Chain, options: &Options) -> Self {
        let named = options
            .signature
            .as_deref()
            .and_then(|s| Signature::parse(s).ok())
            .map(|s| s.name);
        let wanted = named
            .as_deref()
            .map_or(Wanted::Function, Wanted::EntryPoint);
        let code = loaded.generator.encoder.code(&chain, wanted);
        let entry_point = named
            .or_else(|| entry_point(code.as_deref()?))
            .unwrap_or_default();
        Self {
            chain,
            code,
            entry_point,
            verdicts: Vec::new(),
            outcomes: Vec::new(),
            agreement: 0.0,
            on_tests: 0.0,
        }
    }

    fn outcome(&self) -> Option<Outcome> {
        if self.code.is_none() {
            return Some(Outcome::MissingEntryPoint);
        }
        let failed = self.outcomes.iter().find(|outcome| !outcome.passed());
        failed.or(self.outcomes.first()).cloned()
    }

    fn result(&self) -> CandidateResult {
        CandidateResult {
            code: self.code.clone().unwrap_or_default(),
            agreement: self.agreement,
            passed: self
                .outcomes
                .iter()
                .filter(|outcome| outcome.passed())
                .count(),
            verdict: self.verdicts.last().copied(),
        }
    }
}

/// The signature that the discriminator reads: the given one, else the header that the code chose.
fn shown_signature(options: &Options, candidates: &[Candidate]) -> Option<String> {
    options.signature.clone().or_else(|| {
        let code = candidates.iter().find_map(|c| c.code.as_deref())?;
        signature_in(code)
    })
}

fn read_verdicts(
    loaded: &Loaded,
    problem: &str,
    options: &Options,
    candidates: &mut [Candidate],
) -> Result<()> {
    if !loaded.gives_verdicts {
        return Ok(());
    }
    let stages = loaded.config.written_stages();
    for candidate in candidates {
        let mut prompts = Vec::new();
        for &stage in stages
            .iter()
            .filter(|stage| candidate.chain.get(**stage).is_some())
        {
            let prefix = candidate.chain.prefix(stage);
            prompts.push(loaded.discriminator.encoder.verdict(
                problem,
                options.signature.as_deref(),
                &prefix,
            )?);
        }
        candidate.verdicts = loaded.discriminator.verdicts(&prompts);
    }
    Ok(())
}

/// Tests from the problem alone: one attack set for a single candidate, several where they rank.
fn blind(
    loaded: &Loaded,
    problem: &str,
    options: &Options,
    candidates: &[Candidate],
    key: DrawKey,
) -> Result<Vec<ParsedAttack>> {
    let signature = shown_signature(options, candidates);
    let prompt = loaded
        .discriminator
        .encoder
        .attack(problem, signature.as_deref(), None)?;
    let sets = if options.samples > 1 { BLIND_SETS } else { 1 };
    let mut tests = blind_tests(
        &loaded.discriminator,
        &[(prompt, key)],
        sets,
        &loaded.attacks(0.0),
    )?;
    Ok(tests.pop().unwrap_or_default())
}

/// Adds tests that were written with the best candidate in view, whose inputs are new.
fn add_white_box(
    loaded: &Loaded,
    problem: &str,
    options: &Options,
    best: &Candidate,
    key: DrawKey,
    tests: &mut Vec<ParsedAttack>,
) -> Result<()> {
    if best.chain.get(Stage::Code).is_none() {
        return Ok(());
    }
    let discriminator = &loaded.discriminator;
    let prompt =
        discriminator
            .encoder
            .attack(problem, options.signature.as_deref(), Some(&best.chain))?;
    let asked = loaded.attacks(0.0);
    let keyed = [(prompt, key.with_name("white box"))];
    let written = discriminator.attack(&keyed, asked.max_new_tokens, asked.temperature, 1)?;
    for completion in &written {
        keep_new(tests, completion, asked.per_set);
    }
    Ok(())
}

/// Runs `tests` on the candidates and adds the outcomes to theirs.
fn run_tests(loaded: &Loaded, candidates: &mut [Candidate], tests: &[ParsedAttack]) {
    if tests.is_empty() {
        return;
    }
    let tests: Vec<Test> = tests.iter().map(as_written).collect();
    let jobs = candidates
        .iter()
        .map(|candidate| CheckJob {
            program: Program {
                code: candidate.code.clone().unwrap_or_default(),
                entry_point: candidate.entry_point.clone(),
            },
            tests: tests.clone(),
            comparison: Comparison::Exact,
            limits: loaded.executor.limits().clone(),
            mode: Mode::Pure,
        })
        .collect();
    for (candidate, report) in candidates
        .iter_mut()
        .zip(loaded.executor.sandbox().check_many(jobs))
    {
        match report {
            Ok(report) => candidate
                .outcomes
                .extend(report.tests.into_iter().map(|test| test.outcome)),
            Err(_) => candidate
                .outcomes
                .extend(tests.iter().map(|_| Outcome::Malformed)),
        }
    }
}

/// Ranks by how many others give the same answers to the inputs of the tests; ties go to dual agreement on the tests,
/// then to the higher verdict.
fn rank(loaded: &Loaded, candidates: &mut [Candidate], tests: &[ParsedAttack]) {
    let passes: Vec<Option<Vec<bool>>> = candidates
        .iter()
        .map(|c| {
            let passed = c.outcomes.iter().map(Outcome::passed).collect();
            c.code.as_ref().map(|_| passed)
        })
        .collect();
    let programs: Vec<Option<Program>> = candidates
        .iter()
        .map(|c| {
            let (code, entry_point) = (c.code.clone()?, c.entry_point.clone());
            Some(Program { code, entry_point })
        })
        .collect();
    let inputs: Vec<Vec<Value>> = tests.iter().map(|test| test.args.clone()).collect();
    let answers = answer_agreement(&loaded.executor, &programs, &inputs);
    let on_tests = dual_agreement(&passes);
    for ((candidate, answers), on_tests) in candidates.iter_mut().zip(answers).zip(on_tests) {
        candidate.agreement = answers;
        candidate.on_tests = on_tests;
    }
    let verdict = |c: &Candidate| f64::from(c.verdicts.last().copied().unwrap_or(0.0));
    candidates.sort_by(|a, b| {
        b.agreement
            .total_cmp(&a.agreement)
            .then(b.on_tests.total_cmp(&a.on_tests))
            .then(verdict(b).total_cmp(&verdict(a)))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_in_the_text_is_found() {
        let text = "Add two numbers.\n  def add(a: int, b: int) -> int:\nReturn the sum.";
        assert_eq!(
            signature_in(text).as_deref(),
            Some("def add(a: int, b: int) -> int")
        );
        assert_eq!(signature_in("Implement two_sum"), None);
    }
}
