//! Building the runtime: a venv with the pinned componentize-py, the guest initialised as a component, that fused to one
//! module and warmed up (`super::fuse`, `super::snapshot`), the module compiled ahead of time. The first two are kept,
//! so that an interrupted build goes on where it stopped.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use super::fuse::FuseError;
use super::{CodeFile, GUEST, MANIFEST_FILE, Manifest};
use super::{cache_dir, code_file, component_hash, dir, hash, snapshot, target, verify};
use crate::engine::{CODE_SETTINGS, Metering, WASMTIME, engine};
use crate::fault::Fault;

/// Why the runtime could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A file of the cache folder could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A program that the build needs is missing or failed.
    #[error("{wanted}\n{said}")]
    Tool {
        /// What the build wanted of it, and how to provide that.
        wanted: String,
        /// What the program or the operating system said.
        said: String,
    },
    /// The component could not be made one module, or that could not be warmed up or compiled.
    #[error("the interpreter could not be compiled: {why}")]
    Compile {
        /// What went wrong.
        why: String,
    },
    /// The engine does not start, or the built runtime does not load.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl From<FuseError> for BuildError {
    fn from(error: FuseError) -> BuildError {
        BuildError::Compile {
            why: error.to_string(),
        }
    }
}

impl From<wasmtime::Error> for BuildError {
    fn from(error: wasmtime::Error) -> BuildError {
        BuildError::Compile {
            why: format!("{error:#}"),
        }
    }
}

type Result<T> = std::result::Result<T, BuildError>;

/// Builds the runtime unless it is there, and gives its folder. `say` hears of the progress, a line at a time.
///
/// Needs Python 3.10 or later with its venv module, and the Python package index. Safe to interrupt, and to run twice at
/// a time.
pub fn build_runtime(say: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    let dir = dir();
    if complete(&dir).is_ok() {
        say(&format!("sandbox runtime {} is in place", hash()));
        return Ok(dir);
    }
    let work = cache_dir().join("runtime").join("build");
    create_dir(&work)?;
    let path = work.join("lock");
    let lock = File::create(&path).map_err(file("create", &path))?;
    if lock.try_lock().is_err() {
        say("waiting for another build of the sandbox runtime");
        lock.lock().map_err(file("lock", &path))?;
        if complete(&dir).is_ok() {
            return Ok(dir);
        }
    }
    let component = component(&work, say)?;
    compile(&component, &dir, say)?;
    complete(&dir)?;
    prune(&cache_dir().join("runtime"), &work, say);
    Ok(dir)
}

/// Runtimes that are kept: the one just built, and one that another clone or branch may be using.
const KEPT: usize = 2;

/// Removes what earlier builds left: all runtimes in `runtimes` but the newest, and the steps towards other ones in `work`.
/// What is in use stays readable to those who have it open.
fn prune(runtimes: &Path, work: &Path, say: &mut dyn FnMut(&str)) {
    let of_hash = |path: &PathBuf| {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let folders = |path: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(of_hash).collect()
    };
    let age = |path: &PathBuf| {
        fs::metadata(path.join(MANIFEST_FILE))
            .and_then(|file| file.modified())
            .ok()
    };
    let mut old = folders(runtimes);
    old.sort_by_key(|path| std::cmp::Reverse(age(path)));
    let steps = folders(work)
        .into_iter()
        .filter(|path| !path.ends_with(component_hash()));
    for path in old.into_iter().skip(KEPT).chain(steps) {
        match fs::remove_dir_all(&path) {
            Ok(()) => say(&format!("removed {}", path.display())),
            // The next build tries again.
            Err(error) => say(&format!("could not remove {}: {error}", path.display())),
        }
    }
}

/// Whether the runtime in `dir` is whole and this program's.
fn complete(dir: &Path) -> std::result::Result<(), Fault> {
    verify(dir, Metering::Fuel)?;
    verify(dir, Metering::Clock)?;
    Ok(())
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
    create_dir(&guest)?;
    for (name, text) in GUEST {
        let path = guest.join(name);
        fs::write(&path, text).map_err(file("write", &path))?;
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
            "the hash seed of this runtime is its own, so the order of sets may differ from other machines: {error}"
        )),
    }
    run(&mut command, "componentize-py could not snapshot the guest")?;
    fs::rename(&partial, &done).map_err(file("write", &done))?;
    Ok(done)
}

/// A library to preload that gives the build fixed entropy; see entropy.c.
fn fixed_entropy(folder: &Path) -> Result<PathBuf> {
    let wanted = "fixing it needs Linux and a C compiler (set CC to name one)";
    if !cfg!(target_os = "linux") {
        return Err(BuildError::Tool {
            wanted: wanted.into(),
            said: String::new(),
        });
    }
    let library = folder.join("entropy.so");
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let mut command = Command::new(compiler);
    command
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(folder.join("guest/entropy.c"));
    run(&mut command, wanted)?;
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
    say("installing componentize-py (24 MB, from the Python package index)");
    let python = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    run(
        Command::new(&python)
            .args(["-m", "venv", "--clear"])
            .arg(&venv),
        &format!(
            "the sandbox is built with Python 3.10 or later and its venv module; {} could not make a venv (set PYTHON to \
             name another)",
            python.display()
        ),
    )?;
    let list = venv.join("requirements.txt");
    fs::write(&list, requirements).map_err(file("write", &list))?;
    run(
        Command::new(bin.join("python"))
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--no-deps",
            ])
            .args([
                "--only-binary",
                ":all:",
                "--require-hashes",
                "--requirement",
            ])
            .arg(&list),
        "pip could not install componentize-py 0.25.1; it comes from the Python package index, or from a folder with its \
         wheel that PIP_FIND_LINKS names",
    )?;
    fs::write(&mark, "").map_err(file("write", &mark))?;
    Ok(tool)
}

fn compile(component: &Path, dir: &Path, say: &mut dyn FnMut(&str)) -> Result<()> {
    let wasm = fs::read(component).map_err(file("read", component))?;
    say("fusing and warming up the interpreter (about 20 s)");
    let module = snapshot::module(&wasm)?;
    say("compiling the interpreter to machine code (about 40 s)");
    let started = Instant::now();
    create_dir(dir)?;
    // The manifest comes last: without it the folder counts as empty.
    let _ = fs::remove_file(dir.join(MANIFEST_FILE));
    let compile = |metering| -> Result<CodeFile> {
        let code = engine(1, metering)?.precompile_module(&module)?;
        replace(&dir.join(code_file(metering)), &code)?;
        Ok(CodeFile::of(&code))
    };
    let manifest = Manifest {
        schema_version: 2,
        runtime: hash(),
        wasmtime: WASMTIME.into(),
        settings: CODE_SETTINGS.into(),
        target: target(),
        module: blake3::hash(&module).to_hex().to_string(),
        fuel: compile(Metering::Fuel)?,
        clock: compile(Metering::Clock)?,
    };
    let megabytes = (manifest.fuel.bytes + manifest.clock.bytes) >> 20;
    let manifest = serde_json::to_vec_pretty(&manifest).map_err(|error| BuildError::File {
        action: "write",
        path: dir.join(MANIFEST_FILE),
        source: error.into(),
    })?;
    replace(&dir.join(MANIFEST_FILE), &manifest)?;
    let seconds = started.elapsed().as_secs_f64();
    say(&format!(
        "sandbox runtime {} is ready: {megabytes} MB, compiled in {seconds:.1} s",
        hash()
    ));
    Ok(())
}

fn create_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(file("create", path))
}

/// Puts `bytes` at `path` whole or not at all.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let partial = path.with_extension("partial");
    fs::write(&partial, bytes).map_err(file("write", &partial))?;
    File::open(&partial)
        .and_then(|file| file.sync_all())
        .map_err(file("write", &partial))?;
    fs::rename(&partial, path).map_err(file("write", path))
}

fn file(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> BuildError {
    let path = path.to_owned();
    move |source| BuildError::File {
        action,
        path,
        source,
    }
}

/// Runs a tool; `wanted` is what to tell the user if it fails.
fn run(command: &mut Command, wanted: &str) -> Result<()> {
    let failed = |said: String| BuildError::Tool {
        wanted: wanted.to_owned(),
        said,
    };
    let program = command.get_program().display().to_string();
    let output = command
        .output()
        .map_err(|error| failed(format!("{program}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines[lines.len().saturating_sub(15)..].join("\n");
    Err(failed(format!(
        "{program} ended with {}:\n{tail}",
        output.status
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    #[test]
    fn only_the_two_newest_runtimes_and_this_ones_steps_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let work = dir.path().join("build");
        for (age, name) in ["c", "a", "d", "b"].iter().enumerate() {
            let folder = dir.path().join(name.repeat(16));
            fs::create_dir_all(&folder).unwrap();
            let manifest = File::create(folder.join(MANIFEST_FILE)).unwrap();
            let time = SystemTime::now() - Duration::from_secs(60 * age as u64);
            manifest.set_modified(time).unwrap();
        }
        for kept in ["0".repeat(16), component_hash(), "venv-0".into()] {
            fs::create_dir_all(work.join(kept)).unwrap();
        }
        prune(dir.path(), &work, &mut |_| {});
        let names = |path: &Path| {
            let mut names: Vec<String> = fs::read_dir(path)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        assert_eq!(
            names(dir.path()),
            ["a".repeat(16), "build".into(), "c".repeat(16)]
        );
        assert_eq!(names(&work), [component_hash(), "venv-0".into()]);
    }
}
