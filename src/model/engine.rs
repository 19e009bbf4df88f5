//! Continuous batching over a paged cache: rows join when others finish, and what rows have in common is computed once.
//!
//! ```text
//! waiting ──admit──> running ──one forward pass of all──> sample ──> running, or finished and out
//!            └ blocks of a known prefix are shared, not computed
//! ```
//! A pass takes one token of each row that decodes, and many of each that has a prompt, or the opening of its next segment,
//! to read. Full blocks of 16 tokens are known by their tokens and all before them, so a group's prompt, and every stage
//! that several continuations hang on, is read once; blocks stay known between calls until the weights change or
//! their room is needed.

use std::collections::{HashMap, VecDeque};

use gauntlet_shim::fused::{BLOCK, PagedCache, Places};

use super::decoder::{DecodeError, DecodeOptions, Request, Sampled};
use super::fused::FusedModel;
use super::pretrained::available_memory;
use super::rope::Rope;
use super::sampling::draw;
use crate::interrupt;

/// Tokens of prompts in one pass.
const PREFILL_TOKENS: usize = 512;

const BLOCK_TOKENS: usize = BLOCK as usize;

/// What stands before the first block.
const ROOT: u64 = 0;

/// A packed model with its cache.
pub struct Engine {
    model: FusedModel,
    cache: PagedCache,
    pool: Pool,
}

/// What the engine did, for measuring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineCounts {
    /// Forward passes.
    pub passes: u64,
    /// Tokens that went through the model.
    pub computed: u64,
    /// Prompt tokens that were known already.
    pub shared: u64,
}

/// Told each sampled token as it comes: the request's index, and the token.
pub type OnToken<'a> = dyn FnMut(usize, u32) + 'a;

/// The tokens of a full block behind the contents it follows.
type Key = (u64, [u32; BLOCK_TOKENS]);

/// Which blocks are free, who holds the others, and what is in them.
#[derive(Default)]
struct Pool {
    free: Vec<u32>,
    holders: Vec<u32>,
    /// Full blocks with the number of their contents. A number is given once, so what followed contents that were
    /// forgotten is never found again.
    known: HashMap<Key, (u32, u64)>,
    keys: HashMap<u32, Key>,
    /// Known blocks that nobody holds, the longest unused first; entries that are held again are passed over.
    unused: VecDeque<u32>,
    contents: u64,
}

impl Pool {
    fn new(blocks: u32) -> Self {
        Self {
            free: (0..blocks).rev().collect(),
            holders: vec![0; blocks as usize],
            ..Self::default()
        }
    }

    fn take(&mut self) -> Option<u32> {
        let block = match self.free.pop() {
            Some(block) => block,
            None => self.evict()?,
        };
        self.holders[block as usize] = 1;
        Some(block)
    }

    /// Forgets the known block that was let go of first.
    fn evict(&mut self) -> Option<u32> {
        while let Some(block) = self.unused.pop_front() {
            if self.holders[block as usize] == 0
                && let Some(key) = self.keys.remove(&block)
            {
                self.known.remove(&key);
                return Some(block);
            }
        }
        None
    }

    fn hold(&mut self, block: u32) {
        self.holders[block as usize] += 1;
    }

    fn release(&mut self, block: u32) {
        let holders = &mut self.holders[block as usize];
        *holders -= 1;
        if *holders == 0 {
            if self.keys.contains_key(&block) {
                self.unused.push_back(block);
            } else {
                self.free.push(block);
            }
        }
    }

    /// The blocks, and the numbers of their contents, that hold the beginning of `tokens`; never all of it: the last token
    /// has to be computed for its logits.
    fn prefix(&self, tokens: &[u32]) -> (Vec<u32>, Vec<u64>) {
        let (mut blocks, mut contents) = (Vec::new(), Vec::new());
        let mut parent = ROOT;
        for chunk in tokens[..tokens.len() - 1].chunks_exact(BLOCK_TOKENS) {
            let key = (parent, chunk.try_into().expect("a chunk is a block"));
            let Some(&(block, content)) = self.known.get(&key) else {
                break;
            };
            blocks.push(block);
            contents.push(content);
            parent = content;
        }
        (blocks, contents)
    }

    /// Remembers a block that was just filled, unless its contents are known by another. Returns the contents' number.
    fn learn(&mut self, parent: u64, tokens: &[u32], block: u32) -> u64 {
        let key = (parent, tokens.try_into().expect("a full block"));
        if let Some((_, content)) = self.known.get(&key) {
            return *content;
        }
        self.contents += 1;
        self.known.insert(key, (block, self.contents));
        self.keys.insert(block, key);
        self.contents
    }
}

/// A row that is decoded.
struct Row<'a> {
    request: &'a Request,
    index: usize,
    /// Everything read and written so far.
    tokens: Vec<u32>,
    /// How many of them are in the cache.
    computed: usize,
    blocks: Vec<u32>,
    /// Numbers of the contents of the full ones.
    contents: Vec<u64>,
    done: Vec<Sampled>,
    current: Sampled,
    sampled: u64,
}

impl Row<'_> {
    /// Takes a sampled token; says whether the row goes on.
    fn accept(
        &mut self,
        token: u32,
        logprob: f32,
        options: &DecodeOptions,
        longest: usize,
    ) -> bool {
        self.sampled += 1;
        self.current.tokens.push(token);
        self.current.logprobs.push(logprob);
        let segment = &self.request.segments[self.done.len()];
        let stopped = options.stops_at(&self.current.tokens);
        let ended = token == options.end_token || stopped;
        let room = self.tokens.len() + 1 < longest;
        if !ended && self.current.tokens.len() < segment.max_new_tokens && room {
            self.tokens.push(token);
            return true;
        }
        self.current.truncated = !ended;
        self.done.push(std::mem::take(&mut self.current));
        let next = self.request.segments.get(self.done.len());
        let Some(next) = next.filter(|_| ended) else {
            return false;
        };
        if self.tokens.len() + 1 + next.opening.len() >= longest {
            self.done.push(Sampled {
                truncated: true,
                ..Sampled::default()
            });
            return false;
        }
        self.tokens.push(token);
        self.tokens.extend(&next.opening);
        true
    }
}

impl Engine {
    /// An engine without room yet; its cache grows with what it is asked.
    pub fn new(model: FusedModel) -> Self {
        Self {
            cache: model.cache(0),
            pool: Pool::new(0),
            model,
        }
    }

    /// The model.
    pub fn model(&self) -> &FusedModel {
        &self.model
    }

    /// Decodes all requests, at most `options.batch_size` at a time; the result has one entry a request, as
    /// [`super::decoder::decode`] gives it. `on_token` hears of every sampled token at once.
    pub fn decode(
        &mut self,
        requests: &[Request],
        options: &DecodeOptions,
        on_token: &mut OnToken,
    ) -> Result<(Vec<Vec<Sampled>>, EngineCounts), DecodeError> {
        gauntlet_shim::inference_mode(|| self.run(requests, options, on_token))
    }

    fn run(
        &mut self,
        requests: &[Request],
        options: &DecodeOptions,
        on_token: &mut OnToken,
    ) -> Result<(Vec<Vec<Sampled>>, EngineCounts), DecodeError> {
        let longest = self.model.config().max_position_embeddings as usize;
        let mut results: Vec<Vec<Sampled>> = vec![Vec::new(); requests.len()];
        let mut waiting: VecDeque<Row> = VecDeque::new();
        for (index, request) in requests.iter().enumerate() {
            let Some(first) = request.segments.first() else {
                continue;
            };
            let tokens = [&request.prompt[..], &first.opening].concat();
            if tokens.is_empty() || tokens.len() >= longest {
                results[index] = vec![Sampled {
                    truncated: true,
                    ..Sampled::default()
                }];
                continue;
            }
            waiting.push_back(Row {
                request,
                index,
                tokens,
                computed: 0,
                blocks: Vec::new(),
                contents: Vec::new(),
                done: Vec::new(),
                current: Sampled::default(),
                sampled: 0,
            });
        }
        let batch_size = options.batch_size.max(1);
        self.make_room(waiting.iter(), batch_size, longest)?;
        let mut running: Vec<Row> = Vec::new();
        let mut counts = EngineCounts::default();
        while !(waiting.is_empty() && running.is_empty()) {
            if interrupt::requested() {
                return Err(DecodeError::Interrupted);
            }
            self.admit(&mut waiting, &mut running, batch_size, &mut counts);
            let ready = self.pass(&mut running, &mut counts)?;
            let Some((rows, logits)) = ready else {
                continue;
            };
            let uniforms: Vec<f64> = rows
                .iter()
                .map(|&r| running[r].request.key.uniform(running[r].sampled))
                .collect();
            let histories: Vec<&[u32]> = rows.iter().map(|&r| &*running[r].tokens).collect();
            let drawn = draw(
                &logits,
                options.temperature,
                &options.filters,
                &histories,
                &uniforms,
            );
            let mut finished = Vec::new();
            for (&r, (token, logprob)) in rows.iter().zip(drawn) {
                if !logprob.is_finite() {
                    return Err(DecodeError::NotFinite {
                        request: running[r].index,
                        position: running[r].tokens.len(),
                        place: String::new(),
                    });
                }
                on_token(running[r].index, token);
                if !running[r].accept(token, logprob, options, longest) {
                    finished.push(r);
                }
            }
            for r in finished.into_iter().rev() {
                let row = running.remove(r);
                // The last blocks first: they are forgotten before what they follow.
                for block in row.blocks.into_iter().rev() {
                    self.pool.release(block);
                }
                results[row.index] = row.done;
            }
        }
        Ok((results, counts))
    }

    /// Makes the cache large enough for `batch_size` of the largest rows, so that no row runs out of room on its way.
    fn make_room<'a>(
        &mut self,
        rows: impl Iterator<Item = &'a Row<'a>>,
        batch_size: usize,
        longest: usize,
    ) -> Result<(), DecodeError> {
        let mut sizes: Vec<usize> = rows
            .map(|row| {
                let segments = &row.request.segments;
                let later: usize = segments.iter().skip(1).map(|s| s.opening.len()).sum();
                let sampled: usize = segments.iter().map(|s| s.max_new_tokens).sum();
                (row.tokens.len() + later + sampled)
                    .min(longest)
                    .div_ceil(BLOCK_TOKENS)
            })
            .collect();
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        let needed: usize = sizes.iter().take(batch_size).sum();
        if needed <= self.pool.holders.len() {
            return Ok(());
        }
        let positions = sizes.first().map_or(0, |blocks| blocks * BLOCK_TOKENS);
        let angles = Rope::bytes(self.model.config(), positions as i64);
        let bytes = needed as u64 * self.model.block_bytes() + angles;
        if let Some(available) = available_memory()
            && bytes > available
        {
            return Err(DecodeError::Memory {
                rows: batch_size.min(sizes.len()),
                needed_mb: bytes >> 20,
                available_mb: available >> 20,
            });
        }
        self.cache = self.model.cache(needed as i64);
        self.pool = Pool::new(needed as u32);
        Ok(())
    }

    /// Lets rows in, in their order. A row whose beginning is just being computed by another waits for it.
    fn admit<'a>(
        &mut self,
        waiting: &mut VecDeque<Row<'a>>,
        running: &mut Vec<Row<'a>>,
        batch_size: usize,
        counts: &mut EngineCounts,
    ) {
        while running.len() < batch_size {
            let Some(row) = waiting.front() else {
                return;
            };
            let (blocks, contents) = self.pool.prefix(&row.tokens);
            let known = blocks.len() * BLOCK_TOKENS;
            let coming = running.iter().any(|other| {
                let common = other.tokens.iter().zip(&row.tokens);
                let common = common.take_while(|(a, b)| a == b).count();
                let usable = common.min(row.tokens.len() - 1) / BLOCK_TOKENS * BLOCK_TOKENS;
                other.computed < usable && usable > known
            });
            if coming {
                return;
            }
            let mut row = waiting.pop_front().expect("a row is waiting");
            blocks.iter().for_each(|&block| self.pool.hold(block));
            counts.shared += known as u64;
            row.computed = known;
            row.blocks = blocks;
            row.contents = contents;
            running.push(row);
        }
    }

    /// One forward pass of every running row. Gives the rows whose next token can be sampled, with their logits.
    fn pass(
        &mut self,
        running: &mut [Row],
        counts: &mut EngineCounts,
    ) -> Result<Option<(Vec<usize>, tch::Tensor)>, DecodeError> {
        let mut budget = PREFILL_TOKENS.max(running.len());
        let mut parts = Vec::new();
        for (r, row) in running.iter_mut().enumerate() {
            let count = (row.tokens.len() - row.computed).min(budget);
            budget -= count;
            while row.blocks.len() * BLOCK_TOKENS < row.computed + count {
                let block = self.pool.take();
                row.blocks.push(block.ok_or(DecodeError::NoRoom)?);
            }
            if count > 0 {
                parts.push((r, row.computed..row.computed + count));
            }
        }
        let mut tokens = Vec::new();
        let mut places = Vec::new();
        let (mut at, mut ready) = (Vec::new(), Vec::new());
        for (r, range) in &parts {
            let row = &running[*r];
            for position in range.clone() {
                tokens.push(i64::from(row.tokens[position]));
                places.push((position as i64, &row.blocks[..=position / BLOCK_TOKENS]));
            }
            if range.end == row.tokens.len() {
                at.push(tokens.len() as i64 - 1);
                ready.push(*r);
            }
        }
        let hidden = self
            .model
            .forward(&tokens, &Places::new(&places), &mut self.cache);
        counts.passes += 1;
        counts.computed += tokens.len() as u64;
        for (r, range) in parts {
            let row = &mut running[r];
            row.computed = range.end;
            for filled in range.start / BLOCK_TOKENS..range.end / BLOCK_TOKENS {
                let parent = row.contents.last().copied().unwrap_or(ROOT);
                let tokens = &row.tokens[filled * BLOCK_TOKENS..(filled + 1) * BLOCK_TOKENS];
                let content = self.pool.learn(parent, tokens, row.blocks[filled]);
                row.contents.push(content);
            }
        }
        Ok((!ready.is_empty()).then(|| {
            let logits = self.model.logits(&hidden, &at);
            (ready, logits)
        }))
    }
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
