//! Paths in JSON: as text, which those of a file system need not be.

use std::path::{Path, PathBuf};

use serde::Serializer;

/// A path; what is no text in it is replaced.
pub(super) fn path<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&path.to_string_lossy())
}

/// As [`path`], for several.
pub(super) fn paths<S: Serializer>(paths: &[PathBuf], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(paths.iter().map(|path| path.to_string_lossy()))
}

/// As [`path`], where there may be none.
pub(super) fn option<S: Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
    match path {
        Some(found) => self::path(found, to),
        None => to.serialize_none(),
    }
}
