//! What the guest says came of a request. It is hostile until proven otherwise: anything but a well-formed response is
//! [`Outcome::Malformed`].

use crate::outcome::Outcome;
use crate::test::Limits;
use crate::value::Value;
use crate::wire::{self, WireError};

/// A response of the guest.
pub(crate) struct Response {
    status: String,
    printed: Vec<u8>,
    payload: Value,
    /// Bytes of the response without what was printed.
    size: usize,
}

/// What the guest says came of a script.
pub(crate) struct ScriptEnd {
    /// The exit status, or an outcome.
    pub(crate) result: Result<u8, Outcome>,
    pub(crate) stderr: String,
    pub(crate) asked_for_input: bool,
}

/// Bytes of a response around its value: the tuple, the status, the length of what was printed.
const FRAME: usize = 64;

impl Response {
    pub(crate) fn read(bytes: &[u8]) -> Result<Response, Outcome> {
        let parts = match wire::read(bytes) {
            Ok(Value::Tuple(parts)) => parts,
            Ok(_) | Err(WireError::Malformed) => return Err(Outcome::Malformed),
            Err(WireError::TooDeep) => return Err(Outcome::OutputTooLarge),
            Err(WireError::Surrogates) => {
                return Ok(Response {
                    status: "opaque".into(),
                    printed: Vec::new(),
                    payload: Value::Bytes(b"str with lone surrogates".to_vec()),
                    size: 0,
                });
            }
        };
        match <[Value; 3]>::try_from(parts) {
            Ok([Value::Str(status), Value::Bytes(printed), payload]) => Ok(Response {
                status,
                size: bytes.len() - printed.len(),
                printed,
                payload,
            }),
            _ => Err(Outcome::Malformed),
        }
    }

    /// What the guest calls what came of the request.
    #[cfg(feature = "compile")]
    pub(crate) fn status(&self) -> &str {
        &self.status
    }

    /// What was printed.
    pub(crate) fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.printed).into_owned()
    }

    /// The compiled code, where that is what the guest was asked for.
    pub(crate) fn into_code(self) -> Result<Vec<u8>, Response> {
        match (self.status.as_str(), self.payload) {
            ("compiled", Value::Bytes(code)) => Ok(code),
            (_, payload) => Err(Response { payload, ..self }),
        }
    }

    /// What came of a script.
    pub(crate) fn script(self, limits: &Limits) -> ScriptEnd {
        let malformed = ScriptEnd {
            result: Err(Outcome::Malformed),
            stderr: String::new(),
            asked_for_input: false,
        };
        let parts = match (self.status.as_str(), self.payload) {
            ("script", Value::Tuple(parts)) => <[Value; 4]>::try_from(parts),
            _ => return malformed,
        };
        let Ok(
            [
                Value::Str(status),
                payload,
                Value::Bytes(errors),
                Value::Bool(asked),
            ],
        ) = parts
        else {
            return malformed;
        };
        let result = match (status.as_str(), payload) {
            _ if self.printed.len().max(errors.len()) > limits.output_bytes => {
                Err(Outcome::OutputTooLarge)
            }
            ("exited", Value::Int(code)) => u8::try_from(code).map_err(|_| Outcome::Malformed),
            // These end a function, not a script.
            ("value" | "loaded" | "missing" | "opaque", _) => Err(Outcome::Malformed),
            (_, payload) => {
                let (printed, size) = (Vec::new(), 0);
                let response = Response {
                    status,
                    printed,
                    payload,
                    size,
                };
                match response.outcome(limits) {
                    Err(Some(outcome)) => Err(outcome),
                    Ok(_) | Err(None) => Err(Outcome::Malformed),
                }
            }
        };
        ScriptEnd {
            result,
            stderr: String::from_utf8_lossy(&errors).into_owned(),
            asked_for_input: asked,
        }
    }

    /// The value; or an outcome; or none, when the module loaded.
    pub(crate) fn outcome(self, limits: &Limits) -> Result<Value, Option<Outcome>> {
        if self.printed.len() > limits.output_bytes {
            return Err(Some(Outcome::OutputTooLarge));
        }
        let text = |value: Value| match value {
            Value::Bytes(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            _ => Err(Some(Outcome::Malformed)),
        };
        Err(Some(match (self.status.as_str(), self.payload) {
            // The guest keeps to the cap by itself, unless the program has changed the guest.
            ("value", _) if self.size > limits.output_bytes.saturating_add(FRAME) => {
                Outcome::OutputTooLarge
            }
            ("value", value) => return Ok(value),
            ("opaque", name) => return Ok(Value::Opaque(text(name)?)),
            ("loaded", Value::None) => return Err(None),
            ("missing", Value::None) => Outcome::MissingEntryPoint,
            ("memory", Value::None) => Outcome::OutOfMemory,
            ("output", Value::None) => Outcome::OutputTooLarge,
            ("syntax", message) => Outcome::SyntaxError {
                message: text(message)?,
            },
            ("forbidden", what) => Outcome::Forbidden { what: text(what)? },
            ("raised", Value::Tuple(parts)) => match <[Value; 3]>::try_from(parts) {
                Ok([kind, message, traceback]) => Outcome::Raised {
                    kind: text(kind)?,
                    message: text(message)?,
                    traceback: text(traceback)?,
                },
                Err(_) => Outcome::Malformed,
            },
            _ => Outcome::Malformed,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_that_imitate_the_protocol_badly_are_malformed() {
        let outcome = |literal: &str| {
            let mut bytes = Vec::new();
            wire::write(&Value::parse_literal(literal).unwrap(), &mut bytes);
            Response::read(&bytes)
                .map_err(Some)
                .and_then(|response| response.outcome(&Limits::default()))
        };
        assert_eq!(outcome("('value', b'', 3)"), Ok(Value::from(3)));
        for literal in [
            "3",
            "()",
            "('value', b'')",
            "('value', '', 3)",
            "('passed', b'', None)",
            "('raised', b'', None)",
            "('raised', b'', (b'', b''))",
            "('raised', b'', ('', '', ''))",
            "('missing', b'', 1)",
        ] {
            assert_eq!(outcome(literal), Err(Some(Outcome::Malformed)), "{literal}");
        }
    }

    #[test]
    fn a_guest_that_ignores_the_cap_gains_nothing() {
        let limits = Limits {
            output_bytes: 1000,
            ..Limits::default()
        };
        let of_size = |size: usize| {
            let value = Value::Tuple(vec![
                "value".into(),
                Value::Bytes(b"printed".to_vec()),
                Value::Bytes(vec![0; size]),
            ]);
            let mut bytes = Vec::new();
            wire::write(&value, &mut bytes);
            Response::read(&bytes).unwrap().outcome(&limits)
        };
        assert!(of_size(1000).is_ok());
        assert_eq!(of_size(1100), Err(Some(Outcome::OutputTooLarge)));
    }
}
