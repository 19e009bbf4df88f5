//! Building the runtime: a venv with the pinned componentize-py, the guest snapshotted to a component, the component
//! compiled ahead of time. Each step is kept, so that an interrupted build goes on where it stopped.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::{
    CODE_FILE, GUEST, MANIFEST_FILE, Manifest, cache_dir, component_hash, dir, hash, hash_file,
    target, verify,
};
use crate::engine::{CODE_SETTINGS, WASMTIME, engine};

/// Builds the runtime unless it is there, and gives its folder. Progress goes to `say`, a line at a time.
pub(crate) fn build(say: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    let dir = dir();
    if verify(&dir).is_ok() {
        say(&format!("sandbox runtime {} is in place", hash()));
        return Ok(dir);
    }
    let work = cache_dir().join("runtime").join("build");
    fs::create_dir_all(&work).with_context(|| format!("cannot create {}", work.display()))?;
    let lock =
        File::create(work.join("lock")).context("cannot create the lock of the runtime build")?;
    if lock.try_lock().is_err() {
        say("waiting for another build of the sandbox runtime");
        lock.lock().context("cannot lock the runtime build")?;
        if verify(&dir).is_ok() {
            return Ok(dir);
        }
    }
    let component = component(&work, say)?;
    compile(&component, &dir, say)?;
    verify(&dir)?;
    Ok(dir)
}

/// The component, built if need be.
fn component(work: &Path, say: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    let folder = work.join(component_hash());
    let done = folder.join("component.wasm");
    if done.exists() {
        return Ok(done);
    }
    let tool = componentize_py(work, say)?;
    say("snapshotting the Python interpreter (about 10 s)");
    let guest = folder.join("guest");
    // What an interrupted build left (compiled Python too) must not end up in the snapshot.
    let _ = fs::remove_dir_all(&guest);
    fs::create_dir_all(&guest)?;
    for (name, text) in GUEST {
        fs::write(guest.join(name), text)?;
    }
    let partial = folder.join("component.partial");
    let mut command = Command::new(&tool);
    command
        .current_dir(&guest)
        .args([
            "--wit-path",
            "world.wit",
            "--world",
            "runner",
            "componentize",
        ])
        .args(["--python-path", ".", "--stub-wasi", "app", "--output"])
        .arg(&partial);
    match fixed_entropy(&folder) {
        Ok(library) => drop(command.env("LD_PRELOAD", library)),
        Err(error) => say(&format!(
            "the hash seed of this runtime will be its own, so the order of sets may differ from other machines: {error:#}"
        )),
    }
    run(&mut command).context("componentize-py could not build the guest")?;
    fs::rename(&partial, &done)?;
    Ok(done)
}

/// A library to preload that gives the build fixed entropy; see entropy.c.
fn fixed_entropy(folder: &Path) -> Result<PathBuf> {
    if !cfg!(target_os = "linux") {
        bail!("entropy can be fixed on Linux only");
    }
    let library = folder.join("entropy.so");
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    run(Command::new(compiler)
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(folder.join("guest").join("entropy.c")))?;
    Ok(library)
}

/// The pinned componentize-py, in a venv of its own.
fn componentize_py(work: &Path, say: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    let requirements = GUEST
        .iter()
        .find(|(name, _)| *name == "requirements.txt")
        .map_or("", |(_, text)| text);
    let venv = work.join(format!(
        "venv-{}",
        &blake3::hash(requirements.as_bytes()).to_hex()[..16]
    ));
    let bin = venv.join(if cfg!(windows) { "Scripts" } else { "bin" });
    let (tool, mark) = (bin.join("componentize-py"), venv.join("complete"));
    if mark.exists() && tool.exists() {
        return Ok(tool);
    }
    say("installing componentize-py (23 MB, from the Python package index)");
    let python = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    run(Command::new(&python).args(["-m", "venv", "--clear"]).arg(&venv)).with_context(|| {
        format!("set-up needs Python 3.10 or later with its venv module ({}; set PYTHON to name another)", python.display())
    })?;
    let list = venv.join("requirements.txt");
    fs::write(&list, requirements)?;
    run(Command::new(bin.join("python"))
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"])
        .args(["--require-hashes", "--requirement"])
        .arg(&list))
    .context(
        "pip could not install componentize-py 0.25.1; set-up needs the Python package index, or a folder that holds the \
         wheel in PIP_FIND_LINKS",
    )?;
    fs::write(&mark, "")?;
    Ok(tool)
}

fn compile(component: &Path, dir: &Path, say: &mut dyn FnMut(&str)) -> Result<()> {
    say("compiling the interpreter to machine code (about a minute)");
    let started = Instant::now();
    let wasm =
        fs::read(component).with_context(|| format!("cannot read {}", component.display()))?;
    let code = engine(1)?
        .precompile_component(&wasm)
        .map_err(|error| anyhow::anyhow!("{error:#}"))?;
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    // The manifest comes last: without it the folder counts as empty.
    let _ = fs::remove_file(dir.join(MANIFEST_FILE));
    replace(&dir.join(CODE_FILE), &code)?;
    let manifest = Manifest {
        schema_version: 1,
        runtime: hash(),
        wasmtime: WASMTIME.into(),
        settings: CODE_SETTINGS.into(),
        target: target(),
        component: hash_file(component)?,
        code: blake3::hash(&code).to_hex().to_string(),
        code_bytes: code.len() as u64,
    };
    replace(
        &dir.join(MANIFEST_FILE),
        &serde_json::to_vec_pretty(&manifest)?,
    )?;
    let (megabytes, seconds) = (code.len() >> 20, started.elapsed().as_secs_f64());
    say(&format!(
        "sandbox runtime {} is ready: {megabytes} MB, compiled in {seconds:.1} s",
        hash()
    ));
    Ok(())
}

/// Puts `bytes` at `path` whole or not at all.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let partial = path.with_extension("partial");
    fs::write(&partial, bytes).with_context(|| format!("cannot write {}", partial.display()))?;
    File::open(&partial)?.sync_all()?;
    fs::rename(&partial, path).with_context(|| format!("cannot write {}", path.display()))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let tail: Vec<&str> = said.lines().rev().take(15).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        bail!(
            "{} ended with {}:\n{}",
            command.get_program().display(),
            output.status,
            tail.join("\n")
        );
    }
    Ok(())
}
