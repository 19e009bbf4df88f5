//! Which of two runs is newer.
//!
//! A run's directory is named after the moment it began, and that is its place, unless it says otherwise: clocks are set
//! back, and directories get other names. A run that begins while a later moment stands on a run that is there writes its
//! place, after that run, to `order.json`. A run that was resumed from another comes after it, whatever the names say.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::CheckpointError;
use super::clock;
use super::manifest::Manifest;
use super::opened::read_manifest;
use super::resolve::run_of;
use super::storage::{EntryKind, Storage, storage_at};
use super::store::CHECKPOINTS;

/// Name of the file in a run's directory that holds its place where the directory's name does not.
pub(super) const ORDER: &str = "order.json";

/// Longest such file.
const LONGEST: u64 = 1 << 12;

/// Links from run to run that are followed.
const LONGEST_LINE: usize = 1000;

/// A place in the order of runs: a moment as directories are named after it, and a number within it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    stamp: String,
    number: u64,
}

#[derive(Serialize, Deserialize)]
struct OrderFile {
    order: String,
}

impl Place {
    /// The place that a text tells: `20251122_095803`, or `20251122_095803_2`.
    fn parse(text: &str) -> Option<Self> {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let mut parts = text.splitn(3, '_');
        let (day, time) = (parts.next()?, parts.next()?);
        if day.len() != 8 || time.len() != 6 || !digits(day) || !digits(time) {
            return None;
        }
        let number = match parts.next() {
            None => 1,
            Some(number) => number.parse().ok().filter(|_| digits(number))?,
        };
        Some(Self {
            stamp: format!("{day}_{time}"),
            number,
        })
    }

    /// The next one.
    fn after(&self) -> Self {
        Self {
            stamp: self.stamp.clone(),
            number: self.number.saturating_add(1),
        }
    }

    fn text(&self) -> String {
        format!("{}_{}", self.stamp, self.number)
    }
}

/// Writes the place of a fresh run that comes after `newest`, if the name of its directory does not tell it.
pub(super) fn record(run: &Path, newest: Option<&Place>) -> Result<(), CheckpointError> {
    let own = run
        .file_name()
        .and_then(|name| Place::parse(name.to_str()?));
    let Some(newest) = newest.filter(|newest| own.as_ref() <= Some(newest)) else {
        return Ok(());
    };
    let order = newest.after().text();
    let text = serde_json::json!(OrderFile { order }).to_string() + "\n";
    let file = run.join(ORDER);
    std::fs::write(&file, text).map_err(CheckpointError::io("write", &file))
}

/// Places of runs, each found once.
#[derive(Default)]
pub(super) struct Places(HashMap<PathBuf, Place>);

impl Places {
    /// The place of a run.
    pub(super) fn of(&mut self, run: &Path) -> Place {
        // The line of runs that this one goes back to, as far as their places are not known.
        let mut line: Vec<(PathBuf, Place)> = Vec::new();
        let mut next = Some(run.to_owned());
        let mut before = None;
        while let Some(run) = next.take() {
            if let Some(known) = self.0.get(&run) {
                before = Some(known.clone());
                break;
            }
            if line.len() == LONGEST_LINE || line.iter().any(|(seen, _)| *seen == run) {
                break;
            }
            let (own, parent) = told(&run);
            line.push((run, own));
            next = parent;
        }
        for (run, own) in line.into_iter().rev() {
            let place = match before {
                Some(before) if own <= before => before.after(),
                _ => own,
            };
            before = Some(place.clone());
            self.0.insert(run, place);
        }
        before.unwrap_or_default()
    }
}

/// What a run tells of its place by itself, and the run that it was resumed from.
fn told(run: &Path) -> (Place, Option<PathBuf>) {
    let Ok(storage) = storage_at(run) else {
        return Default::default();
    };
    let written = storage.read(&run.join(ORDER), LONGEST).ok();
    let written = written.and_then(|bytes| serde_json::from_slice::<OrderFile>(&bytes).ok());
    let named = run.file_name().and_then(|name| name.to_str());
    let named = named.and_then(Place::parse);
    if let Some(place) = written.and_then(|file| Place::parse(&file.order)) {
        return (place, None);
    }
    let first = first_manifest(storage.as_ref(), run);
    let created = || {
        let seconds = clock::parse_utc(&first.as_ref()?.created)?;
        Place::parse(&clock::stamp(UNIX_EPOCH + Duration::from_secs(seconds)))
    };
    let own = named.or_else(created).unwrap_or_default();
    let parent = first.as_ref().and_then(|manifest| manifest.parent.as_ref());
    (own, parent.and_then(|parent| run_of(run, parent)))
}

/// The manifest of one of a run's checkpoints: all name the same parent.
fn first_manifest(storage: &dyn Storage, run: &Path) -> Option<Manifest> {
    let dir = run.join(CHECKPOINTS);
    let entries = storage.list(&dir).ok()?.into_iter();
    let mut names =
        entries.filter(|(name, kind)| *kind == EntryKind::Dir && !name.starts_with('.'));
    names.find_map(|(name, _)| Some(read_manifest(storage, &dir.join(name)).ok()?.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_compared_by_number_and_not_by_text() {
        let texts = [
            "20251122_095803",
            "20251122_095803_2",
            "20251122_095803_10",
            "20251122_095804",
        ];
        let places: Vec<Place> = texts
            .iter()
            .map(|text| Place::parse(text).unwrap())
            .collect();
        assert!(places.is_sorted());
        assert_eq!(Place::parse(&places[1].after().text()).unwrap().number, 3);
        for text in [
            "",
            "old",
            "2025112_095803",
            "20251122_095803_",
            "20251122_095803_x",
            "2025112x_095803",
        ] {
            assert_eq!(Place::parse(text), None, "{text}");
        }
        assert!(Place::default() < places[0]);
    }
}
