//! Draws against their definitions, and against numbers that Python computed.

use super::*;
use crate::rng::DrawKey;

#[test]
fn draws_follow_the_distribution_and_repeat() {
    let logits = Tensor::from_slice(&[0.7f32.ln(), 0.2f32.ln(), 0.1f32.ln(), f32::NEG_INFINITY])
        .view([1, 4]);
    let n = 4000usize;
    let key = DrawKey::new(1).with(2);
    let uniforms: Vec<f64> = (0..n as u64).map(|p| key.uniform(p)).collect();
    let rows = logits.expand([n as i64, 4], false);
    let (tokens, logprobs) = sample(&rows, 1.0, &uniforms);
    let share = |t: u32| tokens.iter().filter(|x| **x == t).count() as f64 / n as f64;
    assert!((share(0) - 0.7).abs() < 0.03 && (share(1) - 0.2).abs() < 0.03 && share(3) == 0.0);
    assert!((f64::from(logprobs[0]).exp() - [0.7, 0.2, 0.1, 0.0][tokens[0] as usize]).abs() < 1e-5);
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

/// Temperature, top-k, top-p, min-p, repetition penalty, and the probabilities that are left, as `tests/model/sampling.py`
/// prints them.
type Case = (f64, usize, f64, f64, f64, [f64; 8]);

const LOGITS: [f32; 8] = [2.0, -1.5, 0.5, 1.9, 0.5, -0.25, 1.0, 0.0];
const HISTORY: [u32; 4] = [3, 3, 5, 7];

const CASES: &[Case] = &[
    (
        1.0,
        0,
        1.0,
        0.0,
        1.0,
        [
            0.334458, 0.010100, 0.074628, 0.302630, 0.074628, 0.035252, 0.123040, 0.045264,
        ],
    ),
    (
        0.5,
        0,
        1.0,
        0.0,
        1.0,
        [
            0.479852, 0.000438, 0.023890, 0.392869, 0.023890, 0.005331, 0.064941, 0.008789,
        ],
    ),
    (
        3.0,
        0,
        1.0,
        0.0,
        1.3,
        [
            0.197988, 0.061654, 0.120086, 0.165458, 0.120086, 0.091214, 0.141864, 0.101650,
        ],
    ),
    (
        1.0,
        1,
        1.0,
        0.0,
        1.0,
        [
            1.000000, 0.000000, 0.000000, 0.000000, 0.000000, 0.000000, 0.000000, 0.000000,
        ],
    ),
    (
        1.0,
        4,
        1.0,
        0.0,
        1.0,
        [
            0.367785, 0.000000, 0.082064, 0.332786, 0.082064, 0.000000, 0.135301, 0.000000,
        ],
    ),
    (
        1.0,
        100,
        1.0,
        0.0,
        1.0,
        [
            0.334458, 0.010100, 0.074628, 0.302630, 0.074628, 0.035252, 0.123040, 0.045264,
        ],
    ),
    (
        1.0,
        0,
        0.0,
        0.0,
        1.0,
        [
            1.000000, 0.000000, 0.000000, 0.000000, 0.000000, 0.000000, 0.000000, 0.000000,
        ],
    ),
    (
        1.0,
        0,
        0.6,
        0.0,
        1.0,
        [
            0.524979, 0.000000, 0.000000, 0.475021, 0.000000, 0.000000, 0.000000, 0.000000,
        ],
    ),
    (
        1.5,
        0,
        0.85,
        0.0,
        1.0,
        [
            0.290000, 0.000000, 0.106685, 0.271297, 0.106685, 0.000000, 0.148891, 0.076443,
        ],
    ),
    (
        1.0,
        0,
        1.0,
        0.2,
        1.0,
        [
            0.367785, 0.000000, 0.082064, 0.332786, 0.082064, 0.000000, 0.135301, 0.000000,
        ],
    ),
    (
        1.0,
        0,
        1.0,
        1.0,
        1.0,
        [
            1.000000, 0.000000, 0.000000, 0.000000, 0.000000, 0.000000, 0.000000, 0.000000,
        ],
    ),
    (
        1.0,
        0,
        1.0,
        0.0,
        1.5,
        [
            0.391697, 0.011828, 0.087399, 0.188134, 0.087399, 0.036434, 0.144097, 0.053010,
        ],
    ),
    (
        1.0,
        0,
        1.0,
        0.0,
        0.5,
        [
            0.122718, 0.003706, 0.027382, 0.742402, 0.027382, 0.014657, 0.045145, 0.016608,
        ],
    ),
    (
        1.0,
        5,
        0.7,
        0.0,
        1.0,
        [
            0.524979, 0.000000, 0.000000, 0.475021, 0.000000, 0.000000, 0.000000, 0.000000,
        ],
    ),
    (
        1.0,
        0,
        0.9,
        0.15,
        1.0,
        [
            0.367785, 0.000000, 0.082064, 0.332786, 0.082064, 0.000000, 0.135301, 0.000000,
        ],
    ),
    (
        0.7,
        6,
        0.95,
        0.1,
        1.2,
        [
            0.493651, 0.000000, 0.057915, 0.272215, 0.057915, 0.000000, 0.118304, 0.000000,
        ],
    ),
    (
        2.0,
        3,
        0.5,
        0.9,
        2.0,
        [
            1.000000, 0.000000, 0.000000, 0.000000, 0.000000, 0.000000, 0.000000, 0.000000,
        ],
    ),
];

#[test]
fn filters_leave_what_python_computes() {
    const DRAWS: usize = 20_000;
    let logits = Tensor::from_slice(&LOGITS).view([1, -1]);
    let uniforms: Vec<f64> = (0..DRAWS)
        .map(|i| (i as f64 + 0.5) / DRAWS as f64)
        .collect();
    let rows = logits.expand([DRAWS as i64, -1], false).contiguous();
    let histories = vec![&HISTORY[..]; DRAWS];
    for &(temperature, top_k, top_p, min_p, repetition_penalty, expected) in CASES {
        let filters = Filters {
            top_k,
            top_p,
            min_p,
            repetition_penalty,
        };
        let mut shares = [0.0; 8];
        for (token, _) in draw(&rows, temperature, &filters, &histories, &uniforms) {
            shares[token as usize] += 1.0 / DRAWS as f64;
        }
        for (token, (share, expected)) in shares.iter().zip(expected).enumerate() {
            // A draw at a grid of points hits each token as often as it is likely, to a point at either end.
            let case = (temperature, filters, token, *share, expected);
            assert!((share - expected).abs() < 2.0 / DRAWS as f64, "{case:?}");
            assert_eq!(*share == 0.0, expected == 0.0, "{case:?}");
        }
    }
}

#[test]
fn the_smallest_temperatures_are_greedy() {
    let logits = Tensor::from_slice(&LOGITS).view([1, -1]);
    let filters = Filters {
        top_k: 3,
        ..Filters::OFF
    };
    for temperature in [0.0, 1e-300, 1e-45, 1e-38, 1e-30, 1e-7] {
        assert!(is_greedy(temperature));
        let greedy = sample(&logits, 0.0, &[0.99]);
        assert_eq!(sample(&logits, temperature, &[0.99]), greedy);
        for filters in [Filters::OFF, filters] {
            let drawn = draw(&logits, temperature, &filters, &[&[]], &[0.99])[0];
            assert_eq!(drawn.0, 0);
            assert!((drawn.1 - greedy.1[0]).abs() < 1e-6, "{drawn:?}");
        }
    }
    for temperature in [MIN_TEMPERATURE, 1e-3] {
        let drawn = draw(&logits, temperature, &Filters::OFF, &[&[]], &[0.99])[0];
        assert_eq!(drawn, (0, 0.0));
        assert_eq!(sample(&logits, temperature, &[0.99]), (vec![0], vec![0.0]));
    }
}

#[test]
fn settings_out_of_range_are_named() {
    let off = Filters::OFF;
    assert_eq!(off.mistake(), None);
    for (filters, name) in [
        (Filters { top_p: 1.1, ..off }, "top_p"),
        (
            Filters {
                top_p: f64::NAN,
                ..off
            },
            "top_p",
        ),
        (Filters { min_p: -0.1, ..off }, "min_p"),
        (
            Filters {
                repetition_penalty: 0.0,
                ..off
            },
            "repetition_penalty",
        ),
        (
            Filters {
                repetition_penalty: f64::INFINITY,
                ..off
            },
            "repetition_penalty",
        ),
    ] {
        assert_eq!(filters.mistake().map(|(name, _)| name), Some(name));
    }
}
