//! Compiles the shim against the libtorch that torch-sys found, and bakes its folder into the tests.

use std::path::{Path, PathBuf};

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    let sources = [
        "src/shim.cpp",
        "src/attention.cpp",
        "src/biased_attention.cpp",
        "src/enlarged_loss.cpp",
        "src/nccl.cpp",
        "src/process_group.cpp",
        "src/recomputed_linear.cpp",
        "src/reducer.cpp",
        "src/roi_align.cpp",
    ];
    for file in sources.iter().chain(&[
        "src/guarded.h",
        "src/plain_kernels.h",
        "src/process_group.h",
        "src/gloo_declarations",
    ]) {
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
    let mut build = cc::Build::new();
    if let Some(folders) = nccl_headers(&lib) {
        build.includes(folders).define("DEEPMIM_NCCL", None);
        build.define("USE_C10D_NCCL", None);
    }
    build
        .cpp(true)
        .std("c++17")
        .files(sources)
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .include("src/gloo_declarations")
        .define("USE_DISTRIBUTED", None)
        .define("USE_C10D_GLOO", None)
        .flag_if_supported("-Wno-unused-parameter")
        .opt_level(3)
        .debug(false)
        .compile("deepmim_shim");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());
}

/// The folders with the headers that NCCL's backend wants, where libtorch has a CUDA half: those of the
/// packages nvidia-* beside PyTorch in a Python environment, and CUDA_HOME's.
fn nccl_headers(lib: &Path) -> Option<Vec<PathBuf>> {
    println!("cargo:rerun-if-env-changed=CUDA_HOME");
    if !lib.join("libtorch_cuda.so").exists() {
        return None;
    }
    let packages = lib.parent()?.parent()?.join("nvidia");
    let mut folders: Vec<PathBuf> = std::fs::read_dir(packages)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("include")))
        .chain(std::env::var_os("CUDA_HOME").map(|home| PathBuf::from(home).join("include")))
        .filter(|folder| folder.is_dir())
        .collect();
    folders.sort();
    // CUDA 13 keeps its C++ library in a folder of its own.
    let cccl: Vec<PathBuf> = folders.iter().map(|folder| folder.join("cccl")).collect();
    folders.extend(cccl.into_iter().filter(|folder| folder.is_dir()));
    let missing: Vec<&str> = [
        "nccl.h",
        "cuda_runtime_api.h",
        "crt/host_defines.h",
        "cuda/std/complex",
    ]
    .into_iter()
    .filter(|header| !folders.iter().any(|folder| folder.join(header).exists()))
    .collect();
    if missing.is_empty() {
        return Some(folders);
    }
    println!(
        "cargo:warning=training on several GPUs is left out of this build: {} not found beside PyTorch or in CUDA_HOME (pip install nvidia-nccl-cu13 nvidia-cuda-crt==13.0.88 nvidia-cuda-cccl==13.0.85)",
        missing.join(", ")
    );
    None
}
