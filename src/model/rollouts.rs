//! What a policy decodes with: the weights and code of training, or a packed snapshot of them.

use std::cell::RefCell;

use super::decoder::{DecodeError, DecodeOptions, Request, Sampled, decode};
use super::diagnosis::first_not_finite;
use super::engine::{Engine, OnToken};
use super::fused::{FusedModel, Precision};
use super::transformer::Transformer;

/// The decoder of one policy.
#[derive(Default)]
pub struct Rollouts {
    /// None decodes with the trainer's own weights.
    precision: Option<Precision>,
    /// Made at the first use after the weights changed.
    engine: RefCell<Option<Engine>>,
    listener: RefCell<Option<Box<Listener>>>,
}

/// Told how many of the segments that are being decoded have ended, and how many there are.
pub type Listener = dyn FnMut(usize, usize);

impl Rollouts {
    /// Decodes with the trainer's own weights and code.
    pub fn trainer() -> Self {
        Self::default()
    }

    /// Decodes with the fused decoder on weights of this precision.
    pub fn fused(precision: Precision) -> Self {
        Self {
            precision: Some(precision),
            ..Self::default()
        }
    }

    /// Has `listener` told how far each call of [`Rollouts::decode`] is: at its start, after every token (of a batch, where
    /// the trainer's code decodes), and at its end.
    pub fn listen(&self, listener: Box<Listener>) {
        self.listener.replace(Some(listener));
    }

    /// To be called after the weights changed: the snapshot is made again before it is used again.
    pub fn refresh(&self) {
        self.engine.replace(None);
    }

    /// Decodes all requests. `on_token` hears of every sampled token at once from the fused decoder, and at the end of a
    /// batch from the trainer's.
    pub fn decode(
        &self,
        model: &Transformer,
        requests: &[Request],
        options: &DecodeOptions,
        on_token: &mut OnToken,
    ) -> Result<Vec<Vec<Sampled>>, DecodeError> {
        let mut listener = self.listener.borrow_mut();
        let Some(listener) = &mut *listener else {
            return self.decode_all(model, requests, options, on_token);
        };
        let total: usize = requests.iter().map(|r| r.segments.len()).sum();
        let mut done = 0;
        listener(done, total);
        let mut heard = |index: usize, token: u32| {
            done += usize::from(token == options.end_token);
            listener(done.min(total), total);
            on_token(index, token);
        };
        let decoded = self.decode_all(model, requests, options, &mut heard)?;
        listener(total, total);
        Ok(decoded)
    }

    fn decode_all(
        &self,
        model: &Transformer,
        requests: &[Request],
        options: &DecodeOptions,
        on_token: &mut OnToken,
    ) -> Result<Vec<Vec<Sampled>>, DecodeError> {
        // Decoders say which request broke; what broke it is looked for once it did.
        let located = |error| match error {
            DecodeError::NotFinite {
                request, position, ..
            } => DecodeError::NotFinite {
                place: first_not_finite(model, &requests[request].prompt),
                request,
                position,
            },
            other => other,
        };
        let Some(precision) = self.precision else {
            let mut decoded = Vec::with_capacity(requests.len());
            for batch in requests.chunks(options.batch_size.max(1)) {
                let first = decoded.len();
                let written = decode(model, batch, options);
                decoded.extend(written.map_err(|error| located(error.behind(first)))?);
                for (index, sampled) in decoded.iter().enumerate().skip(first) {
                    let tokens = sampled.iter().flat_map(|s| &s.tokens);
                    tokens.for_each(|token| on_token(index, *token));
                }
            }
            return Ok(decoded);
        };
        let mut engine = self.engine.borrow_mut();
        let engine = match &mut *engine {
            Some(engine) => engine,
            empty => empty.insert(Engine::new(FusedModel::new(model, precision)?)),
        };
        let decoded = engine.decode(requests, options, on_token);
        Ok(decoded.map_err(located)?.0)
    }
}
