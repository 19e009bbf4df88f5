//! How long threads that wait for one another spin.

use std::ffi::OsStr;

/// Turns that a thread of GNU OpenMP spins before it sleeps: its own count for a machine with more threads than
/// processors. Its count for an idle one is 300 times as many, and beside busy processes that takes most of the processor
/// time from the thread that the others wait for.
const SPINS: &str = "1000";

/// Has this process begin again with [`SPINS`], unless the environment says how threads wait. The runtime reads it when the
/// program is loaded, before any of its code runs. Where the system cannot do that, the program goes on as it is.
pub(super) fn bound_spinning() {
    let chosen = ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"];
    if cfg!(not(target_os = "linux")) || chosen.iter().any(|name| std::env::var_os(name).is_some())
    {
        return;
    }
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::process::CommandExt;
        let mut arguments = std::env::args_os();
        let name = arguments.next();
        // It comes back only where it fails.
        let _ = std::process::Command::new("/proc/self/exe")
            .arg0(name.as_deref().unwrap_or(OsStr::new("gauntlet")))
            .args(arguments)
            .env("GOMP_SPINCOUNT", SPINS)
            .exec();
    }
}
