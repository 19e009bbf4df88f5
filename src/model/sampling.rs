//! Sampling from logits. Uniform numbers come from [`crate::rng`], so a draw never depends on what else is in the batch.
//!
//! Shape legend: B batch, V vocabulary.

use tch::{Kind, Tensor};

/// Temperatures below this one are 0: next to nothing but the likeliest token has a chance, and logits divided by much less
/// are no 32-bit numbers any more.
pub const MIN_TEMPERATURE: f64 = 1e-6;

/// Whether the likeliest token is taken at this temperature.
pub fn is_greedy(temperature: f64) -> bool {
    temperature < MIN_TEMPERATURE
}

/// Draws one token a row from `logits` `[B, V]` by inverting the cumulative distribution at `uniforms` (B numbers in
/// [0, 1)). A [greedy](is_greedy) temperature takes the largest logit. Returns tokens and their log-probabilities at that temperature
/// (at temperature 1 for greedy choices).
pub fn sample(logits: &Tensor, temperature: f64, uniforms: &[f64]) -> (Vec<u32>, Vec<f32>) {
    let logits = logits.to_kind(Kind::Float);
    let greedy = is_greedy(temperature);
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
///
/// In the order of transformers' logits processors: repetition penalty, then (unless greedy) temperature, top-k, top-p,
/// min-p, each on what the one before left. The likeliest token always stays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Filters {
    /// Keeps the k likeliest tokens, and those as likely as the k-th; 0 keeps all.
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

    /// The first setting that is out of its range, with the range.
    pub fn mistake(&self) -> Option<(&'static str, &'static str)> {
        let share = |x: f64| (0.0..=1.0).contains(&x);
        match () {
            () if !share(self.top_p) => Some(("top_p", "between 0 and 1")),
            () if !share(self.min_p) => Some(("min_p", "between 0 and 1")),
            () if !(self.repetition_penalty > 0.0 && self.repetition_penalty.is_finite()) => {
                Some(("repetition_penalty", "above 0"))
            }
            () => None,
        }
    }

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
            let (_, (_, least), _) = left.select_nth_unstable_by(self.top_k - 1, likelier);
            let least = *least;
            left.retain(|(_, p)| *p >= least);
        }
        left.sort_unstable_by(likelier);
        let wanted = self.top_p * left.iter().map(|(_, p)| p).sum::<f64>();
        let mut total = 0.0;
        let kept = left.iter().take_while(|(_, p)| {
            let more = total < wanted;
            total += p;
            more
        });
        let kept = kept.count().max(1);
        left.truncate(kept);
        let least = self.min_p * left[0].1;
        left.retain(|(_, p)| *p >= least);
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
    let greedy = is_greedy(temperature);
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
#[path = "sampling_tests.rs"]
mod tests;
