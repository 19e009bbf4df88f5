//! Object stores (S3, Google Cloud Storage, Azure, a directory, memory) as a [`Storage`].
//!
//! A path is a URL: `s3://bucket/prefix/tiny/20251122_095803/checkpoints/best`. An object store has no directories to
//! rename, so that the manifest, which is written last, is what commits a checkpoint, and what is removed first.
//! Instead of links there are objects `best.json` and `latest.json`. Every request that may pass on a second try is
//! tried again, with growing pauses.

mod client;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

use super::link::{Pointer, pointer};
use super::storage::{EntryKind, Lock, Storage, StorageFile};
use client::{io_error, scheme_and_bucket, wait};
use writer::ObjectFile;

/// Bytes that one request of a download asks for.
const PIECE: u64 = 8 << 20;

/// One bucket, and everything in it.
pub struct ObjectStorage {
    objects: Arc<dyn ObjectStore>,
    /// The scheme and the bucket, as in `s3://bucket`, that every path begins with.
    root: String,
}

/// Whether a path is a URL of an object store.
pub(super) fn is_url(path: &Path) -> bool {
    path.to_str().is_some_and(|text| text.contains("://"))
}

impl ObjectStorage {
    /// The store that a URL leads to: `s3://`, `gs://`, `az://`, `file://` or `memory://`. Credentials, region and
    /// endpoint come from the usual variables of the environment (`AWS_*`, `GOOGLE_*`, `AZURE_*`).
    ///
    /// # Errors
    ///
    /// A scheme that is none of these, or settings that do not fit together. No request is made yet.
    pub fn at(url: &Path) -> io::Result<Self> {
        let (scheme, root) = scheme_and_bucket(url)?;
        Ok(Self {
            objects: client::connect(scheme, &root)?,
            root,
        })
    }

    /// A store of the caller's; its paths begin with `root`, as in `s3://bucket`.
    pub fn over(objects: Arc<dyn ObjectStore>, root: &str) -> Self {
        Self {
            objects,
            root: root.to_owned(),
        }
    }

    /// The part of a URL that stands for its bucket, as in `s3://bucket`.
    pub(super) fn root_of(url: &Path) -> io::Result<String> {
        Ok(scheme_and_bucket(url)?.1)
    }

    fn key(&self, path: &Path) -> io::Result<Key> {
        let below = path
            .to_str()
            .and_then(|text| text.strip_prefix(&self.root))
            .ok_or_else(|| {
                let text = format!("{} is not in {}", path.display(), self.root);
                io::Error::new(io::ErrorKind::InvalidInput, text)
            })?;
        Key::parse(below.trim_matches('/'))
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))
    }

    fn link_key(&self, link: &Path) -> io::Result<Key> {
        self.key(&pointer(link))
    }

    /// Runs a request on the thread for them.
    fn request<T: Send + 'static, F>(
        &self,
        make: impl FnOnce(Arc<dyn ObjectStore>) -> F,
    ) -> io::Result<T>
    where
        F: Future<Output = object_store::Result<T>> + Send + 'static,
    {
        wait(make(Arc::clone(&self.objects)))?.map_err(io_error)
    }

    fn get(&self, key: Key, limit: u64) -> io::Result<Vec<u8>> {
        self.request(|objects| async move {
            let found = objects.get(&key).await?;
            if found.meta.size > limit {
                return Ok(None);
            }
            Ok(Some(found.bytes().await?.to_vec()))
        })?
        .ok_or_else(|| io::ErrorKind::FileTooLarge.into())
    }

    fn delete(&self, key: Key) -> io::Result<()> {
        self.request(|objects| async move { objects.delete(&key).await })
    }
}

impl Storage for ObjectStorage {
    fn renames(&self) -> bool {
        false
    }

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        match self.read_link(path) {
            Ok(target) => Ok(path.with_file_name(target)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(path.to_owned()),
            Err(error) => Err(error),
        }
    }

    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn create_file(&self, file: &Path) -> io::Result<Box<dyn StorageFile>> {
        let key = self.key(file)?;
        Ok(Box::new(ObjectFile::new(Arc::clone(&self.objects), key)))
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn rename_dir(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn replace_link(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn symlink(&self, target: &Path, link: &Path) -> io::Result<()> {
        let key = self.link_key(link)?;
        let link = Pointer::to(self, target, link);
        let text = serde_json::to_vec(&link)?;
        self.request(|objects| async move { objects.put(&key, PutPayload::from(text)).await })?;
        Ok(())
    }

    fn read_link(&self, link: &Path) -> io::Result<PathBuf> {
        let bytes = self.get(self.link_key(link)?, 1 << 16)?;
        let link: Pointer = serde_json::from_slice(&bytes)?;
        Ok(link.name.into())
    }

    fn kind(&self, path: &Path) -> io::Result<EntryKind> {
        // What is below comes first: some servers take the way to an object for an object.
        match self.list(path)?.is_empty() {
            false => Ok(EntryKind::Dir),
            true => self.size(path).map(|_| EntryKind::File),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<(String, EntryKind)>> {
        let key = self.key(dir)?;
        let found =
            self.request(|objects| async move { objects.list_with_delimiter(Some(&key)).await })?;
        let name = |key: &Key| key.filename().map(str::to_owned);
        let dirs = found.common_prefixes.iter().filter_map(name);
        let files = found.objects.iter().filter_map(|meta| name(&meta.location));
        let mut entries: Vec<_> = dirs
            .map(|name| (name, EntryKind::Dir))
            .chain(files.map(|name| (name, EntryKind::File)))
            .collect();
        entries.sort();
        Ok(entries)
    }

    fn read(&self, file: &Path, limit: u64) -> io::Result<Vec<u8>> {
        self.get(self.key(file)?, limit)
    }

    fn copy_out(&self, file: &Path, out: &mut dyn io::Write) -> io::Result<()> {
        let key = self.key(file)?;
        let size = self.size(file)?;
        // In pieces, so that one which breaks off is all that is asked for again.
        for start in (0..size).step_by(PIECE as usize) {
            let (key, range) = (key.clone(), start..size.min(start + PIECE));
            let bytes =
                self.request(|objects| async move { objects.get_range(&key, range).await })?;
            out.write_all(&bytes)?;
        }
        Ok(())
    }

    fn size(&self, file: &Path) -> io::Result<u64> {
        let key = self.key(file)?;
        Ok(self
            .request(|objects| async move { objects.head(&key).await })?
            .size)
    }

    fn remove_file(&self, file: &Path) -> io::Result<()> {
        self.delete(self.key(file)?)
    }

    fn remove_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn free_space(&self, _: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    fn lock(&self, _: &Path, _: &str) -> io::Result<Result<Lock, String>> {
        Ok(Ok(Lock::none()))
    }
}
