//! Writes libtorch's folder into the binaries and tests, so that they run without `LD_LIBRARY_PATH`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let lib = std::env::var("DEP_GAUNTLET_SHIM_LIBTORCH_LIB")
        .expect("gauntlet-shim names libtorch's folder");
    println!("cargo::rustc-link-arg=-Wl,-rpath,{lib}");
}
