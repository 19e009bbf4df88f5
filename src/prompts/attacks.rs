//! Attacks as text: one test a line, `(args tuple) -> expected literal`.

use gauntlet_sandbox::Value;

use crate::rollout::ParsedAttack;

/// Reads an attack completion line by line. A line that is not a test is refused with a reason and the others still
/// count. So is each line after the first `limit`, so that writing more than was asked for gains nothing. Blank lines
/// and code fences are no lines.
///
/// ```
/// # use gauntlet::prompts::parse_attacks;
/// let attacks = parse_attacks("([1, 2], 'a') -> None\n(3) -> 4\nnonsense", 4);
/// assert_eq!(attacks[0].as_ref().unwrap().args.len(), 2);
/// assert_eq!(attacks[1].as_ref().unwrap().args.len(), 1);
/// assert!(attacks[2].is_err());
/// ```
pub fn parse_attacks(text: &str, limit: usize) -> Vec<Result<ParsedAttack, String>> {
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("```"));
    lines
        .enumerate()
        .map(|(index, line)| match index < limit {
            true => parse_attack(line),
            false => Err(format!("more than the {limit} tests asked for")),
        })
        .collect()
}

fn parse_attack(line: &str) -> Result<ParsedAttack, String> {
    if !line.starts_with('(') {
        return Err("does not begin with a tuple of arguments".into());
    }
    let (args, rest) =
        Value::parse_literal_prefix(line).map_err(|error| format!("arguments: {error}"))?;
    let args = match args {
        Value::Tuple(args) => args,
        // `(x)` is no tuple in Python, and what is meant is plain.
        single => vec![single],
    };
    let expected = rest
        .trim_start()
        .strip_prefix("->")
        .ok_or("no `->` after the arguments")?;
    let expected = Value::parse_literal(expected.trim())
        .map_err(|error| format!("expected value: {error}"))?;
    Ok(ParsedAttack { args, expected })
}

/// Writes a test as [`parse_attacks`] reads it.
pub fn format_attack(args: &[Value], expected: &Value) -> String {
    format!("{} -> {expected}", Value::Tuple(args.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<ParsedAttack, String> {
        let mut attacks = parse_attacks(line, 1);
        assert_eq!(attacks.len(), 1, "{line}");
        attacks.remove(0)
    }

    #[test]
    fn tests_are_read_and_written_back() {
        for line in [
            "(1, 2) -> 3",
            "() -> None",
            "(5,) -> [1, 'a -> b']",
            "('(1,) -> 2',) -> '\\n'",
            "((1, 2),) -> (3, 4)",
            "({'a': [1.5]}, b'x') -> {1, 2}",
        ] {
            let ParsedAttack { args, expected } = parse(line).unwrap();
            assert_eq!(format_attack(&args, &expected), line);
        }
    }

    #[test]
    fn loose_spelling_is_understood() {
        for (line, written) in [
            ("(5) -> 6", "(5,) -> 6"),
            ("  ( 1,2 )->3  ", "(1, 2) -> 3"),
            ("(\"a\",) -> \"b\"", "('a',) -> 'b'"),
            ("([1]) -> [1]", "([1],) -> [1]"),
        ] {
            let ParsedAttack { args, expected } = parse(line).unwrap();
            assert_eq!(format_attack(&args, &expected), written);
        }
    }

    #[test]
    fn what_is_no_test_is_refused_with_a_reason() {
        for (line, reason) in [
            ("1 -> 2", "does not begin with a tuple"),
            ("f(1) -> 2", "does not begin with a tuple"),
            ("(1, 2)", "no `->`"),
            ("(1, 2) = 3", "no `->`"),
            ("(1, 2) -> ", "expected value"),
            ("(1, 2) -> 3 4", "expected value"),
            ("(1, 2) -> 3 # sum", "expected value"),
            ("(1, -> 3", "arguments"),
            ("(open('x').read(),) -> 3", "arguments"),
            ("([0] * 1000000000,) -> 3", "arguments"),
            ("(__import__('os'),) -> 3", "arguments"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(reason), "{line}: {error}");
        }
    }

    #[test]
    fn lines_beyond_the_limit_gain_nothing() {
        let attacks = parse_attacks(&"(1,) -> 1\n".repeat(100), 4);
        assert_eq!(attacks.len(), 100);
        assert_eq!(attacks.iter().filter(|attack| attack.is_ok()).count(), 4);
    }

    #[test]
    fn blank_lines_and_fences_are_no_lines() {
        assert_eq!(parse_attacks("\n```python\n(1,) -> 1\n\n```\n", 4).len(), 1);
        for nothing in ["", "\n\n", "``` "] {
            assert!(parse_attacks(nothing, 4).is_empty());
        }
    }

    #[test]
    fn deep_nesting_is_refused_and_does_not_overflow() {
        let line = format!("({}", "[".repeat(100_000));
        assert!(parse(&line).is_err());
    }
}
