//! All of set-up: what `train` and the tests need that cargo does not bring.

use std::fs;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::fetch::megabytes;
use crate::libtorch;
use crate::places::{Places, python, size_of};
use crate::sandbox_runtime;
use crate::shell;

/// Provides what is missing, and says what that took; a second run finds all there and takes a moment.
pub fn run(places: &Places, keep_downloads: bool) -> Result<()> {
    let start = Instant::now();
    fs::create_dir_all(&places.cache)
        .with_context(|| format!("cannot make {}", places.cache.display()))?;
    // One set-up at a time: clones share the cache. The lock ends with the process.
    let lock = fs::File::create(places.cache.join("setup.lock"))
        .context("cannot lock the cache folder")?;
    if lock.try_lock().is_err() {
        shell::step("waiting for another set-up to end");
        lock.lock().context("cannot lock the cache folder")?;
    }
    // The one waits for the network, the other for the processor.
    let (libtorch, runtime) = std::thread::scope(|scope| {
        let libtorch = scope.spawn(|| libtorch::provide(places, keep_downloads));
        let runtime = sandbox_runtime::provide(places);
        let libtorch = libtorch.join();
        (
            libtorch.unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            runtime,
        )
    });
    let (libtorch, runtime) = (libtorch?, runtime?);
    let downloaded = match libtorch.downloaded {
        0 => "nothing downloaded".to_owned(),
        bytes => format!("{} downloaded", megabytes(bytes)),
    };
    shell::step(&format!(
        "set up in {:.1} s, {downloaded}; on disk: libtorch {} at {}, sandbox runtime {} at {}",
        start.elapsed().as_secs_f64(),
        megabytes(size_of(&libtorch.path)),
        libtorch.path.display(),
        megabytes(size_of(&runtime)),
        runtime.display()
    ));
    Ok(())
}

/// Names a missing tool before minutes are spent; asked only when something is to be made.
pub fn check_tools() -> Result<()> {
    let script = "import sys, pip; sys.exit(sys.version_info < (3, 8))";
    if shell::output(python().args(["-c", script])).is_err() {
        bail!("Python 3.8 or later with pip is needed (as python3)");
    }
    for (variable, default) in [("CC", "cc"), ("CXX", "c++")] {
        let compiler = std::env::var_os(variable).unwrap_or_else(|| default.into());
        if shell::output(Command::new(&compiler).arg("--version")).is_err() {
            bail!(
                "a C and C++ compiler is needed; {} does not run (set {variable})",
                compiler.display()
            );
        }
    }
    Ok(())
}
