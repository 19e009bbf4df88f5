//! Generated Python inside wasmtime: typed outcomes, exact values, verdicts the code under test cannot forge.

mod compare;
mod equality;
mod fault;
mod literal;
#[cfg(test)]
mod oracle;
mod outcome;
mod sandbox;
mod test;
mod value;

pub use compare::Comparison;
pub use fault::Fault;
pub use literal::LiteralError;
pub use outcome::{Outcome, TimeLimit};
pub use sandbox::Sandbox;
pub use test::{
    CheckJob, DEFAULT_FUEL, ExecuteJob, Execution, Expected, Limits, Mode, Program, Report, Test,
    TestReport,
};
pub use value::{MAX_DEPTH, Value, ValueError};
