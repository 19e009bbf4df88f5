//! Sampling from logits with a counter-based generator: a draw depends on its key alone, never on what else was in the
//! batch or on how many draws came before, so resuming needs no generator state.
//!
//! Shape legend: B batch, V vocabulary.

use tch::{Kind, Tensor};

/// Key of a stream of draws, folded from (seed, role, stage, step, problem, branch, sample).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrawKey(u64);

impl DrawKey {
    /// The root key of a run.
    pub fn new(seed: u64) -> Self {
        Self(mix(seed ^ 0x9e37_79b9_7f4a_7c15))
    }

    /// A key that depends on this one and on `part`; order matters.
    #[must_use]
    pub fn with(self, part: u64) -> Self {
        Self(mix(
            self.0.rotate_left(23) ^ mix(part.wrapping_add(0x6a09_e667_f3bc_c909))
        ))
    }

    /// The same for a name.
    #[must_use]
    pub fn with_name(self, name: &str) -> Self {
        name.bytes()
            .fold(self.with(name.len() as u64), |key, byte| {
                key.with(u64::from(byte))
            })
    }

    /// The key as a number, for seeding deterministic choices elsewhere.
    pub fn value(self) -> u64 {
        self.0
    }

    /// A uniform number in [0, 1) with 53 random bits.
    pub fn uniform(self, position: u64) -> f64 {
        (self.with(position).0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): a bijection whose output bits all depend on all input bits.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Draws one token a row from `logits` `[B, V]` by inverting the cumulative distribution at `uniforms` (B numbers in
/// [0, 1)). Temperature 0 takes the largest logit. Returns tokens and their log-probabilities at that temperature
/// (at temperature 1 for greedy choices).
pub fn sample(logits: &Tensor, temperature: f64, uniforms: &[f64]) -> (Vec<u32>, Vec<f32>) {
    let logits = logits.to_kind(Kind::Float);
    let greedy = temperature == 0.0;
    let log_probs = if greedy {
        logits.log_softmax(-1, Kind::Float)
    } else {
        (logits / temperature).log_softmax(-1, Kind::Float)
    };
    let tokens = if greedy {
        log_probs.argmax(-1, true)
    } else {
        let cumulative = log_probs
            .to_kind(Kind::Double)
            .exp()
            .cumsum(-1, Kind::Double);
        let total = cumulative.narrow(1, cumulative.size()[1] - 1, 1);
        let points = Tensor::from_slice(uniforms)
            .to_device(cumulative.device())
            .view([-1, 1])
            * total;
        // right = true: the first token whose cumulative probability exceeds the point, so zero-probability tokens
        // are never drawn.
        let last = cumulative.size()[1] - 1;
        points
            .searchsorted(&cumulative, false, true, "right", None::<Tensor>)
            .clamp_max(last)
    };
    let chosen = log_probs.gather(1, &tokens, false).view([-1]);
    let tokens: Vec<i64> = Vec::try_from(tokens.view([-1])).expect("token ids are int64");
    let chosen: Vec<f32> = Vec::try_from(chosen).expect("log-probabilities are float");
    (tokens.into_iter().map(|t| t as u32).collect(), chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_the_distribution_and_repeat() {
        let logits =
            Tensor::from_slice(&[0.7f32.ln(), 0.2f32.ln(), 0.1f32.ln(), f32::NEG_INFINITY])
                .view([1, 4]);
        let n = 4000usize;
        let key = DrawKey::new(1).with(2);
        let uniforms: Vec<f64> = (0..n as u64).map(|p| key.uniform(p)).collect();
        let rows = logits.expand([n as i64, 4], false);
        let (tokens, logprobs) = sample(&rows, 1.0, &uniforms);
        let share = |t: u32| tokens.iter().filter(|x| **x == t).count() as f64 / n as f64;
        assert!((share(0) - 0.7).abs() < 0.03 && (share(1) - 0.2).abs() < 0.03 && share(3) == 0.0);
        assert!(
            (f64::from(logprobs[0]).exp() - [0.7, 0.2, 0.1, 0.0][tokens[0] as usize]).abs() < 1e-5
        );
        assert_eq!(tokens, sample(&rows, 1.0, &uniforms).0);
        assert_eq!(sample(&rows, 0.0, &uniforms).0, vec![0; n]);
    }

    #[test]
    fn keys_differ_by_every_part_and_by_order() {
        let root = DrawKey::new(5);
        let keys = [
            root,
            root.with(0),
            root.with(1),
            root.with(0).with(1),
            root.with(1).with(0),
            root.with_name("a"),
        ];
        for (i, a) in keys.iter().enumerate() {
            assert!(keys[i + 1..].iter().all(|b| a != b));
        }
    }
}
