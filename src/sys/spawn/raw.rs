//! System calls that leave libc's errno alone. The app's child borrows our memory, errno with it,
//! while we go on: a call of the child's that fails must not look like one of ours that did.

use nix::errno::Errno;
use std::ffi::{CStr, c_char, c_int, c_long};
use std::os::fd::RawFd;

/// Whether a call can be made without errno here. If not, the parent must not run beside the child.
pub(super) const LEAVES_ERRNO_ALONE: bool = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));

/// The largest number that the kernel returns for an error.
const LARGEST_ERRNO: isize = 4095;

/// A process group of one's own. A failure (gVisor) leaves the caller where it is.
pub(super) fn lead_a_group() {
    // SAFETY: integers.
    let _ = unsafe { call(libc::SYS_setpgid, [0, 0, 0]) };
}

/// The terminal's foreground, for the caller's own process group. A failure (gVisor) leaves it to
/// whoever has it.
pub(super) fn take_foreground(terminal: RawFd) {
    let own = std::process::id();
    // SAFETY: the kernel reads one int, which lives through the call.
    let _ =
        unsafe { call(libc::SYS_ioctl, [terminal as usize, libc::TIOCSPGRP as usize, addr(&raw const own)]) };
}

/// Asks for a signal when the parent dies.
pub(super) fn die_with_parent(signal: c_int) {
    // SAFETY: integers.
    let _ = unsafe { call(libc::SYS_prctl, [libc::PR_SET_PDEATHSIG as usize, signal as usize, 0]) };
}

/// Not raise(3): musl's trusts a thread id that it keeps, and that is still the parent's.
pub(super) fn signal_self(signal: c_int) {
    // SAFETY: integers.
    let _ = unsafe { call(libc::SYS_kill, [std::process::id() as usize, signal as usize, 0]) };
}

/// Becomes another program, or says why not.
///
/// # Safety
/// Both arrays hold C strings and end with null.
pub(super) unsafe fn execute(path: &CStr, argv: &[*const c_char], envp: &[*const c_char]) -> Errno {
    let arguments = [addr(path.as_ptr()), addr(argv.as_ptr()), addr(envp.as_ptr())];
    // SAFETY: a C string, and arrays as the caller says.
    let executed = unsafe { call(libc::SYS_execve, arguments) };
    executed.err().unwrap_or(Errno::UnknownErrno)
}

/// Writes; a failure of a pipe's first write could not be reported.
pub(super) fn write(to: RawFd, bytes: &[u8]) {
    // SAFETY: the kernel reads as many bytes as there are.
    let _ = unsafe { call(libc::SYS_write, [to as usize, addr(bytes.as_ptr()), bytes.len()]) };
}

/// Fills `start` with a file's first bytes; false where it has fewer or cannot be read.
pub(super) fn reads_start(path: &CStr, start: &mut [u8]) -> bool {
    let folder = libc::AT_FDCWD as usize;
    // SAFETY: a C string and the flags of a file that is read: O_RDONLY, without a mode.
    let Ok(file) =
        (unsafe { call(libc::SYS_openat, [folder, addr(path.as_ptr()), libc::O_CLOEXEC as usize]) })
    else {
        return false;
    };
    // SAFETY: reads no more than there is room for.
    let read = unsafe { call(libc::SYS_read, [file, addr(start.as_mut_ptr()), start.len()]) };
    // SAFETY: closes what was opened here and is used nowhere else.
    let _ = unsafe { call(libc::SYS_close, [file, 0, 0]) };
    read == Ok(start.len())
}

fn addr<T>(pointer: *const T) -> usize {
    pointer.expose_provenance()
}

/// Makes a system call.
///
/// # Safety
/// As the call's man page says of its arguments.
unsafe fn call(number: c_long, arguments: [usize; 3]) -> Result<usize, Errno> {
    // SAFETY: the caller's.
    let returned = unsafe { enter(number, arguments) };
    if (-LARGEST_ERRNO..0).contains(&returned) {
        return Err(Errno::from_raw(returned.wrapping_neg() as i32));
    }
    Ok(returned.cast_unsigned())
}

#[cfg(target_arch = "x86_64")]
unsafe fn enter(number: c_long, [first, second, third]: [usize; 3]) -> isize {
    let returned: isize;
    // SAFETY: the kernel's convention (syscall(2)): it changes rax, rcx and r11, and no stack.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => returned,
            in("rdi") first,
            in("rsi") second,
            in("rdx") third,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    returned
}

#[cfg(target_arch = "aarch64")]
unsafe fn enter(number: c_long, [first, second, third]: [usize; 3]) -> isize {
    let returned: isize;
    // SAFETY: the kernel's convention (syscall(2)): it changes x0, and no stack.
    unsafe {
        std::arch::asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") first as isize => returned,
            in("x1") second,
            in("x2") third,
            options(nostack),
        );
    }
    returned
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn enter(number: c_long, [first, second, third]: [usize; 3]) -> isize {
    // SAFETY: the caller's.
    let returned = unsafe { libc::syscall(number, first, second, third) } as isize;
    if returned < 0 { (Errno::last_raw() as isize).wrapping_neg() } else { returned }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_comes_back_and_errno_stays() {
        Errno::set_raw(libc::ENOTTY);
        // SAFETY: no descriptor has this number.
        assert_eq!(unsafe { call(libc::SYS_close, [usize::MAX, 0, 0]) }, Err(Errno::EBADF));
        assert_eq!(Errno::last(), Errno::ENOTTY);
        // SAFETY: takes no argument.
        assert_eq!(unsafe { call(libc::SYS_getpid, [0; 3]) }, Ok(std::process::id() as usize));
    }

    #[test]
    fn the_start_of_a_file_is_read_whole_or_not_at_all() {
        let mut start = [0; 4];
        assert!(reads_start(c"/proc/self/exe", &mut start));
        assert_eq!(&start, b"\x7fELF");
        assert!(!reads_start(c"/dev/null", &mut start) && !reads_start(c"/nowhere", &mut start));
    }
}
