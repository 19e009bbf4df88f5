//! What models write, and the program in it.

use gauntlet_extract::{Wanted, entry_point, extract};

#[path = "table/cases.rs"]
mod cases;

use cases::{ALONE, DRAFT, INC, NAMELESS, NOTHING, WHOLE};

#[test]
fn the_right_function_is_found_alone() {
    let mut wrong = Vec::new();
    for (name, text) in ALONE {
        let text = text.replace("CODE", INC).replace("DRAFT", DRAFT);
        let found = extract(&text, Wanted::EntryPoint("inc")).unwrap_or_default();
        if found.trim_end() != INC.trim_end() && found.trim() != "def inc(x): return x + 1" {
            wrong.push(format!("{name}: {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_program_is_found_with_what_it_needs() {
    let mut wrong = Vec::new();
    let named = WHOLE
        .iter()
        .map(|&(name, entry, text, code)| (name, Wanted::EntryPoint(entry), text, code));
    for (name, wanted, text, code) in named.chain(NAMELESS.iter().copied()) {
        let found = extract(text, wanted).unwrap_or_default();
        if found.trim_end() != code.trim_end() {
            wrong.push(format!("{name}: {found:?} in place of {code:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn where_there_is_no_code_none_is_found() {
    for text in NOTHING {
        for wanted in [Wanted::EntryPoint("inc"), Wanted::Function, Wanted::Script] {
            assert_eq!(extract(text, wanted), None, "{text:?}");
        }
    }
}

#[test]
fn a_program_names_its_entry_point() {
    for (code, name) in [
        ("import re\ndef f(x):\n    def g(): pass\n", Some("f")),
        ("@cache\nasync def f(x): pass", Some("f")),
        ("class A:\n    def g(self): pass\ndef f(x): pass", Some("f")),
        (
            "class Solution:\n    def __init__(self): pass\n    def f(self): pass",
            Some("f"),
        ),
        ("class A:\n    def f(self): pass", None),
        ("x = 1", None),
    ] {
        assert_eq!(entry_point(code).as_deref(), name, "{code:?}");
    }
}

/// Text that is made to cost much ends in about the time of any other.
#[test]
fn the_work_is_bounded() {
    let deep = format!("```python\nx = {}\n", "(".repeat(50_000));
    let texts = [
        "```\n".repeat(50_000),
        "```python\n\"\"\"\n".repeat(20_000),
        "```python\n\"\"\"\n```\n".repeat(20_000),
        "def inc(x):\n".repeat(20_000),
        "x = (\n".repeat(20_000),
        "@a\n".repeat(20_000),
        "if x:\n\n".repeat(20_000),
        "{\"a\": [\n".repeat(20_000),
        "`".repeat(100_000),
        "<think>\n".repeat(20_000),
        "</think>\n".repeat(20_000),
        "<a><b></c>".repeat(10_000),
        ">>> x\n".repeat(20_000),
        deep,
    ];
    for text in texts {
        extract(&text, Wanted::EntryPoint("inc"));
    }
}
