//! An object being written: small ones in one request, large ones in parts.

use std::io::{self, Write};
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::buffered::BufWriter;
use object_store::path::Path as Key;
use tokio::io::AsyncWriteExt;

use super::client::wait;
use crate::storage::StorageFile;

/// Bytes that are handed to the client at once. Its parts are about as large; several are under way at a time.
const HANDED: usize = 4 << 20;

/// Nobody sees the object before [`StorageFile::sync`] has returned.
pub(super) struct ObjectFile {
    /// Absent while a request has it, after the object is complete, and after an error.
    out: Option<BufWriter>,
    buffer: Vec<u8>,
}

impl ObjectFile {
    pub(super) fn new(objects: Arc<dyn ObjectStore>, key: Key) -> Self {
        Self {
            out: Some(BufWriter::new(objects, key)),
            buffer: Vec::new(),
        }
    }

    fn hand_over(&mut self, last: bool) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.buffer);
        let Some(mut out) = self.out.take() else {
            return Err(io::Error::other("the object is complete, or was given up"));
        };
        let (out, result) = wait(async move {
            let result = match out.write_all(&bytes).await {
                Ok(()) if last => out.shutdown().await,
                Ok(()) => Ok(()),
                Err(error) => {
                    // Parts that were uploaded cost space until somebody clears them away.
                    let _ = out.abort().await;
                    Err(error)
                }
            };
            (out, result)
        })?;
        if result.is_ok() && !last {
            self.out = Some(out);
        }
        result
    }
}

impl Write for ObjectFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(HANDED);
        self.buffer.extend_from_slice(&bytes[..taken]);
        if self.buffer.len() >= HANDED {
            self.hand_over(false)?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl StorageFile for ObjectFile {
    fn sync(&mut self) -> io::Result<()> {
        self.hand_over(true)
    }
}

impl Drop for ObjectFile {
    fn drop(&mut self) {
        // Given up before it was complete.
        if let Some(mut out) = self.out.take() {
            let _ = wait(async move { out.abort().await });
        }
    }
}
