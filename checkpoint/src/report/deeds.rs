//! What was deleted and copied, as text.

use std::fmt;

use serde::Serialize;

use super::{counted, human_size};
use crate::{Pruning, Transfer};

impl fmt::Display for Pruning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for path in &self.deleted {
            writeln!(f, "{}", path.display())?;
        }
        let verb = if self.done { "deleted" } else { "can go" };
        let count = counted(self.deleted.len(), "checkpoint");
        writeln!(f, "{count}, {}: {verb}", human_size(self.bytes))
    }
}

/// A transfer as text.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct Copied<'a>(pub &'a Transfer);

impl fmt::Display for Copied<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for path in &self.0.copied {
            writeln!(f, "copied   {}", path.display())?;
        }
        for path in &self.0.present {
            writeln!(f, "present  {}", path.display())?;
        }
        for skipped in &self.0.skipped {
            writeln!(f, "skipped  {}: {}", skipped.path.display(), skipped.reason)?;
        }
        writeln!(
            f,
            "{} copied, {}; {} there already, {} skipped",
            counted(self.0.copied.len(), "checkpoint"),
            human_size(self.0.bytes),
            self.0.present.len(),
            self.0.skipped.len()
        )
    }
}
