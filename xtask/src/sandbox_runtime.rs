//! The sandbox's Python runtime: tries whether the sandbox has the one it wants, and has it built if not.

use std::path::PathBuf;

use anyhow::Result;

use crate::fetch::check_space;
use crate::places::{self, Places};
use crate::setup::check_tools;
use crate::shell;

/// Provides the runtime and gives the folder of all that was made for it.
pub fn provide(places: &Places) -> Result<PathBuf> {
    let folder = places.cache.join("runtime");
    let package = [
        "--release",
        "--package",
        "gauntlet-sandbox",
        "--bin",
        "sandbox",
    ];
    shell::run(places.cargo().args(["build", "--quiet"]).args(package))?;
    // The sandbox as everything else uses it, without the compiler. The program is on stdin, which is empty: nothing to
    // do, done well, if the runtime is there and fit.
    if shell::output(places.binary("sandbox")?.args(["run", "-"])).is_ok() {
        return Ok(folder);
    }
    check_tools()?;
    check_space(&places.cache, 2_000_000_000, "building the sandbox runtime")?;
    shell::step("building the sandbox's Python runtime, once (some minutes)");
    // A target folder of its own: the compiler's features must not disturb what the workspace has built.
    let scratch = places.cache.join("build/sandbox-runtime");
    let mut build = places.cargo();
    build
        .arg("run")
        .args(package)
        .args(["--features", "compile"]);
    build
        .arg("--target-dir")
        .arg(&scratch)
        .args(["--", "build-runtime"]);
    shell::run(&mut build)?;
    places::remove(&scratch)?;
    Ok(folder)
}
