//! Numbers: integers in four bases, floats, complex numbers as a sum.

use num_bigint::BigInt;
use num_traits::{Num, ToPrimitive};

use super::{LiteralError, Parser};
use crate::value::Value;

impl Parser<'_> {
    /// A number, or a real and an imaginary one with a sign between them.
    pub(super) fn number_or_sum(&mut self) -> Result<Value, LiteralError> {
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
