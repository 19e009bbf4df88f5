//! One round of the game: what both players write about a batch of problems, and what execution says of it.
//!
//! ```text
//! problems -> rollouts (groups with a shared prefix) -> gold tests -> attacks on one target a problem -> validity
//!          -> matrix of candidates x (pooled attacks + replays), and the frozen bank where nobody is wrong
//! ```
//! Nothing is scored here.

use std::collections::HashMap;

use gauntlet_sandbox::Test;

use crate::config::Config;
use crate::discriminator::Discriminator;
use crate::encoding::EncodingError;
use crate::evaluation::attacks::frozen_bank;
use crate::generator::{ChainStart, Generator, Sampling};
use crate::judge::{Case, Judge, Judgement, trial};
use crate::mistake_book::MistakeBook;
use crate::model::sampling::DrawKey;
use crate::problems::Problem;
use crate::prompts::parse_attacks;
use crate::rewards::{PooledAttack, Trial, pool_attacks};
use crate::rollout::{AttackSet, Chain, CheckedAttack, Mask, Role, Rollout, RolloutKey};
use crate::stage::Stage;

/// Draws of a shared prefix until one is not truncated: a step has few problems, and one that is left out is a part of it
/// that teaches nothing.
const PREFIX_DRAWS: u64 = 4;

/// A complete chain of a rollout, executed.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Which rollout of the problem it belongs to.
    pub rollout: usize,
    /// All stages.
    pub chain: Chain,
    /// Its code, if it wrote any.
    pub code: Option<String>,
    /// What the gold tests said.
    pub gold: Judgement,
    /// What the pooled valid attacks said, in their order.
    pub attacked: Judgement,
    /// What the replayed kills said.
    pub replayed: Judgement,
}

/// Everything that happened around one problem in one step.
#[derive(Clone, Debug)]
pub struct Round {
    /// The problem.
    pub problem: Problem,
    /// The generator's group.
    pub rollouts: Vec<Rollout>,
    /// Every complete chain of the group.
    pub candidates: Vec<Candidate>,
    /// The discriminator's group.
    pub sets: Vec<AttackSet>,
    /// What became of each line of each set.
    pub checked: Vec<Vec<CheckedAttack>>,
    /// The playable attacks of all sets, each input once.
    pub pool: Vec<PooledAttack>,
    /// The same as tests.
    pub pool_tests: Vec<Test>,
    /// Replayed kills that the candidates met.
    pub replays: Vec<Test>,
    /// What the pool did to each member of the frozen bank; filled only where no candidate is wrong.
    pub bank: Vec<Judgement>,
}

/// Who plays, and by which rules.
pub struct Table<'a> {
    /// Configuration of the run.
    pub config: &'a Config,
    /// First player.
    pub generator: &'a Generator,
    /// Second player; none when rewards come from gold tests only.
    pub discriminator: Option<&'a Discriminator>,
    /// Executes.
    pub judge: &'a Judge,
    /// Past kills.
    pub mistakes: &'a MistakeBook,
    /// Root key of the run's draws.
    pub key: DrawKey,
}

impl Table<'_> {
    /// Plays one step of `stage` on `problems`. A problem whose shared prefix is truncated in each of its draws is
    /// left out.
    pub fn play(
        &self,
        problems: Vec<Problem>,
        stage: Stage,
        step: u64,
    ) -> Result<Vec<Round>, EncodingError> {
        let mut rounds = self.rollouts(problems, stage, step)?;
        let golds = {
            let cases: Vec<Case> = rounds
                .iter()
                .flat_map(|r| r.cases(&r.problem.tests))
                .collect();
            self.judge.run(&cases)
        };
        assign(&mut rounds, golds, |candidate, judgement| {
            candidate.gold = judgement
        });
        if let Some(discriminator) = self.discriminator {
            self.attacks(discriminator, &mut rounds, step)?;
        }
        for round in &mut rounds {
            let limit = self.config.game.replay_limit;
            round.replays =
                self.mistakes
                    .replay(&round.problem.id, limit, self.key.with(step).value());
        }
        let attacked = self.judge.run(
            &rounds
                .iter()
                .flat_map(|r| r.cases(&r.pool_tests))
                .collect::<Vec<_>>(),
        );
        assign(&mut rounds, attacked, |candidate, judgement| {
            candidate.attacked = judgement
        });
        let replayed = self.judge.run(
            &rounds
                .iter()
                .flat_map(|r| r.cases(&r.replays))
                .collect::<Vec<_>>(),
        );
        assign(&mut rounds, replayed, |candidate, judgement| {
            candidate.replayed = judgement
        });
        self.meet_bank(&mut rounds);
        Ok(rounds)
    }

    fn draw_key(&self, key: &RolloutKey) -> DrawKey {
        draw_key(self.key, key)
    }

    fn sampling(&self) -> Sampling {
        Sampling {
            temperature: self.config.sampling.temperature,
            max_new_tokens: self.config.sampling.max_new_tokens,
            batch_size: self.config.evaluation.batch_size,
        }
    }

    /// The generator's groups: one frozen prefix a problem, `group_size` completions of `stage`, and continuations to
    /// code.
    fn rollouts(
        &self,
        problems: Vec<Problem>,
        stage: Stage,
        step: u64,
    ) -> Result<Vec<Round>, EncodingError> {
        let (game, sampling) = (&self.config.game, self.sampling());
        let written = self.config.written_stages();
        let at = written.iter().position(|&s| s == stage).unwrap_or(0);
        let (earlier, later) = (&written[..at], &written[at + 1..]);
        let key = |problem: &Problem, branch: u32, sample: u32| RolloutKey {
            role: Role::Generator,
            stage,
            step,
            problem: problem.id.clone(),
            branch,
            sample,
        };
        let mut starts = Vec::with_capacity(problems.len());
        for problem in &problems {
            let prompt = self.generator.encoder.problem_prompt(problem)?;
            // Branch and sample that no member of a group has.
            let key = self.draw_key(&key(problem, u32::MAX, u32::MAX));
            starts.push(ChainStart {
                prompt,
                code: self.generator.encoder.problem_code_opening(problem)?,
                chain: Chain::default(),
                key,
            });
        }
        let generator = self.generator;
        let prefixes = generator.write_whole(&starts, earlier, &sampling, PREFIX_DRAWS)?;
        let mut members: Vec<(Problem, ChainStart)> = Vec::new();
        for ((problem, start), prefix) in problems.into_iter().zip(starts).zip(prefixes) {
            if !prefix.truncated() {
                members.push((
                    problem,
                    ChainStart {
                        chain: prefix,
                        ..start
                    },
                ));
            }
        }
        // With one continuation at one temperature a row is decoded from the trained stage to the code in one go.
        let continuing = Sampling {
            temperature: self.config.sampling.continuation_temperature,
            ..sampling
        };
        let same = continuing.temperature == sampling.temperature;
        let in_one_go = game.continuations == 1 && same || later.is_empty();
        let first: &[Stage] = if in_one_go {
            &written[at..]
        } else {
            &written[at..=at]
        };
        let group: Vec<ChainStart> = members
            .iter()
            .flat_map(|(problem, start)| {
                (0..game.group_size as u32).map(|sample| ChainStart {
                    key: self.draw_key(&key(problem, 0, sample)),
                    ..start.clone()
                })
            })
            .collect();
        let chains = self.generator.write(&group, first, &sampling)?;
        let branches: Vec<Vec<Chain>> = if in_one_go {
            chains.iter().map(|chain| vec![chain.clone()]).collect()
        } else {
            self.continuations(&group, &chains, later, &continuing)?
        };
        let mut rounds = Vec::with_capacity(members.len());
        let mut rows = chains.into_iter().zip(branches);
        for (problem, start) in members {
            let prompt_tokens = self.generator.stage_prompt(&start, stage)?;
            let mut round = Round::new(problem);
            for (sample, (chain, branches)) in rows.by_ref().take(game.group_size).enumerate() {
                let rollout = Rollout {
                    key: key(&round.problem, 0, sample as u32),
                    prompt_tokens: prompt_tokens.clone(),
                    chain: chain.prefix(stage),
                    continuations: if later.is_empty() {
                        Vec::new()
                    } else {
                        branches.clone()
                    },
                };
                round
                    .candidates
                    .extend(branches.into_iter().map(|chain| Candidate {
                        rollout: sample,
                        code: self.generator.encoder.code(&chain),
                        chain,
                        gold: Judgement::NoCode,
                        attacked: Judgement::NoCode,
                        replayed: Judgement::NoCode,
                    }));
                round.rollouts.push(rollout);
            }
            rounds.push(round);
        }
        Ok(rounds)
    }

    /// `continuations` chains to code after each member's trained completion.
    fn continuations(
        &self,
        group: &[ChainStart],
        chains: &[Chain],
        later: &[Stage],
        sampling: &Sampling,
    ) -> Result<Vec<Vec<Chain>>, EncodingError> {
        let branches = self.config.game.continuations;
        let greedy = sampling.temperature == 0.0;
        let mut starts: Vec<ChainStart> = Vec::new();
        // Greedily, equal chains go on alike: each is continued once.
        let mut known: HashMap<Vec<u32>, usize> = HashMap::new();
        let mut places: Vec<Option<usize>> = Vec::with_capacity(chains.len());
        for (start, chain) in group.iter().zip(chains) {
            if chain.truncated() {
                places.push(None);
                continue;
            }
            let next = starts.len();
            let read = start.prompt.iter().copied().chain(chain.tokens());
            let place = match greedy {
                true => *known.entry(read.collect()).or_insert(next),
                false => next,
            };
            if place == next {
                starts.extend((1..=branches as u64).map(|branch| ChainStart {
                    chain: chain.clone(),
                    key: start.key.with(branch),
                    ..start.clone()
                }));
            }
            places.push(Some(place));
        }
        let written = self.generator.write(&starts, later, sampling)?;
        Ok(chains
            .iter()
            .zip(places)
            .map(|(chain, place)| match place {
                Some(place) => written[place..place + branches].to_vec(),
                None => vec![chain.clone()],
            })
            .collect())
    }

    /// The discriminator's groups: one target a problem, preferably a candidate that gold does not catch.
    fn attacks(
        &self,
        discriminator: &Discriminator,
        rounds: &mut [Round],
        step: u64,
    ) -> Result<(), EncodingError> {
        let game = &self.config.game;
        let mut prompts = Vec::new();
        let mut targets = Vec::new();
        for round in rounds.iter() {
            let key = RolloutKey {
                role: Role::Discriminator,
                stage: round.rollouts.first().map_or(Stage::Code, |r| r.key.stage),
                step,
                problem: round.problem.id.clone(),
                branch: 0,
                sample: 0,
            };
            let target = self.target(round, self.draw_key(&key));
            let chain = target.map(|i| &round.candidates[i].chain);
            let prompt = discriminator.encoder.attack_prompt(&round.problem, chain)?;
            for sample in 0..game.discriminator_group_size as u32 {
                let key = RolloutKey {
                    sample,
                    ..key.clone()
                };
                prompts.push((prompt.clone(), self.draw_key(&key)));
                targets.push((key, target));
            }
        }
        let sampling = &self.config.sampling;
        let batch = self.config.evaluation.batch_size;
        let completions = discriminator.attack(
            &prompts,
            sampling.attack_max_new_tokens,
            sampling.temperature,
            batch,
        )?;
        let mut sets = prompts.into_iter().zip(targets).zip(completions).map(
            |(((prompt_tokens, _), (key, target)), completion)| {
                let attacks = parse_attacks(&completion.text, game.attacks_per_set);
                AttackSet {
                    key,
                    prompt_tokens,
                    completion,
                    target,
                    attacks,
                }
            },
        );
        for round in rounds.iter_mut() {
            round.sets = sets.by_ref().take(game.discriminator_group_size).collect();
        }
        let asked: Vec<_> = rounds
            .iter()
            .flat_map(|r| r.sets.iter().map(move |set| (&r.problem, &set.attacks[..])))
            .collect();
        let mut checked = self.judge.check_attacks(&asked).into_iter();
        for round in rounds.iter_mut() {
            round.checked = checked.by_ref().take(round.sets.len()).collect();
            round.pool = pool_attacks(&round.checked);
            round.pool_tests = round.pool.iter().map(PooledAttack::test).collect();
        }
        Ok(())
    }

    /// Which candidate is attacked: none (blind) for a share of the problems, else one that passes gold where there is
    /// one, else any with code.
    fn target(&self, round: &Round, key: DrawKey) -> Option<usize> {
        if key.uniform(0) < self.config.game.blind_share {
            return None;
        }
        let with_code = |i: &usize| round.candidates[*i].code.is_some();
        let all: Vec<usize> = (0..round.candidates.len()).filter(with_code).collect();
        let passing: Vec<usize> = all
            .iter()
            .copied()
            .filter(|&i| round.candidates[i].gold.passed())
            .collect();
        let among = if passing.is_empty() { all } else { passing };
        (!among.is_empty()).then(|| among[(key.uniform(1) * among.len() as f64) as usize])
    }

    /// Where no candidate is wrong, the pool is tried on mutants of the reference.
    fn meet_bank(&self, rounds: &mut [Round]) {
        let limit = self.config.game.bank_mutants;
        let banks: Vec<Vec<String>> = rounds
            .iter()
            .map(|round| {
                if round.pool.is_empty() || round.candidates.iter().any(Candidate::is_wrong) {
                    return Vec::new();
                }
                frozen_bank(&round.problem, limit)
            })
            .collect();
        let cases: Vec<Case> = rounds
            .iter()
            .zip(&banks)
            .flat_map(|(round, bank)| {
                bank.iter().map(|code| Case {
                    problem: &round.problem,
                    code: Some(code),
                    tests: &round.pool_tests,
                })
            })
            .collect();
        let mut judged = self.judge.run(&cases).into_iter();
        for (round, bank) in rounds.iter_mut().zip(&banks) {
            round.bank = judged.by_ref().take(bank.len()).collect();
        }
    }
}

/// The key of the draws that make one piece of sampled work.
pub fn draw_key(root: DrawKey, key: &RolloutKey) -> DrawKey {
    root.with(key.role as u64)
        .with(u64::from(key.stage.number()))
        .with(key.step)
        .with_name(&key.problem)
        .with(u64::from(key.branch))
        .with(u64::from(key.sample))
}

impl Candidate {
    /// This candidate's row of the matrix. A chain that was cut short has none.
    pub fn trial(&self) -> Result<Trial, Mask> {
        if self.chain.truncated() {
            return Err(Mask::Truncated);
        }
        trial(&self.gold, &self.attacked, &self.replayed)
    }

    /// Whether execution found it wrong.
    pub fn is_wrong(&self) -> bool {
        self.trial().is_ok_and(|trial| trial.right() == Some(false))
    }
}

impl Round {
    /// The candidates that stood every test they met.
    pub fn right(&self) -> impl Iterator<Item = &Candidate> {
        let is_right = |c: &&Candidate| c.trial().is_ok_and(|trial| trial.right() == Some(true));
        self.candidates.iter().filter(is_right)
    }

    fn new(problem: Problem) -> Self {
        Self {
            problem,
            rollouts: Vec::new(),
            candidates: Vec::new(),
            sets: Vec::new(),
            checked: Vec::new(),
            pool: Vec::new(),
            pool_tests: Vec::new(),
            replays: Vec::new(),
            bank: Vec::new(),
        }
    }

    fn cases<'a>(&'a self, tests: &'a [Test]) -> impl Iterator<Item = Case<'a>> {
        self.candidates.iter().map(move |c| Case {
            problem: &self.problem,
            code: c.code.as_deref(),
            tests,
        })
    }
}

/// Hands judgements, listed candidate by candidate, to the candidates.
fn assign(
    rounds: &mut [Round],
    judgements: Vec<Judgement>,
    mut put: impl FnMut(&mut Candidate, Judgement),
) {
    let candidates = rounds
        .iter_mut()
        .flat_map(|round| round.candidates.iter_mut());
    for (candidate, judgement) in candidates.zip(judgements) {
        put(candidate, judgement);
    }
}
