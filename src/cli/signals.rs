//! Signals that ask a run to stop.
//!
//! | signal | first | again |
//! |---|---|---|
//! | SIGINT, SIGTERM | stop with a checkpoint | end at once |
//! | SIGHUP | stop with a checkpoint | nothing more: a shell passes it on, so that it often comes twice |

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

use super::output::say;

/// A flag that SIGINT, SIGTERM and SIGHUP set. That it was heard is said at once, whatever the program is doing. A second
/// SIGINT or SIGTERM ends the process. A SIGHUP that whoever started us has had ignored (`nohup`) stays ignored.
pub fn interrupt_flag() -> io::Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let asked = Arc::new(AtomicBool::new(false));
    let (mut heard, tell) = UnixStream::pair()?;
    for signal in [SIGINT, SIGTERM] {
        // The order matters: the first signal finds the flag unset, so only the second one ends the process.
        flag::register_conditional_shutdown(signal, 130, Arc::clone(&asked))?;
        flag::register(signal, Arc::clone(&asked))?;
    }
    let hangup = (!is_ignored(SIGHUP)).then_some(SIGHUP);
    for signal in [SIGINT, SIGTERM].into_iter().chain(hangup) {
        flag::register(signal, Arc::clone(&interrupted))?;
        low_level::pipe::register(signal, tell.try_clone()?)?;
    }
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            // Each signal is a byte.
            while heard.read_exact(&mut [0]).is_ok() {
                say_stopping();
            }
        })?;
    Ok(interrupted)
}

/// Says once that the run stops.
pub(super) fn say_stopping() {
    static SAID: AtomicBool = AtomicBool::new(false);
    if !SAID.swap(true, Ordering::Relaxed) {
        say(
            "stopping after what is under way, with a checkpoint; a second interrupt ends at once, without one",
        );
    }
}

/// Whether a signal is ignored, as far as the system says.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
