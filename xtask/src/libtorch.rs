//! CPU-only libtorch, cut out of the PyTorch wheel of the Python package index.
//!
//! The wheel is built for CUDA, but its `libtorch_cpu.so` is complete: it needs CUDA's runtime and profiler libraries
//! only by name. Two stub libraries that report "no device" stand in for those, so that 440 of the wheel's 1,000 MB
//! are kept and nothing of CUDA is fetched. Who wants CUDA brings a libtorch of their own.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};

use crate::fetch::{Wheel, check_space, unpack};
use crate::places::{self, Places, python};
use crate::python_torch;
use crate::setup::check_tools;
use crate::shell;

/// The release that tch 0.26 binds.
const RELEASE: &str = "2.13";

/// Raise this when what is made of the wheel changes, so that caches are made again.
const RECIPE: u32 = 1;

/// What is made of one platform's wheel.
struct Build {
    os: &'static str,
    arch: &'static str,
    wheel: Wheel,
    /// Members of the wheel's `torch/lib` that libtorch_cpu.so needs, itself included.
    libraries: &'static [&'static str],
}

const BUILDS: [Build; 2] = [
    Build {
        os: "linux",
        arch: "x86_64",
        wheel: Wheel {
            requirement: "torch==2.13.0",
            file: "torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl",
            sha256: "60fcdcb2f3876e21146cb4524ef06397d727ca9ad5f020818547e25075fe3cb7",
            bytes: 526_574_961,
            selectors: &[
                "--implementation=cp",
                "--python-version=3.11",
                "--abi=cp311",
                "--platform=manylinux_2_28_x86_64",
            ],
        },
        libraries: &["libtorch_cpu.so", "libc10.so", "libgomp.so.1"],
    },
    // Read off the wheel: which libraries it needs, and that it asks the stubs for the same symbols.
    Build {
        os: "linux",
        arch: "aarch64",
        wheel: Wheel {
            requirement: "torch==2.13.0",
            file: "torch-2.13.0-cp311-cp311-manylinux_2_28_aarch64.whl",
            sha256: "092790c696a760c729fd5722835f50b9d81fd7c8f141571f3f3cf4081a8f664c",
            bytes: 427_199_369,
            selectors: &[
                "--implementation=cp",
                "--python-version=3.11",
                "--abi=cp311",
                "--platform=manylinux_2_28_aarch64",
            ],
        },
        libraries: &[
            "libtorch_cpu.so",
            "libc10.so",
            "libgomp.so.1",
            "libarm_compute.so",
            "libarm_compute_graph.so",
            "libgfortran.so.5",
            "libnvpl_blas_core.so.0",
            "libnvpl_blas_lp64_gomp.so.0",
            "libnvpl_lapack_core.so.0",
            "libnvpl_lapack_lp64_gomp.so.0",
        ],
    },
];

/// A library that libtorch_cpu.so needs by name, and the symbols it takes from there.
struct Stub {
    soname: &'static str,
    symbols: &'static [&'static str],
}

const STUBS: [Stub; 3] = [
    Stub {
        soname: "libcudart.so.13",
        symbols: &[
            "cudaDeviceSynchronize",
            "cudaDriverGetVersion",
            "cudaGetDeviceCount",
            "cudaGetDeviceProperties",
            "cudaGetErrorString",
            "cudaRuntimeGetVersion",
        ],
    },
    Stub {
        soname: "libcupti.so.13",
        symbols: &[
            "cuptiActivityDisable",
            "cuptiActivityEnable",
            "cuptiActivityEnableCudaEventDeviceTimestamps",
            "cuptiActivityEnableDriverApi",
            "cuptiActivityEnableRuntimeApi",
            "cuptiActivityFlushAll",
            "cuptiActivityGetNextRecord",
            "cuptiActivityGetNumDroppedRecords",
            "cuptiActivityPopExternalCorrelationId",
            "cuptiActivityPushExternalCorrelationId",
            "cuptiActivityRegisterCallbacks",
            "cuptiActivityRegisterTimestampCallback",
            "cuptiActivitySetAttribute",
            "cuptiEnableCallback",
            "cuptiEnableDomain",
            "cuptiFinalize",
            "cuptiGetCallbackName",
            "cuptiGetResultString",
            "cuptiGetVersion",
            "cuptiSubscribe",
            "cuptiUnsubscribe",
        ],
    },
    // The wheel's own libtorch.so needs the CUDA half; torch-sys links one by that name and takes nothing from it.
    Stub {
        soname: "libtorch.so",
        symbols: &[],
    },
];

/// Where the libtorch to build with is, and what it took to have it.
pub struct Libtorch {
    /// The folder that holds `lib` and `include`.
    pub path: PathBuf,
    /// Bytes that came over the network.
    pub downloaded: u64,
}

/// Makes `.gauntlet/libtorch` lead to a libtorch of the right release, fetching one only if none was named.
pub fn provide(places: &Places, keep_downloads: bool) -> Result<Libtorch> {
    let cached = places.cache.join(format!("libtorch-{RELEASE}.0-cpu"));
    let libtorch = match own(places, &cached)? {
        Some(path) => Libtorch {
            path,
            downloaded: 0,
        },
        None => {
            let downloaded = fetch(places, &cached, keep_downloads)?;
            Libtorch {
                path: cached,
                downloaded,
            }
        }
    };
    link(&places.libtorch_link(), &libtorch.path)?;
    Ok(libtorch)
}

/// The libtorch that the user has chosen, in this environment or at an earlier set-up, if any.
fn own(places: &Places, cached: &Path) -> Result<Option<PathBuf>> {
    let link = places.libtorch_link();
    if env::var_os("LIBTORCH_USE_PYTORCH").is_some() {
        let script = "import pathlib, torch; print(pathlib.Path(torch.__file__).parent)";
        let found = shell::output(python().args(["-c", script]))
            .context("LIBTORCH_USE_PYTORCH is set, but Python's torch cannot be imported")?;
        return checked("LIBTORCH_USE_PYTORCH", PathBuf::from(found)).map(Some);
    }
    // `.cargo/config.toml` sets LIBTORCH to the link when the user has set none.
    if let Some(set) = env::var_os("LIBTORCH")
        .map(PathBuf::from)
        .filter(|set| *set != link)
    {
        return checked("LIBTORCH", places.root.join(set)).map(Some);
    }
    match fs::canonicalize(&link) {
        Ok(linked) if fs::canonicalize(cached).ok() != Some(linked.clone()) => {
            let error = match checked(".gauntlet/libtorch", linked) {
                Ok(linked) => return Ok(Some(linked)),
                Err(error) => error,
            };
            shell::step(&format!(
                "the libtorch of an earlier set-up is left aside: {error:#}"
            ));
            Ok(None)
        }
        _ => Ok(None),
    }
}

/// Refuses a folder that is not a libtorch of our release.
fn checked(named_by: &str, path: PathBuf) -> Result<PathBuf> {
    let header = path.join("include/torch/headeronly/version.h");
    let wanted = format!(
        "{named_by} names {}, but libtorch {RELEASE} is needed",
        path.display()
    );
    let text = fs::read_to_string(&header)
        .with_context(|| format!("{wanted}: cannot read {}", header.display()))?;
    let found = release(&text);
    if found != RELEASE && env::var_os("LIBTORCH_BYPASS_VERSION_CHECK").is_none() {
        bail!("{wanted}: it is {found}");
    }
    let library = path.join("lib").join(format!(
        "{}torch_cpu{}",
        env::consts::DLL_PREFIX,
        env::consts::DLL_SUFFIX
    ));
    if !library.exists() {
        bail!("{wanted}: {} is missing", library.display());
    }
    Ok(path)
}

/// "MAJOR.MINOR" of the text of torch/headeronly/version.h.
fn release(header: &str) -> String {
    let value = |name: &str| {
        let mut values = header
            .lines()
            .filter_map(|line| line.strip_prefix("#define ")?.strip_prefix(name));
        values.next().map_or("?", str::trim).to_owned()
    };
    format!(
        "{}.{}",
        value("TORCH_VERSION_MAJOR "),
        value("TORCH_VERSION_MINOR ")
    )
}

/// Makes the cached libtorch unless it is there and whole; gives back the bytes downloaded.
fn fetch(places: &Places, cached: &Path, keep_downloads: bool) -> Result<u64> {
    let build = BUILDS
        .iter()
        .find(|build| build.os == env::consts::OS && build.arch == env::consts::ARCH);
    let build = build.ok_or_else(|| {
        anyhow!(
            "no libtorch is pinned for {} on {}: install libtorch {RELEASE} or PyTorch {RELEASE} and set LIBTORCH to its \
             folder, or LIBTORCH_USE_PYTORCH=1",
            env::consts::OS,
            env::consts::ARCH
        )
    })?;
    if is_whole(cached, build) {
        return Ok(0);
    }
    check_tools()?;
    check_space(&places.cache, build.wheel.bytes + 600_000_000, "libtorch")?;
    let wheel = build.wheel.fetch(places)?;
    shell::step(&format!("unpacking libtorch to {}", cached.display()));
    // All is made in a folder beside the final one and renamed, so that what bears the final name is whole.
    let partial = cached.with_extension("partial");
    places::remove(&partial)?;
    let members = build
        .libraries
        .iter()
        .map(|name| format!("torch/lib/{name}"));
    let members: Vec<String> = members.chain(["torch/include/".to_owned()]).collect();
    let members: Vec<&str> = members.iter().map(String::as_str).collect();
    unpack(&wheel.path, &partial, &members)?;
    let made = partial.join("torch");
    for stub in &STUBS {
        compile_stub(&made.join("lib"), stub)?;
    }
    try_load(&made.join("lib"))?;
    write(&made.join("build-version"), &format!("{RELEASE}.0+cpu"))?;
    write(&made.join("gauntlet-recipe"), &recipe(build))?;
    places::remove(cached)?;
    fs::rename(&made, cached)
        .with_context(|| format!("cannot move libtorch to {}", cached.display()))?;
    places::remove(&partial)?;
    python_torch::provide(places, &wheel.path, cached)?;
    if !keep_downloads {
        places::remove(&wheel.path)?;
    }
    Ok(wheel.downloaded)
}

/// What a cached folder was made of and how; written last.
fn recipe(build: &Build) -> String {
    format!(
        "recipe {RECIPE} of {} {}\n",
        build.wheel.file, build.wheel.sha256
    )
}

fn is_whole(cached: &Path, build: &Build) -> bool {
    let same_recipe = fs::read_to_string(cached.join("gauntlet-recipe"))
        .is_ok_and(|found| found == recipe(build));
    let mut libraries = build
        .libraries
        .iter()
        .copied()
        .chain(STUBS.iter().map(|stub| stub.soname));
    same_recipe
        && libraries.all(|name| cached.join("lib").join(name).exists())
        && cached.join("include/torch/headeronly/version.h").exists()
}

/// C in which every call fails the way a machine without a GPU does.
fn stub_source(stub: &Stub) -> String {
    let mut source = String::from("typedef int stub_is_not_empty;\n");
    for symbol in stub.symbols {
        source += &match *symbol {
            "cudaGetErrorString" => {
                format!(
                    "const char *{symbol}(int error) {{ (void)error; return \"no CUDA: a stub\"; }}\n"
                )
            }
            // cudaErrorNoDevice; to CUPTI any value but 0 is an error.
            _ => format!("int {symbol}(void) {{ return 100; }}\n"),
        };
    }
    source
}

fn compile_stub(lib: &Path, stub: &Stub) -> Result<()> {
    // libtorch_cpu.so asks for symbols of a version that has the library's name.
    let map = lib.join("stub.map");
    write(&map, &format!("{} {{ global: *; }};\n", stub.soname))?;
    let mut cc = Command::new(env::var_os("CC").unwrap_or_else(|| OsString::from("cc")));
    cc.args(["-shared", "-fPIC", "-O1", "-w", "-x", "c", "-", "-o"])
        .arg(lib.join(stub.soname));
    cc.arg(format!("-Wl,-soname,{}", stub.soname))
        .arg(format!("-Wl,--version-script,{}", map.display()));
    let mut child = cc
        .stdin(Stdio::piped())
        .spawn()
        .context("cannot start the C compiler; set CC if it is not cc")?;
    let mut stdin = child.stdin.take().context("stdin is piped")?;
    stdin
        .write_all(stub_source(stub).as_bytes())
        .context("the C compiler stopped reading")?;
    drop(stdin);
    if !child.wait()?.success() {
        bail!("the C compiler could not make the stub {}", stub.soname);
    }
    places::remove(&map)
}

/// Loads the library with every symbol resolved, so that a machine it cannot run on is told so here.
fn try_load(lib: &Path) -> Result<()> {
    let script = "import ctypes, os, sys; ctypes.CDLL(sys.argv[1], mode=os.RTLD_NOW)";
    let library = lib.join("libtorch_cpu.so");
    shell::output(python().args(["-c", script]).arg(&library)).map(drop).context(
        "libtorch does not load on this machine (it needs glibc 2.28 and libstdc++); set LIBTORCH to one that does",
    )
}

/// Makes `link` lead to `target`, in one step.
fn link(link: &Path, target: &Path) -> Result<()> {
    if fs::read_link(link).is_ok_and(|found| found == target) || link == target {
        return Ok(());
    }
    if fs::symlink_metadata(link).is_ok_and(|meta| meta.is_dir()) {
        // A folder put there by hand; `own` has found it fit or not.
        if fs::canonicalize(link).ok() == fs::canonicalize(target).ok() {
            return Ok(());
        }
        bail!(
            "{} is a folder of yours: remove it, or set LIBTORCH to it",
            link.display()
        );
    }
    let parent = link.parent().context("the link lies in a folder")?;
    let fresh = link.with_extension("fresh");
    let make = || -> std::io::Result<()> {
        fs::create_dir_all(parent)?;
        if fs::symlink_metadata(&fresh).is_ok() {
            fs::remove_file(&fresh)?;
        }
        std::os::unix::fs::symlink(target, &fresh)?;
        fs::rename(&fresh, link)
    };
    make().with_context(|| format!("cannot link {} to {}", link.display(), target.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str =
        "#pragma once\n\n#define TORCH_VERSION_MAJOR 2\n#define TORCH_VERSION_MINOR 13\n";

    fn fake(dir: &Path, header: &str) {
        fs::create_dir_all(dir.join("include/torch/headeronly")).unwrap();
        fs::create_dir_all(dir.join("lib")).unwrap();
        fs::write(dir.join("include/torch/headeronly/version.h"), header).unwrap();
        fs::write(
            dir.join(format!("lib/libtorch_cpu{}", env::consts::DLL_SUFFIX)),
            "",
        )
        .unwrap();
    }

    #[test]
    fn a_libtorch_of_another_release_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        fake(dir.path(), HEADER);
        checked("LIBTORCH", dir.path().into()).unwrap();
        fake(dir.path(), &HEADER.replace("13", "12"));
        let err = format!("{:#}", checked("LIBTORCH", dir.path().into()).unwrap_err());
        assert!(err.contains("libtorch 2.13 is needed: it is 2.12"), "{err}");
    }

    #[test]
    fn a_folder_without_the_library_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let err = format!("{:#}", checked("LIBTORCH", dir.path().into()).unwrap_err());
        assert!(err.contains("version.h"), "{err}");
        fake(dir.path(), HEADER);
        fs::remove_dir_all(dir.path().join("lib")).unwrap();
        let err = format!("{:#}", checked("LIBTORCH", dir.path().into()).unwrap_err());
        assert!(err.contains("libtorch_cpu"), "{err}");
    }

    #[test]
    fn a_cached_folder_counts_only_when_whole_and_of_this_recipe() {
        let dir = tempfile::tempdir().unwrap();
        let build = &BUILDS[0];
        fake(dir.path(), HEADER);
        for name in build
            .libraries
            .iter()
            .copied()
            .chain(STUBS.iter().map(|stub| stub.soname))
        {
            fs::write(dir.path().join("lib").join(name), "").unwrap();
        }
        assert!(!is_whole(dir.path(), build), "the recipe is written last");
        fs::write(dir.path().join("gauntlet-recipe"), recipe(build)).unwrap();
        assert!(is_whole(dir.path(), build));
        fs::write(
            dir.path().join("gauntlet-recipe"),
            recipe(build).replace("recipe 1", "recipe 0"),
        )
        .unwrap();
        assert!(!is_whole(dir.path(), build));
        fs::write(dir.path().join("gauntlet-recipe"), recipe(build)).unwrap();
        fs::remove_file(dir.path().join("lib/libcupti.so.13")).unwrap();
        assert!(!is_whole(dir.path(), build));
    }

    #[test]
    fn a_link_is_replaced_and_a_real_folder_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("clone/.gauntlet/libtorch");
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        fs::create_dir(&one).unwrap();
        fs::create_dir(&two).unwrap();
        for target in [&one, &two, &two] {
            link(&at, target).unwrap();
            assert_eq!(&fs::read_link(&at).unwrap(), target);
        }
        fs::remove_file(&at).unwrap();
        fs::create_dir(&at).unwrap();
        link(&at, &at).unwrap();
        let err = link(&at, &one).unwrap_err().to_string();
        assert!(err.contains("a folder of yours"), "{err}");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_stub_loads_and_reports_no_device() {
        let dir = tempfile::tempdir().unwrap();
        compile_stub(dir.path(), &STUBS[0]).unwrap();
        let script = "import ctypes, sys; print(ctypes.CDLL(sys.argv[1]).cudaGetDeviceCount())";
        let library = dir.path().join(STUBS[0].soname);
        assert_eq!(
            shell::output(python().args(["-c", script]).arg(library)).unwrap(),
            "100"
        );
    }
}
