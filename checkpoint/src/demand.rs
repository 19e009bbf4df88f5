//! Checkpoints that a person asks for by name while a run goes on.
//!
//! A request is a file in the run's `requests` directory. The run looks there after every step,
//! takes what it finds and saves it; the request is gone then, whatever became of it.

use std::fs;
use std::path::{Path, PathBuf};

use super::CheckpointError;
use super::names;
use super::object::is_url;
use super::store::CHECKPOINTS;

/// Name of the directory of requests inside a run.
const REQUESTS: &str = "requests";

/// Refuses names that a person cannot ask for.
pub fn check_request(name: &str) -> Result<(), CheckpointError> {
    names::check_new(name)?;
    if names::is_ours(name) {
        return Err(CheckpointError::Name {
            what: "a checkpoint on demand",
            name: name.into(),
            reason: "runs give names like stage_1, step_000120, emergency_.. and final themselves",
        });
    }
    Ok(())
}

/// Asks the run in a directory for a checkpoint of this name.
pub fn request_save(run: &Path, name: &str) -> Result<(), CheckpointError> {
    check_request(name)?;
    if is_url(run) {
        let reason = "is a copy of a run; the run itself takes requests, where it trains";
        return Err(CheckpointError::invalid(run, reason));
    }
    let existing = run.join(CHECKPOINTS).join(name);
    if fs::symlink_metadata(&existing).is_ok() {
        return Err(CheckpointError::Exists { path: existing });
    }
    let dir = run.join(REQUESTS);
    fs::create_dir_all(&dir).map_err(CheckpointError::io("create", &dir))?;
    let file = dir.join(name);
    fs::write(&file, "").map_err(CheckpointError::io("write", &file))
}

/// Takes a request back that the run has not seen.
pub fn withdraw_request(run: &Path, name: &str) {
    // Taken by the run at this moment, it is gone.
    let _ = fs::remove_file(run.join(REQUESTS).join(name));
}

/// Whether a run has not yet seen a request.
pub fn is_requested(run: &Path, name: &str) -> bool {
    run.join(REQUESTS).join(name).exists()
}

/// Takes the requests that a run has got, by name.
pub fn take_requests(run: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(run.join(REQUESTS)) else {
        return Vec::new();
    };
    let paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    let mut names = Vec::new();
    for path in paths {
        // One that cannot be taken would come back after every step.
        let (Some(name), Ok(())) = (path.file_name(), fs::remove_file(&path)) else {
            continue;
        };
        let name = name.to_string_lossy().into_owned();
        if check_request(&name).is_ok() {
            names.push(name);
        }
    }
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_taken_once() {
        let run = tempfile::tempdir().unwrap();
        assert_eq!(take_requests(run.path()), [""; 0]);
        request_save(run.path(), "before-the-holidays").unwrap();
        request_save(run.path(), "a").unwrap();
        assert!(is_requested(run.path(), "a"));
        assert_eq!(take_requests(run.path()), ["a", "before-the-holidays"]);
        assert_eq!(take_requests(run.path()), [""; 0]);
        assert!(!is_requested(run.path(), "a"));
    }

    #[test]
    fn names_of_the_run_and_names_that_lead_elsewhere_are_refused() {
        let run = tempfile::tempdir().unwrap();
        for name in [
            "../x",
            "a b",
            "best",
            "latest",
            "final",
            "stage_2",
            "step_000010",
            "step_000010_sampler",
            "emergency_step_000001",
        ] {
            assert!(request_save(run.path(), name).is_err(), "{name}");
        }
        fs::create_dir_all(run.path().join("checkpoints/mine")).unwrap();
        let error = request_save(run.path(), "mine").unwrap_err().to_string();
        assert!(error.contains("exists already"), "{error}");
        fs::create_dir_all(run.path().join(REQUESTS)).unwrap();
        fs::write(run.path().join(REQUESTS).join("a b"), "").unwrap();
        assert_eq!(take_requests(run.path()), [""; 0]);
    }
}
