//! Rotary positions: which angles each position turns by, in the scalings that published models use.
//!
//! Shape legend: P positions, D width of a head.

use std::f64::consts::PI;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::config::ModelConfig;

/// How rotary frequencies are stretched, under the keys of `rope_scaling` in a published `config.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RopeScaling {
    /// `linear`, `dynamic`, `llama3` or `yarn`.
    #[serde(alias = "type")]
    pub rope_type: String,
    /// How many times longer the context became.
    #[serde(default = "one")]
    pub factor: f64,
    /// Context of the first training; the model's own context if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original_max_position_embeddings: Option<i64>,
    /// llama3: waves longer than the original context over this are stretched in full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low_freq_factor: Option<f64>,
    /// llama3: waves shorter than the original context over this are left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high_freq_factor: Option<f64>,
    /// yarn: turns over the original context above which a frequency is left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beta_fast: Option<f64>,
    /// yarn: turns over the original context below which a frequency is stretched in full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beta_slow: Option<f64>,
    /// yarn: factor on cos and sin, in place of 0.1 ln(factor) + 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention_factor: Option<f64>,
    /// yarn: with `mscale_all_dim` the factor on cos and sin is (0.1 `mscale` ln(factor) + 1) over the same of the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mscale: Option<f64>,
    /// yarn: see `mscale`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mscale_all_dim: Option<f64>,
    /// yarn: whether the bounds between stretched and other frequencies are whole dimensions; so if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncate: Option<bool>,
}

fn one() -> f64 {
    1.0
}

/// The scalings that [`Rope`] knows.
pub const ROPE_TYPES: [&str; 4] = ["linear", "dynamic", "llama3", "yarn"];

/// Positions that a table covers at first; it is made anew, at least twice as long, when more are asked for.
pub const FIRST_POSITIONS: i64 = 2048;

/// The angles of one kind of layers, in tables that grow with the positions in use
/// (RoFormer, arXiv 2104.09864, in the half-rotation layout of the published Llama weights).
///
/// - `linear` divides every frequency by the factor (arXiv 2306.15595).
/// - `dynamic` stretches only sequences beyond the model's context, which are refused here: nothing to do.
/// - `llama3` divides low frequencies, blends the middle ones (Llama 3.1, arXiv 2407.21783).
/// - `yarn` blends by the number of turns and scales cos and sin (arXiv 2309.00071, equations 17 to 23).
#[derive(Debug)]
pub struct Rope {
    /// `[D / 2]`, in radians a position.
    frequencies: Vec<f64>,
    /// What cos and sin are multiplied by.
    magnitude: f64,
    device: Device,
    /// `max_position_embeddings`.
    most: i64,
    /// cos and sin.
    tables: Mutex<(Tensor, Tensor)>,
}

impl Rope {
    /// The angles of layers whose frequencies have this base and are stretched by `scaling`.
    pub fn new(
        config: &ModelConfig,
        base: f64,
        scaling: Option<&RopeScaling>,
        device: Device,
    ) -> Self {
        let mut frequencies = plain_frequencies(config.head_dim, base);
        if let Some(scaling) = scaling {
            for (index, frequency) in frequencies.iter_mut().enumerate() {
                *frequency = scaling.frequency(config, index, *frequency);
            }
        }
        let rope = Self {
            frequencies,
            magnitude: scaling.map_or(1.0, |scaling| scaling.magnitude()),
            device,
            most: config.max_position_embeddings,
            tables: Mutex::new((Tensor::new(), Tensor::new())),
        };
        let _ = rope.tables(1);
        rope
    }

    /// cos and sin of position times frequency in `f32`, each `[P, D]` with the halves repeated, of at least the first
    /// `positions` or of all that the model reads.
    pub fn tables(&self, positions: i64) -> (Tensor, Tensor) {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let there = if tables.0.defined() {
            tables.0.size()[0]
        } else {
            0
        };
        if there < positions.min(self.most) {
            // A table outlives inference mode, and training keeps it for its backward pass.
            *tables = gauntlet_shim::normal_mode(|| self.computed(self.length(positions)));
        }
        (tables.0.shallow_clone(), tables.1.shallow_clone())
    }

    /// Positions of a table that serves `positions`.
    fn length(&self, positions: i64) -> i64 {
        let length = (positions.max(FIRST_POSITIONS) as u64).next_power_of_two() as i64;
        length.min(self.most)
    }

    fn computed(&self, length: i64) -> (Tensor, Tensor) {
        let positions = Tensor::arange(length, (Kind::Double, Device::Cpu));
        let angles = positions.outer(&Tensor::from_slice(&self.frequencies));
        let angles = Tensor::cat(&[&angles, &angles], 1);
        let table = |t: Tensor| {
            let t = if self.magnitude == 1.0 {
                t
            } else {
                t * self.magnitude
            };
            t.to_kind(Kind::Float).to_device(self.device)
        };
        (table(angles.cos()), table(angles.sin()))
    }

    /// Bytes of the tables that serve `positions`.
    pub fn bytes(config: &ModelConfig, positions: i64) -> u64 {
        let length = (positions.max(FIRST_POSITIONS) as u64).next_power_of_two();
        let length = length.min(config.max_position_embeddings as u64);
        // cos and sin in 32 bits; while they are made, the angles, twice, and one of them in 64 bits.
        let kinds = config.rope_bases().len() as u64;
        kinds * length * config.head_dim as u64 * 8 + length * config.head_dim as u64 * 24
    }
}

/// Frequencies before any stretching, `[D / 2]`.
fn plain_frequencies(head_dim: i64, base: f64) -> Vec<f64> {
    let half = Tensor::arange(head_dim / 2, (Kind::Double, Device::Cpu));
    let frequencies = (half * (2.0 / head_dim as f64) * -base.ln()).exp();
    Vec::try_from(frequencies).expect("frequencies are doubles")
}

impl RopeScaling {
    /// How many times each frequency is slowed down, `[D / 2]`.
    pub fn factors(&self, config: &ModelConfig) -> Vec<f64> {
        let plain = plain_frequencies(config.head_dim, config.rope_theta);
        let factor = |(i, f): (usize, &f64)| f / self.frequency(config, i, *f);
        plain.iter().enumerate().map(factor).collect()
    }

    /// The context of the first training.
    fn context(&self, config: &ModelConfig) -> f64 {
        self.original_max_position_embeddings
            .unwrap_or(config.max_position_embeddings) as f64
    }

    /// The frequency that stands in for `plain`, the `index`-th of `head_dim / 2`.
    fn frequency(&self, config: &ModelConfig, index: usize, plain: f64) -> f64 {
        let context = self.context(config);
        match &*self.rope_type {
            "linear" => plain / self.factor,
            "llama3" => {
                let low = self.low_freq_factor.unwrap_or(1.0);
                let high = self.high_freq_factor.unwrap_or(4.0);
                let turns = context * plain / (2.0 * PI);
                let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                (1.0 - kept) * plain / self.factor + kept * plain
            }
            "yarn" => {
                let dimension = |turns: f64| {
                    config.head_dim as f64 * (context / (turns * 2.0 * PI)).ln()
                        / (2.0 * config.rope_theta.ln())
                };
                let mut first = dimension(self.beta_fast.unwrap_or(32.0));
                let mut last = dimension(self.beta_slow.unwrap_or(1.0));
                if self.truncate != Some(false) {
                    (first, last) = (first.floor(), last.ceil());
                }
                let first = first.max(0.0);
                let last = last.min(config.head_dim as f64 - 1.0);
                let width = (last - first).max(0.001);
                let stretched = ((index as f64 - first) / width).clamp(0.0, 1.0);
                stretched * plain / self.factor + (1.0 - stretched) * plain
            }
            _ => plain,
        }
    }

    /// What cos and sin are multiplied by.
    pub fn magnitude(&self) -> f64 {
        if self.rope_type != "yarn" {
            return 1.0;
        }
        let grown = |scale: f64| match self.factor > 1.0 {
            true => 0.1 * scale * self.factor.ln() + 1.0,
            false => 1.0,
        };
        self.attention_factor.unwrap_or_else(|| {
            match (self.mscale, self.mscale_all_dim) {
                // Zero is no scale, as in Python.
                (Some(one), Some(all)) if one != 0.0 && all != 0.0 => grown(one) / grown(all),
                _ => grown(1.0),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::test_config;
    use super::*;

    fn sines(scaling: Option<RopeScaling>, position: i64) -> Vec<f64> {
        let config = ModelConfig {
            head_dim: 8,
            rope_scaling: scaling,
            ..test_config()
        };
        let rope = Rope::new(
            &config,
            config.rope_theta,
            config.rope_scaling.as_ref(),
            Device::Cpu,
        );
        let row = rope.tables(position + 1).1.get(position).narrow(0, 0, 4);
        Vec::try_from(row.to_kind(Kind::Double)).unwrap()
    }

    fn scaling(rope_type: &str, factor: f64, original: i64) -> RopeScaling {
        serde_json::from_value(serde_json::json!({
            "rope_type": rope_type, "factor": factor, "original_max_position_embeddings": original,
        }))
        .unwrap()
    }

    #[test]
    fn linear_scaling_is_a_slower_position() {
        let stretched = sines(Some(scaling("linear", 4.0, 64)), 8);
        let plain = sines(None, 2);
        assert!(
            stretched
                .iter()
                .zip(&plain)
                .all(|(a, b)| (a - b).abs() < 1e-6)
        );
    }

    #[test]
    fn llama3_keeps_fast_waves_and_stretches_slow_ones() {
        // Frequencies 1, 0.1, 0.01, 0.001 make 10.2, 1.02, 0.1, 0.01 turns in 64 positions.
        let stretched = sines(Some(scaling("llama3", 8.0, 64)), 5);
        let expected = |f: f64| (5.0 * f).sin();
        assert!((stretched[0] - expected(1.0)).abs() < 1e-6);
        assert!((stretched[3] - expected(0.001 / 8.0)).abs() < 1e-6);
        let kept = (64.0 * 0.1 / (2.0 * PI) - 1.0) / 3.0;
        assert!((stretched[1] - expected((1.0 - kept) * 0.1 / 8.0 + kept * 0.1)).abs() < 1e-6);
    }

    #[test]
    fn yarn_raises_the_magnitude() {
        let stretched = sines(Some(scaling("yarn", 4.0, 16)), 1);
        let magnitude = 0.1 * 4f64.ln() + 1.0;
        assert!((stretched[3] - magnitude * (0.001f64 / 4.0).sin()).abs() < 1e-6);
    }

    #[test]
    fn yarn_reads_every_key_of_the_published_formula() {
        // Angles of position 1 by hand: frequencies 1, 0.1, 0.01, 0.001; dimensions ln(16 / (2 pi turns)) 8 / (2 ln 10000).
        let plain = scaling("yarn", 4.0, 64);
        let dimension =
            |turns: f64| 8.0 * (64.0 / (turns * 2.0 * PI)).ln() / (2.0 * 10_000f64.ln());
        let (first, last) = (dimension(32.0).max(0.0), dimension(1.0));
        let exact = RopeScaling {
            truncate: Some(false),
            ..plain.clone()
        };
        let stretched = ((1.0 - first) / (last - first)).clamp(0.0, 1.0);
        let frequency = stretched * 0.1 / 4.0 + (1.0 - stretched) * 0.1;
        let magnitude = 0.1 * 4f64.ln() + 1.0;
        assert!((sines(Some(exact), 1)[1] - magnitude * frequency.sin()).abs() < 1e-6);
        let scaled = RopeScaling {
            mscale: Some(1.0),
            mscale_all_dim: Some(0.5),
            ..plain.clone()
        };
        let ratio = magnitude / (0.05 * 4f64.ln() + 1.0);
        let (ours, bare) = (sines(Some(scaled), 1), sines(Some(plain), 1));
        assert!((ours[0] / bare[0] - ratio / magnitude).abs() < 1e-6);
    }

    #[test]
    fn tables_grow_with_use_and_their_rows_stay_what_they_were() {
        let config = ModelConfig {
            max_position_embeddings: 1 << 40,
            ..test_config()
        };
        let rope = Rope::new(&config, config.rope_theta, None, Device::Cpu);
        let (first, _) = rope.tables(10);
        assert_eq!(first.size(), [FIRST_POSITIONS, config.head_dim]);
        let (grown, _) = rope.tables(FIRST_POSITIONS + 1);
        assert_eq!(grown.size()[0], 2 * FIRST_POSITIONS);
        assert_eq!(grown.narrow(0, 0, FIRST_POSITIONS), first);
        // A model that reads less has a table for what it reads.
        let rope = Rope::new(&test_config(), 10_000.0, None, Device::Cpu);
        assert_eq!(rope.tables(1 << 40).0.size()[0], 64);
        assert!(Rope::bytes(&config, 10) < 1 << 20);
    }
}
