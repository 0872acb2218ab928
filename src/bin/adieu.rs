#![no_main]

use std::ffi::{c_char, c_int};

#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// C's main function; [`adieu::entry`] says why it is not Rust's.
///
/// # Safety
/// For libc alone to call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    // SAFETY: both are passed on as libc gave them.
    unsafe { adieu::entry(argc, argv) }
}
