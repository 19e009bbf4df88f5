//! From a completion to its pieces, in the order in which they stand.

use crate::python::Python;
use crate::{Piece, bare, fences};

/// What models put around their thinking.
const THINKING: [(&str, &str); 8] = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<reflection>", "</reflection>"),
    ("<scratchpad>", "</scratchpad>"),
    ("<analysis>", "</analysis>"),
    ("[THINK]", "[/THINK]"),
];

/// So many thoughts in a row are told from the answer.
const MAX_THOUGHTS: usize = 64;

/// The pieces of a completion: first those of its thinking, then those of its answer.
pub(crate) fn pieces(python: &Python, completion: &str) -> Vec<Piece> {
    let text = completion
        .trim_start_matches('\u{feff}')
        .replace("\r\n", "\n")
        .replace('\r', "\n");
    let (thinking, answer) = split_thinking(&text);
    let mut found: Vec<Piece> = Vec::new();
    for thought in &thinking {
        found.extend(pieces_of(python, thought, 0));
    }
    for piece in &mut found {
        piece.thought = true;
    }
    found.extend(pieces_of(python, &answer, 0));
    found
}

/// The pieces of a text without thinking. `depth` counts the JSON strings that it lies in.
pub(crate) fn pieces_of(python: &Python, text: &str, depth: usize) -> Vec<Piece> {
    let mut found = Vec::new();
    for part in fences::parts(python, text) {
        match part {
            fences::Part::Prose(lines) => found.extend(bare::pieces(python, &lines, depth)),
            fences::Part::Block(block) => found.extend(block.pieces(python, depth)),
        }
    }
    found
}

/// The thinking and the rest. A template may have opened the thinking in the prompt, so its end alone is enough.
fn split_thinking(text: &str) -> (Vec<String>, String) {
    let (mut thinking, mut answer) = (Vec::new(), text.to_owned());
    for (open, close) in THINKING {
        for _ in 0..MAX_THOUGHTS {
            let opened = at_line_start(&answer, open);
            let from = opened.map_or(0, |at| at + open.len());
            let closed = match opened {
                Some(_) => answer[from..].find(close).map(|at| from + at),
                None => at_line_edge(&answer, close),
            };
            let (end, after) = match (opened, closed) {
                (None, None) => break,
                (_, Some(end)) => (end, end + close.len()),
                (Some(_), None) => (answer.len(), answer.len()),
            };
            thinking.push(answer[from..end].to_owned());
            let before = opened.map_or("", |at| &answer[..at]);
            answer = format!("{before}\n{}", &answer[after..]);
        }
    }
    (thinking, answer)
}

fn at_line_start(text: &str, tag: &str) -> Option<usize> {
    text.match_indices(tag).map(|(at, _)| at).find(|&at| {
        let line = text[..at].rfind('\n').map_or(0, |feed| feed + 1);
        text[line..at].trim().is_empty()
    })
}

/// Where `tag` begins or ends a line.
fn at_line_edge(text: &str, tag: &str) -> Option<usize> {
    text.match_indices(tag).map(|(at, _)| at).find(|&at| {
        let line = text[..at].rfind('\n').map_or(0, |feed| feed + 1);
        let rest = &text[at + tag.len()..];
        let rest = rest.split('\n').next().unwrap_or_default();
        text[line..at].trim().is_empty() || rest.trim().is_empty()
    })
}

/// The lines without the white space that all of them begin with.
pub(crate) fn dedent(lines: &[&str]) -> String {
    let mut common: Option<&str> = None;
    for line in lines.iter().filter(|line| !line.trim().is_empty()) {
        let space = &line[..line.len() - line.trim_start().len()];
        common = Some(common.map_or(space, |common| shared(common, space)));
    }
    let cut = common.map_or(0, str::len);
    joined(lines.iter().map(|line| line.get(cut..).unwrap_or("")))
}

/// The lines without as much of the first one's indentation as each has.
pub(crate) fn dedent_by_first(lines: &[&str]) -> String {
    let first = lines.iter().find(|line| !line.trim().is_empty());
    let space = first.map_or("", |line| &line[..line.len() - line.trim_start().len()]);
    joined(lines.iter().map(|line| &line[shared(space, line).len()..]))
}

/// The longest common beginning of two texts.
fn shared<'a>(a: &'a str, b: &str) -> &'a str {
    let same = a
        .char_indices()
        .zip(b.chars())
        .find(|((_, a), b)| a != b)
        .map_or(a.len().min(b.len()), |((at, _), _)| at);
    &a[..same]
}

/// The lines, each with its line feed.
pub(crate) fn joined<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let mut text = String::new();
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// How far a line is indented, a tab to the next multiple of 8 as in Python.
pub(crate) fn indentation(line: &str) -> usize {
    let space = line.bytes().take_while(|byte| matches!(byte, b' ' | b'\t'));
    space.fold(0, |width, byte| match byte {
        b'\t' => (width / 8 + 1) * 8,
        _ => width + 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinking_is_told_from_the_answer() {
        for (text, thinking, answer) in [
            ("a", &[][..], "a"),
            ("<think>a</think>b", &["a"], "\nb"),
            ("a</think>\nb", &["a"], "\n\nb"),
            ("<think>a", &["a"], "\n"),
            ("x\n<think>a</think>b", &["a"], "x\n\nb"),
            ("[THINK]a[/THINK]b", &["a"], "\nb"),
            (
                "<think>a</think>\n<think>b</think>c",
                &["a", "b"],
                "\n\n\nc",
            ),
            // Neither is thinking: tags within a line of code.
            (
                "s.split(\"</think>\")[-1]",
                &[],
                "s.split(\"</think>\")[-1]",
            ),
            ("x = \"<think>\" + y", &[], "x = \"<think>\" + y"),
        ] {
            let (found, rest) = split_thinking(text);
            assert_eq!(
                (found.as_slice(), rest.trim()),
                (
                    thinking
                        .iter()
                        .map(|t| (*t).to_owned())
                        .collect::<Vec<_>>()
                        .as_slice(),
                    answer.trim(),
                ),
                "{text:?}"
            );
        }
    }

    #[test]
    fn white_space_of_all_lines_goes() {
        assert_eq!(dedent(&["  a", "", "    b"]), "a\n\n  b\n");
        assert_eq!(dedent(&["\ta", "  b"]), "\ta\n  b\n");
        assert_eq!(dedent_by_first(&["  a", "# b", "    c"]), "a\n# b\n  c\n");
    }
}
