//! Data sets on the Hugging Face hub, through its cache.
//!
//! What the cache holds is used without asking the network. `HF_HOME` moves the cache, `HF_ENDPOINT` the hub, `HF_TOKEN`
//! opens private sets, and `HF_HUB_OFFLINE=1` forbids the network.

use std::path::{Path, PathBuf};

use hf_hub::api::sync::{Api, ApiBuilder};
use hf_hub::{Cache, Repo, RepoType};

use super::file::may_hold_problems;
use super::{ReadError, files_of};

/// A data set on the hub, or one file of it: `hub:OWNER/NAME[@REVISION][:FILE]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubFile {
    /// Owner and name.
    pub id: String,
    /// Branch, tag or commit.
    pub revision: String,
    /// The file, or all that may hold problems.
    pub file: Option<String>,
}

impl HubFile {
    /// Reads `hub:OWNER/NAME[@REVISION][:FILE]`; none where the text does not begin with `hub:`.
    pub fn parse(text: &str) -> Option<Result<HubFile, ReadError>> {
        let rest = text.strip_prefix("hub:")?;
        let (repo, file) = rest
            .split_once(':')
            .map_or((rest, None), |(r, f)| (r, Some(f)));
        let (id, revision) = repo.split_once('@').unwrap_or((repo, "main"));
        let hub = HubFile {
            id: id.to_owned(),
            revision: revision.to_owned(),
            file: file.map(str::to_owned),
        };
        let fits = |part: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            !part.is_empty() && part.chars().all(plain) && !part.starts_with('.')
        };
        let named = id
            .split_once('/')
            .is_some_and(|(owner, name)| fits(owner) && fits(name));
        let inside = |file: &String| !file.is_empty() && file.split('/').all(|part| part != "..");
        Some(
            if named && !revision.is_empty() && hub.file.as_ref().is_none_or(inside) {
                Ok(hub)
            } else {
                Err(hub.failed(format!("{text:?} is not hub:OWNER/NAME[@REVISION][:FILE]")))
            },
        )
    }

    fn failed(&self, message: String) -> ReadError {
        ReadError::Hub {
            id: self.id.clone(),
            revision: self.revision.clone(),
            file: self.file.clone(),
            cache: Cache::from_env().path().clone(),
            message,
        }
    }

    fn repo(&self) -> Repo {
        Repo::with_revision(self.id.clone(), RepoType::Dataset, self.revision.clone())
    }

    /// The files, from the cache where they are there, else fetched.
    pub(super) fn fetch(&self) -> Result<Vec<PathBuf>, ReadError> {
        let cache = Cache::from_env();
        let names = match &self.file {
            Some(file) => vec![file.clone()],
            None => match self.api() {
                Err(_) => return self.cached(&cache),
                Ok(api) => {
                    let info = api.repo(self.repo()).info();
                    let siblings = match info {
                        Ok(info) => info.siblings,
                        Err(error) => {
                            return self
                                .cached(&cache)
                                .map_err(|_| self.failed(error.to_string()));
                        }
                    };
                    let names = siblings.into_iter().map(|sibling| sibling.rfilename);
                    names
                        .filter(|name| may_hold_problems(Path::new(name)))
                        .collect()
                }
            },
        };
        if names.is_empty() {
            return Err(self.failed("holds no .jsonl, .json or .parquet file".into()));
        }
        let fetch = |name: &String| match cache.repo(self.repo()).get(name) {
            Some(path) => Ok(path),
            None => {
                let got = self.api()?.repo(self.repo()).get(name);
                got.map_err(|error| self.failed(error.to_string()))
            }
        };
        names.iter().map(fetch).collect()
    }

    /// What the cache holds of the data set.
    fn cached(&self, cache: &Cache) -> Result<Vec<PathBuf>, ReadError> {
        let folder = cache.path().join(self.repo().folder_name());
        let commit = std::fs::read_to_string(folder.join("refs").join(&self.revision))
            .unwrap_or_else(|_| self.revision.clone());
        files_of(&folder.join("snapshots").join(commit.trim())).map_err(|_| {
            self.failed(
                "the network is forbidden or out of reach, and the cache has no file".into(),
            )
        })
    }

    fn api(&self) -> Result<Api, ReadError> {
        if std::env::var_os("HF_HUB_OFFLINE").is_some_and(|v| v != "0" && !v.is_empty()) {
            return Err(self.failed("HF_HUB_OFFLINE forbids the network".into()));
        }
        let mut builder = ApiBuilder::from_env().with_progress(false);
        if let Ok(token) = std::env::var("HF_TOKEN") {
            builder = builder.with_token(Some(token));
        }
        builder
            .build()
            .map_err(|error| self.failed(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_are_told_from_paths_and_checked() {
        let hub = |text| HubFile::parse(text).unwrap().unwrap();
        let full = hub("hub:open/set@v1:data/test.parquet");
        assert_eq!(
            (&*full.id, &*full.revision, full.file.as_deref()),
            ("open/set", "v1", Some("data/test.parquet"))
        );
        assert_eq!(
            (&*hub("hub:a/b").revision, hub("hub:a/b").file),
            ("main", None)
        );
        assert!(HubFile::parse("problems/strings.jsonl").is_none());
        for text in [
            "hub:",
            "hub:a",
            "hub:a/b/c",
            "hub:../b",
            "hub:a/b@",
            "hub:a/b:../c",
            "hub:a/b:",
        ] {
            let error = HubFile::parse(text).unwrap().unwrap_err().to_string();
            assert!(error.contains("is not hub:OWNER/NAME"), "{error}");
        }
    }
}
