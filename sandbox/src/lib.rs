//! Generated Python inside wasmtime: typed outcomes, exact values, verdicts the code under test cannot forge.
//!
//! # The nouns
//!
//! - The **runtime** is CPython, started, warmed up and frozen at set-up, then compiled to machine code ahead of time. It
//!   is one file in the user's cache folder, under the hash of all it is made of.
//! - The **engine** holds wasmtime's configuration and the slots that instances live in. One a [`Sandbox`].
//! - An **instance** is one interpreter: the runtime's frozen memory, mapped copy-on-write into a slot. It imports
//!   nothing, so there is no file, socket or clock it could reach.
//! - A **store** owns an instance and its limits: fuel, epoch deadline, memory. It lives as long as the instance.
//! - **Fuel** counts the instructions executed and is the same on every machine. The **epoch** is a counter that advances
//!   every 10 ms, by which the wall clock stops what fuel does not.
//! - A **program** ([`Program`]) is Python source and the name of a function in it, its entry point.
//! - An **outcome** ([`Outcome`]) is what became of a program on one input. Whatever the program does wrong is an
//!   outcome; a [`Fault`] is something wrong on this side, and says nothing about the program.
//!
//! # Three ways to run
//!
//! [`Sandbox::execute`] calls a program on inputs and returns values. [`Sandbox::check`] compares those values with what
//! tests expect. [`Sandbox::run_script`] runs a program from standard input to standard output.
//!
//! ```no_run
//! use gauntlet_sandbox::{Comparison, Expected, Limits, Mode, Program, Sandbox, Test, Value};
//!
//! let sandbox = Sandbox::open()?;
//! let program = Program { code: "def double(x): return x + x".into(), entry_point: "double".into() };
//! let test = Test { args: vec![Value::from(2)], expected: Expected::Value(Value::from(4)), tags: vec![] };
//! let report = sandbox.check(&program, &[test], &Comparison::Exact, &Limits::default(), Mode::Fast)?;
//! assert!(report.outcome.passed());
//! # Ok::<(), gauntlet_sandbox::Fault>(())
//! ```
//!
//! # Why a verdict cannot be forged
//!
//! - Only code, entry point and arguments enter an instance. Expected values never do.
//! - What comes back are bytes, and they are read as hostile input: exact built-in types or nothing, with caps on size
//!   and depth.
//! - The host compares, in Rust, by Python's equality. What is printed, and how the program ends, decides nothing.
//! - A pass counts only in [`Mode::Pure`], where each input meets a fresh interpreter; [`Mode::Fast`] can only fail a
//!   program early.

mod abi;
mod cause;
mod code_check;
mod compare;
mod engine;
mod equality;
mod fault;
mod instance;
mod literal;
#[cfg(test)]
mod oracle;
mod outcome;
mod pool;
mod response;
mod runner;
mod runtime;
mod sandbox;
mod script;
mod test;
mod value;
mod wire;

pub use compare::Comparison;
pub use fault::Fault;
pub use literal::LiteralError;
pub use outcome::{Outcome, TimeLimit};
#[cfg(feature = "compile")]
pub use runtime::build::{BuildError, build_runtime};
pub use sandbox::Sandbox;
pub use script::{ScriptJob, ScriptRun};
pub use test::{
    CheckJob, CodeCheckJob, CodeTest, DEFAULT_FUEL, ExecuteJob, Execution, Expected, Limits, Mode,
    Program, Report, SetOrder, Test, TestReport,
};
pub use value::{MAX_DEPTH, Value, ValueError};
