//! Where words go, and what becomes of those that nobody takes.
//!
//! `println!` and `eprintln!` panic where the reader of a pipe is gone, a disk is full or a terminal was closed. What a
//! program has to say on standard error is never worth its work, so that it is lost then. What was asked for on standard
//! output is an error when it cannot be written, but for a reader who has read enough.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::sync::{Mutex, PoisonError};

use indicatif::ProgressBar;

use super::Exit;

/// The bar on the terminal, which has to make room for lines.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Shows a bar; lines of [`say`] appear above it. Without one, the bar before is gone.
pub(super) fn set_bar(bar: Option<ProgressBar>) {
    let before = std::mem::replace(
        &mut *BAR.lock().unwrap_or_else(PoisonError::into_inner),
        bar,
    );
    if let Some(before) = before {
        before.finish_and_clear();
    }
}

/// Tells a person something, on standard error. What cannot be written is lost.
pub fn say(message: impl Display) {
    // In one piece, so that lines of several threads and processes do not mix.
    let line = format!("{message}\n");
    let write = || {
        let _ = io::stderr().write_all(line.as_bytes());
    };
    match &*BAR.lock().unwrap_or_else(PoisonError::into_inner) {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Prints what was asked for on standard output. A reader who is gone has read enough, as in `checkpoints list | head`.
pub fn print(text: &str) -> anyhow::Result<Exit> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Exit::Done),
        Err(error) => Err(anyhow::anyhow!("cannot write to standard output: {error}")),
        Ok(()) => Ok(Exit::Done),
    }
}
