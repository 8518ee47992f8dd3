//! How the C library hands freed memory back.

/// Hands memory that was freed back to the system, however little [`keep_freed_memory`] lets go by itself.
/// For after a large thing that comes once: a checkpoint was read and copied into a model.
pub fn return_freed_memory() {
    #[cfg(target_env = "gnu")]
    {
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> i32;
        }
        // SAFETY: looks at the allocator's own lists and touches no memory in use.
        unsafe {
            malloc_trim(0);
        }
    }
}

/// Lets the process keep memory that libtorch frees, instead of returning it to the system.
///
/// On a CPU, libtorch allocates and frees every intermediate tensor at each step. glibc maps blocks
/// above 32 MB anew each time and trims its heap, so a step pays a page fault for every 4 KB of its
/// large tensors: about 4 % of a ViT-B fine-tuning step at batch 16. Blocks from 64 MB on are mapped
/// still: kept in the heap, the holes they leave made a training step of UperNet on ViT-B half as large
/// again, at the same speed. Call it once, before training or evaluating. Does nothing where the C
/// library is not glibc.
pub fn keep_freed_memory() {
    #[cfg(target_env = "gnu")]
    {
        const M_TRIM_THRESHOLD: i32 = -1;
        const M_TOP_PAD: i32 = -2;
        const M_MMAP_THRESHOLD: i32 = -3;
        unsafe extern "C" {
            fn mallopt(parameter: i32, value: i32) -> i32;
        }
        // SAFETY: sets three numbers of the allocator. One that an older glibc refuses stays as it is.
        unsafe {
            mallopt(M_MMAP_THRESHOLD, 64 << 20);
            mallopt(M_TRIM_THRESHOLD, i32::MAX);
            mallopt(M_TOP_PAD, 64 << 20);
        }
    }
}
