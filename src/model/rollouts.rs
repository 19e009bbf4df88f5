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
}

impl Rollouts {
    /// Decodes with the trainer's own weights and code.
    pub fn trainer() -> Self {
        Self::default()
    }

    /// Decodes with the fused decoder on weights of this precision.
    pub fn fused(precision: Precision) -> Self {
        Self {
            precision: Some(precision),
            engine: RefCell::default(),
        }
    }

    /// To be called after the weights changed: the snapshot is made again before it is used again.
    pub fn refresh(&self) {
        self.engine.replace(None);
    }

    /// Decodes all requests. `on_token` hears of every sampled token at once from the fused decoder, and at the end from
    /// the trainer's.
    pub fn decode(
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
            let decoded = decode(model, requests, options).map_err(located)?;
            for (index, sampled) in decoded.iter().enumerate() {
                let tokens = sampled.iter().flat_map(|s| &s.tokens);
                tokens.for_each(|token| on_token(index, *token));
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
