//! Generated Python inside wasmtime: typed outcomes, exact values, verdicts the code under test cannot forge.

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
mod runner;
mod runtime;
mod sandbox;
mod test;
mod value;
mod wire;

pub use compare::Comparison;
pub use fault::Fault;
pub use literal::LiteralError;
pub use outcome::{Outcome, TimeLimit};
pub use sandbox::Sandbox;
#[cfg(feature = "compile")]
pub use sandbox::build_runtime;
pub use test::{
    CheckJob, DEFAULT_FUEL, ExecuteJob, Execution, Expected, Limits, Mode, Program, Report, Test,
    TestReport,
};
pub use value::{MAX_DEPTH, Value, ValueError};
