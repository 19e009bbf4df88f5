//! The bytes that cross into and out of the guest: Python's `marshal` format, version 2, in exactly the types that
//! [`Value`] has.
//!
//! The guest writes it in C, which keeps the cost of a crossing small. What it sends is hostile until proven otherwise:
//! the reader takes no length on trust, allocates nothing it has not seen bytes for, and has a cap on depth.

use num_bigint::{BigInt, Sign};
use num_traits::ToPrimitive;

use crate::equality::Index;
use crate::value::{MAX_DEPTH, Value};

/// Bits in a digit of a marshalled `int`.
const DIGIT_BITS: u32 = 15;

/// Why bytes are no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WireError {
    /// Not the format, or not what it demands.
    Malformed,
    /// Nested beyond [`MAX_DEPTH`].
    TooDeep,
    /// A `str` with lone surrogates, which is no [`Value::Str`].
    Surrogates,
}

/// Writes `value`; false if it holds something that cannot enter the guest.
pub(crate) fn write(value: &Value, out: &mut Vec<u8>) -> bool {
    match value {
        Value::None => out.push(b'N'),
        Value::Bool(true) => out.push(b'T'),
        Value::Bool(false) => out.push(b'F'),
        Value::Int(i) => write_int(i, out),
        Value::Float(f) => {
            out.push(b'g');
            out.extend(f.to_le_bytes());
        }
        Value::Complex { re, im } => {
            out.push(b'y');
            out.extend(re.to_le_bytes());
            out.extend(im.to_le_bytes());
        }
        Value::Str(s) => return write_bytes(b'u', s.as_bytes(), out),
        Value::Bytes(b) => return write_bytes(b's', b, out),
        Value::List(items) => return write_items(b'[', items, out),
        Value::Tuple(items) => return write_items(b'(', items, out),
        Value::Set(items) => return write_items(b'<', items, out),
        Value::FrozenSet(items) => return write_items(b'>', items, out),
        Value::Dict(pairs) => {
            out.push(b'{');
            let written = pairs
                .iter()
                .all(|(key, value)| write(key, out) && write(value, out));
            out.push(b'0');
            return written;
        }
        Value::Opaque(_) => return false,
    }
    true
}

/// Writes a tuple of `items`.
pub(crate) fn write_tuple(items: &[Value], out: &mut Vec<u8>) -> bool {
    write_items(b'(', items, out)
}

fn write_length(length: usize, out: &mut Vec<u8>) -> bool {
    let Ok(length) = i32::try_from(length) else {
        return false;
    };
    out.extend(length.to_le_bytes());
    true
}

fn write_bytes(tag: u8, bytes: &[u8], out: &mut Vec<u8>) -> bool {
    out.push(tag);
    let written = write_length(bytes.len(), out);
    out.extend(bytes);
    written
}

fn write_items(tag: u8, items: &[Value], out: &mut Vec<u8>) -> bool {
    out.push(tag);
    write_length(items.len(), out) && items.iter().all(|item| write(item, out))
}

fn write_int(i: &BigInt, out: &mut Vec<u8>) {
    if let Some(small) = i.to_i32() {
        out.push(b'i');
        out.extend(small.to_le_bytes());
        return;
    }
    out.push(b'l');
    // The sign of the count of digits is the sign of the number. A count beyond 31 bits would take half a gigabyte.
    let digits = digits_of(i);
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    out.extend(
        (if i.sign() == Sign::Minus {
            -count
        } else {
            count
        })
        .to_le_bytes(),
    );
    for digit in digits {
        out.extend(digit.to_le_bytes());
    }
}

/// The magnitude in digits of 15 bits, least first.
fn digits_of(i: &BigInt) -> Vec<u16> {
    let mut digits = Vec::new();
    let (mut bits, mut held) = (0_u64, 0);
    for word in i.magnitude().iter_u32_digits() {
        bits |= u64::from(word) << held;
        held += 32;
        while held >= DIGIT_BITS {
            digits.push((bits & 0x7fff) as u16);
            bits >>= DIGIT_BITS;
            held -= DIGIT_BITS;
        }
    }
    if held > 0 {
        digits.push((bits & 0x7fff) as u16);
    }
    while digits.last() == Some(&0) {
        digits.pop();
    }
    digits
}

/// Reads one value that takes up all of `bytes`.
pub(crate) fn read(bytes: &[u8]) -> Result<Value, WireError> {
    let mut reader = Reader { rest: bytes };
    // One level is the response around the value.
    let value = reader.value(MAX_DEPTH + 1)?;
    if reader.rest.is_empty() {
        Ok(value)
    } else {
        Err(WireError::Malformed)
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or(WireError::Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(WireError::Malformed)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn i32(&mut self) -> Result<i32, WireError> {
        Ok(i32::from_le_bytes(self.array()?))
    }

    fn f64(&mut self) -> Result<f64, WireError> {
        Ok(f64::from_le_bytes(self.array()?))
    }

    fn bytes(&mut self) -> Result<&'a [u8], WireError> {
        let length = usize::try_from(self.i32()?).map_err(|_| WireError::Malformed)?;
        self.take(length)
    }

    fn items(&mut self, depth: usize) -> Result<Vec<Value>, WireError> {
        let count = usize::try_from(self.i32()?).map_err(|_| WireError::Malformed)?;
        // Each item takes at least one byte.
        if count > self.rest.len() {
            return Err(WireError::Malformed);
        }
        (0..count).map(|_| self.value(depth)).collect()
    }

    fn value(&mut self, depth: usize) -> Result<Value, WireError> {
        let depth = depth.checked_sub(1).ok_or(WireError::TooDeep)?;
        let [tag] = self.array()?;
        Ok(match tag {
            b'N' => Value::None,
            b'T' => Value::Bool(true),
            b'F' => Value::Bool(false),
            b'i' => Value::Int(self.i32()?.into()),
            b'l' => Value::Int(self.int()?),
            b'g' => Value::Float(self.f64()?),
            b'y' => Value::Complex {
                re: self.f64()?,
                im: self.f64()?,
            },
            b'u' => match std::str::from_utf8(self.bytes()?) {
                Ok(s) => Value::Str(s.to_owned()),
                Err(_) => return Err(WireError::Surrogates),
            },
            b's' => Value::Bytes(self.bytes()?.to_vec()),
            b'[' => Value::List(self.items(depth)?),
            b'(' => Value::Tuple(self.items(depth)?),
            b'<' => Value::Set(distinct(self.items(depth)?)?),
            b'>' => Value::FrozenSet(distinct(self.items(depth)?)?),
            b'{' => {
                let mut pairs = Vec::new();
                while self.rest.first() != Some(&b'0') {
                    pairs.push((self.value(depth)?, self.value(depth)?));
                }
                self.take(1)?;
                check_keys(pairs.iter().map(|(key, _)| key))?;
                Value::Dict(pairs)
            }
            _ => return Err(WireError::Malformed),
        })
    }

    fn int(&mut self) -> Result<BigInt, WireError> {
        let count = self.i32()?;
        let length = usize::try_from(count.unsigned_abs()).map_err(|_| WireError::Malformed)?;
        let bytes = self.take(length.checked_mul(2).ok_or(WireError::Malformed)?)?;
        let (mut words, mut bits, mut held) = (Vec::with_capacity(length / 2 + 1), 0_u64, 0);
        for pair in bytes.chunks_exact(2) {
            let digit = u16::from_le_bytes([pair[0], pair[1]]);
            if digit >> DIGIT_BITS != 0 {
                return Err(WireError::Malformed);
            }
            bits |= u64::from(digit) << held;
            held += DIGIT_BITS;
            if held >= 32 {
                words.push((bits & 0xffff_ffff) as u32);
                bits >>= 32;
                held -= 32;
            }
        }
        words.push(bits as u32);
        Ok(BigInt::from_slice(
            if count < 0 { Sign::Minus } else { Sign::Plus },
            &words,
        ))
    }
}

/// Elements of a set: hashable and distinct, as an honest interpreter's are.
fn distinct(items: Vec<Value>) -> Result<Vec<Value>, WireError> {
    check_keys(items.iter())?;
    Ok(items)
}

fn check_keys<'a>(keys: impl Iterator<Item = &'a Value>) -> Result<(), WireError> {
    let mut index = Index::default();
    for (at, key) in keys.enumerate() {
        if !key.hashable() || index.find(key).is_some() {
            return Err(WireError::Malformed);
        }
        index.insert(at, key);
    }
    Ok(())
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        assert!(write(value, &mut out));
        out
    }

    fn values() -> Vec<Value> {
        let mut texts = vec![
            "None",
            "True",
            "0",
            "-1",
            "2147483647",
            "2147483648",
            "-2147483649",
            "1.5",
            "float('inf')",
            "complex(1, -0.0)",
            "''",
            "'é\\x00'",
            "b'\\xff'",
            "[]",
            "(1, [2, (3,)])",
            "{1: 'a', (2,): {}}",
            "{1, 'a'}",
            "frozenset({2})",
        ]
        .into_iter()
        .map(String::from)
        .collect::<Vec<_>>();
        for bits in [30, 31, 32, 44, 45, 46, 60, 64, 1000] {
            for offset in [-1, 0, 1] {
                let i: BigInt = (BigInt::from(1) << bits) + offset;
                texts.extend([i.to_string(), (-i).to_string()]);
            }
        }
        texts
            .iter()
            .map(|text| Value::parse_literal(text).unwrap())
            .collect()
    }

    #[test]
    fn values_survive_the_crossing() {
        for value in values() {
            assert_eq!(read(&bytes(&value)), Ok(value));
        }
    }

    #[test]
    fn bytes_are_those_of_pythons_marshal() {
        let script = "import json, marshal, sys\nfor text in json.load(sys.stdin):\n v = eval(text)\n print(marshal.dumps(v, 2).hex())";
        let values = values();
        let texts: Vec<String> = values.iter().map(Value::to_literal).collect();
        let Some(out) = crate::oracle::python(script, &serde_json::to_string(&texts).unwrap())
        else {
            return;
        };
        for (value, hex) in values.iter().zip(out.lines()) {
            let ours: String = bytes(value)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            // The order of a set's elements is Python's to choose.
            if !value.to_literal().contains("{1, 'a'}") {
                assert_eq!(ours, hex, "{value}");
            }
        }
    }

    #[test]
    fn hostile_bytes_are_refused() {
        let cases: [&[u8]; 16] = [
            b"",
            b"X",
            b"NN",
            b"i\0\0",
            b"[\xff\xff\xff\x7f",
            b"[\xff\xff\xff\xff",
            b"[\x02\0\0\0N",
            b"s\xff\xff\xff\x7fa",
            b"l\x01\0\0\0\xff\xff",
            b"l\0\0\0\x80",
            b"{N",
            b"{[\0\0\0\0N0",
            b"{TNi\x01\0\0\0N0",
            b"<\x02\0\0\0TT",
            b"r\0\0\0\0",
            b"c",
        ];
        for case in cases {
            assert_eq!(read(case), Err(WireError::Malformed), "{case:?}");
        }
        assert_eq!(read(b"u\x03\0\0\0\xed\xa0\x80"), Err(WireError::Surrogates));
        assert_eq!(
            read(&b"[\x01\0\0\0".repeat(100_000)),
            Err(WireError::TooDeep)
        );
    }

    #[test]
    fn random_bytes_never_panic() {
        let tags = b"NTFilgyus[(<>{0\0\0\0\0\x01\x02\xff";
        let mut state = 7_u64;
        let mut next = || {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 33) as usize
        };
        for _ in 0..100_000 {
            let bytes: Vec<u8> = (0..next() % 24)
                .map(|_| tags[next() % tags.len()])
                .collect();
            let _ = read(&bytes);
        }
    }
}
