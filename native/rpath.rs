//! Build script of every package that links libtorch: bakes the library's folder into the binaries,
//! so that programs, tests, examples and doctests start without LD_LIBRARY_PATH.
//!
//! torch-sys must be a direct dependency of the package for DEP_TCH_LIBTORCH_LIB to be set.

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    if let Ok(lib) = std::env::var("DEP_TCH_LIBTORCH_LIB") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
    }
}
