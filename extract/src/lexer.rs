//! Whether a place in Python source lies within a string.

/// Reads Python line by line, just far enough to know strings, comments and brackets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lexer {
    /// The quote of the open string, and whether it is a triple one.
    quote: Option<(u8, bool)>,
    depth: usize,
    continued: bool,
    comment: bool,
}

impl Lexer {
    /// Reads one line, without its line feed.
    pub(crate) fn line(&mut self, line: &str) {
        let bytes = line.as_bytes();
        (self.continued, self.comment) = (false, false);
        let mut at = 0;
        while at < bytes.len() {
            let byte = bytes[at];
            let triple = bytes.get(at..at + 3) == Some(&[byte; 3]);
            match self.quote {
                Some(_) if byte == b'\\' => {
                    self.continued = at + 1 == bytes.len();
                    at += 1;
                }
                Some((quote, false)) if byte == quote => self.quote = None,
                Some((quote, true)) if byte == quote && triple => {
                    self.quote = None;
                    at += 2;
                }
                Some(_) => {}
                None => match byte {
                    b'#' => {
                        self.comment = true;
                        break;
                    }
                    b'"' | b'\'' => {
                        self.quote = Some((byte, triple));
                        at += if triple { 2 } else { 0 };
                    }
                    b'(' | b'[' | b'{' => self.depth += 1,
                    b')' | b']' | b'}' => self.depth = self.depth.saturating_sub(1),
                    b'\\' => self.continued = at + 1 == bytes.len(),
                    _ => {}
                },
            }
            at += 1;
        }
        if matches!(self.quote, Some((_, false))) && !self.continued {
            // A string of one line ends with it, closed or not.
            self.quote = None;
        }
    }

    /// Whether the next line begins within a string.
    pub(crate) fn in_string(&self) -> bool {
        self.quote.is_some()
    }

    /// Whether the last line ended with a comment.
    pub(crate) fn in_comment(&self) -> bool {
        self.comment
    }

    /// Whether the statement goes on in the next line.
    pub(crate) fn is_open(&self) -> bool {
        self.quote.is_some() || self.depth > 0 || self.continued
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_and_brackets_are_known_across_lines() {
        for (source, in_string, open) in [
            ("x = 1", false, false),
            ("\"\"\"doc", true, true),
            ("\"\"\"doc\nmore\"\"\"", false, false),
            ("r'''a\\'''", true, true),
            ("x = 'it", false, false),
            ("# it's \"\"\" a comment", false, false),
            ("f(1,", false, true),
            ("f(1,\n2)", false, false),
            ("x = 1 + \\", false, true),
            ("x = 'a\\", true, true),
            ("x = '\"\"\"'", false, false),
            ("x = ''", false, false),
            ("x = \"\"\"\"\"\"", false, false),
        ] {
            let mut lexer = Lexer::default();
            source.lines().for_each(|line| lexer.line(line));
            assert_eq!(
                (lexer.in_string(), lexer.is_open()),
                (in_string, open),
                "{source:?}"
            );
        }
    }
}
