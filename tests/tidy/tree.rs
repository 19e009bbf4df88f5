//! The files of the tree, named from its root.

use std::fs;
use std::path::{Path, PathBuf};

pub const ALL: [&str; 13] = [
    "src",
    "sandbox",
    "checkpoint",
    "pickle",
    "problems",
    "extract",
    "inference",
    "shim",
    "xtask",
    "tests",
    "benches",
    "examples",
    "build.rs",
];

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Reads a file named from the root.
pub fn read(path: &Path) -> String {
    fs::read_to_string(root().join(path))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn rust_files(below: &[&str]) -> Vec<PathBuf> {
    let files: Vec<PathBuf> = below
        .iter()
        .flat_map(|folder| files(Path::new(folder)))
        .filter(|path| extension(path) == "rs")
        .collect();
    assert!(!files.is_empty(), "no Rust files below {below:?}");
    files
}

/// What people write by hand; data may hold any text.
pub fn text_files() -> Vec<PathBuf> {
    let here = fs::read_dir(root())
        .unwrap()
        .map(|entry| PathBuf::from(entry.unwrap().file_name()));
    let hand_written = ["rs", "toml", "md", "yaml", "py", "cpp", "j2", "sh"];
    here.filter(|path| {
        !["target", "outputs", ".git", ".gauntlet"]
            .iter()
            .any(|skip| path.ends_with(skip))
    })
    .flat_map(|path| files(&path))
    .filter(|path| hand_written.contains(&extension(path)) || path.ends_with(".ci/run"))
    .collect()
}

/// All files at or below a path named from the root, in order, as paths from the root; links are not followed.
fn files(path: &Path) -> Vec<PathBuf> {
    let Ok(meta) = fs::symlink_metadata(root().join(path)) else {
        return Vec::new();
    };
    if meta.is_file() {
        return vec![path.to_owned()];
    }
    if !meta.is_dir() || path.ends_with("target") {
        return Vec::new();
    }
    let mut names: Vec<_> = fs::read_dir(root().join(path))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    names
        .iter()
        .flat_map(|name| files(&path.join(name)))
        .collect()
}

fn extension(path: &Path) -> &str {
    path.extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or_default()
}

/// `loss` of src/loss.rs, `model` of src/model/x.rs, `lib` of src/lib.rs.
pub fn top_module(path: &Path) -> String {
    let name = path
        .components()
        .nth(1)
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .unwrap_or_default();
    name.trim_end_matches(".rs").to_owned()
}

/// How many `super` lead from a file's module to the crate's root.
pub fn depth(path: &Path) -> usize {
    path.components().count() - 1 - usize::from(path.ends_with("mod.rs"))
}
