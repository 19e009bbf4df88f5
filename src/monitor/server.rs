//! The thread that listens and answers.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::answers::Desk;
use super::guard::{Place, machine_name, without_port};
use super::status::{Shared, Watch};

/// Requests that are answered at a time; the next ones wait.
const AT_A_TIME: usize = 64;

/// What the line and the headers of a request may take, in bytes.
const LONGEST_HEAD: usize = 16 << 10;

/// Time for a client to send them.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// Time for the answers that are under way when the run has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// The address is none.
    #[error(
        "cannot serve at {address:?}: {reason}; expected HOST:PORT, as in 127.0.0.1:7878, or a port"
    )]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Another program listens there.
    #[error(
        "cannot serve at {0}: the address is in use, perhaps by another run; name another, or port 0 for any that is free"
    )]
    InUse(String),
    /// The operating system refuses.
    #[error("cannot serve at {address}: {source}")]
    Listen {
        /// What was given.
        address: String,
        /// Why.
        source: io::Error,
    },
}

/// Answers requests about one run until it is dropped.
pub struct Server {
    shared: Shared,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens at `address`, a `HOST:PORT` or a port of the loopback interface, for the run of this name.
    /// `POST /stop` sets `interrupted`.
    pub fn start(
        address: &str,
        run: &str,
        interrupted: Arc<AtomicBool>,
    ) -> Result<Self, MonitorError> {
        let given = match address.parse::<u16>() {
            Ok(port) => format!("127.0.0.1:{port}"),
            Err(_) => address.to_owned(),
        };
        let places = given.to_socket_addrs();
        let places: Vec<SocketAddr> = places
            .map_err(|error| MonitorError::Address {
                address: address.to_owned(),
                reason: error.to_string(),
            })?
            .collect();
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => MonitorError::InUse(given.clone()),
            _ => MonitorError::Listen {
                address: given.clone(),
                source,
            },
        };
        let listener = TcpListener::bind(&places[..]).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let shared = Shared::of(run);
        let place = Place {
            ip: address.ip(),
            name: without_port(&given).to_owned(),
            machine: machine_name(),
        };
        let desk = Arc::new(Desk::new(shared.clone(), place, interrupted));
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(failed)?;
        let thread = std::thread::Builder::new()
            .name("monitor".into())
            .spawn(move || runtime.block_on(serve(listener, desk, stopped)))
            .map_err(failed)?;
        Ok(Self {
            shared,
            address,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// An observer that tells the server about the run.
    pub fn watch(&self) -> Watch {
        Watch(self.shared.clone())
    }
}

impl Drop for Server {
    /// Answers what is under way, for a moment.
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A page that panicked has hurt nobody else.
            let _ = thread.join();
        }
    }
}

async fn serve(listener: TcpListener, desk: Arc<Desk>, mut stopped: oneshot::Receiver<()>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
        return;
    };
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            Some(_) = open.join_next(), if !open.is_empty() => {}
            accepted = listener.accept(), if open.len() < AT_A_TIME => match accepted {
                Ok((stream, _)) => {
                    open.spawn(converse(stream, Arc::clone(&desk)));
                }
                // Out of file descriptors, most likely: some will be closed.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            },
        }
    }
    let rest = async { while open.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(LAST_WORDS, rest).await;
}

/// One request and its answer.
async fn converse(stream: TcpStream, desk: Arc<Desk>) {
    let service = service_fn(move |request| {
        let desk = Arc::clone(&desk);
        async move { Ok::<_, Infallible>(desk.answer(request).await) }
    });
    // What goes wrong on the line is the client's to notice.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(LONGEST_HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
