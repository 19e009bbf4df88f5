//! Code between lines of prose: which lines are code, and which of them belong together.

use crate::lexer::Lexer;
use crate::python::Python;
use crate::{Origin, Piece, fences, text, wrapped};

/// How many ends of a stretch of lines are tried.
const MAX_ENDS: usize = 40;
/// How many lines a statement has.
const MAX_LINES: usize = 2000;
/// How many lines of a text that begin like JSON are read as such.
const MAX_JSON: usize = 8;

/// Words that begin a statement.
const KEYWORDS: [&str; 20] = [
    "assert", "async", "await", "class", "def", "del", "for", "from", "global", "if", "import",
    "match", "nonlocal", "raise", "try", "while", "with", "type", "lambda", "print",
];

/// The pieces in lines of prose: runs of code, sessions, code in JSON and between backticks, and if none parses but
/// something looks defined, the whole.
pub(crate) fn pieces(python: &Python, lines: &[&str], depth: usize) -> Vec<Piece> {
    let piece = |code, origin, session| Piece {
        code,
        origin,
        thought: false,
        session,
    };
    let mut found = Vec::new();
    for code in lines.iter().flat_map(|line| fences::inline(line)) {
        if python.module(&code).defines_something() {
            found.push(piece(code + "\n", Origin::Inline, false));
        }
    }
    let lines: Vec<&str> = lines.iter().map(|line| untagged(line)).collect();
    let mut tries = 0;
    for (at, line) in lines.iter().enumerate() {
        if line.trim_start().starts_with(['{', '[']) && tries < MAX_JSON {
            tries += 1;
            found.extend(
                wrapped::pieces(python, &lines[at..].join("\n"), depth).unwrap_or_default(),
            );
        }
    }
    if lines.iter().any(|line| is_prompt(line)) {
        found.push(piece(session(&lines), Origin::Bare, true));
    }
    let prose = without_sessions(&lines);
    for code in runs(python, &prose) {
        found.push(piece(code, Origin::Bare, false));
    }
    let defined = |line: &&str| {
        ["def ", "class ", "async def "]
            .iter()
            .any(|word| line.trim_start().starts_with(word))
    };
    let parsed = found
        .iter()
        .any(|piece| python.module(&piece.code).defines_something());
    if !parsed && let Some(at) = prose.iter().position(defined) {
        found.push(piece(text::dedent(&prose[at..]), Origin::Bare, false));
    }
    found
}

/// The line without tags around it, such as `<code>`, `</parameter>`, `[PYTHON]`, `\begin{code}`.
fn untagged(line: &str) -> &str {
    let mut line = line;
    loop {
        let inside = line.trim();
        if let Some(end) = tag_end(inside) {
            // What follows a tag on its line begins at the margin.
            line = &inside[end..];
        } else if let Some(start) = last_tag(inside) {
            let cut = line.len() - line.trim_start().len() + start;
            line = &line[..cut];
        } else {
            return line;
        }
    }
}

/// Where the tag that a line begins with ends.
fn tag_end(line: &str) -> Option<usize> {
    if line.starts_with("\\begin{") || line.starts_with("\\end{") {
        return line.find('}').map(|at| at + 1);
    }
    let close = match line.as_bytes().first()? {
        b'<' => '>',
        b'[' => ']',
        _ => return None,
    };
    let end = line.find(close)?;
    let name = line[1..end].trim_start_matches(['/', '|']);
    let inside = name.trim_end_matches('|');
    let fits = match close {
        ']' => {
            inside.len() > 1
                && inside
                    .bytes()
                    .all(|byte| byte.is_ascii_uppercase() || byte == b'_')
        }
        _ => {
            inside.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && inside.len() <= 80
                && !inside.contains('<')
        }
    };
    fits.then_some(end + 1)
}

/// Where the tag that a line ends with begins.
fn last_tag(line: &str) -> Option<usize> {
    let open = match line.as_bytes().last()? {
        b'>' => '<',
        b']' => '[',
        b'}' => '\\',
        _ => return None,
    };
    let start = line.rfind(open)?;
    // A subscript or a comparison is code: only a closing tag ends a line of code.
    let closing = ["</", "<|", "[/", "\\end{"];
    let closing = closing.iter().any(|mark| line[start..].starts_with(mark));
    (closing && tag_end(&line[start..]) == Some(line.len() - start)).then_some(start)
}

/// Stretches of statements, each at the margin.
fn runs(python: &Python, lines: &[&str]) -> Vec<String> {
    let (mut runs, mut run, mut pending) = (Vec::new(), String::new(), String::new());
    let mut base = 0;
    let mut at = 0;
    while let Some(line) = lines.get(at)
        && !python.is_spent()
    {
        let word = line.trim_start();
        if word.is_empty() || word.starts_with('#') {
            pending.push_str(word);
            pending.push('\n');
            at += 1;
            continue;
        }
        let indent = text::indentation(line);
        let found = looks_like_code(word)
            .then(|| statement(python, lines, at))
            .flatten();
        if !run.is_empty() && (found.is_none() || indent != base) {
            runs.push(std::mem::take(&mut run));
        }
        let Some((code, next)) = found else {
            pending.clear();
            at += 1;
            // What belongs to a definition that does not parse is not code by itself.
            if ["def ", "class ", "async def ", "@"]
                .iter()
                .any(|w| word.starts_with(w))
            {
                while lines
                    .get(at)
                    .is_some_and(|l| l.trim().is_empty() || text::indentation(l) > indent)
                {
                    at += 1;
                }
            }
            continue;
        };
        if !run.is_empty() {
            run.push_str(&pending);
        }
        pending.clear();
        (base, at) = (indent, next);
        run.push_str(&code);
    }
    if !run.is_empty() {
        runs.push(run);
    }
    runs
}

fn looks_like_code(line: &str) -> bool {
    let word: &str = line
        .split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .next()
        .unwrap_or_default();
    KEYWORDS.contains(&word) || line.starts_with(['@', '"', '\'']) || line.contains(['=', '('])
}

/// The statement that begins in line `at`, at the margin, and the line after it.
fn statement(python: &Python, lines: &[&str], at: usize) -> Option<(String, usize)> {
    let base = text::indentation(lines[at]);
    let mut lexer = Lexer::default();
    // Lines after which the statement may end, the longest last.
    let mut ends = Vec::new();
    let (mut next, mut decorated) = (at, false);
    while let Some(line) = lines.get(next).filter(|_| next - at < MAX_LINES) {
        let word = line.trim_start();
        if next > at && !lexer.is_open() && !decorated {
            if word.is_empty() {
                next += 1;
                continue;
            }
            let goes_on = ["else", "elif", "except", "finally", ")", "]", "}"];
            let goes_on = goes_on.iter().any(|w| word.starts_with(w));
            if text::indentation(line) < base || (text::indentation(line) == base && !goes_on) {
                break;
            }
            ends.push(next);
        }
        decorated = word.starts_with('@') && !lexer.is_open();
        lexer.line(line);
        next += 1;
    }
    ends.push(next);
    ends.iter().rev().take(MAX_ENDS).find_map(|&end| {
        let mut taken = &lines[at..end];
        while let [rest @ .., last] = taken
            && last.trim().is_empty()
        {
            taken = rest;
        }
        let code = text::dedent_by_first(taken);
        python.is_code(&code).then(|| (code, at + taken.len()))
    })
}

/// Whether a line is one of an interactive session.
pub(crate) fn is_prompt(line: &str) -> bool {
    prompted(line).is_some()
}

/// What was typed after a prompt, `>>> ` or `In [1]: `.
fn prompted(line: &str) -> Option<&str> {
    let line = line.trim_start();
    if let Some(typed) = line.strip_prefix(">>>") {
        return (typed.is_empty() || typed.starts_with(' ')).then(|| typed.get(1..).unwrap_or(""));
    }
    let (number, typed) = line.strip_prefix("In [")?.split_once("]:")?;
    number
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| typed.strip_prefix(' ').unwrap_or(typed))
}

/// What was typed after a prompt of continuation, `... ` or `   ...: `.
fn continued(line: &str) -> Option<&str> {
    let typed = line.trim_start().strip_prefix("...")?;
    let typed = typed.strip_prefix(':').unwrap_or(typed);
    Some(typed.strip_prefix(' ').unwrap_or(typed))
}

/// What was typed in the sessions among the lines.
pub(crate) fn session(lines: &[&str]) -> String {
    let mut typing = false;
    text::joined(lines.iter().filter_map(|line| {
        let first = prompted(line);
        let typed = first.or_else(|| continued(line).filter(|_| typing));
        typing = typed.is_some();
        typed
    }))
}

/// The lines outside of sessions; one reaches to the next blank line.
pub(crate) fn without_sessions<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    let mut within = false;
    let outside = lines.iter().copied().filter(|line| {
        within = is_prompt(line) || within && !line.trim().is_empty();
        !within
    });
    outside.collect()
}
