//! The generator: a policy that writes the five stages of a solution.

mod decoding;

use std::sync::Arc;

pub use decoding::Decoding;

use crate::encoding::{CodeOpening, EncodingError, PromptEncoder};
use crate::model::Transformer;
use crate::model::decoder::{DecodeOptions, Request, Sampled, Segment};
use crate::model::engine::OnToken;
use crate::model::rollouts::Rollouts;
use crate::model::sampling::is_greedy;
use crate::problems::Problem;
use crate::prompts::Format;
use crate::rng::DrawKey;
use crate::rollout::{Chain, Completion, FinishReason};
use crate::stage::Stage;

/// A policy with its way of reading and writing text.
pub struct Generator {
    /// The model that is trained.
    pub model: Transformer,
    /// Prompts and tokenizer.
    pub encoder: Arc<PromptEncoder>,
    /// What decodes.
    pub rollouts: Rollouts,
    /// What sampling may do besides drawing from the whole distribution; nothing in training.
    pub decoding: Decoding,
}

/// A chain to be continued.
#[derive(Clone, Debug)]
pub struct ChainStart {
    /// The problem's prompt, up to where the first stage opens.
    pub prompt: Vec<u32>,
    /// How its code opens.
    pub code: CodeOpening,
    /// Stages written so far; none for a fresh problem.
    pub chain: Chain,
    /// Key of the draws.
    pub key: DrawKey,
}

impl ChainStart {
    /// A fresh chain for a problem.
    pub fn of(
        encoder: &PromptEncoder,
        problem: &Problem,
        key: DrawKey,
    ) -> Result<ChainStart, EncodingError> {
        Ok(ChainStart {
            prompt: encoder.problem_prompt(problem)?,
            code: encoder.problem_code_opening(problem)?,
            chain: Chain::default(),
            key,
        })
    }
}

/// Limits and temperature of sampling.
#[derive(Clone, Copy, Debug)]
pub struct Sampling {
    /// 0 is greedy.
    pub temperature: f64,
    /// Most tokens of each stage.
    pub max_new_tokens: [usize; Stage::COUNT],
    /// Most rows decoded at the same time.
    pub batch_size: usize,
}

impl Generator {
    /// A policy that decodes with its own weights.
    pub fn new(model: Transformer, encoder: Arc<PromptEncoder>) -> Self {
        Self {
            model,
            encoder,
            rollouts: Rollouts::trainer(),
            decoding: Decoding::default(),
        }
    }

    /// Everything the model sees before it writes `stage`: the prompt, the stages of the chain before it and its opening.
    pub fn stage_prompt(
        &self,
        start: &ChainStart,
        stage: Stage,
    ) -> Result<Vec<u32>, EncodingError> {
        let mut tokens = start.prompt.clone();
        let mut first = true;
        for &earlier in stage.earlier() {
            if let Some(completion) = start.chain.get(earlier) {
                tokens.extend(self.encoder.stage_opening(earlier, first));
                first = false;
                tokens.extend(&completion.tokens);
            }
        }
        tokens.extend(self.opening(start, stage, first));
        Ok(tokens)
    }

    fn opening<'a>(&'a self, start: &'a ChainStart, stage: Stage, first: bool) -> &'a [u32] {
        match (stage, self.encoder.format()) {
            (Stage::Code, Format::Plain) => &start.code.tokens,
            _ => self.encoder.stage_opening(stage, first),
        }
    }

    /// Continues each chain with `stages`, in order. A completion that runs into its limit is the chain's last.
    pub fn write(
        &self,
        starts: &[ChainStart],
        stages: &[Stage],
        sampling: &Sampling,
    ) -> Result<Vec<Chain>, EncodingError> {
        self.write_streaming(starts, stages, sampling, &mut |_, _| {})
    }

    /// The same, and a chain that was cut short is drawn again, each time with another key, until `draws` were made of it.
    pub fn write_whole(
        &self,
        starts: &[ChainStart],
        stages: &[Stage],
        sampling: &Sampling,
        draws: u64,
    ) -> Result<Vec<Chain>, EncodingError> {
        let mut chains = self.write(starts, stages, sampling)?;
        // Greedily the next draw is the same.
        let draws = if is_greedy(sampling.temperature) {
            1
        } else {
            draws
        };
        for draw in 1..draws {
            let cut: Vec<usize> = (0..chains.len())
                .filter(|&i| chains[i].truncated())
                .collect();
            if cut.is_empty() {
                break;
            }
            let again: Vec<ChainStart> = cut
                .iter()
                .map(|&i| ChainStart {
                    key: starts[i].key.with(draw),
                    ..starts[i].clone()
                })
                .collect();
            for (i, chain) in cut.into_iter().zip(self.write(&again, stages, sampling)?) {
                chains[i] = chain;
            }
        }
        Ok(chains)
    }

    /// The same as `write`, and tells `on_token` of every sampled token with the index of its start: at once where the
    /// decoder is a fused one, else when all are written.
    pub fn write_streaming(
        &self,
        starts: &[ChainStart],
        stages: &[Stage],
        sampling: &Sampling,
        on_token: &mut OnToken,
    ) -> Result<Vec<Chain>, EncodingError> {
        let Some((&first, later)) = stages.split_first() else {
            return Ok(starts.iter().map(|start| start.chain.clone()).collect());
        };
        if self.decoding.may_stop() && !later.is_empty() {
            // What a stage keeps of a text that a stop string ends is read by the next.
            return self.write_apart(starts, stages, sampling, on_token);
        }
        let limit = |stage: Stage| sampling.max_new_tokens[stage.index()];
        let mut requests = Vec::with_capacity(starts.len());
        for start in starts {
            let mut segments = vec![Segment {
                opening: Vec::new(),
                max_new_tokens: limit(first),
            }];
            for &stage in later {
                segments.push(Segment {
                    opening: self.opening(start, stage, false).to_vec(),
                    max_new_tokens: limit(stage),
                });
            }
            let prompt = self.stage_prompt(start, first)?;
            requests.push(Request {
                prompt,
                segments,
                key: start.key,
            });
        }
        let options = DecodeOptions {
            temperature: sampling.temperature,
            end_token: self.encoder.end_token(),
            batch_size: sampling.batch_size,
            filters: self.decoding.filters,
            stop: self.decoding.stop(&self.encoder),
        };
        let decoded = self
            .rollouts
            .decode(&self.model, &requests, &options, on_token)?;
        Ok(starts
            .iter()
            .zip(decoded)
            .map(|(start, sampled)| {
                let mut chain = start.chain.clone();
                for (&stage, sampled) in stages.iter().zip(sampled) {
                    let mut completion = completion(&self.encoder, sampled);
                    self.decoding.cut(&self.encoder, &mut completion);
                    if stage == Stage::Code {
                        completion.text.insert_str(0, &start.code.header);
                    }
                    chain.set(stage, completion);
                }
                chain
            })
            .collect())
    }
}

impl Generator {
    /// Continues each chain stage by stage.
    fn write_apart(
        &self,
        starts: &[ChainStart],
        stages: &[Stage],
        sampling: &Sampling,
        on_token: &mut OnToken,
    ) -> Result<Vec<Chain>, EncodingError> {
        let mut chains: Vec<Chain> = starts.iter().map(|start| start.chain.clone()).collect();
        for &stage in stages {
            let open: Vec<usize> = (0..chains.len())
                .filter(|&i| !chains[i].truncated())
                .collect();
            let starts: Vec<ChainStart> = open
                .iter()
                .map(|&i| ChainStart {
                    chain: chains[i].clone(),
                    key: starts[i].key.with(u64::from(stage.number())),
                    ..starts[i].clone()
                })
                .collect();
            let mut heard = |at: usize, token| on_token(open[at], token);
            let written = self.write_streaming(&starts, &[stage], sampling, &mut heard)?;
            for (&i, chain) in open.iter().zip(written) {
                chains[i] = chain;
            }
        }
        Ok(chains)
    }
}

/// A sampled segment with its text.
pub(crate) fn completion(encoder: &PromptEncoder, sampled: Sampled) -> Completion {
    Completion {
        text: encoder.decode(&sampled.tokens),
        finish_reason: if sampled.truncated {
            FinishReason::Length
        } else {
            FinishReason::Stop
        },
        tokens: sampled.tokens,
        logprobs: sampled.logprobs,
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use crate::model::Tokenizer;
    use crate::model::config::test_config;
    use crate::model::tokenizer::EMBEDDED;
    use crate::prompts::Prompts;

    use super::*;

    #[test]
    fn a_chain_that_was_cut_short_is_drawn_again_and_no_other() {
        let tokenizer = Tokenizer::from_json(EMBEDDED).unwrap();
        let mut config = test_config();
        config.vocab_size = tokenizer.vocab_size() as i64;
        config.max_position_embeddings = 256;
        let encoder = PromptEncoder::new(tokenizer, Prompts::plain()).unwrap();
        let prompt = encoder.problem("Return the sum.", None).unwrap();
        let code = encoder.code_opening(None).unwrap();
        let model = Transformer::init(&config, 0.02, 3, Device::Cpu);
        let generator = Generator::new(model, Arc::new(encoder));
        let start = |number| ChainStart {
            prompt: prompt.clone(),
            code: code.clone(),
            chain: Chain::default(),
            key: DrawKey::new(number),
        };
        let starts: Vec<ChainStart> = (0..64).map(start).collect();
        // Tokens are all but equally likely, so a completion ends within its limit in a few draws of a hundred.
        let sampling = Sampling {
            temperature: 1.0,
            max_new_tokens: [32; Stage::COUNT],
            batch_size: 64,
        };
        let written = |draws| {
            let stages = &Stage::ALL[..1];
            generator
                .write_whole(&starts, stages, &sampling, draws)
                .unwrap()
        };
        let whole = |chains: &[Chain]| chains.iter().filter(|chain| !chain.truncated()).count();
        let (once, often) = (written(1), written(12));
        assert!(whole(&often) > whole(&once), "{}", whole(&once));
        let kept = |(once, often): (&Chain, &Chain)| once.truncated() || once == often;
        assert!(once.iter().zip(&often).all(kept));
    }
}
