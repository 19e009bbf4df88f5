//! Where things lie: the clone, and the cache folder outside it that all clones of a user share.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The folders that set-up reads and writes.
pub struct Places {
    /// The clone: the folder of the workspace's Cargo.toml.
    pub root: PathBuf,
    /// `$GAUNTLET_CACHE`, else `$XDG_CACHE_HOME/gauntlet`, else `~/.cache/gauntlet`.
    pub cache: PathBuf,
}

impl Places {
    /// Reads the environment that `cargo xtask` runs us in.
    pub fn find() -> Result<Places> {
        let xtask =
            env::var_os("CARGO_MANIFEST_DIR").context("run it as `cargo xtask`, in the clone")?;
        let root = Path::new(&xtask)
            .parent()
            .context("xtask/ lies in the clone")?
            .to_owned();
        let cache = cache_folder(|name| env::var_os(name))?;
        Ok(Places { root, cache })
    }

    /// The place in the clone where `.cargo/config.toml` tells builds to find libtorch.
    pub fn libtorch_link(&self) -> PathBuf {
        self.root.join(".gauntlet/libtorch")
    }

    /// Archives as they came; one put here by hand is used instead of a download.
    pub fn downloads(&self) -> PathBuf {
        self.cache.join("downloads")
    }

    /// A binary of the workspace's release build. Run by its path: `cargo run --package` would choose other features
    /// for shared dependencies than a build of the whole workspace does, and compile them anew.
    pub fn binary(&self, name: &str) -> Result<Command> {
        let own = env::current_exe().context("cannot find the target folder")?;
        let target = own
            .ancestors()
            .nth(2)
            .context("xtask lies in target/PROFILE/")?;
        let mut binary = Command::new(target.join("release").join(name));
        binary.current_dir(&self.root);
        Ok(binary)
    }

    /// The cargo that runs us, in the clone. It is not told what cargo told us of our own package: build scripts that
    /// look at such variables would run again, and much be compiled again, when the user calls cargo.
    pub fn cargo(&self) -> Command {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        for (name, _) in env::vars_os() {
            let of_package = |prefix| name.as_encoded_bytes().starts_with(prefix);
            if of_package(b"CARGO_PKG_") || of_package(b"CARGO_MANIFEST_") {
                cargo.env_remove(name);
            }
        }
        cargo.current_dir(&self.root);
        cargo
    }
}

fn cache_folder(var: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
    let set = |name| {
        var(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let folder = match (set("GAUNTLET_CACHE"), set("XDG_CACHE_HOME"), set("HOME")) {
        (Some(own), _, _) => own,
        (_, Some(xdg), _) => xdg.join("gauntlet"),
        (_, _, Some(home)) => home.join(".cache/gauntlet"),
        _ => bail!("no cache folder: set GAUNTLET_CACHE (HOME is not set either)"),
    };
    if folder.is_relative() {
        bail!(
            "the cache folder must be an absolute path, not {}",
            folder.display()
        );
    }
    Ok(folder)
}

/// The interpreter that torch-sys would ask, too.
pub fn python() -> Command {
    Command::new(if env::var_os("VIRTUAL_ENV").is_some() {
        "python"
    } else {
        "python3"
    })
}

/// The bytes of all files below `path`, links not followed.
pub fn size_of(path: &Path) -> u64 {
    let Ok(meta) = fs::symlink_metadata(path) else {
        return 0;
    };
    if !meta.is_dir() {
        return meta.len();
    }
    fs::read_dir(path)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| size_of(&entry.path()))
        .sum()
}

/// Removes a file or a folder; one that is not there is no error.
pub fn remove(path: &Path) -> Result<()> {
    let Ok(meta) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    let removed = if meta.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    removed.with_context(|| format!("cannot remove {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_hears_nothing_of_our_own_package() {
        let root = PathBuf::from("/clone");
        let cache = root.clone();
        let cargo = Places { root, cache }.cargo();
        let removed: Vec<_> = cargo
            .get_envs()
            .filter(|(_, value)| value.is_none())
            .map(|(name, _)| name.to_string_lossy())
            .collect();
        for name in [
            "CARGO_PKG_NAME",
            "CARGO_PKG_VERSION_MAJOR",
            "CARGO_MANIFEST_DIR",
        ] {
            assert!(removed.iter().any(|r| r == name), "{name} in {removed:?}");
        }
    }

    fn folder(set: &[(&str, &str)]) -> Result<PathBuf> {
        cache_folder(|name| {
            set.iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.into())
        })
    }

    #[test]
    fn the_nearest_setting_names_the_cache() {
        let all = [
            ("GAUNTLET_CACHE", "/a"),
            ("XDG_CACHE_HOME", "/b"),
            ("HOME", "/c"),
        ];
        assert_eq!(folder(&all).unwrap(), Path::new("/a"));
        assert_eq!(folder(&all[1..]).unwrap(), Path::new("/b/gauntlet"));
        assert_eq!(folder(&all[2..]).unwrap(), Path::new("/c/.cache/gauntlet"));
    }

    #[test]
    fn an_empty_variable_is_as_good_as_none() {
        assert_eq!(
            folder(&[("GAUNTLET_CACHE", ""), ("HOME", "/c")]).unwrap(),
            Path::new("/c/.cache/gauntlet")
        );
        assert!(folder(&[("HOME", "")]).is_err());
    }

    #[test]
    fn a_relative_cache_is_refused() {
        let err = folder(&[("GAUNTLET_CACHE", "cache")]).unwrap_err();
        assert!(err.to_string().contains("absolute"), "{err}");
    }

    #[test]
    fn sizes_add_up_and_removal_is_idempotent() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("sub")).unwrap();
        fs::write(tree.join("a"), [0; 10]).unwrap();
        fs::write(tree.join("sub/b"), [0; 5]).unwrap();
        assert_eq!(size_of(&tree), 15);
        remove(&tree).unwrap();
        remove(&tree).unwrap();
        assert_eq!(size_of(&tree), 0);
    }
}
