//! A run seen over HTTP while it trains: a page, its figures, its checkpoints, and two things that can be asked of it.
//!
//! - [`Server`]: answers on a thread of its own. It reads what training leaves on disk and a [`Status`], and asks for
//!   things in the ways that are there without it: a request in the run's directory, the flag that signals set.
//! - [`Watch`]: the observer that keeps the [`Status`]. Training waits for it no longer than it takes to copy a line.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | a page that a person reads; `GET /progress.svg` is its chart |
//! | `GET /status` | where the run stands, as JSON |
//! | `GET /metrics` | the newest figures, for Prometheus |
//! | `GET /checkpoints` | the checkpoints, as `checkpoints list --json` has them |
//! | `POST /checkpoints/NAME` | 202: it is saved after the present step; with `?wait=SECONDS` 201 once it is durable |
//! | `POST /stop` | 202: the run saves itself and ends after the present step |
//!
//! Left out: any way to change what is trained, users and passwords, TLS. The server listens on the loopback interface
//! unless told otherwise, and refuses what another site had a browser send (`guard`).

mod answers;
mod guard;
mod page;
mod prometheus;
mod server;
mod status;

pub use server::{MonitorError, Server};
pub use status::{Status, Watch};

/// Where the page is when nobody says otherwise.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:7878";
