use super::*;

fn literal(text: &str) -> String {
    match parse(text) {
        Ok(value) => value.to_literal(),
        Err(error) => format!("error: {error}"),
    }
}

#[test]
fn literals_read_as_python_reads_them() {
    for (text, expected) in [
        (" None ", "None"),
        ("-5", "-5"),
        ("- 5", "-5"),
        ("1_000", "1000"),
        ("0xFF", "255"),
        ("0b_101", "5"),
        ("0o17", "15"),
        ("00", "0"),
        ("1.", "1.0"),
        (".5e-3", "0.0005"),
        ("1e400", "float('inf')"),
        ("-0.0", "-0.0"),
        ("2j", "complex(0.0, 2.0)"),
        ("1-2j", "complex(1.0, -2.0)"),
        ("-float('inf')", "float('-inf')"),
        ("float(\"nan\")", "float('nan')"),
        (
            "123456789012345678901234567890",
            "123456789012345678901234567890",
        ),
        ("'a' \"b\"", "'ab'"),
        (r"'\x41\u00e9\101\n\q'", r"'AéA\n\\q'"),
        (r"r'\n\''", r#""\\n\\'""#),
        (r"b'\xff\0a'", r"b'\xff\x00a'"),
        ("'''a\n'b'''", r#""a\n'b""#),
        ("rb'\\x'", r"b'\\x'"),
        ("u'é'", "'é'"),
        ("()", "()"),
        ("(1)", "1"),
        ("(1,)", "(1,)"),
        ("1, 2", "(1, 2)"),
        ("1,", "(1,)"),
        ("[1, [2,],]", "[1, [2]]"),
        ("{}", "{}"),
        ("{1, 2, 1.0}", "{1, 2}"),
        ("{1: 'a', True: 'b', 2: 'c'}", "{1: 'b', 2: 'c'}"),
        ("set()", "set()"),
        ("frozenset({1})", "frozenset({1})"),
        ("(\n1,\n2)", "(1, 2)"),
    ] {
        assert_eq!(literal(text), expected, "{text}");
        assert_eq!(literal(expected), expected, "{expected} again");
    }
}

#[test]
fn other_text_is_refused() {
    for text in [
        "",
        "(",
        ")",
        "1 2",
        "[1",
        "{1: 2, 3}",
        "{1, 2: 3}",
        "{[1]: 2}",
        "{[1]}",
        "x",
        "nan",
        "inf",
        "__import__('os')",
        "1+2",
        "2**3",
        "f'a'",
        "'a",
        "'a\nb'",
        "'a' b'b'",
        "b'é'",
        "'\\ud800'",
        "'\\xg0'",
        "'\\N{BULLET}'",
        "01",
        "1__0",
        "1_",
        "0x",
        "1e",
        "--5",
        "1+-2j",
        "'a'+'b'",
        "True1",
        "set([1])",
        "float('1')",
        "float(x)",
        ",",
        "[,]",
        "1.2.3",
        "\\",
        "é",
        "1 if 1 else 2",
        "'\\400b' b''",
        "ur'a'",
    ] {
        assert!(parse(text).is_err(), "{text:?} gave {}", literal(text));
    }
}

#[test]
fn depth_and_length_are_capped() {
    assert!(parse(&("[".repeat(99) + &"]".repeat(99))).is_ok());
    assert!(parse(&("[".repeat(5000) + &"]".repeat(5000))).is_err());
    assert!(parse(&"(".repeat(500_000)).is_err());
    assert!(parse(&"1".repeat(MAX_TEXT + 1)).is_err());
}

#[test]
fn a_prefix_leaves_the_rest() {
    assert_eq!(parse_prefix("(1, '->') -> 3").unwrap().1, " -> 3");
    assert_eq!(parse_prefix("1 -> 2").unwrap(), (Value::from(1), " -> 2"));
    assert_eq!(parse_prefix("'a' -> 'b'").unwrap().1, " -> 'b'");
}

/// `ast.literal_eval` of the machine's Python is the oracle.
#[test]
fn agrees_with_python_on_generated_text() {
    let alphabet = [
        "1", "0", "_", ".", "e", "j", "-", "+", "(", ")", "[", "]", "{", "}", ",", ":", "'", "a",
        "\\", "x4", "b", "r", " ",
    ];
    // Half the texts are noise, half are literals with one token too many.
    let seeds = [
        "",
        "{1: 'a', (2,): [b'x']}",
        "[-1.5e3, 0x1f, 1_0]",
        "({1, 2.0}, 'a' \"b\")",
        "1-2j",
    ];
    let mut state = 1_u64;
    let mut draw = |below: usize| {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    let mut texts = Vec::new();
    for at in 0..20_000 {
        let mut text = seeds[if at % 2 == 0 { 0 } else { draw(seeds.len()) }].to_owned();
        for _ in 0..if text.is_empty() { draw(8) } else { 1 } {
            let place = draw(text.len() + 1);
            text.insert_str(place, alphabet[draw(alphabet.len())]);
        }
        texts.push(text.trim().to_owned());
    }
    let script = "import ast, json, sys, warnings\nwarnings.simplefilter('ignore')\nfor text in json.load(sys.stdin):\n try: value = ast.literal_eval(text); print('error' if 'Ellipsis' in repr(value) else repr(value))\n except Exception: print('error')";
    let Some(answers) = crate::oracle::python(script, &serde_json::to_string(&texts).unwrap())
    else {
        return;
    };
    let mut agreed = 0;
    for (text, answer) in texts.iter().zip(answers.lines()) {
        match (parse(text), answer) {
            (Err(_), "error") => {}
            (Ok(value), _) if answer != "error" => {
                // `repr` writes inf and complex numbers in other words, and sets in an order of its own.
                if !answer.contains(['j', 'n', '{']) {
                    assert_eq!(value.to_literal(), parse(answer).unwrap().to_literal());
                } else if !answer.contains('n') {
                    assert!(value.py_eq(&parse(answer).unwrap()), "{text:?}");
                }
                agreed += 1;
            }
            // A parenthesis within a number, `-(1)`, is none of our grammar.
            (Err(_), _) if text.contains(['+', '-']) && text.contains('(') => {}
            (ours, _) => panic!("{text:?}: Python gives {answer}, we give {ours:?}"),
        }
    }
    assert!(agreed > 500, "only {agreed} of the texts were literals");
}
