//! The descriptors that adieu was started with, and its own.
//!
//! The app gets exactly the inherited ones. adieu's own are close-on-exec and above 2, even when it
//! was started with 0, 1 or 2 closed. After the start adieu closes all inherited ones but 2.

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl, open};
use nix::sys::stat::Mode;
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, RawFd};

/// Occupies those of 0, 1 and 2 that are closed, so that no descriptor of ours lands there. What
/// occupies them is close-on-exec (the app finds them closed, as they were) and cannot be read or
/// written (O_PATH).
pub fn occupy_closed() {
    for fd in 0..3 {
        if !is_open(fd) {
            // Without descriptors left (RLIMIT_NOFILE) nothing of ours can land there either. The
            // lowest free number is the one just found closed.
            let _ = placeholder().map(IntoRawFd::into_raw_fd);
        }
    }
}

/// Closes 0, 1 and everything above 2 that is inherited, except `own`. From here on one of adieu's
/// may be at 0 or 1: the app has started, and helpers get their own there.
pub fn close_inherited(own: &[BorrowedFd]) {
    close_range(0, 1);
    let mut own: Vec<u32> = own.iter().map(|fd| fd.as_raw_fd() as u32).collect();
    own.sort_unstable();
    let mut first = 3;
    for fd in own {
        close_range(first, fd.wrapping_sub(1));
        first = first.max(fd.saturating_add(1));
    }
    close_range(first, u32::MAX);
}

fn placeholder() -> nix::Result<std::os::fd::OwnedFd> {
    open("/", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
}

fn is_open(fd: RawFd) -> bool {
    descriptor_flags(fd).is_ok()
}

fn descriptor_flags(fd: RawFd) -> nix::Result<FdFlag> {
    // SAFETY: the number is only asked about; a closed one is answered by EBADF.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    fcntl(fd, FcntlArg::F_GETFD).map(FdFlag::from_bits_truncate)
}

/// Closes a range of descriptors ([close_range(2)], Linux 5.9), one by one where the kernel has no
/// such call.
///
/// [close_range(2)]: https://man7.org/linux/man-pages/man2/close_range.2.html
fn close_range(first: u32, last: u32) {
    if first > last {
        return;
    }
    // SAFETY: the caller leaves out every descriptor that is owned by something in adieu.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if done != 0 {
        for fd in first..=last.min(highest_possible()) {
            // SAFETY: as above. EBADF: it was not open.
            unsafe { libc::close(fd as RawFd) };
        }
    }
}

fn highest_possible() -> u32 {
    limit().unwrap_or(1024).min(1 << 16) as u32
}

/// How many descriptors adieu may have (RLIMIT_NOFILE); `None` where the kernel does not say.
pub fn limit() -> Option<u64> {
    use nix::sys::resource::{Resource, getrlimit};
    getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft)
}

/// How many more we may open: `wanted`, or as many as there are. Asked of poll(2), which names
/// those that are not open, since /proc may be missing.
pub(super) fn free(wanted: usize) -> usize {
    /// Enough to find room among; adieu itself has some dozens.
    const MOST: usize = 1024;
    let most = limit().and_then(|limit| usize::try_from(limit).ok()).unwrap_or(MOST).min(MOST);
    let numbers = (0..most).filter_map(|number| RawFd::try_from(number).ok());
    let mut asked: Vec<libc::pollfd> = numbers.map(|fd| libc::pollfd { fd, events: 0, revents: 0 }).collect();
    // SAFETY: an array of as many entries, alive through the call, which does not wait. nix wants
    // open descriptors.
    unsafe { libc::poll(asked.as_mut_ptr(), asked.len() as libc::nfds_t, 0) };
    asked.iter().filter(|asked| asked.revents & libc::POLLNVAL != 0).take(wanted).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn room_is_what_is_not_open() {
        assert_eq!(free(3), 3);
        let open = std::fs::read_dir("/proc/self/fd").unwrap().count();
        let most = limit().unwrap().min(1024) as usize;
        assert!(free(usize::MAX) > most.saturating_sub(open + 100), "other tests open some, too");
    }

    #[test]
    fn a_closed_range_leaves_what_is_outside_of_it() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let copy = fcntl(&writer, FcntlArg::F_DUPFD_CLOEXEC(500)).unwrap();
        drop(writer);
        close_range(copy as u32, copy as u32);
        assert!(!is_open(copy));
        assert_eq!(reader.read(&mut [0]).unwrap(), 0, "the last writer is gone");
    }
}
