//! Code that is a string of a JSON value, as in a tool call.

use serde_json::Value;

use crate::python::Python;
use crate::{Origin, Piece, text};

/// JSON within JSON is followed this deep.
const MAX_DEPTH: usize = 3;

/// The pieces in the strings of the JSON value that `text` begins with; None if it is no object or array, or holds none.
pub(crate) fn pieces(python: &Python, text: &str, depth: usize) -> Option<Vec<Piece>> {
    let text = text.trim_start();
    if depth >= MAX_DEPTH || !text.starts_with(['{', '[']) {
        return None;
    }
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let value = values.next()?.ok()?;
    let mut found = Vec::new();
    let mut left = vec![&value];
    while let Some(value) = left.pop() {
        match value {
            Value::String(code) if code.contains('\n') || code.contains("def ") => {
                found.extend(text::pieces_of(python, code, depth + 1));
            }
            Value::Array(items) => left.extend(items.iter().rev()),
            Value::Object(map) => left.extend(map.values().rev()),
            _ => {}
        }
    }
    for piece in &mut found {
        piece.origin = piece.origin.min(Origin::Wrapped);
    }
    (!found.is_empty()).then_some(found)
}
