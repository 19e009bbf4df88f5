//! Archives from the Python package index, fetched by pip and pinned by hash.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::places::{self, Places, python};
use crate::shell;

/// One archive of one release, exactly.
pub struct Wheel {
    /// What pip is asked for.
    pub requirement: &'static str,
    /// The archive's name.
    pub file: &'static str,
    /// The archive's hash, in lower-case hex.
    pub sha256: &'static str,
    /// The archive's size.
    pub bytes: u64,
    /// What pip needs to choose this archive whichever Python and machine it runs on.
    pub selectors: &'static [&'static str],
}

/// A verified archive on disk.
pub struct Fetched {
    /// Where it lies.
    pub path: PathBuf,
    /// How many bytes came over the network: none if it was there.
    pub downloaded: u64,
}

impl Wheel {
    /// The archive from the downloads folder if it is there and whole, else from the index.
    pub fn fetch(&self, places: &Places) -> Result<Fetched> {
        let path = places.downloads().join(self.file);
        if path.exists() {
            if sha256(&path)? == self.sha256 {
                shell::step(&format!("using {}", path.display()));
                return Ok(Fetched {
                    path,
                    downloaded: 0,
                });
            }
            shell::step(&format!(
                "{} is damaged or cut short, so it is fetched again",
                path.display()
            ));
            places::remove(&path)?;
        }
        fs::create_dir_all(places.downloads())
            .with_context(|| format!("cannot make {}", places.downloads().display()))?;
        shell::step(&format!(
            "downloading {} ({})",
            self.file,
            megabytes(self.bytes)
        ));
        let mut pip = python();
        pip.args([
            "-m",
            "pip",
            "--disable-pip-version-check",
            "download",
            "--no-deps",
            "--no-cache-dir",
        ]);
        pip.args([
            "--only-binary=:all:",
            "--progress-bar",
            if io::IsTerminal::is_terminal(&io::stderr()) {
                "on"
            } else {
                "off"
            },
        ]);
        pip.args(self.selectors)
            .arg("--dest")
            .arg(places.downloads())
            .arg(self.requirement);
        shell::run(pip.stdout(io::stderr())).with_context(|| self.by_hand(&path))?;
        if !path.exists() {
            bail!(
                "pip brought another file than {}; {}",
                self.file,
                self.by_hand(&path)
            );
        }
        let found = sha256(&path)?;
        if found != self.sha256 {
            places::remove(&path)?;
            bail!(
                "{} has the hash {found}, not {}: it was removed; {}",
                self.file,
                self.sha256,
                self.by_hand(&path)
            );
        }
        Ok(Fetched {
            path,
            downloaded: self.bytes,
        })
    }

    fn by_hand(&self, path: &Path) -> String {
        format!(
            "set-up needs {} (of {}, {}, sha256 {}); without a network, put that file at {} and run this again",
            self.file,
            self.requirement,
            megabytes(self.bytes),
            self.sha256,
            path.display()
        )
    }
}

/// Unpacks members of an archive into `folder`; a member that ends in `/` stands for all below it.
pub fn unpack(archive: &Path, folder: &Path, members: &[&str]) -> Result<()> {
    let mut unpack = python();
    unpack
        .args(["-c", include_str!("unpack.py")])
        .arg(archive)
        .arg(folder)
        .args(members);
    shell::output(&mut unpack)
        .map(drop)
        .with_context(|| format!("cannot unpack {}", archive.display()))
}

/// An error unless the file system of `folder` has `bytes` to spare for `what`.
pub fn check_space(folder: &Path, bytes: u64, what: &str) -> Result<()> {
    let existing = folder
        .ancestors()
        .find(|path| path.exists())
        .context("the root folder exists")?;
    let script = "import shutil, sys; print(shutil.disk_usage(sys.argv[1]).free)";
    let free: u64 = shell::output(python().args(["-c", script]).arg(existing))?
        .parse()
        .context("python3 did not print the free disk space")?;
    if free < bytes {
        bail!(
            "{what} needs {} below {}, which has {} left: free some, or set GAUNTLET_CACHE to a folder elsewhere",
            megabytes(bytes),
            folder.display(),
            megabytes(free)
        );
    }
    Ok(())
}

/// A size as people read it.
pub fn megabytes(bytes: u64) -> String {
    match bytes {
        0..100_000 => format!("{:.1} KB", bytes as f64 / 1e3),
        100_000..10_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.0} MB", bytes as f64 / 1e6),
    }
}

fn sha256(path: &Path) -> Result<String> {
    let read = || -> io::Result<String> {
        let mut file = fs::File::open(path)?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                n => hasher.update(&buffer[..n]),
            }
        }
        Ok(hasher
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect())
    };
    read().with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A wheel that no index has: whatever reaches pip fails.
    const TINY: Wheel = Wheel {
        requirement: "gauntlet-no-such-package==0.0.0",
        file: "tiny.whl",
        sha256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", // of "abc"
        bytes: 3,
        selectors: &["--no-index"],
    };

    fn places(dir: &tempfile::TempDir) -> Places {
        Places {
            root: dir.path().join("clone"),
            cache: dir.path().join("cache"),
        }
    }

    #[test]
    fn an_archive_put_there_by_hand_is_used_without_a_network() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(&dir);
        fs::create_dir_all(places.downloads()).unwrap();
        fs::write(places.downloads().join("tiny.whl"), "abc").unwrap();
        let fetched = TINY.fetch(&places).unwrap();
        assert_eq!(fetched.downloaded, 0);
        assert_eq!(fetched.path, places.downloads().join("tiny.whl"));
    }

    #[test]
    fn a_damaged_archive_is_not_used_and_the_error_says_what_to_put_where() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(&dir);
        fs::create_dir_all(places.downloads()).unwrap();
        let path = places.downloads().join("tiny.whl");
        fs::write(&path, "ab").unwrap();
        let err = format!(
            "{:#}",
            TINY.fetch(&places).err().expect("the index has none")
        );
        assert!(!path.exists());
        for part in [
            "tiny.whl",
            TINY.requirement,
            TINY.sha256,
            &path.display().to_string(),
        ] {
            assert!(err.contains(part), "no {part:?} in {err}");
        }
    }

    #[test]
    fn unpacking_takes_what_is_named_and_refuses_what_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let wheel = dir.path().join("x.whl");
        let script = "import sys, zipfile\nz = zipfile.ZipFile(sys.argv[1], 'w')\n\
                      for n in ('a/one', 'a/two', 'b/three'): z.writestr(n, n)\n";
        shell::output(python().args(["-c", script]).arg(&wheel)).unwrap();
        let out = dir.path().join("out");
        unpack(&wheel, &out, &["a/"]).unwrap();
        assert_eq!(fs::read_to_string(out.join("a/two")).unwrap(), "a/two");
        assert!(!out.join("b").exists());
        let err = format!("{:#}", unpack(&wheel, &out, &["c/"]).unwrap_err());
        assert!(err.contains("holds no c/"), "{err}");
    }

    #[test]
    fn too_little_space_is_said_before_anything_is_done() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("not/yet/there");
        check_space(&missing, 1, "a byte").unwrap();
        let err = check_space(&missing, u64::MAX, "everything")
            .unwrap_err()
            .to_string();
        assert!(
            err.contains("everything needs") && err.contains("GAUNTLET_CACHE"),
            "{err}"
        );
    }

    #[test]
    fn sizes_read_well() {
        assert_eq!(
            [megabytes(3), megabytes(1_500_000), megabytes(526_574_961)],
            ["0.0 KB", "1.5 MB", "527 MB"]
        );
    }
}
