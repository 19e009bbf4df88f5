//! What a run writes down: one line a step in `metrics.jsonl`, times in `timings.jsonl`, work to read in
//! `samples.jsonl`; and the statistics of its figures.
//!
//! `metrics.jsonl` and `samples.jsonl` hold only what repeats exactly when the run is repeated, with keys in a fixed
//! order; what the clock says stands apart.

mod log;
mod sample;
mod statistics;
mod step;

pub use log::{JsonlLog, LogError};
pub use sample::{AttackRecord, SampleRecord};
pub use statistics::{Interval, auc, bootstrap, mean, pass_at_k};
pub use step::{PlayerReport, StepReport, TimingReport};
