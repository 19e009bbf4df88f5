//! Rotary positions: which angles each position turns by, in the scalings that published models use.
//!
//! Shape legend: P positions, D width of a head.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::config::ModelConfig;

/// How rotary frequencies are stretched, under the keys of `rope_scaling` in a published `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// yarn: factor on queries and keys, in place of 0.1 ln(factor) + 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention_factor: Option<f64>,
}

fn one() -> f64 {
    1.0
}

/// The scalings that [`tables`] knows.
pub const ROPE_TYPES: [&str; 4] = ["linear", "dynamic", "llama3", "yarn"];

/// cos and sin of position times frequency, each `[max_position_embeddings, D]` with the halves repeated
/// (RoFormer, arXiv 2104.09864, in the half-rotation layout of the published Llama weights).
///
/// - `linear` divides every frequency by the factor (arXiv 2306.15595).
/// - `dynamic` stretches only sequences beyond the model's context, which are refused here: nothing to do.
/// - `llama3` divides low frequencies, blends the middle ones (Llama 3.1, arXiv 2407.21783).
/// - `yarn` blends by the number of turns and scales cos and sin (arXiv 2309.00071, equations 17 to 23).
pub fn tables(config: &ModelConfig, device: Device) -> (Tensor, Tensor) {
    let mut inverse_frequency = plain_frequencies(config);
    let mut magnitude = 1.0;
    if let Some(scaling) = &config.rope_scaling {
        let plain: Vec<f64> = Vec::try_from(&inverse_frequency).expect("frequencies are doubles");
        let scaled: Vec<f64> = plain
            .iter()
            .enumerate()
            .map(|(i, f)| scaling.frequency(config, i, *f))
            .collect();
        inverse_frequency = Tensor::from_slice(&scaled);
        magnitude = scaling.magnitude();
    }
    let positions = Tensor::arange(config.max_position_embeddings, (Kind::Double, Device::Cpu));
    let angles = positions.outer(&inverse_frequency);
    let angles = Tensor::cat(&[&angles, &angles], 1);
    let table = |t: Tensor| {
        let t = if magnitude == 1.0 { t } else { t * magnitude };
        t.to_kind(Kind::Float).to_device(device)
    };
    (table(angles.cos()), table(angles.sin()))
}

/// Frequencies before any stretching, `[D / 2]` doubles.
fn plain_frequencies(config: &ModelConfig) -> Tensor {
    let half = Tensor::arange(config.head_dim / 2, (Kind::Double, Device::Cpu));
    (half * (2.0 / config.head_dim as f64) * -config.rope_theta.ln()).exp()
}

impl RopeScaling {
    /// How many times each frequency is slowed down, `[D / 2]`.
    pub fn factors(&self, config: &ModelConfig) -> Vec<f64> {
        let plain: Vec<f64> =
            Vec::try_from(plain_frequencies(config)).expect("frequencies are doubles");
        let factor = |(i, f): (usize, &f64)| f / self.frequency(config, i, *f);
        plain.iter().enumerate().map(factor).collect()
    }

    /// The frequency that stands in for `plain`, the `index`-th of `head_dim / 2`.
    fn frequency(&self, config: &ModelConfig, index: usize, plain: f64) -> f64 {
        let context = self
            .original_max_position_embeddings
            .unwrap_or(config.max_position_embeddings) as f64;
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
                let first = dimension(self.beta_fast.unwrap_or(32.0)).floor().max(0.0);
                let last = dimension(self.beta_slow.unwrap_or(1.0))
                    .ceil()
                    .min(config.head_dim as f64 - 1.0);
                let width = (last - first).max(0.001);
                let stretched = ((index as f64 - first) / width).clamp(0.0, 1.0);
                stretched * plain / self.factor + (1.0 - stretched) * plain
            }
            _ => plain,
        }
    }

    /// What cos and sin are multiplied by.
    fn magnitude(&self) -> f64 {
        if self.rope_type != "yarn" {
            return 1.0;
        }
        self.attention_factor.unwrap_or(if self.factor > 1.0 {
            0.1 * self.factor.ln() + 1.0
        } else {
            1.0
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
        let row = tables(&config, Device::Cpu).1.get(position).narrow(0, 0, 4);
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
}
