//! Compiles `csrc/` against the libtorch that torch-sys found, and tells dependents where that is.
//!
//! A dependent's own build script reads `DEP_GAUNTLET_SHIM_LIBTORCH_LIB` and turns it into an rpath, so that binaries
//! and tests run without `LD_LIBRARY_PATH`.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// The release whose headers and operators `csrc/` is written against; torch-sys is generated from the same one.
const TORCH_RELEASE: (&str, &str) = ("2", "13");

fn main() {
    println!("cargo::rerun-if-changed=csrc");
    let lib = env::var_os("DEP_TCH_LIBTORCH_LIB")
        .expect("torch-sys names its library folder to direct dependents");
    // The real folder, not the link in the clone: a binary then outlives a moved or deleted clone.
    let lib = fs::canonicalize(&lib)
        .unwrap_or_else(|e| panic!("libtorch's library folder {}: {e}", lib.display()));
    let include = include_dir(&lib);
    check_version(&include);

    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .define("_GLIBCXX_USE_CXX11_ABI", "1")
        .flag("-fvisibility=hidden")
        .flag("-isystem") // libtorch's headers are not ours to warn about
        .flag(&include)
        .flag("-isystem")
        .flag(include.join("torch/csrc/api/include"))
        .file("csrc/ops.cpp")
        .file("csrc/autograd.cpp")
        .compile("gauntlet_shim");

    compile_kernels();

    println!("cargo::metadata=libtorch_lib={}", lib.display());
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", lib.display());
}

/// The fused kernels, once for any processor and on x86-64 again for AVX2 and for AVX-512, without and with products of
/// bf16. LibTorch's OpenMP runs their loops.
fn compile_kernels() {
    let target = |name: &str| env::var(name).unwrap_or_default();
    let x86 = target("CARGO_CFG_TARGET_ARCH") == "x86_64";
    let linux = target("CARGO_CFG_TARGET_OS") == "linux";
    let build = |file: &str| {
        let mut build = cc::Build::new();
        build
            .cpp(true)
            .std("c++17")
            .opt_level(3)
            .flag("-fvisibility=hidden")
            .flag_if_supported("-Wno-psabi") // vectors are passed between functions of one file only
            .file(format!("csrc/{file}.cpp"));
        if x86 {
            build.define("GAUNTLET_X86", None);
        }
        if linux {
            build.flag("-fopenmp");
        }
        build
    };
    // A compiler that does not know them makes kernels without.
    let bf16 = x86
        && cc::Build::new()
            .cpp(true)
            .is_flag_supported("-mavx512bf16")
            .unwrap_or(false);
    let mut dispatch = build("kernels");
    if bf16 {
        dispatch.define("GAUNTLET_AVX512_BF16", None);
    }
    dispatch.compile("gauntlet_kernels");
    build("kernels_base").compile("gauntlet_kernels_base");
    let wide = |file: &str, extensions: &[&[&str]]| {
        let mut wide = build(file);
        for extension in extensions.concat() {
            wide.flag(format!("-m{extension}"));
        }
        wide.flag_if_supported("-mprefer-vector-width=512");
        wide.compile(&format!("gauntlet_{file}"));
    };
    let avx2 = &["avx2", "fma"][..];
    let avx512 = &["avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512vnni"][..];
    if x86 {
        wide("kernels_avx2", &[avx2]);
        wide("kernels_avx512", &[avx2, avx512]);
    }
    if bf16 {
        wide("kernels_avx512_bf16", &[avx2, avx512, &["avx512bf16"]]);
    }
    if linux {
        println!("cargo::rustc-link-lib=dylib=gomp");
    }
}

/// Headers lie beside the libraries, in a libtorch folder and in a Python installation of torch alike, unless
/// `LIBTORCH_INCLUDE` says otherwise (torch-sys reads the same variable).
fn include_dir(lib: &Path) -> PathBuf {
    println!("cargo::rerun-if-env-changed=LIBTORCH_INCLUDE");
    let root = match env::var_os("LIBTORCH_INCLUDE") {
        Some(root) if env::var_os("LIBTORCH_USE_PYTORCH").is_none() => PathBuf::from(root),
        _ => lib
            .parent()
            .expect("a library folder has a parent")
            .to_owned(),
    };
    root.join("include")
}

fn check_version(include: &Path) {
    println!("cargo::rerun-if-env-changed=LIBTORCH_BYPASS_VERSION_CHECK");
    if env::var_os("LIBTORCH_BYPASS_VERSION_CHECK").is_some() {
        return;
    }
    let header = include.join("torch/headeronly/version.h");
    println!("cargo::rerun-if-changed={}", header.display());
    let text = fs::read_to_string(&header).unwrap_or_else(|e| {
        panic!(
            "{}: {e}; libtorch {}.{} is needed: run `cargo xtask setup`",
            header.display(),
            TORCH_RELEASE.0,
            TORCH_RELEASE.1
        )
    });
    let defined = |name: &str| {
        text.lines().find_map(|line| {
            line.strip_prefix("#define ")?
                .strip_prefix(name)?
                .split_whitespace()
                .next()
        })
    };
    let found = (
        defined("TORCH_VERSION_MAJOR"),
        defined("TORCH_VERSION_MINOR"),
    );
    assert!(
        found == (Some(TORCH_RELEASE.0), Some(TORCH_RELEASE.1)),
        "{} is of libtorch {}.{}, but {}.{} is needed: run `cargo xtask setup`",
        header.display(),
        found.0.unwrap_or("?"),
        found.1.unwrap_or("?"),
        TORCH_RELEASE.0,
        TORCH_RELEASE.1
    );
}
