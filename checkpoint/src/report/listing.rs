//! The checkpoints of a run as a table.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::{human_age, human_size};
use crate::manifest::{Manifest, Parent};
use crate::prune::run_name;
use crate::{BEST, CheckpointError, Listed, Runs, Store, clock, resumed_from};

/// The checkpoints of several runs.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct Listings(pub Vec<Listing>);

/// The checkpoints of one run, in the order of saving.
#[derive(Debug, Serialize)]
pub struct Listing {
    /// The run's directory.
    #[serde(serialize_with = "crate::as_text::path")]
    pub run: PathBuf,
    /// Its checkpoints.
    pub checkpoints: Vec<ListingRow>,
    /// The best checkpoint where it is one of a run that this one was resumed from.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "crate::as_text::option"
    )]
    pub best_before: Option<PathBuf>,
}

/// One checkpoint in a list.
#[derive(Debug, Serialize)]
pub struct ListingRow {
    /// Its name.
    pub name: String,
    /// Whether it is the newest.
    pub latest: bool,
    /// Whether `best` points to it.
    pub best: bool,
    /// Whether retention and `prune` leave it alone.
    pub protected: bool,
    /// What its manifest says in short, if that can be believed.
    #[serde(flatten)]
    pub summary: Option<Summary>,
    /// Why it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broken: Option<String>,
}

/// A manifest in short.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// full, sampler or emergency.
    pub kind: String,
    /// The stage that was finished, or was in progress.
    pub stage: i64,
    /// Training steps made.
    pub step: u64,
    /// Validation score.
    pub score: Option<f64>,
    /// Bytes on disk.
    pub size: u64,
    /// When it was saved.
    pub created: String,
    /// Seconds since.
    pub age_seconds: u64,
    /// The checkpoint its run was resumed from.
    pub parent: Option<Parent>,
    /// Notes of the user's own.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

impl Summary {
    pub(super) fn of(manifest: &Manifest) -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let created = clock::parse_utc(&manifest.created).unwrap_or(now);
        Self {
            kind: manifest.kind.to_string(),
            stage: manifest.stage,
            step: manifest.step,
            score: manifest.score,
            size: manifest.total_size(),
            created: manifest.created.clone(),
            age_seconds: now.saturating_sub(created),
            parent: manifest.parent.clone(),
            tags: manifest.tags.clone(),
        }
    }
}

impl Listing {
    /// Lists a run.
    pub fn of(run: &Path, store: &Store) -> Result<Self, CheckpointError> {
        let outputs = run.parent().and_then(Path::parent);
        let runs = Runs::new(outputs.unwrap_or(Path::new("..")));
        let resumed = resumed_from(&runs)?;
        let own = run_name(run);
        let row = |item: Listed| ListingRow {
            protected: !item.is_periodic()
                || item.latest
                || item.best
                || resumed.contains(&(own.clone(), item.name.clone())),
            summary: item.manifest.as_ref().ok().map(Summary::of),
            broken: item.manifest.err().map(|error| error.to_string()),
            name: item.name,
            latest: item.latest,
            best: item.best,
        };
        let checkpoints: Vec<ListingRow> = store.list()?.into_iter().map(row).collect();
        let best_before = match checkpoints.iter().any(|row| row.best) {
            true => None,
            false => runs.find(BEST, Some(run)).ok(),
        };
        Ok(Self {
            run: run.into(),
            checkpoints,
            best_before: best_before.map(|best| best.path().into()),
        })
    }
}

impl fmt::Display for Listings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, listing) in self.0.iter().enumerate() {
            let gap = if i > 0 { "\n" } else { "" };
            write!(f, "{gap}{listing}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.run.display())?;
        if self.checkpoints.is_empty() {
            return writeln!(f, "  no checkpoints");
        }
        let longest = self
            .checkpoints
            .iter()
            .map(|row| row.name.len())
            .max()
            .unwrap_or(0);
        let width = longest.max("checkpoint".len());
        writeln!(
            f,
            "  {:width$}  {:9}  {:>5}  {:>7}  {:>6}  {:>9}  {:>8}",
            "checkpoint", "kind", "stage", "step", "score", "size", "age"
        )?;
        for row in &self.checkpoints {
            write!(f, "  {:width$}  ", row.name)?;
            let Some(summary) = &row.summary else {
                writeln!(f, "broken: {}", row.broken.as_deref().unwrap_or_default())?;
                continue;
            };
            let score = summary
                .score
                .map_or("-".to_string(), |score| format!("{score:.3}"));
            write!(
                f,
                "{:9}  {:>5}  {:>7}  {score:>6}  {:>9}  {:>8}",
                summary.kind,
                summary.stage,
                summary.step,
                human_size(summary.size),
                human_age(summary.age_seconds)
            )?;
            let marks = [
                (row.best, "best"),
                (row.latest, "latest"),
                (row.protected, "protected"),
            ];
            let mut marks: Vec<String> = marks
                .iter()
                .filter(|mark| mark.0)
                .map(|mark| mark.1.to_owned())
                .collect();
            let tags = summary.tags.iter();
            marks.extend(tags.map(|(key, value)| format!("{key}={value}")));
            marks.extend(
                summary
                    .parent
                    .as_ref()
                    .map(|from| format!("from {}/{}", from.run, from.name)),
            );
            let gap = if marks.is_empty() { "" } else { "  " };
            writeln!(f, "{gap}{}", marks.join(", "))?;
        }
        if let Some(best) = &self.best_before {
            writeln!(f, "  best so far, of the run before: {}", best.display())?;
        }
        Ok(())
    }
}
