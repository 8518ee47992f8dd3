//! Compiles the shim against the libtorch that torch-sys found, and bakes its folder into the tests.

use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    let sources = [
        "src/shim.cpp",
        "src/attention.cpp",
        "src/biased_attention.cpp",
        "src/enlarged_loss.cpp",
        "src/recomputed_linear.cpp",
        "src/roi_align.cpp",
    ];
    for file in sources
        .iter()
        .chain(&["src/guarded.h", "src/plain_kernels.h"])
    {
        println!("cargo:rerun-if-changed={file}");
    }
    let Ok(lib) = std::env::var("DEP_TCH_LIBTORCH_LIB") else {
        println!(
            "cargo:error=torch-sys did not say where libtorch is; start the build through ./demo or ./test, or set LIBTORCH"
        );
        return;
    };
    let lib = PathBuf::from(lib);
    let include = lib
        .parent()
        .map(|root| root.join("include"))
        .unwrap_or_default();
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .files(sources)
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .flag_if_supported("-Wno-unused-parameter")
        .opt_level(3)
        .debug(false)
        .compile("deepmim_shim");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());
}
