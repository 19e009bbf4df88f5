//! Sampling from logits. Uniform numbers come from [`crate::rng`], so a draw never depends on what else is in the batch.
//!
//! Shape legend: B batch, V vocabulary.

use tch::{Kind, Tensor};

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

/// What is taken out of a distribution before a token is drawn. Off by default, and always in training: log-probabilities
/// are those of the whole distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Filters {
    /// Keeps the k likeliest tokens; 0 keeps all.
    pub top_k: usize,
    /// Keeps the likeliest tokens up to this share of the probability (Holtzman et al. 2020); 1 keeps all.
    pub top_p: f64,
    /// Keeps tokens at least this share as likely as the likeliest; 0 keeps all.
    pub min_p: f64,
    /// Divides positive logits of tokens that were read or written before, and multiplies negative ones (Keskar et al.
    /// 2019); 1 changes nothing.
    pub repetition_penalty: f64,
}

impl Filters {
    /// Nothing is taken out.
    pub const OFF: Self = Self {
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        repetition_penalty: 1.0,
    };

    /// Whether nothing is taken out.
    pub fn is_off(&self) -> bool {
        *self == Self::OFF
    }

    /// Lowers the logits of tokens in `history`.
    fn penalise(&self, logits: &mut [f32], history: &[u32]) {
        if self.repetition_penalty == 1.0 {
            return;
        }
        let mut seen: Vec<u32> = history.to_vec();
        seen.sort_unstable();
        seen.dedup();
        let penalty = self.repetition_penalty as f32;
        for token in seen {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit = if *logit > 0.0 {
                    *logit / penalty
                } else {
                    *logit * penalty
                };
            }
        }
    }

    /// The tokens that are left, the likeliest first, with their probabilities; ties go to the lower token.
    fn left(&self, probabilities: &[f32]) -> Vec<(u32, f64)> {
        let mut left: Vec<(u32, f64)> = (0u32..)
            .zip(probabilities)
            .map(|(token, p)| (token, f64::from(*p)))
            .collect();
        let likelier = |a: &(u32, f64), b: &(u32, f64)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if self.top_k > 0 && self.top_k < left.len() {
            left.select_nth_unstable_by(self.top_k - 1, likelier);
            left.truncate(self.top_k);
        }
        left.sort_unstable_by(likelier);
        let least = self.min_p * left[0].1;
        left.retain(|(_, p)| *p >= least);
        let wanted = self.top_p * left.iter().map(|(_, p)| p).sum::<f64>();
        let mut total = 0.0;
        let kept = left.iter().take_while(|(_, p)| {
            let more = total < wanted;
            total += p;
            more
        });
        let kept = kept.count().max(1);
        left.truncate(kept);
        left
    }
}

impl Default for Filters {
    fn default() -> Self {
        Self::OFF
    }
}

/// Columns that are summed before the row of sums is searched.
const RUN: i64 = 128;

/// Draws one token a row from `logits` `[B, V]` (f32, CPU) as [`sample`] does, with less work for large vocabularies, after
/// `filters`. `histories` are the tokens before each row's draw. Gives each token with its log-probability at the
/// temperature (at 1 for greedy choices), before anything was taken out.
pub fn draw(
    logits: &Tensor,
    temperature: f64,
    filters: &Filters,
    histories: &[&[u32]],
    uniforms: &[f64],
) -> Vec<(u32, f32)> {
    let greedy = temperature == 0.0;
    let heat = |logits: &Tensor| {
        if greedy || temperature == 1.0 {
            logits.log_softmax(-1, Kind::Float)
        } else {
            (logits / temperature).log_softmax(-1, Kind::Float)
        }
    };
    let log_probs = heat(logits);
    let values = |row: &Tensor| Vec::<f32>::try_from(row).expect("probabilities are float");
    if !filters.is_off() {
        let rows = histories.iter().zip(uniforms).zip(0i64..);
        return rows
            .map(|((history, uniform), row)| {
                let mut own = values(&logits.get(row));
                filters.penalise(&mut own, history);
                let lowered = values(&heat(&Tensor::from_slice(&own)).exp());
                let left = filters.left(&lowered);
                let total: f64 = left.iter().map(|(_, p)| p).sum();
                let token = pick(&left, if greedy { 0.0 } else { uniform * total });
                let logprob = log_probs.double_value(&[row, i64::from(token)]);
                (token, logprob as f32)
            })
            .collect();
    }
    if greedy {
        let tokens: Vec<i64> = Vec::try_from(log_probs.argmax(-1, false)).expect("ids are int64");
        let rows = tokens.into_iter().zip(0i64..);
        return rows
            .map(|(token, row)| (token as u32, log_probs.double_value(&[row, token]) as f32))
            .collect();
    }
    let (b, v) = log_probs.size2().expect("logits have two dimensions");
    let missing = (RUN - v % RUN) % RUN;
    let probabilities = log_probs.exp().constant_pad_nd([0, missing]);
    let runs = probabilities.view([b, -1, RUN]);
    let sums = runs.sum_dim_intlist([-1].as_slice(), false, Kind::Float);
    let rows = uniforms.iter().zip(0i64..b);
    rows.map(|(uniform, row)| {
        let sums = values(&sums.get(row));
        let total: f64 = sums.iter().map(|s| f64::from(*s)).sum();
        let mut point = uniform * total;
        let mut run = 0;
        for (at, sum) in sums.iter().enumerate() {
            if *sum > 0.0 {
                run = at;
                if point < f64::from(*sum) {
                    break;
                }
            }
            point -= f64::from(*sum);
        }
        let inside = values(&runs.get(row).get(run as i64));
        let inside: Vec<(u32, f64)> = (0u32..).zip(inside).map(|(i, p)| (i, p.into())).collect();
        let token = run as i64 * RUN + i64::from(pick(&inside, point));
        (token as u32, log_probs.double_value(&[row, token]) as f32)
    })
    .collect()
}

/// The first entry whose cumulative probability exceeds `point`, else the last one that is possible at all.
fn pick(entries: &[(u32, f64)], mut point: f64) -> u32 {
    let mut picked = entries.first().map_or(0, |(token, _)| *token);
    for (token, p) in entries {
        if *p > 0.0 {
            picked = *token;
            if point < *p {
                break;
            }
        }
        point -= p;
    }
    picked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::DrawKey;

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
    fn drawing_by_runs_is_drawing_by_the_whole_row() {
        let logits = (Tensor::arange(300, (Kind::Float, tch::Device::Cpu)) * 0.37).sin() * 4.0;
        let logits = logits.view([1, 300]);
        let key = DrawKey::new(4);
        for position in 0..500 {
            let uniforms = [key.uniform(position)];
            let (tokens, logprobs) = sample(&logits, 0.7, &uniforms);
            let drawn = draw(&logits, 0.7, &Filters::OFF, &[&[]], &uniforms)[0];
            assert_eq!(drawn.0, tokens[0], "position {position}");
            assert!((drawn.1 - logprobs[0]).abs() < 1e-5);
        }
        let greedy = draw(&logits, 0.0, &Filters::OFF, &[&[]], &[0.5])[0];
        assert_eq!(greedy.0, sample(&logits, 0.0, &[0.5]).0[0]);
    }

    #[test]
    fn filters_keep_what_they_say() {
        let probabilities = [0.4f32, 0.05, 0.3, 0.2, 0.05];
        let left = |filters: Filters| -> Vec<u32> {
            filters
                .left(&probabilities)
                .iter()
                .map(|(t, _)| *t)
                .collect()
        };
        let off = Filters::OFF;
        assert_eq!(left(off), [0, 2, 3, 1, 4]);
        assert_eq!(left(Filters { top_k: 2, ..off }), [0, 2]);
        assert_eq!(left(Filters { top_p: 0.6, ..off }), [0, 2]);
        assert_eq!(left(Filters { min_p: 0.4, ..off }), [0, 2, 3]);
        assert_eq!(left(Filters { top_p: 0.0, ..off }), [0]);
        let logits = Tensor::from_slice(&[2.0f32, 1.5, -1.0]).view([1, 3]);
        let penalty = Filters {
            repetition_penalty: 2.0,
            ..off
        };
        assert_eq!(draw(&logits, 0.0, &penalty, &[&[0, 0]], &[0.0])[0].0, 1);
    }
}
