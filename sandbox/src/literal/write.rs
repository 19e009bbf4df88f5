//! Values as Python expressions.

use super::strings;
use crate::value::Value;

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
