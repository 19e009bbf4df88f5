//! Python literals: a parser for text that no one vouches for, and the writer of what it reads.
//!
//! Grammar: what `ast.literal_eval` takes (numbers, strings, bytes, tuples, lists, dicts, sets, `None`, `True`, `False`,
//! signs, `1+2j`), and `float("nan")`, `complex(re, im)`, `set()`, `frozenset(..)`. Never an evaluation: the parser
//! builds values and knows no names.

use num_traits::ToPrimitive;

use crate::equality::Index;
use crate::value::{MAX_DEPTH, Value};

mod numbers;
mod strings;
mod write;

pub(crate) use write::write;

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

#[cfg(test)]
mod tests;
