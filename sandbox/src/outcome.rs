//! What became of a program: data, never an error of the host.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::test::Expected;
use crate::value::Value;

/// The outcome of one test, or of a whole check (its first test that did not pass).
///
/// Outcomes without data are strings in JSON (`"Passed"`), the others objects (`{"Timeout": {"limit": "fuel"}}`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// The answer equals the expected one.
    Passed,
    /// An answer that differs from the expected one.
    WrongAnswer {
        /// The arguments of the call.
        input: Vec<Value>,
        /// What the test expects.
        expected: Expected,
        /// What the call returned.
        got: Value,
    },
    /// An exception that reached the caller.
    Raised {
        /// The name of its class.
        #[serde(rename = "type")]
        kind: String,
        /// Its text.
        message: String,
        /// The frames of the candidate's code, one a line, the innermost last.
        traceback: String,
    },
    /// The code does not compile.
    SyntaxError {
        /// What Python says, with the line.
        message: String,
    },
    /// A limit of time was reached.
    Timeout {
        /// Which one.
        limit: TimeLimit,
    },
    /// The memory limit was reached.
    OutOfMemory,
    /// The guest's own stack overflowed (a `RecursionError` that Python raises in time is [`Outcome::Raised`]).
    StackOverflow,
    /// Something the sandbox does not provide: files, sockets, processes, threads, leaving the process.
    Forbidden {
        /// What it was.
        what: String,
    },
    /// The interpreter itself came to its end: a fatal error of CPython, or what native code would die of by a signal.
    Crashed {
        /// How.
        what: String,
    },
    /// More printed, or a larger value returned, than the limits allow.
    OutputTooLarge,
    /// The value is, or holds, an instance of a type that does not cross to the host.
    Opaque,
    /// The code defines no callable of the entry point's name.
    MissingEntryPoint,
    /// What the guest sent back was not a well-formed answer.
    Malformed,
}

/// The two limits of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeLimit {
    /// Instructions executed, as wasmtime counts them: the same on any machine.
    Fuel,
    /// The wall clock: a backstop.
    Wall,
}

impl Outcome {
    /// Whether this is [`Outcome::Passed`].
    pub fn passed(&self) -> bool {
        matches!(self, Outcome::Passed)
    }

    /// The bare name, as in JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Outcome::Passed => "Passed",
            Outcome::WrongAnswer { .. } => "WrongAnswer",
            Outcome::Raised { .. } => "Raised",
            Outcome::SyntaxError { .. } => "SyntaxError",
            Outcome::Timeout { .. } => "Timeout",
            Outcome::OutOfMemory => "OutOfMemory",
            Outcome::StackOverflow => "StackOverflow",
            Outcome::Forbidden { .. } => "Forbidden",
            Outcome::Crashed { .. } => "Crashed",
            Outcome::OutputTooLarge => "OutputTooLarge",
            Outcome::Opaque => "Opaque",
            Outcome::MissingEntryPoint => "MissingEntryPoint",
            Outcome::Malformed => "Malformed",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Passed => f.write_str("passed"),
            Outcome::WrongAnswer {
                input,
                expected,
                got,
            } => {
                let args: Vec<String> = input.iter().map(Value::to_literal).collect();
                write!(
                    f,
                    "wrong answer: ({}) gave {got}, expected {expected}",
                    args.join(", ")
                )
            }
            Outcome::Raised {
                kind,
                message,
                traceback,
            } => {
                write!(f, "raised {kind}: {message}")?;
                if traceback.is_empty() {
                    Ok(())
                } else {
                    write!(f, "\n{traceback}")
                }
            }
            Outcome::SyntaxError { message } => write!(f, "syntax error: {message}"),
            Outcome::Timeout {
                limit: TimeLimit::Fuel,
            } => f.write_str("timeout: out of fuel"),
            Outcome::Timeout {
                limit: TimeLimit::Wall,
            } => f.write_str("timeout: wall clock"),
            Outcome::OutOfMemory => f.write_str("out of memory"),
            Outcome::StackOverflow => f.write_str("stack overflow"),
            Outcome::Forbidden { what } => write!(f, "forbidden: {what}"),
            Outcome::Crashed { what } => write!(f, "the interpreter crashed: {what}"),
            Outcome::OutputTooLarge => f.write_str("output too large"),
            Outcome::Opaque => f.write_str("returned a value of a type that cannot be compared"),
            Outcome::MissingEntryPoint => f.write_str("the entry point is not defined"),
            Outcome::Malformed => f.write_str("the answer was malformed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_names_the_outcome() {
        let cases = [
            (Outcome::Passed, r#""Passed""#),
            (
                Outcome::Timeout {
                    limit: TimeLimit::Fuel,
                },
                r#"{"Timeout":{"limit":"fuel"}}"#,
            ),
            (
                Outcome::Raised {
                    kind: "ValueError".into(),
                    message: "no".into(),
                    traceback: String::new(),
                },
                r#"{"Raised":{"type":"ValueError","message":"no","traceback":""}}"#,
            ),
            (
                Outcome::WrongAnswer {
                    input: vec![Value::from(1)],
                    expected: Expected::Raises("KeyError".into()),
                    got: Value::Tuple(vec![]),
                },
                r#"{"WrongAnswer":{"input":[1],"expected":{"$raises":"KeyError"},"got":{"$py":"()"}}}"#,
            ),
        ];
        for (outcome, json) in cases {
            assert_eq!(serde_json::to_string(&outcome).unwrap(), json);
            assert_eq!(serde_json::from_str::<Outcome>(json).unwrap(), outcome);
            assert!(json.contains(outcome.name()));
        }
    }
}
