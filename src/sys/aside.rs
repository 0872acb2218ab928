//! What is done in a process of its own: calls that may kill us, and closing descriptors of others,
//! passed to us or duplicated, since that may sleep in the kernel for long. [close(2)] waits for
//! the peer if the socket has SO_LINGER set, and for the server if the file is on NFS or FUSE.
//! Receiving a message without room for its descriptors does not help: the kernel then closes the
//! rest at once, in the receiver's call.
//!
//! [close(2)]: https://man7.org/linux/man-pages/man2/close.2.html

use super::reap;
use super::signals::{self, Mask};
use super::spawn::Stack;
use crate::process::{Exit, Pid};
use nix::errno::Errno;
use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};

/// Room for the sender's credentials and the most descriptors that one message carries (SCM_MAX_FD,
/// unix(7)).
const CONTROL: usize = 2048;

/// Closes descriptors of ours. The process shares our table, where each is free once it is closed;
/// the reaper sees its end. On failure nothing is closed, and they come back.
///
/// # Errors
/// What clone(2) says.
pub fn close(descriptors: Vec<OwnedFd>) -> Result<Pid, (io::Error, Vec<OwnedFd>)> {
    let numbers: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let mut work = || {
        for number in &numbers {
            // SAFETY: nobody else closes it, as those who owned it forget it below.
            unsafe { libc::close(*number) };
        }
    };
    match run(libc::CLONE_FILES, &mut work) {
        Ok(pid) => {
            for descriptor in descriptors {
                let _closed_by_the_child = descriptor.into_raw_fd();
            }
            Ok(pid)
        }
        Err(error) => Err((error, descriptors)),
    }
}

/// Takes the next message off a datagram socket, with its descriptors, and drops it. The process
/// has a table of its own and goes without closing what it got: a socket of a process that ends
/// does not linger.
///
/// # Errors
/// What clone(2) says.
pub(super) fn drop_message(socket: BorrowedFd) -> io::Result<Pid> {
    let socket = socket.as_raw_fd();
    let mut work = || {
        let mut control = [0u64; CONTROL / size_of::<u64>()];
        // SAFETY: plain data, for which all-zero is valid.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = CONTROL as _;
        // Room for what comes. Where there is no such call, what finds no room is let go of while
        // we wait. SAFETY: the child's own table; it uses the socket alone.
        unsafe {
            libc::syscall(libc::SYS_close_range, 0, socket.wrapping_sub(1), 0);
            libc::syscall(libc::SYS_close_range, socket.wrapping_add(1), c_int::MAX, 0);
        }
        // SAFETY: the header and its buffer live through the call.
        unsafe { libc::recvmsg(socket, &raw mut header, libc::MSG_DONTWAIT) };
    };
    run(0, &mut work)
}

/// Whether `work`, which makes system calls alone that do not sleep, ends of itself: a seccomp
/// filter may kill the process that makes a call.
///
/// # Errors
/// What clone(2) says.
pub(super) fn survives(mut work: impl FnMut()) -> io::Result<bool> {
    let pid = run(0, &mut || {
        // No core file. SAFETY: integers.
        unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
        work();
    })?;
    Ok(reap::end_of(pid) == Some(Exit::Status(0)))
}

/// Runs `work`, which makes system calls alone, in a child with a copy of our memory. Of all
/// signals it takes TERM, with which leftovers are asked to end.
fn run(flags: c_int, mut work: &mut dyn FnMut()) -> io::Result<Pid> {
    let stack = Stack::new()?;
    let argument = std::ptr::from_mut(&mut work).cast();
    // SAFETY: the child has a copy of our memory, the stack and the work among it. nix's clone
    // leaks the child's box.
    let pid = unsafe { libc::clone(child, stack.top(), flags | libc::SIGCHLD, argument) };
    Pid::new(Errno::result(pid)?).ok_or_else(|| io::ErrorKind::Other.into())
}

extern "C" fn child(work: *mut c_void) -> c_int {
    // SAFETY: the pointer that run() gave to clone.
    let work = unsafe { &mut *work.cast::<&mut dyn FnMut()>() };
    signals::set_mask(Mask(!(1 << (libc::SIGTERM - 1))));
    work();
    // SAFETY: ends the child at once; no destructor of the parent may run here.
    unsafe { libc::_exit(0) }
}
