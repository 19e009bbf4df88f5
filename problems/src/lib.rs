//! Problems: what they are, where their tests come from, and whether those tests are any good.
//!
//! - [`schema`]: a problem, its JSONL files, and every check that needs no execution
//! - [`signature`]: Python function headers
//! - [`inputs`]: random inputs for a problem, and which of them its validator allows
//! - [`mutate`]: plausible bugs planted in working code
//! - [`compose`]: unlimited problems composed of operations
//! - [`ground`]: drafts become problems by executing their references
//! - [`validate`]: what a problem must prove in the sandbox before it is used

pub mod compose;
pub mod draws;
pub mod ground;
pub mod inputs;
pub mod mutate;
pub mod schema;
pub mod signature;
pub mod validate;

use std::time::Duration;

use gauntlet_sandbox::{DEFAULT_FUEL, Limits};

pub use schema::{
    Draft, Flaw, MIN_TESTS, Problem, ProblemError, Split, load_dir, load_jsonl, write_jsonl,
};

/// The fuel of an honest run.
const FUEL: u64 = DEFAULT_FUEL;

/// Limits under which fuel decides. What a problem is must not depend on how busy the machine was that
/// proved it, so the wall clock is only there to end what hangs.
fn limits(fuel: u64) -> Limits {
    Limits {
        fuel: Some(fuel),
        wall: Duration::from_secs(600),
        ..Limits::default()
    }
}
