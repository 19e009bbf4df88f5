//! Python literals: a parser for text that no one vouches for, and the writer of what it reads.
//!
//! Grammar: what `ast.literal_eval` takes (numbers, strings, bytes, tuples, lists, dicts, sets, `None`, `True`, `False`,
//! signs, `1+2j`), and `float("nan")`, `complex(re, im)`, `set()`, `frozenset(..)`. Never an evaluation: the parser
//! builds values and knows no names.

use num_bigint::BigInt;
use num_traits::{Num, ToPrimitive};

use crate::equality::Index;
use crate::value::{MAX_DEPTH, Value};

mod strings;

/// Text longer than this is refused.
const MAX_TEXT: usize = 1 << 20;

/// Text that is no literal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct LiteralError {
    /// What is wrong.
    pub what: String,
    /// Where, in bytes from the start.
    pub at: usize,
}

pub(crate) fn parse(text: &str) -> Result<Value, LiteralError> {
    let mut parser = Parser::new(text)?;
    parser.space();
    let first = parser.value(MAX_DEPTH)?;
    parser.space();
    let value = if parser.eat(b',') {
        // `1, 2` is a tuple without its parentheses.
        let mut items = vec![first];
        parser.items(None, MAX_DEPTH - 1, &mut items)?;
        Value::Tuple(items)
    } else {
        first
    };
    if parser.at < text.len() {
        return Err(parser.error("text after the literal"));
    }
    Ok(value)
}

pub(crate) fn parse_prefix(text: &str) -> Result<(Value, &str), LiteralError> {
    let mut parser = Parser::new(text)?;
    parser.space();
    let value = parser.value(MAX_DEPTH)?;
    Ok((value, &text[parser.at..]))
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Result<Parser<'a>, LiteralError> {
        let parser = Parser { text, at: 0 };
        if text.len() > MAX_TEXT {
            Err(parser.error("literal too long"))
        } else {
            Ok(parser)
        }
    }

    fn error(&self, what: impl Into<String>) -> LiteralError {
        LiteralError {
            what: what.into(),
            at: self.at,
        }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), LiteralError> {
        if self.eat(byte) {
            Ok(())
        } else {
            Err(self.error(format!("expected `{}`", char::from(byte))))
        }
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r' | 0x0c)) {
            self.at += 1;
        }
    }

    /// A value, which may be a sum of a real and an imaginary number.
    fn value(&mut self, depth: usize) -> Result<Value, LiteralError> {
        let Some(inner) = depth.checked_sub(1) else {
            return Err(self.error(format!("nested deeper than {MAX_DEPTH} levels")));
        };
        match self.peek() {
            None => Err(self.error("expected a literal")),
            Some(b'(') => self.parenthesis(inner),
            Some(b'[') => {
                self.at += 1;
                let mut items = Vec::new();
                self.items(Some(b']'), inner, &mut items)?;
                Ok(Value::List(items))
            }
            Some(b'{') => self.braces(inner),
            Some(b'0'..=b'9' | b'.' | b'+' | b'-') => self.number_or_sum(),
            Some(b'\'' | b'"') => self.strings(),
            Some(_) if self.string_prefix().is_some() => self.strings(),
            Some(_) => self.name(inner),
        }
    }

    /// Items up to `close` (or the end of the text), commas between them, a trailing comma allowed.
    fn items(
        &mut self,
        close: Option<u8>,
        depth: usize,
        items: &mut Vec<Value>,
    ) -> Result<(), LiteralError> {
        loop {
            self.space();
            match close {
                Some(close) if self.eat(close) => return Ok(()),
                None if self.peek().is_none() => return Ok(()),
                _ => items.push(self.value(depth)?),
            }
            self.space();
            match close {
                Some(close) if self.peek() != Some(close) => self.expect(b',')?,
                None if self.peek().is_some() => self.expect(b',')?,
                _ => {}
            }
        }
    }

    fn parenthesis(&mut self, depth: usize) -> Result<Value, LiteralError> {
        self.expect(b'(')?;
        self.space();
        if self.eat(b')') {
            return Ok(Value::Tuple(Vec::new()));
        }
        let first = self.value(depth)?;
        self.space();
        if self.eat(b')') {
            return Ok(first);
        }
        self.expect(b',')?;
        let mut items = vec![first];
        self.items(Some(b')'), depth, &mut items)?;
        Ok(Value::Tuple(items))
    }

    fn braces(&mut self, depth: usize) -> Result<Value, LiteralError> {
        self.expect(b'{')?;
        self.space();
        if self.eat(b'}') {
            return Ok(Value::Dict(Vec::new()));
        }
        let start = self.at;
        let first = self.value(depth)?;
        self.space();
        if self.peek() != Some(b':') {
            let mut items = vec![first];
            if self.peek() != Some(b'}') {
                self.expect(b',')?;
            }
            self.items(Some(b'}'), depth, &mut items)?;
            return self.distinct(items, start).map(Value::Set);
        }
        let mut pairs = Vec::new();
        let mut key = first;
        loop {
            self.expect(b':')?;
            self.space();
            pairs.push((key, self.value(depth)?));
            self.space();
            if self.peek() != Some(b'}') {
                self.expect(b',')?;
                self.space();
            }
            if self.eat(b'}') {
                break;
            }
            key = self.value(depth)?;
            self.space();
        }
        if let Some((key, _)) = pairs.iter().find(|(key, _)| !key.hashable()) {
            return Err(LiteralError {
                what: format!("unhashable key {key}"),
                at: start,
            });
        }
        Ok(Value::Dict(last_wins(pairs)))
    }

    fn distinct(&self, items: Vec<Value>, at: usize) -> Result<Vec<Value>, LiteralError> {
        if let Some(item) = items.iter().find(|item| !item.hashable()) {
            return Err(LiteralError {
                what: format!("unhashable element {item}"),
                at,
            });
        }
        Ok(
            last_wins(items.into_iter().map(|item| (item, ())).collect())
                .into_iter()
                .map(|(item, ())| item)
                .collect(),
        )
    }

    /// `None`, `True`, `False`, and the calls that stand for values without a literal.
    fn name(&mut self, depth: usize) -> Result<Value, LiteralError> {
        let start = self.at;
        let length = self
            .rest()
            .bytes()
            .take_while(|b| b.is_ascii_alphanumeric() || *b == b'_')
            .count();
        let name = &self.rest()[..length];
        self.at += length;
        match name {
            "None" => return Ok(Value::None),
            "True" => return Ok(Value::Bool(true)),
            "False" => return Ok(Value::Bool(false)),
            "float" | "complex" | "set" | "frozenset" => {}
            _ => {
                let shown: String = self.text[start..].chars().take(20).collect();
                return Err(LiteralError {
                    what: format!("{shown:?} is no literal"),
                    at: start,
                });
            }
        }
        self.space();
        self.expect(b'(')?;
        let mut args = Vec::new();
        self.items(Some(b')'), depth, &mut args)?;
        let float = |value: &Value| match value {
            Value::Float(f) => Some(*f),
            Value::Int(i) => i.to_f64(),
            _ => None,
        };
        let value = match (name, args.as_mut_slice()) {
            ("float", [Value::Str(text)]) => match text.trim().to_ascii_lowercase().as_str() {
                "nan" | "-nan" | "+nan" => Some(Value::Float(f64::NAN)),
                "inf" | "+inf" | "infinity" | "+infinity" => Some(Value::Float(f64::INFINITY)),
                "-inf" | "-infinity" => Some(Value::Float(f64::NEG_INFINITY)),
                _ => None,
            },
            ("complex", [re, im]) => match (float(re), float(im)) {
                (Some(re), Some(im)) => Some(Value::Complex { re, im }),
                _ => None,
            },
            ("set", []) => Some(Value::Set(Vec::new())),
            ("frozenset", []) => Some(Value::FrozenSet(Vec::new())),
            ("frozenset", [Value::Set(items) | Value::List(items) | Value::Tuple(items)]) => Some(
                Value::FrozenSet(self.distinct(std::mem::take(items), start)?),
            ),
            _ => None,
        };
        value.ok_or_else(|| LiteralError {
            what: format!("{name}(..) with arguments that make no literal"),
            at: start,
        })
    }

    fn number_or_sum(&mut self) -> Result<Value, LiteralError> {
        let start = self.at;
        let negative = self.sign() == Some(-1.0);
        let first = match self.number()? {
            Value::Int(i) if negative => Value::Int(-i),
            Value::Float(f) if negative => Value::Float(-f),
            // Python negates the zero real part too.
            Value::Complex { re, im } if negative => Value::Complex { re: -re, im: -im },
            value => value,
        };
        let after = self.at;
        self.space();
        let sign = if self.rest().starts_with("->") {
            None
        } else {
            self.sign()
        };
        let Some(sign) = sign else {
            self.at = after;
            return Ok(first);
        };
        let re = match &first {
            Value::Float(f) => Some(*f),
            Value::Int(i) => i.to_f64(),
            _ => None,
        };
        match (re, self.number()?) {
            (Some(re), Value::Complex { im, .. }) => Ok(Value::Complex { re, im: sign * im }),
            _ => Err(LiteralError {
                what: "a sum that is no complex number".into(),
                at: start,
            }),
        }
    }

    /// One sign and the space after it.
    fn sign(&mut self) -> Option<f64> {
        let sign = match self.peek() {
            Some(b'+') => 1.0,
            Some(b'-') => -1.0,
            _ => return None,
        };
        self.at += 1;
        self.space();
        Some(sign)
    }

    fn number(&mut self) -> Result<Value, LiteralError> {
        let value = self.unsigned()?;
        if matches!(self.peek(), Some(b) if b.is_ascii_alphanumeric() || b == b'_' || b == b'.') {
            return Err(self.error("malformed number"));
        }
        Ok(value)
    }

    fn unsigned(&mut self) -> Result<Value, LiteralError> {
        if self.rest().starts_with("float") {
            // `-float('inf')`.
            return match self.name(1)? {
                value @ Value::Float(_) => Ok(value),
                _ => Err(self.error("malformed number")),
            };
        }
        let start = self.at;
        for (prefixes, radix) in [(["0x", "0X"], 16), (["0o", "0O"], 8), (["0b", "0B"], 2)] {
            if prefixes
                .iter()
                .any(|prefix| self.rest().starts_with(prefix))
            {
                self.at += 2;
                self.eat(b'_');
                let digits = self.digits(radix)?;
                return BigInt::from_str_radix(&digits, radix)
                    .map(Value::Int)
                    .map_err(|_| self.error("malformed number"));
            }
        }
        let mut text = String::new();
        let mut float = false;
        if self.peek() != Some(b'.') {
            text += &self.digits(10)?;
        }
        if self.eat(b'.') {
            float = true;
            text.push('.');
            if matches!(self.peek(), Some(b'0'..=b'9')) {
                text += &self.digits(10)?;
            } else if text == "." {
                return Err(self.error("malformed number"));
            }
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            float = true;
            text.push('e');
            if let Some(sign @ (b'+' | b'-')) = self.peek() {
                self.at += 1;
                text.push(char::from(sign));
            }
            text += &self.digits(10)?;
        }
        let malformed = |_| LiteralError {
            what: "malformed number".into(),
            at: start,
        };
        if matches!(self.peek(), Some(b'j' | b'J')) {
            self.at += 1;
            // Rust reads `1.` and `.5` as Python does.
            return Ok(Value::Complex {
                re: 0.0,
                im: text.parse().map_err(malformed)?,
            });
        }
        if float {
            return Ok(Value::Float(text.parse().map_err(malformed)?));
        }
        if text.len() > 1 && text.starts_with('0') && text.bytes().any(|b| b != b'0') {
            return Err(LiteralError {
                what: "leading zeros in a number".into(),
                at: start,
            });
        }
        BigInt::from_str_radix(&text, 10)
            .map(Value::Int)
            .map_err(|_| LiteralError {
                what: "malformed number".into(),
                at: start,
            })
    }

    /// Digits with single underscores between them, which are dropped.
    fn digits(&mut self, radix: u32) -> Result<String, LiteralError> {
        let mut digits = String::new();
        loop {
            let from = digits.len();
            while let Some(byte) = self.peek().filter(|byte| char::from(*byte).is_digit(radix)) {
                digits.push(char::from(byte));
                self.at += 1;
            }
            if digits.len() == from {
                return Err(self.error("expected a digit"));
            }
            if !self.eat(b'_') {
                return Ok(digits);
            }
        }
    }
}

/// Drops duplicates as Python does: the first key stays, with the last value.
fn last_wins<T: Clone>(pairs: Vec<(Value, T)>) -> Vec<(Value, T)> {
    let mut index = Index::default();
    let mut kept: Vec<(usize, usize)> = Vec::new();
    for (at, (key, _)) in pairs.iter().enumerate() {
        match index.find(key) {
            Some(slot) => kept[slot].1 = at,
            None => {
                index.insert(kept.len(), key);
                kept.push((at, at));
            }
        }
    }
    kept.iter()
        .map(|&(key, value)| (pairs[key].0.clone(), pairs[value].1.clone()))
        .collect()
}

/// Writes `value` as a Python expression.
pub(crate) fn write(value: &Value, out: &mut String) {
    match value {
        Value::None => out.push_str("None"),
        Value::Bool(true) => out.push_str("True"),
        Value::Bool(false) => out.push_str("False"),
        // Python refuses decimal integers of more than 4,300 digits.
        Value::Int(i) if i.bits() > 14_000 => {
            if i.sign() == num_bigint::Sign::Minus {
                out.push('-');
            }
            out.push_str("0x");
            out.push_str(&i.magnitude().to_str_radix(16));
        }
        Value::Int(i) => out.push_str(&i.to_string()),
        Value::Float(f) => write_float(*f, out),
        Value::Complex { re, im } => {
            out.push_str("complex(");
            write_float(*re, out);
            out.push_str(", ");
            write_float(*im, out);
            out.push(')');
        }
        Value::Str(s) => strings::write_str(s, out),
        Value::Bytes(b) => strings::write_bytes(b, out),
        Value::List(items) => write_items('[', items, ']', out),
        Value::Tuple(items) if items.len() == 1 => {
            out.push('(');
            write(&items[0], out);
            out.push_str(",)");
        }
        Value::Tuple(items) => write_items('(', items, ')', out),
        Value::Dict(pairs) => {
            out.push('{');
            for (at, (key, value)) in pairs.iter().enumerate() {
                if at > 0 {
                    out.push_str(", ");
                }
                write(key, out);
                out.push_str(": ");
                write(value, out);
            }
            out.push('}');
        }
        Value::Set(items) if items.is_empty() => out.push_str("set()"),
        Value::Set(items) => write_items('{', items, '}', out),
        Value::FrozenSet(items) if items.is_empty() => out.push_str("frozenset()"),
        Value::FrozenSet(items) => {
            out.push_str("frozenset(");
            write_items('{', items, '}', out);
            out.push(')');
        }
        Value::Opaque(type_name) => {
            out.push_str("<opaque ");
            out.push_str(type_name);
            out.push('>');
        }
    }
}

fn write_items(open: char, items: &[Value], close: char, out: &mut String) {
    out.push(open);
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push_str(", ");
        }
        write(item, out);
    }
    out.push(close);
}

fn write_float(f: f64, out: &mut String) {
    if f.is_nan() {
        out.push_str("float('nan')");
    } else if f.is_infinite() {
        out.push_str(if f > 0.0 {
            "float('inf')"
        } else {
            "float('-inf')"
        });
    } else {
        // The shortest digits that read back as the same float, with a point or an exponent.
        out.push_str(&format!("{f:?}"));
    }
}

#[cfg(test)]
mod tests;
