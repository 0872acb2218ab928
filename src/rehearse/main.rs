//! The rehearsal tool. Under the name `adieu` this binary is the init itself, so the tool needs no
//! second binary to run an app under adieu.

#![no_main]

use std::ffi::{CStr, OsStr, OsString, c_char, c_int};
use std::os::unix::ffi::OsStrExt;

/// C's main function instead of Rust's, because the init must pass the process state on to the app
/// unchanged; see [`adieu::entry`].
///
/// # Safety
/// Only libc may call it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    // SAFETY: libc gives argc pointers to C strings that live as long as the process.
    let arguments = (0..argc.max(0) as usize).map(|n| unsafe { CStr::from_ptr(*argv.add(n)) });
    let arguments: Vec<OsString> =
        arguments.map(|text| OsStr::from_bytes(text.to_bytes()).to_owned()).collect();
    let name = arguments.first().map(std::path::Path::new).and_then(std::path::Path::file_name);
    if name == Some(OsStr::new("adieu")) {
        // SAFETY: both are as libc gave them.
        return unsafe { adieu::entry(argc, argv) };
    }
    adieu_rehearse::main(arguments.get(1..).unwrap_or_default())
}
