//! The statistics of reported figures.

use serde::{Deserialize, Serialize};

/// The mean; 0 of nothing.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The chance that at least one of `k` samples is right, estimated without bias from `samples` of which `right` are:
/// `1 - C(n - c, k) / C(n, k)` ("Evaluating Large Language Models Trained on Code", Chen et al., arXiv 2107.03374,
/// equation 1). `k` is cut to `samples`; 0 without samples.
pub fn pass_at_k(samples: usize, right: usize, k: usize) -> f64 {
    let k = k.min(samples);
    if k == 0 || right == 0 {
        return 0.0;
    }
    let wrong = samples.saturating_sub(right);
    // C(n - c, k) / C(n, k) as a product; a factor is 0 once k exceeds the wrong samples.
    let miss = (0..k)
        .map(|i| wrong.saturating_sub(i) as f64 / (samples - i) as f64)
        .product::<f64>();
    1.0 - miss
}

/// The area under the ROC curve: the chance that a positive scores above a negative, ties by half. None unless there
/// are both, or when a score is not a number.
pub fn auc(scores: &[(f64, bool)]) -> Option<f64> {
    if scores.iter().any(|(score, _)| score.is_nan()) {
        return None;
    }
    let mut sorted = scores.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut below, mut won, mut positives) = (0.0, 0.0, 0.0);
    for tied in sorted.chunk_by(|a, b| a.0 == b.0) {
        let positive = tied.iter().filter(|(_, positive)| *positive).count() as f64;
        let negative = tied.len() as f64 - positive;
        won += positive * (below + negative / 2.0);
        below += negative;
        positives += positive;
    }
    (positives > 0.0 && below > 0.0).then(|| won / (positives * below))
}

/// A mean with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The mean.
    pub mean: f64,
    /// Its 2.5th percentile over resamples.
    pub low: f64,
    /// Its 97.5th percentile.
    pub high: f64,
}

impl Interval {
    /// Whether the two intervals overlap, so that a difference is called none.
    pub fn overlaps(&self, other: &Interval) -> bool {
        self.low <= other.high && other.low <= self.high
    }
}

impl std::fmt::Display for Interval {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.3} [{:.3}, {:.3}]", self.mean, self.low, self.high)
    }
}

/// The mean of `values` (one a problem) with its percentile interval over 2,000 bootstrap resamples. The same values
/// give the same interval.
pub fn bootstrap(values: &[f64]) -> Interval {
    const RESAMPLES: usize = 2_000;
    let observed = mean(values);
    if values.len() < 2 {
        return Interval {
            mean: observed,
            low: observed,
            high: observed,
        };
    }
    let mut draws = SplitMix(values.len() as u64);
    let mut resample = || {
        (0..values.len())
            .map(|_| values[draws.below(values.len())])
            .sum::<f64>()
            / values.len() as f64
    };
    let mut means: Vec<f64> = (0..RESAMPLES).map(|_| resample()).collect();
    means.sort_by(f64::total_cmp);
    let percentile = |share: f64| means[(share * (RESAMPLES - 1) as f64).round() as usize];
    Interval {
        mean: observed,
        low: percentile(0.025),
        high: percentile(0.975),
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014), for draws that must only be even and repeat.
struct SplitMix(u64);

impl SplitMix {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        // The high half of the product is even over the bound up to 2^-64.
        ((u128::from(z) * bound as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pass_at_k_by_hand() {
        for (samples, right, k, by_hand) in [
            (1, 0, 1, 0.0),
            (1, 1, 1, 1.0),
            (10, 3, 1, 0.3),
            // 1 - C(2, 2) / C(4, 2)
            (4, 2, 2, 1.0 - 1.0 / 6.0),
            // 1 - C(5, 3) / C(8, 3)
            (8, 3, 3, 1.0 - 10.0 / 56.0),
            (8, 7, 2, 1.0),
            (8, 8, 8, 1.0),
            (8, 0, 8, 0.0),
            (4, 1, 9, 1.0),
            (0, 0, 1, 0.0),
            (5, 2, 0, 0.0),
        ] {
            assert!(
                (pass_at_k(samples, right, k) - by_hand).abs() < 1e-12,
                "{samples} {right} {k}"
            );
        }
    }

    #[test]
    fn pass_at_k_is_the_mean_over_all_choices() {
        // All ways to choose 3 of 7, of which the first 2 are right.
        let choices = (0_u32..1 << 7).filter(|choice| choice.count_ones() == 3);
        let (hits, all) = choices.fold((0, 0), |(hits, all), choice| {
            (hits + u32::from(choice & 0b11 != 0), all + 1)
        });
        assert!((pass_at_k(7, 2, 3) - f64::from(hits) / f64::from(all)).abs() < 1e-12);
    }

    #[test]
    fn auc_by_hand() {
        for (scores, by_hand) in [
            (&[(0.9, true), (0.1, false)][..], Some(1.0)),
            (&[(0.1, true), (0.9, false)], Some(0.0)),
            (&[(0.5, true), (0.5, false)], Some(0.5)),
            (
                &[(0.8, true), (0.6, false), (0.4, true), (0.2, false)],
                Some(0.75),
            ),
            // Pairs won: 1, 1/2; lost: none of (0.5, 0.2) and (0.5, 0.5).
            (&[(0.5, true), (0.2, false), (0.5, false)], Some(0.75)),
            (&[(0.5, true), (0.7, true)], None),
            (&[(0.5, false)], None),
            (&[], None),
            (&[(f64::NAN, true), (0.1, false)], None),
        ] {
            assert_eq!(auc(scores), by_hand, "{scores:?}");
        }
    }

    #[test]
    fn auc_counts_pairs() {
        let mut draws = SplitMix(3);
        let scores: Vec<(f64, bool)> = (0..60)
            .map(|_| (draws.below(12) as f64, draws.below(3) == 0))
            .collect();
        let (mut won, mut pairs) = (0.0, 0.0);
        for (positive, _) in scores.iter().filter(|(_, positive)| *positive) {
            for (negative, _) in scores.iter().filter(|(_, positive)| !positive) {
                won += f64::from(u8::from(positive > negative))
                    + f64::from(u8::from(positive == negative)) / 2.0;
                pairs += 1.0;
            }
        }
        assert!((auc(&scores).unwrap() - won / pairs).abs() < 1e-12);
    }

    #[test]
    fn bootstrap_intervals_repeat_and_have_the_right_width() {
        let values: Vec<f64> = (0..400).map(|i| f64::from(u8::from(i % 4 == 0))).collect();
        let interval = bootstrap(&values);
        assert_eq!(interval, bootstrap(&values));
        assert_eq!(interval.mean, 0.25);
        // The normal approximation: 1.96 * sqrt(0.25 * 0.75 / 400) = 0.0424.
        for side in [interval.mean - interval.low, interval.high - interval.mean] {
            assert!((0.034..0.051).contains(&side), "{interval}");
        }
    }

    #[test]
    fn an_interval_of_one_value_or_none_is_a_point() {
        assert_eq!(
            bootstrap(&[0.5]),
            Interval {
                mean: 0.5,
                low: 0.5,
                high: 0.5
            }
        );
        assert_eq!(
            bootstrap(&[]),
            Interval {
                mean: 0.0,
                low: 0.0,
                high: 0.0
            }
        );
        assert_eq!(
            bootstrap(&[1.0; 9]),
            Interval {
                mean: 1.0,
                low: 1.0,
                high: 1.0
            }
        );
    }

    #[test]
    fn a_difference_inside_its_interval_is_none() {
        let interval = |low, high| Interval {
            mean: (low + high) / 2.0,
            low,
            high,
        };
        assert!(interval(0.1, 0.3).overlaps(&interval(0.3, 0.5)));
        assert!(!interval(0.1, 0.3).overlaps(&interval(0.31, 0.5)));
    }
}
