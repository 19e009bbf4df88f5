//! Connections to object stores, and the thread that their requests run on.

use std::error::Error as _;
use std::io;
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::{BackoffConfig, Error, ObjectStore, RetryConfig};
use tokio::runtime::{Builder, Runtime};

/// A request that the server throttles, drops or leaves unanswered is made again up to this often.
const RETRIES: usize = 6;

/// The kinds of stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    S3,
    Google,
    Azure,
    File,
    Memory,
}

const SCHEMES: [(&str, Scheme); 8] = [
    ("s3", Scheme::S3),
    ("s3a", Scheme::S3),
    ("gs", Scheme::Google),
    ("az", Scheme::Azure),
    ("azure", Scheme::Azure),
    ("abfs", Scheme::Azure),
    ("file", Scheme::File),
    ("memory", Scheme::Memory),
];

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// What kind of store a URL names, and the part of it that names the bucket.
pub(super) fn scheme_and_bucket(url: &Path) -> io::Result<(Scheme, String)> {
    let text = url.to_str().unwrap_or_default();
    let (scheme, rest) = text.split_once("://").unwrap_or_default();
    let Some((_, kind)) = SCHEMES.iter().find(|(name, _)| *name == scheme) else {
        return Err(invalid(format!(
            "{} is not in a store this program knows: expected s3://, gs://, az://, file:// or memory://",
            url.display()
        )));
    };
    let bucket = rest.split('/').next().unwrap_or_default();
    match (kind, bucket) {
        (Scheme::File | Scheme::Memory, "") => Ok((*kind, format!("{scheme}://"))),
        (Scheme::File | Scheme::Memory, _) => Err(invalid(format!(
            "{text}: expected three slashes, as in {scheme}:///folder"
        ))),
        (_, "") => Err(invalid(format!(
            "{text} names no bucket: expected {scheme}://bucket/prefix"
        ))),
        (_, bucket) if bucket.contains(['@', '?', '#']) => Err(invalid(format!(
            "{text}: credentials and options do not belong in the URL; they are read from the environment"
        ))),
        (_, bucket) => Ok((*kind, format!("{scheme}://{bucket}"))),
    }
}

pub(super) fn connect(scheme: Scheme, root: &str) -> io::Result<Arc<dyn ObjectStore>> {
    install_tls();
    let retry = RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(10),
            base: 2.0,
        },
        max_retries: RETRIES,
        retry_timeout: Duration::from_secs(120),
    };
    let store: Arc<dyn ObjectStore> = match scheme {
        Scheme::S3 => Arc::new(
            AmazonS3Builder::from_env()
                .with_url(root)
                .with_retry(retry)
                .build()
                .map_err(io_error)?,
        ),
        Scheme::Google => Arc::new(
            GoogleCloudStorageBuilder::from_env()
                .with_url(root)
                .with_retry(retry)
                .build()
                .map_err(io_error)?,
        ),
        Scheme::Azure => Arc::new(
            MicrosoftAzureBuilder::from_env()
                .with_url(root)
                .with_retry(retry)
                .build()
                .map_err(io_error)?,
        ),
        Scheme::File => Arc::new(LocalFileSystem::new()),
        Scheme::Memory => {
            // One for the process, as a bucket is one for everybody.
            static MEMORY: OnceLock<Arc<InMemory>> = OnceLock::new();
            Arc::clone(MEMORY.get_or_init(Default::default)) as _
        }
    };
    Ok(store)
}

/// The HTTP client takes whichever cryptography the process has chosen, and refuses to choose by itself.
fn install_tls() {
    // An error says that one has been chosen already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Runs a request on a thread of its own, so that it does not matter what the caller's thread is doing.
pub(super) fn wait<T: Send + 'static>(
    request: impl Future<Output = T> + Send + 'static,
) -> io::Result<T> {
    static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        let mut builder = Builder::new_multi_thread();
        builder
            .worker_threads(1)
            .thread_name("object store")
            .enable_all();
        builder.build().ok()
    });
    let runtime = runtime
        .as_ref()
        .ok_or_else(|| io::Error::other("no thread could be started for the object store"))?;
    let (sender, receiver) = sync_channel(1);
    runtime.spawn(async move {
        // A caller that is gone does not need the answer.
        let _ = sender.send(request.await);
    });
    receiver
        .recv()
        .map_err(|_| io::Error::other("a request to the object store panicked"))
}

/// The error in the terms that [`super::Storage`] speaks.
pub(super) fn io_error(error: Error) -> io::Error {
    let kind = match &error {
        Error::NotFound { .. } => io::ErrorKind::NotFound,
        Error::AlreadyExists { .. } | Error::Precondition { .. } => io::ErrorKind::AlreadyExists,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            io::ErrorKind::PermissionDenied
        }
        Error::NotSupported { .. } | Error::NotImplemented { .. } => io::ErrorKind::Unsupported,
        Error::InvalidPath { .. } | Error::UnknownConfigurationKey { .. } => {
            io::ErrorKind::InvalidInput
        }
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, with_root_cause(&error))
}

/// The client says that a request failed; why, as in "connection refused", only the innermost of its errors says.
fn with_root_cause(error: &Error) -> String {
    let text = error.to_string();
    let mut innermost = error.source();
    while let Some(deeper) = innermost.and_then(std::error::Error::source) {
        innermost = Some(deeper);
    }
    let text = match innermost.map(ToString::to_string) {
        Some(root) if !text.contains(&root) => format!("{text}: {root}"),
        _ => text,
    };
    // Where the environment names no credentials, the machine is asked whether it is one of the cloud's.
    match METADATA.iter().any(|host| text.contains(host)) {
        true => format!(
            "no credentials: set those that docs/checkpoints.md names, as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; \
             this machine has none of its own ({text})"
        ),
        false => text,
    }
}

/// Where the machines of a cloud learn their credentials.
const METADATA: [&str; 2] = ["169.254.169.254", "metadata.google.internal"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_store_and_a_bucket_or_is_refused() {
        let parsed = |text: &str| scheme_and_bucket(Path::new(text));
        assert_eq!(
            parsed("s3://bucket/a/b").unwrap(),
            (Scheme::S3, "s3://bucket".to_owned())
        );
        assert_eq!(
            parsed("file:///a/b").unwrap(),
            (Scheme::File, "file://".to_owned())
        );
        for (url, words) in [
            ("ftp://host/x", "expected s3://, gs://, az://"),
            ("s3://", "names no bucket"),
            ("s3:///x", "names no bucket"),
            ("file://x/y", "three slashes"),
            ("s3://key@bucket/x", "do not belong in the URL"),
        ] {
            let text = parsed(url).unwrap_err().to_string();
            assert!(text.contains(words), "{url}: {text}");
        }
    }
}
