//! Batched decoding: rows that share a prompt are prefilled once, all rows write the same cache column, and finished
//! rows make room.
//!
//! A request is a prompt followed by segments. A segment opens with fixed tokens and is then sampled until the end
//! token or its limit, so several stages of one row are decoded in one go while every row runs at its own pace.
//!
//! Shape legend: B rows, U unique prompts, T columns of a prompt, S columns so far, V vocabulary.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tch::{Device, Kind, Tensor};

use super::fused::FusedError;
use super::kv_cache::KvCache;
use super::sampling::{Filters, draw, sample};
use super::transformer::Transformer;
use crate::interrupt;
use crate::rng::DrawKey;

/// A stretch of sampled tokens.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Tokens put in front of the samples.
    pub opening: Vec<u32>,
    /// Most tokens to sample, the end token included.
    pub max_new_tokens: usize,
}

/// One row to decode.
#[derive(Clone, Debug)]
pub struct Request {
    /// Tokens before the first segment's opening.
    pub prompt: Vec<u32>,
    /// What to sample, in order; a segment that runs into its limit ends the row.
    pub segments: Vec<Segment>,
    /// Key of this row's draws; the n-th sampled token of the row uses position n.
    pub key: DrawKey,
}

/// What one segment became.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampled {
    /// Sampled tokens; the end token is the last one unless the segment was truncated.
    pub tokens: Vec<u32>,
    /// Log-probability of each token at the sampling temperature.
    pub logprobs: Vec<f32>,
    /// Whether the limit came before the end token.
    pub truncated: bool,
}

/// Says of the tokens of a segment so far whether it ends with them.
pub type Stop = Arc<dyn Fn(&[u32]) -> bool>;

/// How to sample.
#[derive(Clone)]
pub struct DecodeOptions {
    /// 0 is greedy.
    pub temperature: f64,
    /// Token that ends a segment.
    pub end_token: u32,
    /// Most rows in one batch; requests are cut into batches of this size in their order.
    pub batch_size: usize,
    /// What is taken out of the distribution before drawing; nothing in training.
    pub filters: Filters,
    /// Ends a segment in other places than behind the end token: at stop strings and further stop tokens.
    pub stop: Option<Stop>,
}

impl DecodeOptions {
    /// Whether a segment ends with these tokens, end token apart.
    pub(super) fn stops_at(&self, tokens: &[u32]) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop(tokens))
    }
}

/// Why decoding ended without a result.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The logits of a row are no numbers.
    #[error(
        "logits are not finite: request {request}, position {position}; the first value that is no number: {place}"
    )]
    NotFinite {
        /// Index of the request.
        request: usize,
        /// Tokens before the one that was to be sampled.
        position: usize,
        /// The weight or layer where it began.
        place: String,
    },
    /// The cache would not fit into memory.
    #[error(
        "{rows} rows at a time need {needed_mb} MB of key-value cache, {available_mb} MB are available; decode fewer rows at \
         a time (evaluation.batch_size), or shorter ones (sampling.max_new_tokens)"
    )]
    Memory {
        /// Rows decoded together.
        rows: usize,
        /// Megabytes of the cache.
        needed_mb: u64,
        /// Megabytes that the system would give.
        available_mb: u64,
    },
    /// The cache ran out of blocks.
    #[error("the key-value cache has no free block; this is a bug in its accounting")]
    NoRoom,
    /// It was asked to stop where that costs nothing but the work.
    #[error("interrupted")]
    Interrupted,
    /// The model cannot be packed.
    #[error(transparent)]
    Fused(#[from] FusedError),
}

/// Decodes all requests; the result has one entry a request, each with one [`Sampled`] a segment reached (a truncated
/// segment is the last one).
pub fn decode(
    model: &Transformer,
    requests: &[Request],
    options: &DecodeOptions,
) -> Result<Vec<Vec<Sampled>>, DecodeError> {
    gauntlet_shim::inference_mode(|| {
        let mut decoded = Vec::with_capacity(requests.len());
        for chunk in requests.chunks(options.batch_size.max(1)) {
            let first = decoded.len();
            decoded.extend(decode_batch(model, chunk, options).map_err(|e| e.behind(first))?);
        }
        Ok(decoded)
    })
}

impl DecodeError {
    /// The same error, of a batch that begins at request `first`.
    pub(super) fn behind(self, first: usize) -> Self {
        match self {
            Self::NotFinite {
                request,
                position,
                place,
            } => Self::NotFinite {
                request: first + request,
                position,
                place,
            },
            other => other,
        }
    }
}

struct Row<'a> {
    request: &'a Request,
    index: usize,
    done: Vec<Sampled>,
    current: Sampled,
    forced: VecDeque<u32>,
    sampled_tokens: u64,
    /// Tokens in the cache, hence the position of the next one.
    length: i64,
}

impl Row<'_> {
    fn finished(&self) -> bool {
        let truncated = self.done.last().is_some_and(|s| s.truncated);
        truncated || self.done.len() == self.request.segments.len()
    }

    /// Everything read and written so far.
    fn history(&self) -> Vec<u32> {
        let mut history = self.request.prompt.clone();
        for (segment, sampled) in self.request.segments.iter().zip(&self.done) {
            history.extend(segment.opening.iter().chain(&sampled.tokens));
        }
        if let Some(segment) = self.request.segments.get(self.done.len()) {
            history.extend(segment.opening.iter().chain(&self.current.tokens));
        }
        history
    }

    /// Takes the token drawn for this row and says what to feed next; `None` once the row is complete.
    fn next_token(
        &mut self,
        drawn: u32,
        logprob: f32,
        options: &DecodeOptions,
        longest: i64,
    ) -> Option<u32> {
        if let Some(token) = self.forced.pop_front() {
            return Some(token);
        }
        self.sampled_tokens += 1;
        self.current.tokens.push(drawn);
        self.current.logprobs.push(logprob);
        let limit = self.request.segments[self.done.len()].max_new_tokens;
        let ended = drawn == options.end_token || options.stops_at(&self.current.tokens);
        if !ended && self.current.tokens.len() < limit && self.length + 1 < longest {
            return Some(drawn);
        }
        self.current.truncated = !ended;
        self.done.push(std::mem::take(&mut self.current));
        let next = self
            .request
            .segments
            .get(self.done.len())
            .filter(|_| ended)?;
        if self.length + 1 + next.opening.len() as i64 >= longest {
            self.done.push(Sampled {
                truncated: true,
                ..Sampled::default()
            });
            return None;
        }
        self.forced.extend(&next.opening);
        Some(drawn)
    }
}

fn decode_batch(
    model: &Transformer,
    requests: &[Request],
    options: &DecodeOptions,
) -> Result<Vec<Vec<Sampled>>, DecodeError> {
    let mut results: Vec<Vec<Sampled>> = vec![Vec::new(); requests.len()];
    let mut rows: Vec<Row> = requests
        .iter()
        .enumerate()
        .filter(|(_, request)| !request.segments.is_empty())
        .map(|(index, request)| Row {
            request,
            index,
            done: Vec::new(),
            current: Sampled::default(),
            forced: VecDeque::new(),
            sampled_tokens: 0,
            length: (request.prompt.len() + request.segments[0].opening.len()) as i64,
        })
        .collect();
    if rows.is_empty() {
        return Ok(results);
    }
    let longest = model.config().max_position_embeddings;
    // A prompt that leaves no room to sample is reported as truncated at once.
    rows.retain(|row| {
        let fits = row.length < longest && row.length > 0;
        if !fits {
            results[row.index] = vec![Sampled {
                truncated: true,
                ..Sampled::default()
            }];
        }
        fits
    });
    if rows.is_empty() {
        return Ok(results);
    }
    let (mut state, mut logits) = Batch::prefill(model, &rows);
    loop {
        if interrupt::requested() {
            return Err(DecodeError::Interrupted);
        }
        let uniforms: Vec<f64> = rows
            .iter()
            .map(|row| row.request.key.uniform(row.sampled_tokens))
            .collect();
        let (tokens, logprobs) = if options.filters.is_off() {
            sample(&logits, options.temperature, &uniforms)
        } else {
            let histories: Vec<Vec<u32>> = rows.iter().map(Row::history).collect();
            let histories: Vec<&[u32]> = histories.iter().map(Vec::as_slice).collect();
            let filters = &options.filters;
            draw(&logits, options.temperature, filters, &histories, &uniforms)
                .into_iter()
                .unzip()
        };
        // A finished row that was not dropped yet is fed nothing that counts.
        let broken = rows
            .iter()
            .zip(&logprobs)
            .find(|(row, logprob)| logprob.is_nan() && !row.finished());
        if let Some((row, _)) = broken {
            return Err(DecodeError::NotFinite {
                request: row.index,
                position: row.length as usize,
                place: String::new(),
            });
        }
        let feed: Vec<Option<u32>> = rows
            .iter_mut()
            .zip(tokens.iter().zip(&logprobs))
            .map(|(row, (token, logprob))| {
                // A row that is complete but not yet dropped stays complete.
                if row.finished() {
                    return None;
                }
                row.next_token(*token, *logprob, options, longest)
            })
            .collect();
        let active: Vec<i64> = (0i64..)
            .zip(&feed)
            .filter(|(_, token)| token.is_some())
            .map(|(i, _)| i)
            .collect();
        if active.is_empty() {
            break;
        }
        let feed = if active.len() * 4 <= rows.len() * 3 {
            // Copying the cache costs about two steps, so rows are dropped a quarter of the batch at a time.
            state.select(&active);
            let mut kept = Vec::with_capacity(active.len());
            for (row, token) in rows.into_iter().zip(&feed) {
                if token.is_some() {
                    kept.push(row)
                } else {
                    results[row.index] = row.done
                }
            }
            rows = kept;
            feed.into_iter().filter(Option::is_some).collect()
        } else {
            feed
        };
        logits = state.step(model, &mut rows, &feed);
    }
    for row in rows {
        results[row.index] = row.done;
    }
    Ok(results)
}

/// The tensors of a batch in flight.
struct Batch {
    cache: KvCache,
    /// Additive mask `[B, 1, 1, capacity]`: 0 where a column holds a real token of the row, else minus infinity.
    mask: Tensor,
    device: Device,
}

impl Batch {
    /// Prefills every distinct prompt once and forks it to its rows. Returns logits `[B, V]` of each prompt's last token.
    fn prefill(model: &Transformer, rows: &[Row]) -> (Self, Tensor) {
        let device = model.device();
        let mut unique: Vec<Vec<u32>> = Vec::new();
        let mut seen: HashMap<Vec<u32>, i64> = HashMap::new();
        let parents: Vec<i64> = rows
            .iter()
            .map(|row| {
                let prompt = [&row.request.prompt[..], &row.request.segments[0].opening].concat();
                *seen.entry(prompt).or_insert_with_key(|prompt| {
                    unique.push(prompt.clone());
                    unique.len() as i64 - 1
                })
            })
            .collect();
        let (u, t) = (unique.len(), unique.iter().map(Vec::len).max().unwrap_or(0));
        let room = |row: &Row| {
            let segments = &row.request.segments;
            let openings: usize = segments.iter().skip(1).map(|s| s.opening.len()).sum();
            openings + segments.iter().map(|s| s.max_new_tokens).sum::<usize>()
        };
        let capacity = (t + rows.iter().map(room).max().unwrap_or(0)) as i64;
        // Left padding: every prompt ends in the same column.
        let mut tokens = vec![0i64; u * t];
        let mut positions = vec![0i64; u * t];
        let mut valid = vec![f32::NEG_INFINITY; u * capacity as usize];
        for (row, prompt) in unique.iter().enumerate() {
            let padding = t - prompt.len();
            for (i, token) in prompt.iter().enumerate() {
                tokens[row * t + padding + i] = i64::from(*token);
                positions[row * t + padding + i] = i as i64;
                valid[row * capacity as usize + padding + i] = 0.0;
            }
        }
        let (u, t) = (u as i64, t as i64);
        let tokens = Tensor::from_slice(&tokens).view([u, t]).to_device(device);
        let positions = Tensor::from_slice(&positions)
            .view([u, t])
            .to_device(device);
        let mask = Tensor::from_slice(&valid)
            .view([u, 1, 1, capacity])
            .to_device(device);
        let causal = Tensor::full([t, t], f64::NEG_INFINITY, (Kind::Float, device)).triu(1);
        // A padding query sees its own column, since a row of minus infinities has no softmax; nobody reads it.
        let own = Tensor::eye(t, (Kind::Bool, device));
        let prefill_mask = (causal + mask.narrow(3, 0, t)).masked_fill(&own, 0.0);
        let mut cache = KvCache::new(model.config(), u, capacity, (model.compute_kind(), device));
        let hidden = model.forward_cached(&tokens, &positions, &prefill_mask, &mut cache);
        let last = model.logits(&hidden.select(1, t - 1));
        let parents = Tensor::from_slice(&parents).to_device(device);
        let batch = Self {
            cache: cache.select(&parents),
            mask: mask.index_select(0, &parents),
            device,
        };
        (batch, last.index_select(0, &parents))
    }

    fn select(&mut self, rows: &[i64]) {
        let rows = Tensor::from_slice(rows).to_device(self.device);
        self.cache = self.cache.select(&rows);
        self.mask = self.mask.index_select(0, &rows);
    }

    /// Feeds one token a row (`None`: a finished row, whose column stays masked) and returns logits `[B, V]`.
    fn step(&mut self, model: &Transformer, rows: &mut [Row], feed: &[Option<u32>]) -> Tensor {
        let column = self.cache.filled();
        let b = rows.len() as i64;
        let tokens: Vec<i64> = feed
            .iter()
            .map(|token| i64::from(token.unwrap_or(0)))
            .collect();
        let positions: Vec<i64> = rows
            .iter()
            .zip(feed)
            .map(|(row, token)| if token.is_some() { row.length } else { 0 })
            .collect();
        let open: Vec<f32> = feed
            .iter()
            .map(|t| if t.is_some() { 0.0 } else { f32::NEG_INFINITY })
            .collect();
        self.mask
            .narrow(3, column, 1)
            .copy_(&Tensor::from_slice(&open).view([b, 1, 1, 1]));
        let on_device = |values: &[i64]| {
            Tensor::from_slice(values)
                .view([b, 1])
                .to_device(self.device)
        };
        let mask = self.mask.narrow(3, 0, column + 1);
        let hidden = model.forward_cached(
            &on_device(&tokens),
            &on_device(&positions),
            &mask,
            &mut self.cache,
        );
        for (row, _) in rows
            .iter_mut()
            .zip(feed)
            .filter(|(_, token)| token.is_some())
        {
            row.length += 1;
        }
        model.logits(&hidden.select(1, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::super::arch::{FAMILIES, Family};
    use super::super::config::{test_config, test_family};
    use super::*;

    fn request(prompt: &[u32], sample: u64, segments: usize) -> Request {
        let segments = (0..segments)
            .map(|i| Segment {
                opening: vec![3 + i as u32, 9],
                max_new_tokens: 6,
            })
            .collect();
        Request {
            prompt: prompt.to_vec(),
            segments,
            key: DrawKey::new(1).with(sample),
        }
    }

    const OPTIONS: DecodeOptions = DecodeOptions {
        temperature: 1.0,
        end_token: 2,
        batch_size: 16,
        filters: Filters::OFF,
        stop: None,
    };

    /// The whole sequence a row ended with.
    fn sequence(request: &Request, sampled: &[Sampled]) -> Vec<i64> {
        let mut tokens = request.prompt.clone();
        for (segment, sampled) in request.segments.iter().zip(sampled) {
            tokens.extend(&segment.opening);
            tokens.extend(&sampled.tokens);
        }
        tokens.into_iter().map(i64::from).collect()
    }

    #[test]
    fn logprobs_equal_those_of_a_plain_forward_pass() {
        FAMILIES.into_iter().for_each(check_logprobs);
    }

    fn check_logprobs(family: &Family) {
        let model = Transformer::init(&test_family(family), 0.2, 11, Device::Cpu);
        let requests: Vec<Request> = (0..6u64)
            .map(|i| request(&[5, 6, 7, 8][..1 + i as usize % 4], i, 3))
            .collect();
        for (request, sampled) in requests
            .iter()
            .zip(decode(&model, &requests, &OPTIONS).unwrap())
        {
            let tokens = sequence(request, &sampled);
            let input = Tensor::from_slice(&tokens).view([1, -1]);
            let log_probs = model
                .logits(&model.forward(&input))
                .log_softmax(-1, Kind::Float);
            let mut at = request.prompt.len();
            for (segment, sampled) in request.segments.iter().zip(&sampled) {
                at += segment.opening.len();
                for (token, logprob) in sampled.tokens.iter().zip(&sampled.logprobs) {
                    let expected = log_probs.double_value(&[0, at as i64 - 1, i64::from(*token)]);
                    assert!(
                        (expected - f64::from(*logprob)).abs() < 1e-4,
                        "{}: {expected} {logprob}",
                        family.model_type
                    );
                    at += 1;
                }
            }
        }
    }

    #[test]
    fn a_row_does_not_depend_on_its_batch() {
        let model = Transformer::init(&test_config(), 0.02, 11, Device::Cpu);
        let requests: Vec<Request> = (0..5u64)
            .map(|i| request(&[5, 6, 7][..1 + i as usize % 3], i, 2))
            .collect();
        let together = decode(&model, &requests, &OPTIONS).unwrap();
        for (request, sampled) in requests.iter().zip(&together) {
            let alone = decode(&model, std::slice::from_ref(request), &OPTIONS).unwrap();
            let tokens = |s: &[Sampled]| s.iter().map(|s| s.tokens.clone()).collect::<Vec<_>>();
            assert_eq!(tokens(&alone[0]), tokens(sampled));
        }
    }

    #[test]
    fn limits_truncate_and_end_the_row() {
        let model = Transformer::init(&test_config(), 0.02, 11, Device::Cpu);
        let mut long = request(&[5], 0, 2);
        long.segments[0].max_new_tokens = 1;
        let never = DecodeOptions {
            end_token: u32::MAX,
            ..OPTIONS
        };
        let sampled = &decode(&model, &[long], &never).unwrap()[0];
        assert_eq!(
            (sampled.len(), sampled[0].tokens.len(), sampled[0].truncated),
            (1, 1, true)
        );
        let too_long = request(&[5; 64], 0, 1);
        assert!(decode(&model, &[too_long], &never).unwrap()[0][0].truncated);
    }
}
