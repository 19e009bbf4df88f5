//! `~` in front of a path: the home folder. Only a shell turns it into one, and not in `--flag=~/x` or in a file.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

/// A `~` that cannot be turned into a folder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HomeError {
    /// Nobody says where the home folder is.
    #[error("{}: ~ is the home folder, and HOME is not set: set it, or write the folder out", .0.display())]
    NoHome(PathBuf),
    /// It names the home folder of somebody else.
    #[error("{}: only ~ itself is turned into a folder: write the folder out, or ./{} for one of that name here", .0.display(), .0.display())]
    OfAnother(PathBuf),
}

/// A path with the home folder in the place of a `~` in front.
///
/// # Errors
///
/// `~name`, and `~` where there is no home folder.
pub fn expand_home(path: &Path) -> Result<PathBuf, HomeError> {
    let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
    expand(path, home)
}

fn expand(path: &Path, home: Option<PathBuf>) -> Result<PathBuf, HomeError> {
    let mut parts = path.components();
    match parts.next() {
        Some(Component::Normal(first)) if first == OsStr::new("~") => {
            let home = home.ok_or_else(|| HomeError::NoHome(path.to_owned()))?;
            Ok(home.join(parts.as_path()))
        }
        Some(Component::Normal(first)) if first.as_encoded_bytes().starts_with(b"~") => {
            Err(HomeError::OfAnother(path.to_owned()))
        }
        _ => Ok(path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tilde_in_front_is_the_home_folder_and_nothing_else_is() {
        for (path, expected) in [
            ("~", Some("/h")),
            ("~/runs", Some("/h/runs")),
            ("~//runs/", Some("/h/runs")),
            ("./~/runs", Some("./~/runs")),
            ("runs/~", Some("runs/~")),
            ("runs~", Some("runs~")),
            ("/~", Some("/~")),
            ("s3://bucket/~", Some("s3://bucket/~")),
            ("", Some("")),
            ("~bob/runs", None),
            ("~x.yaml", None),
        ] {
            let found = expand(Path::new(path), Some("/h".into())).ok();
            assert_eq!(found, expected.map(PathBuf::from), "{path:?}");
        }
        let nowhere = expand(Path::new("~/x"), None).unwrap_err().to_string();
        assert!(nowhere.contains("HOME is not set"), "{nowhere}");
        assert_eq!(expand(Path::new("x"), None).unwrap(), Path::new("x"));
    }
}
