//! problems -> [`Sampled`]: the generator's groups of chains.
//!
//! One frozen prefix a problem, `group_size` completions of the trained stage, and continuations to code.

use std::collections::HashMap;

use crate::encoding::EncodingError;
use crate::extract::Wanted;
use crate::generator::{ChainStart, Generator, Sampling};
use crate::problems::Problem;
use crate::rollout::{Chain, Role, Rollout, RolloutKey};
use crate::stage::Stage;

use super::{Rules, Scene, draw_key};

/// Draws of a shared prefix until one is not truncated: a step has few problems, and one that is left out is a part of it
/// that teaches nothing.
const PREFIX_DRAWS: u64 = 4;

/// A complete chain and its code.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Which rollout of the problem it belongs to.
    pub rollout: usize,
    /// All stages.
    pub chain: Chain,
    /// Its code, if it wrote any.
    pub code: Option<String>,
}

/// What the generator wrote for one problem. Nothing is executed yet.
#[derive(Clone, Debug)]
pub struct Sampled {
    /// The problem.
    pub problem: Problem,
    /// The generator's group.
    pub rollouts: Vec<Rollout>,
    /// Every complete chain of the group.
    pub candidates: Vec<Candidate>,
}

/// Has the generator write one group a problem. A problem whose shared prefix is truncated in each of its draws is left
/// out.
pub(super) fn sample(
    generator: &Generator,
    problems: Vec<Problem>,
    rules: &Rules,
    scene: &Scene,
) -> Result<Vec<Sampled>, EncodingError> {
    let (stage, sampling) = (scene.stage, &rules.sampling);
    let at = rules.stages.iter().position(|&s| s == stage).unwrap_or(0);
    let (earlier, later) = (&rules.stages[..at], &rules.stages[at + 1..]);
    let key = |problem: &Problem, branch: u32, sample: u32| RolloutKey {
        role: Role::Generator,
        stage,
        step: scene.step,
        problem: problem.id.clone(),
        branch,
        sample,
    };
    let mut starts = Vec::with_capacity(problems.len());
    for problem in &problems {
        // Branch and sample that no member of a group has.
        let key = draw_key(scene.key, &key(problem, u32::MAX, u32::MAX));
        starts.push(ChainStart::of(&generator.encoder, problem, key)?);
    }
    let prefixes = generator.write_whole(&starts, earlier, sampling, PREFIX_DRAWS)?;
    let members: Vec<(Problem, ChainStart)> = problems
        .into_iter()
        .zip(starts)
        .zip(prefixes)
        .filter(|(_, prefix)| !prefix.truncated())
        .map(|((problem, start), chain)| (problem, ChainStart { chain, ..start }))
        .collect();
    let continuing = Sampling {
        temperature: rules.continuation_temperature,
        ..*sampling
    };
    // With one continuation at one temperature a row is decoded from the trained stage to the code in one go.
    let same = continuing.temperature == sampling.temperature;
    let in_one_go = rules.continuations == 1 && same || later.is_empty();
    let first = match in_one_go {
        true => &rules.stages[at..],
        false => &rules.stages[at..=at],
    };
    let group: Vec<ChainStart> = members
        .iter()
        .flat_map(|(problem, start)| {
            (0..rules.group_size as u32).map(|sample| ChainStart {
                key: draw_key(scene.key, &key(problem, 0, sample)),
                ..start.clone()
            })
        })
        .collect();
    let chains = generator.write(&group, first, sampling)?;
    let branches: Vec<Vec<Chain>> = match in_one_go {
        true => chains.iter().map(|chain| vec![chain.clone()]).collect(),
        false => {
            let count = rules.continuations;
            continuations(generator, &group, &chains, later, &continuing, count)?
        }
    };
    let mut rows = chains.into_iter().zip(branches);
    let mut sampled = Vec::with_capacity(members.len());
    for (problem, start) in members {
        let prompt_tokens = generator.stage_prompt(&start, stage)?;
        let (mut rollouts, mut candidates) = (Vec::new(), Vec::new());
        for (number, (chain, branches)) in rows.by_ref().take(rules.group_size).enumerate() {
            rollouts.push(Rollout {
                key: key(&problem, 0, number as u32),
                prompt_tokens: prompt_tokens.clone(),
                chain: chain.prefix(stage),
                continuations: match later.is_empty() {
                    true => Vec::new(),
                    false => branches.clone(),
                },
            });
            candidates.extend(branches.into_iter().map(|chain| Candidate {
                rollout: number,
                code: generator.encoder.code(
                    &chain,
                    Wanted::from_entry_point(problem.entry_point.as_deref()),
                ),
                chain,
            }));
        }
        sampled.push(Sampled {
            problem,
            rollouts,
            candidates,
        });
    }
    Ok(sampled)
}

/// `count` chains to code after each member's trained completion.
fn continuations(
    generator: &Generator,
    group: &[ChainStart],
    chains: &[Chain],
    later: &[Stage],
    sampling: &Sampling,
    count: usize,
) -> Result<Vec<Vec<Chain>>, EncodingError> {
    let greedy = sampling.temperature == 0.0;
    let mut starts: Vec<ChainStart> = Vec::new();
    // Greedily, equal chains go on alike: each is continued once.
    let mut known: HashMap<Vec<u32>, usize> = HashMap::new();
    let mut first_of: Vec<Option<usize>> = Vec::with_capacity(chains.len());
    for (start, chain) in group.iter().zip(chains) {
        if chain.truncated() {
            first_of.push(None);
            continue;
        }
        let next = starts.len();
        let read = start.prompt.iter().copied().chain(chain.tokens());
        let first = match greedy {
            true => *known.entry(read.collect()).or_insert(next),
            false => next,
        };
        if first == next {
            starts.extend((1..=count as u64).map(|branch| ChainStart {
                chain: chain.clone(),
                key: start.key.with(branch),
                ..start.clone()
            }));
        }
        first_of.push(Some(first));
    }
    let written = generator.write(&starts, later, sampling)?;
    Ok(chains
        .iter()
        .zip(first_of)
        .map(|(chain, first)| match first {
            Some(first) => written[first..first + count].to_vec(),
            None => vec![chain.clone()],
        })
        .collect())
}
