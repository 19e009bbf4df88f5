//! When a script's output counts as the expected one: the whitespace rules of programming contests.
//!
//! - Spaces at the ends of lines, empty lines at the end and at the beginning, and `\r` say nothing.
//! - Within a line, words are compared; how many spaces part them says nothing. Lines stay lines.
//! - Two words that are numbers are equal when their values are (`1.0` and `1`).
//! - [`Comparison::Float`] lets numbers differ by the tolerance, absolute below 1 and relative above;
//!   [`Comparison::AnyOrder`] lets lines come in any order.

use gauntlet_sandbox::Comparison;

/// Whether `got` is an output as good as `expected`.
pub fn equal(comparison: &Comparison, expected: &str, got: &str) -> bool {
    let (mut expected, mut got) = (lines(expected), lines(got));
    if matches!(comparison, Comparison::AnyOrder) {
        expected.sort_unstable();
        got.sort_unstable();
    }
    let tolerance = match comparison {
        Comparison::Float(tolerance) => *tolerance,
        _ => 0.0,
    };
    expected.len() == got.len()
        && expected.iter().zip(&got).all(|(expected, got)| {
            expected.len() == got.len()
                && expected
                    .iter()
                    .zip(got)
                    .all(|(expected, got)| same(expected, got, tolerance))
        })
}

/// The words of each line, without empty lines at either end.
fn lines(text: &str) -> Vec<Vec<&str>> {
    let text = text.trim();
    if text.is_empty() {
        return Vec::new();
    }
    text.lines()
        .map(|line| line.split_whitespace().collect())
        .collect()
}

fn same(expected: &str, got: &str, tolerance: f64) -> bool {
    if expected == got {
        return true;
    }
    let (Some(a), Some(b)) = (number(expected), number(got)) else {
        return false;
    };
    // Integers beyond what a float holds exactly are compared as text, which they have failed.
    let exact = |text: &str, value: f64| {
        text.bytes().any(|c| matches!(c, b'.' | b'e' | b'E')) || value.abs() < 9e15
    };
    if tolerance == 0.0 {
        return a == b && exact(expected, a) && exact(got, b);
    }
    let whole = |text: &str| !text.bytes().any(|c| matches!(c, b'.' | b'e' | b'E'));
    if whole(expected) && whole(got) {
        return a == b && exact(expected, a) && exact(got, b);
    }
    (a - b).abs() <= tolerance * a.abs().max(1.0)
}

/// A finite number in plain digits: `nan`, `inf` and their like are words.
fn number(text: &str) -> Option<f64> {
    let digits = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '+' | 'e' | 'E');
    if !text.chars().all(digits) {
        return None;
    }
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whitespace_says_little_and_numbers_have_values() {
        use Comparison::{AnyOrder, Exact, Float};
        for (comparison, expected, got, equal_) in [
            (Exact, "1 2\n3\n", "1 2  \n3", true),
            (Exact, "1 2\r\n3\r\n", "1  2\n3\n\n\n", true),
            (Exact, "1\n", "\n1\n", true),
            (Exact, "1\n2\n", "1 2\n", false),
            (Exact, "1\n\n2\n", "1\n2\n", false),
            (Exact, "yes", "YES", false),
            (Exact, "1", "1.0", true),
            (Exact, "0.1", "0.10", true),
            (Exact, "0.1", "0.1000001", false),
            (
                Exact,
                "100000000000000000001",
                "100000000000000000002",
                false,
            ),
            (Exact, "", "\n", true),
            (Exact, "", "0", false),
            (Exact, "nan", "NaN", false),
            (Float(1e-6), "0.3333333", "0.33333333", true),
            (Float(1e-6), "1000000.0", "1000000.5", true),
            (Float(1e-6), "0.3333", "0.3334", false),
            (Float(1e-1), "10", "11", false),
            (Float(1e-6), "a 1.0", "b 1.0", false),
            (AnyOrder, "b 1\na 2", "a 2\nb 1", true),
            (AnyOrder, "b 1\na 2", "2 a\nb 1", false),
            (AnyOrder, "a\na\nb", "a\nb\nb", false),
        ] {
            assert_eq!(
                equal(&comparison, expected, got),
                equal_,
                "{comparison:?}: {expected:?} and {got:?}"
            );
        }
    }
}
