//! A server that speaks S3 on loopback, over a folder, with faults on demand.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, HttpResponse};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

const KEY: &str = "gauntlet-key";
const SECRET: &str = "gauntlet-secret";

/// What the server does to requests. A value of n strikes every n-th; 0 strikes none.
#[derive(Default)]
pub(crate) struct Faults {
    /// Answers "slow down".
    pub(crate) throttle: AtomicUsize,
    /// Does not answer.
    pub(crate) hang: AtomicUsize,
    /// Breaks the connection in the middle of an answer or a request.
    pub(crate) cut: AtomicUsize,
    /// Breaks every connection at once.
    pub(crate) dead: AtomicBool,
    /// How many were struck.
    pub(crate) struck: AtomicUsize,
    requests: AtomicUsize,
    connections: AtomicUsize,
}

impl Faults {
    fn strikes(&self, every: &AtomicUsize, counter: &AtomicUsize) -> bool {
        let every = every.load(Ordering::Relaxed);
        let count = counter.fetch_add(1, Ordering::Relaxed) + 1;
        let strikes = every > 0 && count.is_multiple_of(every);
        if strikes {
            self.struck.fetch_add(1, Ordering::Relaxed);
        }
        strikes
    }
}

/// Runs until it is dropped.
pub(crate) struct S3Server {
    folder: TempDir,
    address: SocketAddr,
    /// The certificate that a client of an encrypted server must trust.
    certificate: Option<PathBuf>,
    pub(crate) faults: Arc<Faults>,
    runtime: Option<Runtime>,
}

impl S3Server {
    /// A server with one empty bucket, `bucket`.
    pub(crate) fn start() -> Self {
        Self::start_with(None)
    }

    /// The same over TLS, with a certificate of its own making.
    pub(crate) fn start_encrypted() -> Self {
        let names = ["127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        Self::start_with(Some((Arc::new(config).into(), made.cert.pem())))
    }

    fn start_with(encryption: Option<(TlsAcceptor, String)>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (acceptor, certificate) = encryption.unzip();
        let certificate = certificate.map(|pem| {
            let path = folder.path().join("certificate.pem");
            std::fs::write(&path, pem).unwrap();
            path
        });
        std::fs::create_dir(folder.path().join("bucket")).unwrap();
        let mut builder = S3ServiceBuilder::new(FileSystem::new(folder.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let service = builder.build();
        let faults = Arc::new(Faults::default());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let inner = listener.local_addr().unwrap();
        runtime.spawn(serve(listener, acceptor, service, Arc::clone(&faults)));
        let address = wire(inner, Arc::clone(&faults));
        Self {
            folder,
            address,
            certificate,
            faults,
            runtime: Some(runtime),
        }
    }

    /// Where the server keeps an object.
    pub(crate) fn file(&self, key: &str) -> PathBuf {
        self.folder.path().join("bucket").join(key)
    }

    /// Lets a program reach the server, with a cache folder of its own.
    pub(crate) fn open_to<'c>(&self, command: &'c mut Command, cache: &Path) -> &'c mut Command {
        match &self.certificate {
            Some(certificate) => command
                .env("AWS_ENDPOINT", format!("https://{}", self.address))
                .env("SSL_CERT_FILE", certificate),
            None => command
                .env("AWS_ENDPOINT", format!("http://{}", self.address))
                .env("AWS_ALLOW_HTTP", "true"),
        }
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .env("AWS_TIMEOUT", "1 second")
        .env("GAUNTLET_CHECKPOINT_CACHE", cache)
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn serve(
    listener: tokio::net::TcpListener,
    acceptor: Option<TlsAcceptor>,
    service: S3Service,
    faults: Arc<Faults>,
) {
    while let Ok((socket, _)) = listener.accept().await {
        let (acceptor, service, faults) = (acceptor.clone(), service.clone(), Arc::clone(&faults));
        tokio::spawn(async move {
            match acceptor {
                None => answer(socket, service, faults).await,
                // A client that does not trust the certificate hangs up.
                Some(acceptor) => {
                    if let Ok(socket) = acceptor.accept(socket).await {
                        answer(socket, service, faults).await;
                    }
                }
            }
        });
    }
}

/// Answers the requests of one connection.
async fn answer(
    socket: impl AsyncRead + AsyncWrite + Unpin,
    service: S3Service,
    faults: Arc<Faults>,
) {
    let answer = service_fn(move |request: hyper::Request<Incoming>| {
        let (service, faults) = (service.clone(), Arc::clone(&faults));
        async move {
            if faults.strikes(&faults.hang, &faults.requests) {
                tokio::time::sleep(Duration::from_secs(3600)).await;
            }
            if faults.strikes(&faults.throttle, &faults.requests) {
                return Ok::<_, Infallible>(status(503));
            }
            Ok(service
                .call(request.map(Body::from))
                .await
                .unwrap_or_else(|_| status(500)))
        }
    });
    // A connection that breaks is the client's to notice.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(socket), answer)
        .await;
}

fn status(code: u16) -> HttpResponse {
    let mut response = HttpResponse::new(Body::from(
        "<Error><Code>SlowDown</Code></Error>".to_owned(),
    ));
    *response.status_mut() = hyper::StatusCode::from_u16(code).unwrap();
    response
}

/// A wire to the server that can break.
fn wire(server: SocketAddr, faults: Arc<Faults>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let Ok(client) = client else { return };
            if faults.dead.load(Ordering::Relaxed) {
                continue;
            }
            let Ok(server) = TcpStream::connect(server) else {
                return;
            };
            let budget = match faults.strikes(&faults.cut, &faults.connections) {
                true => 5_000,
                false => usize::MAX,
            };
            for (from, to) in [(&client, &server), (&server, &client)] {
                let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                let faults = Arc::clone(&faults);
                std::thread::spawn(move || pump(from, to, budget, &faults));
            }
        }
    });
    address
}

fn pump(mut from: TcpStream, mut to: TcpStream, mut budget: usize, faults: &Faults) {
    let mut buffer = [0; 1 << 14];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let passed = read.min(budget);
        budget -= passed;
        let sent = to.write_all(&buffer[..passed]);
        if sent.is_err() || budget == 0 || faults.dead.load(Ordering::Relaxed) {
            break;
        }
    }
    // Either end may be gone already.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
