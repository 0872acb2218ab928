//! Processes as /proc shows them ([proc(5)]): which there are, which started which, which sockets
//! they hold open. Every reader of /proc/PID in the init is here. A process may end at any moment:
//! that is ENOENT or ESRCH, and an answer.
//!
//! [proc(5)]: https://man7.org/linux/man-pages/man5/proc.5.html

use std::fs;
use std::io::{self, Error, ErrorKind};
use std::os::fd::RawFd;
use std::path::Path;

use super::own_pid;
use crate::process::Pid;

/// Out of [proc_pid_stat(5)].
///
/// [proc_pid_stat(5)]: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stat {
    /// `None` for the first process, and for one whose parent lives outside of our PID namespace.
    pub parent: Option<Pid>,
    /// It has ended and waits to be reaped; it holds nothing, and may still forbid us to see that.
    pub zombie: bool,
}

/// Errors: ENOENT or ESRCH for a process that has ended; EMFILE, ENFILE, ENOMEM.
pub fn stat(pid: Pid) -> io::Result<Stat> {
    parse_stat(&fs::read(format!("/proc/{pid}/stat"))?).ok_or_else(|| torn("stat"))
}

/// The third and fourth field; the second is the program's name, which may contain anything,
/// parentheses too.
fn parse_stat(stat: &[u8]) -> Option<Stat> {
    let name_ends = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(name_ends..)?.get(1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let zombie = matches!(fields.next()?, "Z" | "X");
    Some(Stat { parent: Pid::new(fields.next()?.parse().ok()?), zombie })
}

/// Any bytes as /proc/PID/stat and as what a descriptor leads to.
#[cfg(fuzzing)]
pub fn read_any(bytes: &[u8]) {
    use std::os::unix::ffi::OsStrExt;
    let _ = parse_stat(bytes);
    let _ = socket_inode(Path::new(std::ffi::OsStr::from_bytes(bytes)));
    let _ = read_from(&String::from_utf8_lossy(bytes));
    let own = Pid::new(1).expect("a pid");
    let _ = shows_another(&String::from_utf8_lossy(bytes), own);
}

fn torn(file: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("{file} of /proc is not as expected"))
}

/// The processes of the PID namespace that /proc shows. Names only: one descriptor, closed before
/// the first is looked at.
pub fn pids() -> io::Result<Vec<Pid>> {
    let mut pids = vec![];
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        pids.extend(name.to_str().and_then(|name| Pid::new(name.parse().ok()?)));
    }
    Ok(pids)
}

/// Whom a process of one thread has started, or taken in ([proc_tid_children(5)], which a kernel
/// may lack).
///
/// [proc_tid_children(5)]: https://man7.org/linux/man-pages/man5/proc_tid_children.5.html
pub fn children(pid: Pid) -> io::Result<Vec<Pid>> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    Ok(text.split_ascii_whitespace().filter_map(|pid| Pid::new(pid.parse().ok()?)).collect())
}

/// How many threads a process has.
pub fn thread_count(pid: Pid) -> io::Result<usize> {
    status_field(pid, "Threads:").and_then(|count| count.parse().map_err(|_| torn("status")))
}

/// A thread, by its number. Its process's own folder is not asked: every name that is looked up
/// below /proc/PID/task stays in the kernel's cache, to be cleared by the threads when they end and
/// by whoever reaps the process. They wait for each other, without sleep: on a busy machine with
/// Linux 6.18, PID 1 was held in waitpid(2) for up to 50 s.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Thread(pub Pid);

impl Thread {
    /// Whose it is. Errors: ENOENT or ESRCH where it has ended.
    pub fn process(self) -> io::Result<Pid> {
        let Thread(id) = self;
        let number = status_field(id, "Tgid:")?;
        number.parse().ok().and_then(Pid::new).ok_or_else(|| torn("status"))
    }

    /// The inode of the socket on which it blocks in a read ([proc_pid_syscall(5)]); None when it
    /// does something else, or where the kernel does not tell.
    ///
    /// Errors: ENOENT or ESRCH where it has ended; EACCES where it may not be looked at, as by
    /// ptrace.
    ///
    /// [proc_pid_syscall(5)]: https://man7.org/linux/man-pages/man5/proc_pid_syscall.5.html
    pub fn reads(self) -> io::Result<Option<u32>> {
        let Thread(id) = self;
        let call = fs::read_to_string(format!("/proc/{id}/syscall"))?;
        let Some(fd) = read_from(&call) else { return Ok(None) };
        Ok(fs::read_link(format!("/proc/{id}/fd/{fd}")).ok().and_then(|target| socket_inode(&target)))
    }
}

/// The number that a process or thread got last in our PID namespace (`/proc/loadavg` in
/// [proc(5)]).
pub fn last_number() -> io::Result<i32> {
    let load = fs::read_to_string("/proc/loadavg")?;
    load.split_ascii_whitespace()
        .next_back()
        .and_then(|last| last.parse().ok())
        .ok_or_else(|| torn("loadavg"))
}

/// The largest number that a process or thread may get.
pub fn largest_number() -> io::Result<i32> {
    let largest = fs::read_to_string("/proc/sys/kernel/pid_max")?;
    largest.trim().parse().map_err(|_| torn("pid_max"))
}

/// The descriptor of a read: `45 0x5 0x7f...`, number and arguments of the call. Of a thread that
/// runs it says `running`.
fn read_from(call: &str) -> Option<u32> {
    let mut words = call.split_ascii_whitespace();
    let number: libc::c_long = words.next()?.parse().ok()?;
    let fd = u32::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok()?;
    let is_read = [libc::SYS_read, libc::SYS_recvfrom, libc::SYS_recvmsg, libc::SYS_readv].contains(&number);
    is_read.then_some(fd)
}

/// The effective uid, under which its sockets are made; /proc/PID itself would say root for a
/// process that hides.
pub fn uid(pid: Pid) -> io::Result<u32> {
    let uids = status_field(pid, "Uid:")?;
    uids.split_ascii_whitespace().nth(1).and_then(|uid| uid.parse().ok()).ok_or_else(|| torn("status"))
}

/// A line of /proc/PID/status, without its name.
fn status_field(pid: Pid, name: &str) -> io::Result<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.map(|value| value.trim().to_owned()).ok_or_else(|| torn("status"))
}

/// The descriptors of a process, one after the other, at some microseconds each
/// ([proc_pid_fd(5)]).
///
/// [proc_pid_fd(5)]: https://man7.org/linux/man-pages/man5/proc_pid_fd.5.html
#[derive(Debug)]
pub struct Descriptors(fs::ReadDir);

impl Descriptors {
    /// Errors: ENOENT where it has ended; EACCES where it does not show them; EMFILE, ENFILE,
    /// ENOMEM.
    pub fn of(pid: Pid) -> io::Result<Descriptors> {
        fs::read_dir(format!("/proc/{pid}/fd")).map(Descriptors)
    }
}

impl Iterator for Descriptors {
    /// Number and inode of a socket; None for what is no socket, or was closed while we read.
    type Item = io::Result<Option<(RawFd, u32)>>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.0.next()?.and_then(|entry| match fs::read_link(entry.path()) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            target => {
                let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
                Ok(number.zip(socket_inode(&target?)))
            }
        }))
    }
}

/// A walk over the descriptors of some processes ([proc_pid_fd(5)]), to find those of the sockets
/// that one knows by inode. Every descriptor costs microseconds and there may be many thousands, so
/// it goes on a piece at a time.
///
/// [proc_pid_fd(5)]: https://man7.org/linux/man-pages/man5/proc_pid_fd.5.html
#[derive(Debug)]
pub struct Walk {
    pids: Vec<Pid>,
    at: Option<(Pid, Descriptors)>,
}

impl Walk {
    /// A walk over these processes.
    pub fn over(pids: Vec<Pid>) -> Walk {
        Walk { pids, at: None }
    }

    /// Looks at so many descriptors more and calls `each` with process, descriptor and inode of
    /// those that are sockets. False when there are no more. Errors: EACCES where a process does
    /// not show its descriptors, which is then passed over.
    pub fn go_on(&mut self, pieces: usize, mut each: impl FnMut(Pid, RawFd, u32)) -> io::Result<bool> {
        for _ in 0..pieces {
            let Some((pid, descriptors)) = &mut self.at else {
                let Some(pid) = self.pids.pop() else { return Ok(false) };
                match Descriptors::of(pid) {
                    Ok(descriptors) => self.at = Some((pid, descriptors)),
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
                continue;
            };
            // Descriptors, and processes, may end while we read.
            match descriptors.next() {
                Some(Ok(Some((fd, inode)))) => each(*pid, fd, inode),
                Some(Ok(None)) => {}
                Some(Err(_)) | None => self.at = None,
            }
        }
        Ok(true)
    }
}

/// `socket:[12345]`
fn socket_inode(target: &Path) -> Option<u32> {
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Is it known that /proc shows another PID namespace than ours? So it is after `unshare --pid`
/// without `--mount-proc`: what it shows of a pid is then another process's.
pub fn is_of_another_namespace() -> io::Result<bool> {
    let status = match fs::read_to_string("/proc/self/status") {
        // A /proc of a namespace in which we are not.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Path::new("/proc/version").exists()),
        status => status?,
    };
    Ok(shows_another(&status, own_pid()))
}

/// The error for it.
pub fn another_namespace() -> io::Error {
    io::Error::other("/proc shows another PID namespace")
}

/// `NSpid` lists our pid in the namespace of this /proc and in those below it, down to our own;
/// kernels without PID namespaces have none.
fn shows_another(status: &str, own: Pid) -> bool {
    let Some(pids) = status.lines().find_map(|line| line.strip_prefix("NSpid:")) else { return false };
    let pids: Vec<i32> = pids.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    pids != [own.number()]
}

/// Does it live in another network namespace than we do? Our own sock_diag would show the wrong
/// sockets.
pub fn is_in_another_network(pid: Pid) -> bool {
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net"));
    match (namespace("self"), namespace(&pid.to_string())) {
        (Ok(ours), Ok(theirs)) => ours != theirs,
        // It may not be read: then the usual is assumed.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(parent: i32, zombie: bool) -> Option<Stat> {
        Some(Stat { parent: Pid::new(parent), zombie })
    }

    #[test]
    fn the_parent_is_found_behind_any_name() {
        assert_eq!(parse_stat(b"12 (a) b) (c) S 7 12 12 0"), stat(7, false));
        assert_eq!(parse_stat(b"42 (a) S 1 (b)) S 7 42 42 0"), stat(7, false));
        assert_eq!(parse_stat(b"12 (sh) Z 7 12 12 0"), stat(7, true));
        for torn in [&b"12 (sh"[..], b"", b"12 (sh)", b"12 (sh) S", b")"] {
            assert_eq!(parse_stat(torn), None);
        }
    }

    #[test]
    fn only_sockets_have_an_inode() {
        assert_eq!(socket_inode(Path::new("socket:[123]")), Some(123));
        assert_eq!(socket_inode(Path::new("pipe:[123]")), None);
        assert_eq!(socket_inode(Path::new("/tmp/socket:[123]")), None);
    }

    #[test]
    fn only_reads_have_a_descriptor() {
        assert_eq!(read_from(&format!("{} 0x5 0x7f00 0xa 0x0", libc::SYS_recvfrom)), Some(5));
        assert_eq!(read_from(&format!("{} 0x5 0x7f00", libc::SYS_write)), None);
        for other in ["", "running", "-1 0x7ffe 0x7f", "0", "0 5"] {
            assert_eq!(read_from(other), None);
        }
    }

    #[test]
    fn a_proc_of_the_namespace_above_is_recognised() {
        let own = Pid::new(1).unwrap();
        assert!(shows_another("Name:\tadieu\nNSpid:\t4711\t1\nUid:\t0", own));
        assert!(!shows_another("Name:\tadieu\nNSpid:\t1\n", own));
        assert!(!shows_another("Name:\tadieu\n", own), "a kernel without PID namespaces");
        assert!(!is_of_another_namespace().unwrap());
    }

    #[test]
    fn a_walk_finds_the_descriptor_of_a_socket_piece_by_piece() {
        use std::os::fd::AsRawFd;
        use std::os::unix::fs::MetadataExt;
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let inode = fs::metadata(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap().ino();
        let own = crate::sys::own_pid();
        let mut walk = Walk::over(vec![own, Pid::new(i32::MAX).unwrap()]);
        let mut found = vec![];
        while walk
            .go_on(2, |pid, fd, seen| found.extend((u64::from(seen) == inode).then_some((pid, fd))))
            .unwrap()
        {}
        assert_eq!(found, [(own, socket.as_raw_fd())]);
    }
}
