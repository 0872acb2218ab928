//! The rehearsal tool. Called as `adieu` it is the init itself, so that the tool needs no second
//! binary to run an app under it.

#![no_main]

use std::ffi::{CStr, OsStr, OsString, c_char, c_int};
use std::os::unix::ffi::OsStrExt;

/// C's main function, since as the init this program must be found by the app as C would have left
/// it; [`adieu::entry`] says why.
///
/// # Safety
/// For libc alone to call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    // SAFETY: libc gives argc pointers to C strings that live as long as the process.
    let arguments = (0..argc.max(0) as usize).map(|n| unsafe { CStr::from_ptr(*argv.add(n)) });
    let arguments: Vec<OsString> =
        arguments.map(|text| OsStr::from_bytes(text.to_bytes()).to_owned()).collect();
    let name = arguments.first().map(std::path::Path::new).and_then(std::path::Path::file_name);
    if name == Some(OsStr::new("adieu")) {
        // SAFETY: both are passed on as libc gave them.
        return unsafe { adieu::entry(argc, argv) };
    }
    adieu_rehearse::main(arguments.get(1..).unwrap_or_default())
}
