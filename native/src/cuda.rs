//! Loading libtorch's CUDA half.

use std::sync::OnceLock;

use crate::{NativeError, ffi};

/// Makes GPU `index` the one that this thread's allocations and streams are on where no tensor says so
/// (`torch.cuda.set_device`).
///
/// # Errors
/// When there is no such GPU, or libtorch has no CUDA.
pub fn set_cuda_device(index: usize) -> Result<(), NativeError> {
    let index = i8::try_from(index).map_err(|_| NativeError(format!("no GPU {index}")))?;
    // SAFETY: a plain value in.
    unsafe { ffi::answer(ffi::deepmim_set_cuda_device(index)) }
}

/// Most bytes that tensors on GPU `index` took at once so far (`torch.cuda.max_memory_allocated`).
///
/// # Errors
/// When there is no such GPU, or libtorch has no CUDA.
pub fn peak_cuda_memory(index: usize) -> Result<u64, NativeError> {
    let index = i8::try_from(index).map_err(|_| NativeError(format!("no GPU {index}")))?;
    let mut bytes = 0;
    // SAFETY: a plain value in, a plain value out.
    unsafe { ffi::answer(ffi::deepmim_peak_cuda_memory(index, &mut bytes))? };
    Ok(bytes.unsigned_abs())
}

/// Loads `libtorch_cuda.so`, once, and says whether it is there.
///
/// The linker drops the library as unneeded, because nothing here names one of its symbols: without
/// this call CUDA is silently absent, whatever the machine has. Call it before the first question
/// about CUDA. A CPU-only libtorch has no such file; then the answer is `false`.
pub fn load_cuda() -> bool {
    static LOADED: OnceLock<bool> = OnceLock::new();
    *LOADED.get_or_init(|| {
        use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
        // SAFETY: runs the library's initialisers, which register CUDA's kernels; that is the aim.
        match unsafe { Library::open(Some("libtorch_cuda.so"), RTLD_NOW | RTLD_GLOBAL) } {
            Ok(library) => {
                // Kept for the program's life: its kernels stay registered.
                std::mem::forget(library);
                true
            }
            Err(_) => false,
        }
    })
}
