//! Problems: what they are, where their tests come from, and whether those tests are any good.
//!
//! - [`schema`]: a problem, its JSONL files, and every check that needs no execution
//! - [`read`], [`formats`]: problems as they are published, in files, folders and on the hub
//! - [`asserts`], [`infer`]: tests written as code become calls with values; the entry point that they name
//! - [`signature`]: Python function headers
//! - [`inputs`]: random inputs for a problem, and which of them its validator allows
//! - [`mutate`]: plausible bugs planted in working code
//! - [`compose`]: unlimited problems composed of operations
//! - [`ground`]: drafts become problems by executing their references
//! - [`grade`]: a solution judged by all tests of its problem; [`stdout`] has the rules for what scripts print
//! - [`consensus`]: expected values from candidates, where there is no reference
//! - [`examine`], [`strengthen`]: what is wrong with a problem of any set, and more tests for it
//! - [`similar`]: near-duplicates, overlap with other sets, splits
//! - [`each`]: work on many problems, with progress, that can be taken up again
//! - [`validate`]: what a problem must prove in the sandbox before it is used

pub mod asserts;
pub mod compose;
pub mod consensus;
pub mod draws;
pub mod each;
pub mod examine;
pub mod formats;
pub mod grade;
pub mod ground;
pub mod infer;
pub mod inputs;
pub mod mutate;
pub mod read;
pub mod schema;
mod script;
pub mod signature;
pub mod similar;
pub mod stdout;
pub mod strengthen;
pub mod validate;

use std::time::Duration;

use gauntlet_sandbox::{DEFAULT_FUEL, Limits};

pub use schema::{
    Draft, Flaw, Input, MIN_TESTS, Problem, ProblemError, ScriptTest, Split, load_dir, load_jsonl,
    write_jsonl,
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
