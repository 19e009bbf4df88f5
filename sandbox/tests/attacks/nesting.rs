//! Source code that nests more deeply than a parser or a compiler likes. CPython's own limits are met first, and what it
//! says is no want of memory.

use crate::{call, result};

/// What is repeated, what stands between, what closes it as often; how often, and what comes of the module.
const SOURCES: [(&str, &str, &str, usize, &str); 24] = [
    ("(", "1", ")", 90, "1"),
    ("(", "1", ")", 250, "SyntaxError"),
    ("(", "1", ")", 100_000, "SyntaxError"),
    ("(", "", "", 100_000, "SyntaxError"),
    ("[", "", "]", 100_000, "SyntaxError"),
    ("{0:", "0", "}", 50_000, "SyntaxError"),
    ("int(", "1", ")", 50_000, "SyntaxError"),
    ("(1,", "", ")", 5000, "SyntaxError"),
    ("-", "1", "", 1000, "1"),
    ("-", "1", "", 100_000, "SyntaxError"),
    ("not ", "1", "", 100_000, "SyntaxError"),
    ("lambda:", "1", "", 50_000, "SyntaxError"),
    ("1**", "1", "", 50_000, "SyntaxError"),
    ("1 if 1 else ", "1", "", 50_000, "SyntaxError"),
    ("f'{", "1", "}'", 5000, "SyntaxError"),
    ("[", "1", " for x in [1]]", 5000, "SyntaxError"),
    ("1 and ", "1", "", 50_000, "1"),
    ("1 < ", "2", "", 50_000, "1"),
    ("x = ", "1", "", 50_000, "1"),
    ("1+", "1", "", 50_000, "Raised RecursionError"),
    ("", "''", ".a", 5000, "Raised RecursionError"),
    ("if 1: pass\n", "", "", 10_000, "1"),
    ("if 1: pass\nel", "if 1: pass", "", 5000, "SyntaxError"),
    ("#", "", "", 2_000_000, "1"),
];

#[test]
fn source_that_nests_too_deeply_is_refused_by_python_itself() {
    for (opening, middle, closing, count, expected) in SOURCES {
        let code = format!(
            "{}{middle}{}\ndef f(): return 1",
            opening.repeat(count),
            closing.repeat(count)
        );
        let found = result(&code, "");
        assert_eq!(found, expected, "{count} times {opening}{middle}{closing}");
        assert_eq!(call("def f(): return 1", "").result, Ok(1.into()));
    }
}

#[test]
fn blocks_that_nest_too_deeply_are_a_syntax_error() {
    let code: String = (0..200).map(|n| " ".repeat(n) + "if 1:\n").collect();
    assert_eq!(
        result(&(code + &" ".repeat(200) + "pass"), ""),
        "SyntaxError"
    );
}

#[test]
fn a_crash_of_cpython_is_told_as_one() {
    // Fifty comprehensions in each other end CPython 3.12 and 3.13 with a segmentation fault, too.
    let code = "[".repeat(50) + "1" + &" for x in [1]]".repeat(50);
    assert_eq!(
        result(&code, ""),
        "Crashed wasm trap: out of bounds memory access"
    );
    assert_eq!(result("def f(): return 1", ""), "1");
}
