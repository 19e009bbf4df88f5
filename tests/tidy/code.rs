//! Rust source without what is not code.

/// The source with comments and the text of string and character literals blanked, line by line as before.
pub fn code_only(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let mut out = String::with_capacity(source.len());
    let mut i = 0;
    while i < chars.len() {
        let end = match (at(i), at(i + 1)) {
            ('/', '/') => (i..chars.len())
                .find(|j| chars[*j] == '\n')
                .unwrap_or(chars.len()),
            ('/', '*') => end_of_comment(&chars, i),
            ('"', _) => end_of_string(&chars, i),
            ('r', '"' | '#') if !out.ends_with(|c: char| c.is_alphanumeric() || c == '_') => {
                end_of_raw(&chars, i)
            }
            ('\'', '\\') => (i + 3..chars.len())
                .find(|j| chars[*j] == '\'')
                .map_or(chars.len(), |j| j + 1),
            ('\'', _) if at(i + 2) == '\'' => i + 3,
            _ => i,
        };
        if end == i {
            out.push(chars[i]);
            i += 1;
        } else {
            out.extend(
                chars[i..end]
                    .iter()
                    .map(|c| if *c == '\n' { '\n' } else { ' ' }),
            );
            i = end;
        }
    }
    out
}

fn end_of_comment(chars: &[char], start: usize) -> usize {
    let (mut depth, mut i) = (0usize, start);
    while i + 1 < chars.len() {
        match (chars[i], chars[i + 1]) {
            ('/', '*') => (depth, i) = (depth + 1, i + 2),
            ('*', '/') if depth == 1 => return i + 2,
            ('*', '/') => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
    }
    chars.len()
}

fn end_of_string(chars: &[char], start: usize) -> usize {
    let mut i = start + 1;
    while i < chars.len() {
        match chars[i] {
            '\\' => i += 2,
            '"' => return i + 1,
            _ => i += 1,
        }
    }
    chars.len()
}

/// `start` itself if this is no raw string: `r#type` is a name.
fn end_of_raw(chars: &[char], start: usize) -> usize {
    let hashes = chars[start + 1..].iter().take_while(|c| **c == '#').count();
    if chars.get(start + 1 + hashes) != Some(&'"') {
        return start;
    }
    let closing = |j: usize| {
        chars[j] == '"'
            && chars[j + 1..]
                .iter()
                .take(hashes)
                .filter(|c| **c == '#')
                .count()
                == hashes
    };
    (start + 2 + hashes..chars.len())
        .find(|j| closing(*j))
        .map_or(chars.len(), |j| j + 1 + hashes)
}

#[test]
fn code_only_keeps_code_and_lines() {
    let source = "let a = 'Q'; /* Q1 /* Q2 */ Q3 */ let b: &'static str = r#\"Q \" Q\"#; // Q\nlet c = '\\''; let d = \"\\\"Q\"; let r#e = 1;";
    let code = code_only(source);
    assert_eq!(code.lines().count(), source.lines().count());
    assert!(!code.contains('Q'), "{code:?}");
    for kept in [
        "let a",
        "let b",
        "&'static str",
        "let c",
        "let d",
        "let r#e = 1;",
    ] {
        assert!(code.contains(kept), "{kept:?} not in {code:?}");
    }
}
