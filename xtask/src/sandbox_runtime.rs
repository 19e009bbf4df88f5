//! The sandbox's Python runtime: asks the sandbox crate whether it is there, and has it built if not.

use std::path::PathBuf;

use anyhow::Result;

use crate::fetch::check_space;
use crate::places::{self, Places};
use crate::shell;

/// Provides the runtime and gives the folder of all that was made for it.
pub fn provide(places: &Places) -> Result<PathBuf> {
    let folder = places.cache.join("runtime");
    // The sandbox as everything else uses it, without the compiler: it knows which runtime it wants.
    let mut present = places.cargo();
    present.args([
        "run",
        "--quiet",
        "--release",
        "--package",
        "gauntlet-sandbox",
        "--bin",
        "sandbox",
    ]);
    if shell::output(present.args(["--", "build-runtime"])).is_ok() {
        return Ok(folder);
    }
    check_space(&places.cache, 2_000_000_000, "building the sandbox runtime")?;
    shell::step("building the sandbox's Python runtime, once (some minutes)");
    // A target folder of its own: the compiler's features must not disturb what the workspace has built.
    let scratch = places.cache.join("build/sandbox-runtime");
    let mut build = places.cargo();
    build.args([
        "run",
        "--release",
        "--package",
        "gauntlet-sandbox",
        "--features",
        "compile",
        "--bin",
        "sandbox",
    ]);
    build
        .arg("--target-dir")
        .arg(&scratch)
        .args(["--", "build-runtime"]);
    shell::run(&mut build)?;
    places::remove(&scratch)?;
    Ok(folder)
}
