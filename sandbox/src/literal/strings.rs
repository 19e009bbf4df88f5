//! String and bytes literals: prefixes, quotes, escapes.

use super::{LiteralError, Parser};
use crate::value::Value;

/// What a string's prefix says.
#[derive(Clone, Copy, Default)]
struct Prefix {
    length: usize,
    raw: bool,
    bytes: bool,
}

impl Parser<'_> {
    /// The length of a string prefix (`r`, `b`, `u`, `rb`) that a quote follows.
    pub(super) fn string_prefix(&self) -> Option<usize> {
        prefix(self.rest()).map(|prefix| prefix.length)
    }

    /// One string or bytes literal, or several that stand side by side.
    pub(super) fn strings(&mut self) -> Result<Value, LiteralError> {
        let mut bytes: Option<bool> = None;
        let mut out = Vec::new();
        let mut end = self.at;
        while let Some(prefix) = prefix(self.rest()) {
            if bytes.is_some_and(|bytes| bytes != prefix.bytes) {
                return Err(self.error("bytes and str side by side"));
            }
            bytes = Some(prefix.bytes);
            self.at += prefix.length;
            self.one_string(prefix, &mut out)?;
            end = self.at;
            self.space();
        }
        self.at = end;
        if bytes == Some(true) {
            return Ok(Value::Bytes(out));
        }
        String::from_utf8(out)
            .map(Value::Str)
            .map_err(|_| self.error("malformed string"))
    }

    fn one_string(&mut self, prefix: Prefix, out: &mut Vec<u8>) -> Result<(), LiteralError> {
        let start = self.at;
        let unterminated = || LiteralError {
            what: "unterminated string".into(),
            at: start,
        };
        let quote = self.peek().ok_or_else(unterminated)?;
        let triple = self.rest().as_bytes().starts_with(&[quote; 3]);
        self.at += if triple { 3 } else { 1 };
        loop {
            let byte = self.peek().ok_or_else(unterminated)?;
            if byte == quote && (!triple || self.rest().as_bytes().starts_with(&[quote; 3])) {
                self.at += if triple { 3 } else { 1 };
                return Ok(());
            }
            match byte {
                b'\n' if !triple => return Err(unterminated()),
                b'\\' if prefix.raw => {
                    // The backslash stays, and so does a quote it protects.
                    out.push(b'\\');
                    self.at += 1;
                    let next = self.peek().ok_or_else(unterminated)?;
                    if next == quote || next == b'\\' {
                        out.push(next);
                        self.at += 1;
                    }
                }
                b'\\' => self.escape(prefix.bytes, out)?,
                _ if prefix.bytes && !byte.is_ascii() => {
                    return Err(self.error("bytes hold ASCII characters only"));
                }
                _ => {
                    out.push(byte);
                    self.at += 1;
                }
            }
        }
    }

    fn escape(&mut self, bytes: bool, out: &mut Vec<u8>) -> Result<(), LiteralError> {
        self.expect(b'\\')?;
        let Some(kind) = self.peek() else {
            return Err(self.error("unterminated string"));
        };
        let simple = match kind {
            b'\n' => {
                self.at += 1;
                return Ok(());
            }
            b'\\' | b'\'' | b'"' => Some(kind),
            b'a' => Some(0x07),
            b'b' => Some(0x08),
            b'f' => Some(0x0c),
            b'n' => Some(b'\n'),
            b'r' => Some(b'\r'),
            b't' => Some(b'\t'),
            b'v' => Some(0x0b),
            _ => None,
        };
        if let Some(byte) = simple {
            self.at += 1;
            out.push(byte);
            return Ok(());
        }
        let code = match kind {
            b'0'..=b'7' => {
                let length = self
                    .rest()
                    .bytes()
                    .take(3)
                    .take_while(|b| (b'0'..=b'7').contains(b))
                    .count();
                self.code(length, 8)?
            }
            b'x' => {
                self.at += 1;
                self.code(2, 16)?
            }
            b'u' | b'U' if !bytes => {
                self.at += 1;
                self.code(if kind == b'u' { 4 } else { 8 }, 16)?
            }
            b'N' if !bytes => return Err(self.error("\\N{..} escapes are not read")),
            // Python keeps the backslash of an escape it does not know.
            _ => {
                out.push(b'\\');
                return Ok(());
            }
        };
        if bytes {
            out.push(u8::try_from(code).map_err(|_| self.error("escape beyond a byte"))?);
            return Ok(());
        }
        let c = char::from_u32(code)
            .ok_or_else(|| self.error("escape that is no Unicode character"))?;
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }

    fn code(&mut self, length: usize, radix: u32) -> Result<u32, LiteralError> {
        let digits = self
            .rest()
            .get(..length)
            .filter(|digits| digits.chars().all(|c| c.is_digit(radix)));
        let code = digits.and_then(|digits| u32::from_str_radix(digits, radix).ok());
        let code = code.ok_or_else(|| self.error("malformed escape"))?;
        self.at += length;
        Ok(code)
    }
}

fn prefix(text: &str) -> Option<Prefix> {
    let mut prefix = Prefix::default();
    let mut unicode = false;
    for byte in text.bytes() {
        match byte {
            b'r' | b'R' if !prefix.raw && !unicode => prefix.raw = true,
            b'b' | b'B' if !prefix.bytes && !unicode => prefix.bytes = true,
            b'u' | b'U' if prefix.length == 0 => unicode = true,
            b'\'' | b'"' => return Some(prefix),
            _ => return None,
        }
        prefix.length += 1;
    }
    None
}

/// Writes `s` as `repr` would, but escapes whatever is not printable ASCII or a letter.
pub(super) fn write_str(s: &str, out: &mut String) {
    let quote = quote(s.as_bytes());
    out.push(quote);
    for c in s.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if c == quote => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            _ if c.is_alphanumeric() => out.push(c),
            _ => match u32::from(c) {
                code @ ..0x100 => out.push_str(&format!("\\x{code:02x}")),
                code @ ..0x1_0000 => out.push_str(&format!("\\u{code:04x}")),
                code => out.push_str(&format!("\\U{code:08x}")),
            },
        }
    }
    out.push(quote);
}

/// Writes `bytes` as `repr` would.
pub(super) fn write_bytes(bytes: &[u8], out: &mut String) {
    let quote = quote(bytes);
    out.push('b');
    out.push(quote);
    for &byte in bytes {
        match byte {
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            _ if char::from(byte) == quote => out.extend(['\\', quote]),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out.push(quote);
}

/// Single quotes, unless only double quotes spare an escape.
fn quote(text: &[u8]) -> char {
    if text.contains(&b'\'') && !text.contains(&b'"') {
        '"'
    } else {
        '\''
    }
}
