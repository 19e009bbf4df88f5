//! Fenced blocks, as models write them: any indentation, quoted, not closed, on one line, with fences in docstrings.

use crate::lexer::Lexer;
use crate::python::Python;
use crate::{Origin, Piece, bare, text, wrapped};

/// After this many strings that never end, a closing fence is believed also within one. Bounds the work.
const MAX_OPEN_STRINGS: usize = 16;

/// Tags of languages that are not Python. Any other word may be one.
const FOREIGN: &[&str] = &[
    "asm",
    "bash",
    "bat",
    "c",
    "c#",
    "c++",
    "clojure",
    "cmd",
    "console",
    "cpp",
    "csharp",
    "css",
    "csv",
    "cuda",
    "dart",
    "diff",
    "dockerfile",
    "elixir",
    "fortran",
    "fsharp",
    "go",
    "golang",
    "graphql",
    "groovy",
    "haskell",
    "html",
    "http",
    "ini",
    "input",
    "java",
    "javascript",
    "js",
    "json",
    "json5",
    "jsonl",
    "jsx",
    "julia",
    "kotlin",
    "latex",
    "log",
    "lua",
    "make",
    "makefile",
    "markdown",
    "math",
    "matlab",
    "md",
    "mermaid",
    "nim",
    "none",
    "objc",
    "ocaml",
    "output",
    "pascal",
    "perl",
    "php",
    "plain",
    "plaintext",
    "powershell",
    "prolog",
    "properties",
    "ps1",
    "pseudo",
    "pseudocode",
    "r",
    "regex",
    "rs",
    "ruby",
    "rust",
    "scala",
    "sh",
    "shell",
    "sql",
    "swift",
    "tex",
    "text",
    "toml",
    "ts",
    "tsx",
    "txt",
    "typescript",
    "vb",
    "vim",
    "xml",
    "yaml",
    "yml",
    "zig",
    "zsh",
];

/// A part of a text.
pub(crate) enum Part<'a> {
    /// Lines outside of fences.
    Prose(Vec<&'a str>),
    /// The inside of a fence.
    Block(Block<'a>),
}

/// The inside of a fence.
pub(crate) struct Block<'a> {
    lines: Vec<&'a str>,
    tag: Tag,
    closed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tag {
    Python,
    Foreign,
    Other,
}

/// A line that a fence begins.
#[derive(Clone, Copy, Debug)]
struct Fence<'a> {
    mark: char,
    length: usize,
    quoted: bool,
    info: &'a str,
}

/// Cuts a text at its fences.
pub(crate) fn parts<'a>(python: &Python, text: &'a str) -> Vec<Part<'a>> {
    let lines: Vec<&str> = text.lines().collect();
    let (mut parts, mut prose) = (Vec::new(), Vec::new());
    let (mut at, mut open_strings) = (0, 0);
    while let Some(&line) = lines.get(at) {
        let Some(fence) = Fence::of(line) else {
            prose.push(line);
            at += 1;
            continue;
        };
        if !prose.is_empty() {
            parts.push(Part::Prose(std::mem::take(&mut prose)));
        }
        let (block, next) = block(python, &lines, at, fence, &mut open_strings);
        parts.push(Part::Block(block));
        at = next;
    }
    if !prose.is_empty() {
        parts.push(Part::Prose(prose));
    }
    parts
}

impl<'a> Fence<'a> {
    fn of(line: &'a str) -> Option<Fence<'a>> {
        let mut rest = line.trim_start();
        let mut quoted = false;
        while let Some(inside) = rest.strip_prefix('>') {
            if inside.starts_with(">>") {
                return None;
            }
            (rest, quoted) = (inside.trim_start(), true);
        }
        let rest = unlisted(rest);
        let mark = rest.chars().next().filter(|c| matches!(c, '`' | '~'))?;
        let info = rest.trim_start_matches(mark);
        let length = rest.len() - info.len();
        let inline = mark == '`' && info.contains('`');
        (length >= 3 && !inline).then_some(Fence {
            mark,
            length,
            quoted,
            info: info.trim(),
        })
    }

    fn closes(&self, open: &Fence) -> bool {
        self.info.is_empty() && self.mark == open.mark && self.length >= open.length
    }

    /// The language that the info names, and code that follows it on the same line.
    fn tag(&self) -> (Tag, Option<&'a str>) {
        if is_code_line(self.info) {
            return (Tag::Other, Some(self.info));
        }
        let (tag, after) = language(self.info);
        (tag, Some(after).filter(|after| is_code_line(after)))
    }
}

/// The line without the marker of a list item.
fn unlisted(line: &str) -> &str {
    let digits = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let numbered = (digits.len() < line.len())
        .then(|| digits.strip_prefix(['.', ')']))
        .flatten();
    match numbered.or_else(|| line.strip_prefix(['-', '*', '+'])) {
        Some(item) if item.starts_with([' ', '\t']) => item.trim_start(),
        _ => line,
    }
}

/// The language that a text begins with, and the rest.
fn language(info: &str) -> (Tag, &str) {
    let name = info.trim_start_matches(['{', '.', ' ']);
    let end = name
        .find(|c: char| !(c.is_alphanumeric() || "+#-_".contains(c)))
        .unwrap_or(name.len());
    let (name, after) = name.split_at(end);
    let name = name.to_lowercase();
    let tag = if name.starts_with("py") || name.starts_with("ipython") {
        Tag::Python
    } else if FOREIGN.contains(&name.as_str()) {
        Tag::Foreign
    } else {
        Tag::Other
    };
    (tag, after.trim_start())
}

fn is_code_line(text: &str) -> bool {
    const BEGINNINGS: [&str; 6] = ["def ", "async def ", "class ", "import ", "from ", "@"];
    BEGINNINGS.iter().any(|word| text.starts_with(word))
}

/// The block that the fence in line `at` opens, and the line after it.
fn block<'a>(
    python: &Python,
    lines: &[&'a str],
    at: usize,
    fence: Fence<'a>,
    open_strings: &mut usize,
) -> (Block<'a>, usize) {
    let (tag, first) = fence.tag();
    let strings_count = tag != Tag::Foreign && *open_strings < MAX_OPEN_STRINGS;
    let mut inside: Vec<&str> = first.into_iter().collect();
    let mut lexer = Lexer::default();
    inside.iter().for_each(|line| lexer.line(line));
    // Where a fence closes if it is believed within a string: lines inside, and the next line.
    let mut hidden = None;
    let ended = |lines: Vec<&'a str>, closed| Block { lines, tag, closed };
    let mut next = at + 1;
    while let Some(&line) = lines.get(next) {
        let in_string = strings_count && lexer.in_string();
        let found = Fence::of(line);
        if in_string {
            if found.is_some_and(|found| found.closes(&fence)) {
                hidden.get_or_insert((inside.len(), next + 1));
            }
        } else if let Some(found) = found {
            if found.closes(&fence) {
                return match hidden {
                    Some((count, after)) if !python.parses(&text::dedent(&inside)) => {
                        inside.truncate(count);
                        (ended(inside, true), after)
                    }
                    _ => (ended(inside, true), next + 1),
                };
            }
            // A fence that names a language opens a block, whether the one before it was closed or not.
            if !found.info.is_empty() && !found.info.contains(' ') {
                return (ended(inside, false), next);
            }
        } else if let Some(code) = line.trim_end().strip_suffix(fence.text().as_str()) {
            let mut here = lexer.clone();
            here.line(code);
            if !here.in_string() && !here.in_comment() {
                inside.push(code);
                return (ended(inside, true), next + 1);
            }
        }
        let line = if fence.quoted { unquoted(line) } else { line };
        lexer.line(line);
        inside.push(line);
        next += 1;
    }
    if let Some((count, after)) = hidden {
        *open_strings += 1;
        inside.truncate(count);
        return (ended(inside, true), after);
    }
    (ended(inside, false), next)
}

impl Fence<'_> {
    fn text(&self) -> String {
        self.mark.to_string().repeat(self.length)
    }
}

fn unquoted(line: &str) -> &str {
    let inside = line.trim_start().strip_prefix('>');
    inside.map_or(line, |inside| inside.strip_prefix(' ').unwrap_or(inside))
}

impl Block<'_> {
    /// What of the block may be code.
    pub(crate) fn pieces(&self, python: &Python, depth: usize) -> Vec<Piece> {
        let origin = match self.tag {
            Tag::Foreign => Origin::Foreign,
            Tag::Python | Tag::Other => Origin::Fenced,
        };
        let piece = |code, session| Piece {
            code,
            origin,
            thought: false,
            session,
        };
        if self.lines.iter().all(|line| line.trim().is_empty()) {
            return Vec::new();
        }
        if self.tag != Tag::Python
            && let Some(found) = wrapped::pieces(python, &self.lines.join("\n"), depth)
        {
            return found;
        }
        if let Some(code) = settled(python, &self.lines) {
            return vec![piece(code, false)];
        }
        if bare::is_prompt(
            self.lines
                .iter()
                .find(|l| !l.trim().is_empty())
                .unwrap_or(&""),
        ) {
            return vec![piece(bare::session(&self.lines), true)];
        }
        let without = bare::without_sessions(&self.lines);
        if without.len() < self.lines.len()
            && let Some(code) = settled(python, &without)
        {
            return vec![piece(code, false)];
        }
        // A block that is Python and closed is what the model means, right or wrong. Others may hold prose.
        if self.tag != Tag::Python || !self.closed {
            let mut found = bare::pieces(python, &self.lines, depth);
            let holds_code = found.iter().any(|p| python.parses(&p.code));
            for piece in found.iter_mut().filter(|p| p.origin == Origin::Bare) {
                piece.origin = origin;
            }
            if holds_code {
                return found;
            }
        }
        vec![piece(text::dedent(&self.lines), false)]
    }
}

/// The lines at the margin, if they parse there.
fn settled(python: &Python, lines: &[&str]) -> Option<String> {
    let first = lines.iter().position(|line| !line.trim().is_empty())?;
    let only_first = || {
        let rest = lines[first + 1..].iter().copied();
        text::joined(std::iter::once(lines[first].trim_start()).chain(rest))
    };
    let tries: [&dyn Fn() -> String; 3] = [
        &|| text::dedent(lines),
        &|| text::dedent_by_first(lines),
        &only_first,
    ];
    tries.iter().map(|make| make()).find(|code| {
        let first = code.lines().find(|line| !line.trim().is_empty());
        !first.is_some_and(|line| line.starts_with([' ', '\t'])) && python.parses(code)
    })
}

/// Code between backticks on one line of prose.
pub(crate) fn inline(line: &str) -> Vec<String> {
    let (mut found, mut rest) = (Vec::new(), line);
    while let Some(at) = rest.find('`') {
        let ticks = rest[at..].bytes().take_while(|byte| *byte == b'`').count();
        let inside = &rest[at + ticks..];
        let Some(end) = inside.find(&"`".repeat(ticks)) else {
            break;
        };
        let code = inside[..end].trim();
        let (tag, after) = language(code);
        found.push(if tag == Tag::Python && !after.is_empty() && ticks >= 3 {
            after.to_owned()
        } else {
            code.to_owned()
        });
        rest = &inside[end + ticks..];
    }
    found
}
