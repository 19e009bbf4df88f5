//! `manifest.json`: what a checkpoint is and a hash of everything in it. Written last.
//!
//! The last line seals the manifest itself: it holds the BLAKE3 of all bytes before that line, so
//! that a flipped bit or a cut in the manifest is noticed as well.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::CheckpointError;
use super::format::FORMAT_VERSION;
use super::names::is_plain_path;
use super::pt::{EntryDigest, PtDigest};

/// The manifest's file name.
pub const MANIFEST: &str = "manifest.json";

/// Largest manifest read.
pub(super) const MAX_MANIFEST: u64 = 256 << 20;

/// What a checkpoint can be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckpointKind {
    /// Weights and everything training needs to go on.
    Full,
    /// Weights for inference; no optimizer.
    Sampler,
    /// A full one, saved because training had to end.
    Emergency,
}

impl fmt::Display for CheckpointKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Full => "full",
            Self::Sampler => "sampler",
            Self::Emergency => "emergency",
        })
    }
}

/// The checkpoint that a run was resumed from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parent {
    /// The run, as `<run name>/<timestamp>` below the outputs directory.
    pub run: String,
    /// The checkpoint's name.
    pub name: String,
    /// BLAKE3 of the checkpoint's manifest.json.
    pub manifest: String,
}

/// One file of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRecord {
    /// Path below the checkpoint's directory, with `/`.
    pub path: String,
    /// Number of bytes.
    pub size: u64,
    /// BLAKE3 of the bytes.
    pub blake3: String,
    /// In a `.pt` file, BLAKE3 of everything but the entries' contents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<String>,
    /// In a `.pt` file, its entries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entries: Vec<EntryDigest>,
}

impl FileRecord {
    /// What is needed to verify single entries, if this is a `.pt` file.
    pub fn digest(&self) -> Option<PtDigest> {
        let layout = self.layout.clone()?;
        Some(PtDigest {
            layout,
            entries: self.entries.clone(),
        })
    }

    /// Compares what `file` has, a size and a BLAKE3, with what it should.
    pub(super) fn check(
        &self,
        file: &Path,
        size: u64,
        blake3: &str,
    ) -> Result<(), CheckpointError> {
        let damaged = |expected, found| CheckpointError::Damaged {
            file: file.into(),
            entry: None,
            expected,
            found,
        };
        if size != self.size {
            let expected = format!("{} bytes", self.size);
            return Err(damaged(expected, format!("{size} bytes")));
        }
        if blake3 != self.blake3 {
            return Err(damaged(
                format!("BLAKE3 {}", self.blake3),
                blake3.to_owned(),
            ));
        }
        Ok(())
    }
}

/// What a checkpoint is, and how to tell that it is whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the checkpoint's layout.
    pub format_version: i64,
    /// The checkpoint's name, that of its directory.
    pub name: String,
    /// What it can be used for.
    pub kind: CheckpointKind,
    /// Place in the order of saving within the run, from 1. Unlike `created` it never goes back.
    pub sequence: u64,
    /// When it was saved, UTC.
    pub created: String,
    /// The stage that was finished, or was in progress; 0 is warm-up.
    pub stage: i64,
    /// Training steps made.
    pub step: u64,
    /// The validation score that `best` goes by, where there was one.
    pub score: Option<f64>,
    /// The checkpoint that the run was resumed from.
    pub parent: Option<Parent>,
    /// Notes of the user's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Commands that use this checkpoint, to paste.
    pub usage: Vec<String>,
    /// Every other file of the checkpoint.
    pub files: Vec<FileRecord>,
}

const SEAL_START: &str = ",\n  \"seal\": \"";
const SEAL_END: &str = "\"\n}\n";
const HASH_LENGTH: usize = 64;

impl Manifest {
    /// The file's text, sealed.
    pub fn to_text(&self) -> Result<String, CheckpointError> {
        let unsavable = |e: serde_json::Error| CheckpointError::Unsavable {
            what: MANIFEST.into(),
            reason: e.to_string(),
        };
        let mut text = serde_json::to_string_pretty(self).map_err(unsavable)?;
        text.truncate(text.trim_end_matches('}').trim_end().len());
        let seal = blake3::hash(text.as_bytes()).to_hex();
        Ok(text + SEAL_START + seal.as_str() + SEAL_END)
    }

    /// Reads a manifest's bytes; `file` is named in errors.
    pub fn parse(file: &Path, bytes: &[u8]) -> Result<Self, CheckpointError> {
        let damaged = |expected: String, found: String| CheckpointError::Damaged {
            file: file.into(),
            entry: None,
            expected,
            found,
        };
        let body_length = bytes
            .len()
            .checked_sub(SEAL_START.len() + HASH_LENGTH + SEAL_END.len())
            .filter(|_| bytes.ends_with(SEAL_END.as_bytes()))
            .filter(|at| bytes[*at..].starts_with(SEAL_START.as_bytes()));
        let Some(body_length) = body_length else {
            let found = format!("{} bytes that do not end with one", bytes.len());
            return Err(damaged("a manifest that ends with its seal".into(), found));
        };
        let body = &bytes[..body_length];
        let seal = &bytes[body_length + SEAL_START.len()..][..HASH_LENGTH];
        let found = blake3::hash(body).to_hex();
        if found.as_bytes() != seal {
            let expected = format!("the seal {}", String::from_utf8_lossy(seal));
            return Err(damaged(expected, found.to_string()));
        }
        let invalid = |reason: String| CheckpointError::invalid(file, reason);
        let text = std::str::from_utf8(body).map_err(|e| invalid(e.to_string()))?;
        let json: serde_json::Value =
            serde_json::from_str(&format!("{text}\n}}")).map_err(|e| invalid(e.to_string()))?;
        // The version first: a later layout may have other fields.
        match json
            .get("format_version")
            .and_then(serde_json::Value::as_i64)
        {
            Some(FORMAT_VERSION) => {}
            Some(other) => {
                return Err(invalid(format!(
                    "is of format version {other}; this program reads version {FORMAT_VERSION}"
                )));
            }
            None => return Err(invalid("has no format_version".into())),
        }
        let manifest: Self = serde_json::from_value(json).map_err(|e| invalid(e.to_string()))?;
        for (i, record) in manifest.files.iter().enumerate() {
            if !is_plain_path(&record.path) {
                return Err(invalid(format!("lists the path {:?}", record.path)));
            }
            if manifest.files[..i]
                .iter()
                .any(|other| other.path == record.path)
            {
                return Err(invalid(format!("lists {} twice", record.path)));
            }
        }
        Ok(manifest)
    }

    /// The record of a file.
    pub fn file(&self, path: &str) -> Option<&FileRecord> {
        self.files.iter().find(|record| record.path == path)
    }

    /// Size of all files but the manifest.
    pub fn total_size(&self) -> u64 {
        self.files
            .iter()
            .map(|record| record.size)
            .fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Manifest {
        Manifest {
            format_version: FORMAT_VERSION,
            name: "stage_3".into(),
            kind: CheckpointKind::Full,
            sequence: 4,
            created: "2025-11-22T09:58:03Z".into(),
            stage: 3,
            step: 120,
            score: Some(0.5),
            parent: None,
            tags: BTreeMap::from([("note".into(), "é".into())]),
            usage: vec!["inference".into()],
            files: vec![FileRecord {
                path: "prompts/stage_1.j2".into(),
                size: 3,
                blake3: blake3::hash(b"abc").to_hex().to_string(),
                layout: None,
                entries: Vec::new(),
            }],
        }
    }

    #[test]
    fn every_cut_and_every_flip_is_noticed() {
        let file = Path::new("manifest.json");
        let manifest = sample();
        let bytes = manifest.to_text().unwrap().into_bytes();
        assert_eq!(Manifest::parse(file, &bytes).unwrap(), manifest);
        serde_json::from_slice::<serde_json::Value>(&bytes).expect("plain JSON for other readers");
        for length in 0..bytes.len() {
            let error = Manifest::parse(file, &bytes[..length]).unwrap_err();
            assert!(
                matches!(error, CheckpointError::Damaged { .. }),
                "{length}: {error}"
            );
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                let error = Manifest::parse(file, &flipped).unwrap_err();
                assert!(
                    matches!(error, CheckpointError::Damaged { .. }),
                    "{at}.{bit}: {error}"
                );
            }
        }
    }

    #[test]
    fn a_manifest_that_lies_is_refused() {
        let file = Path::new("manifest.json");
        let refused = |change: &dyn Fn(&mut Manifest)| {
            let mut manifest = sample();
            change(&mut manifest);
            Manifest::parse(file, manifest.to_text().unwrap().as_bytes())
                .unwrap_err()
                .to_string()
        };
        for path in [
            "../x",
            "/etc/passwd",
            "a/../../b",
            "",
            "a//b",
            "./a",
            "a\0b",
        ] {
            let text = refused(&|m| m.files[0].path = path.into());
            assert!(text.contains("lists the path"), "{path}: {text}");
        }
        assert!(refused(&|m| m.files.push(m.files[0].clone())).contains("twice"));
        assert!(refused(&|m| m.format_version = 2).contains("this program reads version 1"));
    }
}
