//! A Python that can import torch, for the tests that have Python read our checkpoints.
//!
//! Made from the same wheel as libtorch, while that is at hand. The libraries that both have are
//! shared by hard links, so that it costs a few seconds and the space of torch's Python files.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::places::{Places, python};
use crate::shell;

/// Makes `python-torch` in the cache unless it is there. A machine whose Python the wheel is not for goes without:
/// training needs no Python, and the tests say that they skip.
pub fn provide(places: &Places, wheel: &Path, libtorch: &Path) -> Result<()> {
    let made = places.cache.join("python-torch");
    if made.exists() {
        return Ok(());
    }
    shell::step("making a Python torch for the tests");
    let script = places.root.join("tests/checkpoint/torch_from_wheel.py");
    if let Err(error) = shell::output(python().arg(script).arg(wheel).arg(&made)) {
        shell::step(&format!(
            "there is none, and tests that need one are skipped: {error:#}"
        ));
        return Ok(());
    }
    share(&libtorch.join("lib"), &made.join("torch/lib"))
}

/// Replaces files of `theirs` by hard links to those of `ours` that have the same name and content.
fn share(ours: &Path, theirs: &Path) -> Result<()> {
    let failed = || format!("cannot link {} into {}", ours.display(), theirs.display());
    for entry in fs::read_dir(ours).with_context(failed)? {
        let source = entry.with_context(failed)?.path();
        let target = theirs.join(source.file_name().unwrap_or_default());
        let is_file = |path: &Path| fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file());
        if !is_file(&source) || !is_file(&target) || !same(&source, &target).with_context(failed)? {
            continue;
        }
        let fresh = target.with_extension("fresh");
        // Another file system has no links to ours; then both copies stay.
        if fs::hard_link(&source, &fresh).is_ok() {
            fs::rename(&fresh, &target).with_context(failed)?;
        }
    }
    Ok(())
}

fn same(a: &Path, b: &Path) -> std::io::Result<bool> {
    Ok(fs::metadata(a)?.len() == fs::metadata(b)?.len() && fs::read(a)? == fs::read(b)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn equal_files_are_shared_and_others_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
        for (folder, files) in [
            (
                &ours,
                [("same", "abc"), ("other", "abc"), ("only ours", "x")],
            ),
            (
                &theirs,
                [("same", "abc"), ("other", "abd"), ("only theirs", "y")],
            ),
        ] {
            fs::create_dir(folder).unwrap();
            for (name, text) in files {
                fs::write(folder.join(name), text).unwrap();
            }
        }
        share(&ours, &theirs).unwrap();
        let inode = |folder: &Path, name: &str| fs::metadata(folder.join(name)).unwrap().ino();
        assert_eq!(inode(&ours, "same"), inode(&theirs, "same"));
        assert_ne!(inode(&ours, "other"), inode(&theirs, "other"));
        assert_eq!(fs::read_dir(&theirs).unwrap().count(), 3);
    }
}
