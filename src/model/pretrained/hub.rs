//! Models by their id on the Hugging Face hub, through its cache.
//!
//! What the cache holds is used without asking the network. `HF_HOME` moves the cache, `HF_ENDPOINT` the hub, `HF_TOKEN`
//! opens private models, and `HF_HUB_OFFLINE=1` forbids the network.

use std::path::PathBuf;

use hf_hub::api::sync::ApiBuilder;
use hf_hub::{Cache, Repo, RepoType};

use super::error::LoadError;
use super::weights::shard_names;

/// Files beside the weights; those marked are needed.
const FILES: [(&str, bool); 5] = [
    ("config.json", true),
    ("tokenizer.json", true),
    ("tokenizer_config.json", false),
    ("generation_config.json", false),
    ("chat_template.jinja", false),
];

/// A model on the hub: `OWNER/NAME`, or `OWNER/NAME@REVISION`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubId {
    /// Owner and name.
    pub id: String,
    /// Branch, tag or commit.
    pub revision: String,
}

impl HubId {
    /// Reads an id; none if the text is no such thing.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, revision) = text.split_once('@').unwrap_or((text, "main"));
        let (owner, name) = id.split_once('/')?;
        let fits = |part: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            !part.is_empty() && part.chars().all(plain) && !part.starts_with('.')
        };
        (fits(owner) && fits(name) && !revision.is_empty()).then(|| Self {
            id: id.to_owned(),
            revision: revision.to_owned(),
        })
    }

    /// The folder that holds the model's files, each from the cache if it is there, else fetched.
    pub fn folder(&self) -> Result<PathBuf, LoadError> {
        let mut folder = None;
        for (file, needed) in FILES {
            match self.file(file) {
                Ok(path) => folder = folder.or(path.parent().map(PathBuf::from)),
                Err(error) if needed => return Err(error),
                Err(_) => {}
            }
        }
        let index = "model.safetensors.index.json";
        match self.file("model.safetensors") {
            Ok(_) => {}
            Err(single) => {
                let Ok(path) = self.file(index) else {
                    return Err(single);
                };
                let text = std::fs::read_to_string(&path).map_err(|source| LoadError::Read {
                    path: path.clone(),
                    source,
                })?;
                for shard in shard_names(Some(&text), &path)? {
                    self.file(&shard)?;
                }
            }
        }
        Ok(folder.expect("config.json was found"))
    }

    fn file(&self, file: &str) -> Result<PathBuf, LoadError> {
        let cache = Cache::from_env();
        let repo = || Repo::with_revision(self.id.clone(), RepoType::Model, self.revision.clone());
        if let Some(path) = cache.repo(repo()).get(file) {
            return Ok(path);
        }
        let failed = |message: String| LoadError::Hub {
            id: self.id.clone(),
            revision: self.revision.clone(),
            file: file.to_owned(),
            cache: cache.path().clone(),
            message,
        };
        if std::env::var_os("HF_HUB_OFFLINE").is_some_and(|v| v != "0" && !v.is_empty()) {
            return Err(failed("HF_HUB_OFFLINE forbids the network".into()));
        }
        let mut builder = ApiBuilder::from_env().with_progress(false);
        if let Ok(token) = std::env::var("HF_TOKEN") {
            builder = builder.with_token(Some(token));
        }
        let api = builder.build().map_err(|e| failed(e.to_string()))?;
        api.repo(repo())
            .get(file)
            .map_err(|error| failed(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_told_from_paths() {
        let id = HubId::parse("Qwen/Qwen2.5-Coder-0.5B-Instruct@v1.0").unwrap();
        assert_eq!(
            (&*id.id, &*id.revision),
            ("Qwen/Qwen2.5-Coder-0.5B-Instruct", "v1.0")
        );
        assert_eq!(HubId::parse("a/b").unwrap().revision, "main");
        for text in [
            "",
            "gpt2",
            "./models/x",
            "/models",
            "a/b/c",
            "../x",
            "a/",
            "a b/c",
        ] {
            assert_eq!(HubId::parse(text), None, "{text}");
        }
    }
}
