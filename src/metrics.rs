//! What a run writes down: one line a step in `metrics.jsonl`, times in `timings.jsonl`, work to read in
//! `samples.jsonl`, scalars for TensorBoard; and the statistics of its figures.
//!
//! `metrics.jsonl` and `samples.jsonl` hold only what repeats exactly when the run is repeated, with keys in a fixed
//! order; what the clock says stands apart.

mod events;
mod log;
mod sample;
mod scalars;
mod statistics;
mod step;

pub use events::EventLog;
pub use log::{JsonlLog, LogError, LogLines};
pub use sample::{AttackRecord, SampleRecord};
pub use scalars::scalars;
pub use statistics::{Interval, auc, bootstrap, mean, pass_at_k};
pub use step::{PlayerReport, StepReport, TimingReport};
