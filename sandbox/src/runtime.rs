//! The runtime: the guest compiled ahead of time, in the user's cache folder under the hash of all it is made of.
//!
//! `<cache>/gauntlet/runtime/<hash>/` holds the machine code, once with fuel and once without (`fuel.cwasm`,
//! `clock.cwasm`), and `manifest.json`. The cache folder is
//! `$GAUNTLET_CACHE`, else `$XDG_CACHE_HOME/gauntlet`, else `~/.cache/gauntlet`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wasmtime::{Engine, Module};

use crate::cause;
use crate::engine::{CODE_SETTINGS, Metering, WASMTIME};
use crate::fault::Fault;

#[cfg(feature = "compile")]
pub(crate) mod build;
#[cfg(feature = "compile")]
mod fuse;
#[cfg(feature = "compile")]
mod link;
#[cfg(feature = "compile")]
mod snapshot;
#[cfg(feature = "compile")]
mod system;
#[cfg(feature = "compile")]
mod words;

/// The files the guest is made of, as they were when this crate was compiled.
pub(crate) const GUEST: [(&str, &str); 11] = [
    ("app.py", include_str!("../guest/app.py")),
    ("confine.py", include_str!("../guest/confine.py")),
    ("encode.py", include_str!("../guest/encode.py")),
    ("entry.py", include_str!("../guest/entry.py")),
    ("snapshot.py", include_str!("../guest/snapshot.py")),
    ("stdlib.py", include_str!("../guest/stdlib.py")),
    ("streams.py", include_str!("../guest/streams.py")),
    ("words.py", include_str!("../guest/words.py")),
    ("entropy.c", include_str!("../guest/entropy.c")),
    (
        "requirements.txt",
        include_str!("../guest/requirements.txt"),
    ),
    ("world.wit", include_str!("../guest/world.wit")),
];

/// The code that makes the module out of the component: another version of it makes another runtime.
const MAKERS: [&str; 7] = [
    include_str!("runtime/fuse.rs"),
    include_str!("runtime/link.rs"),
    include_str!("runtime/snapshot.rs"),
    include_str!("runtime/system.rs"),
    include_str!("runtime/words.rs"),
    include_str!("../guest/warm_up.py"),
    include_str!("../guest/words.wat"),
];

const MANIFEST_FILE: &str = "manifest.json";

/// The file of compiled code for a way of metering.
const fn code_file(metering: Metering) -> &'static str {
    match metering {
        Metering::Fuel => "fuel.cwasm",
        Metering::Clock => "clock.cwasm",
    }
}

/// What lies beside the compiled runtime.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    schema_version: u32,
    /// [`hash`] of the program that built it.
    runtime: String,
    /// What the hash covers, for people.
    wasmtime: String,
    settings: String,
    target: String,
    /// blake3 of the module that was compiled.
    module: String,
    /// The compiled code with fuel and without.
    fuel: CodeFile,
    clock: CodeFile,
}

/// A file of compiled code.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CodeFile {
    blake3: String,
    bytes: u64,
}

#[cfg(any(test, feature = "compile"))]
impl CodeFile {
    fn of(code: &[u8]) -> CodeFile {
        CodeFile {
            blake3: blake3::hash(code).to_hex().to_string(),
            bytes: code.len() as u64,
        }
    }
}

/// blake3 over what the component is made of.
pub(crate) fn component_hash() -> String {
    let mut hasher = blake3::Hasher::new();
    for (name, text) in GUEST {
        hasher
            .update(name.as_bytes())
            .update(&[0])
            .update(text.as_bytes())
            .update(&[0]);
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

/// blake3 over all that decides what the compiled code is.
pub(crate) fn hash() -> String {
    let mut hasher = blake3::Hasher::new();
    for part in [
        component_hash().as_str(),
        WASMTIME,
        CODE_SETTINGS,
        cause::DENIED,
        cause::FATAL,
        cause::STACK_POINTER,
        &target(),
    ]
    .into_iter()
    .chain(MAKERS)
    {
        hasher.update(part.as_bytes()).update(&[0]);
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

fn target() -> String {
    format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS)
}

/// The user's cache folder.
pub(crate) fn cache_dir() -> PathBuf {
    let from = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    from("GAUNTLET_CACHE")
        .or_else(|| from("XDG_CACHE_HOME").map(|cache| cache.join("gauntlet")))
        .or_else(|| home().map(|home| home.join(".cache/gauntlet")))
        .unwrap_or_else(|| std::env::temp_dir().join("gauntlet"))
}

/// The user's home folder; where `HOME` is not set, the one that the system has for the user.
fn home() -> Option<PathBuf> {
    std::env::home_dir().filter(|home| !home.as_os_str().is_empty())
}

/// Where the runtime lies, or would after set-up.
pub(crate) fn dir() -> PathBuf {
    match std::env::var_os("GAUNTLET_RUNTIME").filter(|value| !value.is_empty()) {
        Some(dir) => dir.into(),
        None => cache_dir().join("runtime").join(hash()),
    }
}

/// Loads the runtime in `dir`, once it is known to be the one this program was built for, bit for bit.
pub(crate) fn load(engine: &Engine, dir: &Path, metering: Metering) -> Result<Module, Fault> {
    let path = verify(dir, metering)?;
    #[expect(
        unsafe_code,
        reason = "wasmtime maps machine code from a file; `verify` has checked what the file is"
    )]
    // SAFETY: the file must be what this wasmtime's `serialize` wrote, and must not change while mapped. Its bytes have
    // the hash that `build-runtime` recorded under `hash()`, which covers wasmtime's version and settings, and wasmtime
    // checks its own header of both again. `build-runtime` replaces the file by rename and never writes into it.
    let module = unsafe { Module::deserialize_file(engine, &path) };
    module.map_err(|error| Fault::BadRuntime {
        path,
        why: format!("{error:#}"),
    })
}

/// Checks the manifest and a compiled file against it; gives the file's path.
pub(crate) fn verify(dir: &Path, metering: Metering) -> Result<PathBuf, Fault> {
    let path = dir.join(MANIFEST_FILE);
    let missing = |error: &std::io::Error| Fault::NoRuntime {
        path: dir.to_owned(),
        why: format!("{}: {error}", path.display()),
    };
    let text = std::fs::read_to_string(&path).map_err(|error| missing(&error))?;
    let bad = |path: &Path, why: String| Fault::BadRuntime {
        path: path.to_owned(),
        why,
    };
    let manifest: Manifest =
        serde_json::from_str(&text).map_err(|error| bad(&path, error.to_string()))?;
    if manifest.runtime != hash() {
        let why = format!(
            "it is runtime {}, this program needs {}",
            manifest.runtime,
            hash()
        );
        return Err(bad(&path, why));
    }
    let wanted = match metering {
        Metering::Fuel => manifest.fuel.blake3,
        Metering::Clock => manifest.clock.blake3,
    };
    let code = dir.join(code_file(metering));
    let found = hash_file(&code).map_err(|error| bad(&code, error.to_string()))?;
    if found != wanted {
        return Err(bad(
            &code,
            format!("its hash is {found}, the manifest says {wanted}"),
        ));
    }
    Ok(code)
}

/// blake3 of a file, in hex.
pub(crate) fn hash_file(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().to_hex().to_string()),
            read => hasher.update(&buffer[..read]),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(code: &[u8]) -> Manifest {
        Manifest {
            schema_version: 2,
            runtime: hash(),
            wasmtime: WASMTIME.into(),
            settings: CODE_SETTINGS.into(),
            target: target(),
            module: String::new(),
            fuel: CodeFile::of(code),
            clock: CodeFile::of(b"other code"),
        }
    }

    fn folder(manifest: &Manifest, code: &[u8]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join(MANIFEST_FILE),
            serde_json::to_vec(manifest).unwrap(),
        )
        .unwrap();
        std::fs::write(dir.path().join(code_file(Metering::Fuel)), code).unwrap();
        dir
    }

    #[test]
    fn a_runtime_that_is_not_there_names_the_way_out() {
        let fault = verify(Path::new("/nowhere"), Metering::Fuel).unwrap_err();
        assert!(fault.to_string().contains("cargo xtask setup"), "{fault}");
    }

    #[test]
    fn a_corrupt_or_foreign_runtime_is_refused_before_it_is_mapped() {
        let whole = folder(&manifest(b"code"), b"code");
        assert!(verify(whole.path(), Metering::Fuel).is_ok());
        let corrupt = folder(&manifest(b"code"), b"cod\0");
        assert!(matches!(
            verify(corrupt.path(), Metering::Fuel),
            Err(Fault::BadRuntime { .. })
        ));
        let foreign = folder(
            &Manifest {
                runtime: "0".repeat(16),
                ..manifest(b"code")
            },
            b"code",
        );
        assert!(matches!(
            verify(foreign.path(), Metering::Fuel),
            Err(Fault::BadRuntime { .. })
        ));
        let engine = crate::engine::engine(1, Metering::Fuel).unwrap();
        assert!(
            matches!(
                load(&engine, whole.path(), Metering::Fuel),
                Err(Fault::BadRuntime { .. })
            ),
            "no machine code at all"
        );
    }
}
