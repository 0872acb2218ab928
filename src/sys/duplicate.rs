//! Another process's TCP socket, held for a moment through a duplicate of its descriptor
//! ([pidfd_getfd(2)], Linux 5.6): looked at, corked, shut down. A duplicate is the same socket, so
//! that what is done to it is done to the app's; and as long as it is open, the app's own close
//! sends no FIN. So each lives for microseconds, but for those that are [watched](Arrivals) for a
//! request.
//!
//! Descriptors and inodes are used again for other sockets, cookies never: a duplicate is given out
//! only after its cookie has been compared ([SO_COOKIE in socket(7)]).
//!
//! [pidfd_getfd(2)]: https://man7.org/linux/man-pages/man2/pidfd_getfd.2.html
//! [SO_COOKIE in socket(7)]: https://man7.org/linux/man-pages/man7/socket.7.html

use std::fmt;
use std::fs;
use std::io::ErrorKind::NotFound;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;
use std::time::Duration;

use super::{aside, describe};
use crate::process::Pid;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::sockopt::Linger;
use nix::sys::socket::{MsgFlags, Shutdown, getsockopt, recv, setsockopt, shutdown};
use nix::{getsockopt_impl, setsockopt_impl, sockopt_impl};

/// asm-generic/socket.h; libc does not name it.
const SO_COOKIE: libc::c_int = 57;

sockopt_impl!(
    /// A number that no other socket has until the machine is started anew.
    Cookie, GetOnly, libc::SOL_SOCKET, SO_COOKIE, u64);
sockopt_impl!(
    /// Holds back what does not fill a segment
    /// ([tcp(7)](https://man7.org/linux/man-pages/man7/tcp.7.html)).
    Cork, Both, libc::IPPROTO_TCP, libc::TCP_CORK, bool);
sockopt_impl!(
    /// The kernel acknowledges at once, and does not wait for an answer to do it with
    /// ([tcp(7)](https://man7.org/linux/man-pages/man7/tcp.7.html)).
    QuickAck, GetOnly, libc::IPPROTO_TCP, libc::TCP_QUICKACK, bool);

/// Why a socket cannot be had, or an act on it not be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// Process, descriptor or connection are not there any more, or another socket has the number:
    /// an answer, not an error.
    Gone,
    /// Its close waits for the client (SO_LINGER in socket(7)), so it is left alone.
    Lingers,
    /// EPERM: the call is filtered (Docker's default seccomp profile, one that would kill us), or
    /// the process is another user's or not dumpable, and we lack SYS_PTRACE. ENOSYS: a kernel
    /// before 5.6, gVisor. Asking again will not help.
    Refused(Errno),
    /// Descriptors or memory have run out, which passes.
    Passing(Errno),
}

impl Failure {
    fn of(errno: Errno) -> Failure {
        match errno {
            Errno::ESRCH | Errno::EBADF | Errno::ENOTCONN | Errno::ENOTSOCK | Errno::ENOENT => Failure::Gone,
            Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::EINTR | Errno::EAGAIN => {
                Failure::Passing(errno)
            }
            _ => Failure::Refused(errno),
        }
    }

    /// By the number of an error of std's.
    pub fn of_number(errno: i32) -> Failure {
        Failure::of(Errno::from_raw(errno))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Failure::Gone => f.write_str("the connection is gone"),
            Failure::Lingers => f.write_str("its close waits for the client"),
            Failure::Refused(errno) | Failure::Passing(errno) => f.write_str(&describe(&(*errno).into())),
        }
    }
}

/// A process whose sockets are duplicated; one descriptor, close-on-exec.
#[derive(Debug)]
pub struct Process(OwnedFd);

impl Process {
    /// Errors: `Gone` when it has ended; `Refused` where there is no such call, or a filter kills
    /// who makes it.
    pub fn open(pid: Pid) -> Result<Process, Failure> {
        if a_filter_kills()? {
            return Err(Failure::Refused(Errno::EPERM));
        }
        // SAFETY: pidfd_open takes two integers; neither nix nor std has it.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.number(), 0) };
        owned(fd).map(Process)
    }

    /// Duplicates its descriptor `fd`, which must be the socket with this cookie.
    ///
    /// Errors: `Gone` when it is closed or another socket; `Lingers`; `Refused` where that is
    /// forbidden.
    pub fn duplicate(&self, fd: RawFd, cookie: u64) -> Result<Duplicate, Failure> {
        // SAFETY: pidfd_getfd takes three integers; neither nix nor std has it.
        let copy = unsafe { libc::syscall(libc::SYS_pidfd_getfd, self.0.as_raw_fd(), fd, 0) };
        let copy = Duplicate(ManuallyDrop::new(owned(copy)?));
        match getsockopt(&*copy.0, Cookie) {
            Ok(found) if found == cookie && copy.may_wait() => {
                // It may have been told to linger after we had corked it.
                let _ = copy.uncork();
                Err(Failure::Lingers)
            }
            Ok(found) if found == cookie => Ok(copy),
            // The number belongs to something else by now, be it a socket or not (ENOTSOCK).
            Ok(_) | Err(_) => Err(Failure::Gone),
        }
    }
}

/// Whether a seccomp filter kills who makes the calls of this module, as that of a systemd unit
/// does by default (SystemCallFilter=@system-service lacks pidfd_getfd). A child tries, once, and
/// only where there is a filter.
fn a_filter_kills() -> Result<bool, Failure> {
    static KILLS: OnceLock<bool> = OnceLock::new();
    if let Some(kills) = KILLS.get() {
        return Ok(*kills);
    }
    // SAFETY: integers.
    let is_filtered = unsafe { libc::prctl(libc::PR_GET_SECCOMP, 0, 0, 0, 0) } != 0;
    let dies = || {
        // SAFETY: integers, none of them a descriptor or a process.
        let survives = aside::survives(|| unsafe {
            libc::syscall(libc::SYS_pidfd_open, -1, 0);
            libc::syscall(libc::SYS_pidfd_getfd, -1, -1, 0);
        });
        let failure = |error: std::io::Error| Failure::of_number(error.raw_os_error().unwrap_or(0));
        survives.map(|survives| !survives).map_err(failure)
    };
    let kills = is_filtered && dies()?;
    Ok(*KILLS.get_or_init(|| kills))
}

fn owned(fd: libc::c_long) -> Result<OwnedFd, Failure> {
    let fd = Errno::result(fd).map_err(Failure::of)?;
    let fd = RawFd::try_from(fd).map_err(|_| Failure::Gone)?;
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What a connection looks like from within.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tail {
    /// Established, closed by neither side.
    pub open: bool,
    /// Bytes received that the app has not read.
    pub unread: u32,
    /// Segments sent that the client has not acknowledged.
    pub unacked: u32,
    /// Bytes that the app has written and the kernel has not sent.
    pub held: u32,
    /// The largest segment that may be sent, in bytes.
    pub mss: u32,
    /// Bytes received, and bytes written by the app, in the connection's life.
    pub received: u64,
    /// Bytes that the app has written since the connection began.
    pub written: u64,
    /// Since data was last received, and last sent; to the kernel's tick, 1 to 10 ms.
    pub received_ago: Duration,
    /// Since data was last sent.
    pub sent_ago: Duration,
    /// Both share a tick, and nothing was sent for what was received: a kernel that has answered
    /// within 40 ms takes the connection for an interactive one, and shows it as one without
    /// [`QuickAck`]; it takes that back when it has to acknowledge data by itself
    /// (tcp_event_data_sent and tcp_delack_timer_handler in net/ipv4).
    pub unreplied: bool,
}

/// The app's own socket, for as short a time as possible: see above.
#[derive(Debug)]
pub struct Duplicate(ManuallyDrop<OwnedFd>);

impl Duplicate {
    /// Errors: `Gone` when it is no TCP connection.
    pub fn look(&self) -> Result<Tail, Failure> {
        let mut unread: libc::c_int = 0;
        // SAFETY: FIONREAD (SIOCINQ) writes one int, which lives here; nix would need a macro of
        // the same kind.
        let asked = unsafe { libc::ioctl(self.0.as_raw_fd(), libc::FIONREAD, &raw mut unread) };
        Errno::result(asked).map_err(Failure::of)?;
        let mut info = [0u8; INFO];
        let mut length = INFO as libc::socklen_t;
        // SAFETY: the kernel writes at most `length` bytes, which is the buffer's; nix has no
        // TCP_INFO.
        let asked = unsafe {
            libc::getsockopt(
                self.0.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                info.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        Errno::result(asked).map_err(Failure::of)?;
        let info = info.get(..length as usize).unwrap_or_default();
        let tail = tail(info, u32::try_from(unread).unwrap_or(0)).ok_or(Failure::Refused(Errno::ENOSYS))?;
        let is_tie = tail.received > 0 && tail.received_ago == tail.sent_ago;
        let unreplied = is_tie && marks_replies() && getsockopt(&*self.0, QuickAck).unwrap_or(false);
        Ok(Tail { unreplied, ..tail })
    }

    /// Whether its close may sleep: of a socket that lingers, or of what is no socket, such as a
    /// file on NFS.
    fn may_wait(&self) -> bool {
        !getsockopt(&*self.0, Linger).is_ok_and(|linger| linger.l_onoff == 0 || linger.l_linger == 0)
    }

    /// Holds back, from now on, what does not fill a segment.
    pub fn cork(&self) -> Result<(), Failure> {
        setsockopt(&*self.0, Cork, &true).map_err(Failure::of)
    }

    /// Sends what was held back, and holds back no more.
    pub fn uncork(&self) -> Result<(), Failure> {
        setsockopt(&*self.0, Cork, &false).map_err(Failure::of)
    }

    /// Whether it is corked, by us or by the app.
    pub fn is_corked(&self) -> Result<bool, Failure> {
        getsockopt(&*self.0, Cork).map_err(Failure::of)
    }

    /// The app reads end-of-file once it has read what is there, as if its client had hung up.
    pub fn shut_read(&self) -> Result<(), Failure> {
        shutdown(self.0.as_raw_fd(), Shutdown::Read).map_err(Failure::of)
    }

    /// What was written is sent, corked or not, and FIN behind it.
    pub fn shut_write(&self) -> Result<(), Failure> {
        shutdown(self.0.as_raw_fd(), Shutdown::Write).map_err(Failure::of)
    }

    /// Both.
    pub fn shut(&self) -> Result<(), Failure> {
        shutdown(self.0.as_raw_fd(), Shutdown::Both).map_err(Failure::of)
    }

    /// The first bytes in the queue, which stay there for the app.
    pub fn peek<'a>(&self, buffer: &'a mut [u8]) -> Result<&'a [u8], Failure> {
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        match recv(self.0.as_raw_fd(), buffer, flags) {
            Ok(length) => Ok(buffer.get(..length).unwrap_or_default()),
            Err(Errno::EAGAIN) => Ok(&[]),
            Err(errno) => Err(Failure::of(errno)),
        }
    }
}

/// The app may have closed its own descriptor meanwhile: then this is the socket's end.
impl Drop for Duplicate {
    fn drop(&mut self) {
        let may_wait = self.may_wait();
        // SAFETY: it is taken once, here, and nothing uses it afterwards.
        let descriptor = unsafe { ManuallyDrop::take(&mut self.0) };
        if may_wait && let Err((_, unclosed)) = aside::close(vec![descriptor]) {
            // No process to be had. It stays open until adieu ends, which waits for nobody.
            let _left_open: Vec<RawFd> = unclosed.into_iter().map(IntoRawFd::into_raw_fd).collect();
        }
    }
}

/// As much of `struct tcp_info` (linux/tcp.h) as is read here.
const INFO: usize = 216;
const TCP_ESTABLISHED: u8 = 1;

/// None from a kernel whose structure ends earlier (before 4.19).
fn tail(info: &[u8], unread: u32) -> Option<Tail> {
    let word = |offset: usize| info.get(offset..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
    let long = |offset: usize| info.get(offset..)?.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes));
    let ago = |offset| word(offset).map(|ms| Duration::from_millis(ms.into()));
    let held = word(144)?;
    let (sent, sent_again) = (long(200)?, long(208)?);
    Some(Tail {
        open: *info.first()? == TCP_ESTABLISHED,
        unread,
        unacked: word(24)?,
        held,
        mss: word(16)?,
        received: long(128)?,
        written: sent.wrapping_sub(sent_again).wrapping_add(held.into()),
        received_ago: ago(52)?,
        sent_ago: ago(44)?,
        unreplied: false,
    })
}

/// Whether one answer makes a connection an interactive one: Linux 5.1 wanted three, 6.0 wants one,
/// and 6.7 has a setting for it.
fn marks_replies() -> bool {
    static MARKS: OnceLock<bool> = OnceLock::new();
    *MARKS.get_or_init(|| {
        let is_new = fs::read_to_string("/proc/sys/kernel/osrelease").is_ok_and(|release| {
            let mut numbers = release.split('.').map_while(|part| part.parse::<u32>().ok());
            numbers.next() >= Some(6)
        });
        let threshold = fs::read_to_string("/proc/sys/net/ipv4/tcp_pingpong_thresh");
        is_new && threshold.map_or_else(|error| error.kind() == NotFound, |count| count.trim() == "1")
    })
}

/// Tells when data comes in on some duplicates, which it therefore keeps open: for few of them, and
/// not for long.
#[derive(Debug)]
pub struct Arrivals {
    epoll: Epoll,
    /// By cookie.
    watched: Vec<(u64, Duplicate)>,
}

impl Arrivals {
    /// Errors: no descriptor left.
    pub fn new() -> Result<Arrivals, Failure> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(Failure::of)?;
        Ok(Arrivals { epoll, watched: vec![] })
    }

    /// Watches one more socket for data that comes in.
    pub fn watch(&mut self, cookie: u64, socket: Duplicate) -> Result<(), Failure> {
        // Edge-triggered: told for each arrival, whether or not the app has already read it.
        let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, cookie);
        self.epoll.add(&*socket.0, event).map_err(Failure::of)?;
        self.watched.push((cookie, socket));
        Ok(())
    }

    /// Closes the duplicate.
    pub fn forget(&mut self, cookie: u64) {
        self.watched.retain(|(watched, _)| *watched != cookie);
    }

    /// How many sockets are watched.
    pub fn len(&self) -> usize {
        self.watched.len()
    }

    /// Whether none is watched.
    pub fn is_empty(&self) -> bool {
        self.watched.is_empty()
    }

    /// Whether this socket is watched.
    pub fn contains(&self, cookie: u64) -> bool {
        self.watched.iter().any(|(watched, _)| *watched == cookie)
    }

    /// Readable when there are arrivals to be taken.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }

    /// Calls `each` with every socket on which something has arrived since. Never waits.
    pub fn take(&self, mut each: impl FnMut(u64, &Duplicate)) {
        let mut events = [EpollEvent::empty(); 8];
        let got = self.epoll.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
        for event in events.iter().take(got) {
            if let Some((cookie, socket)) = self.watched.iter().find(|(cookie, _)| *cookie == event.data()) {
                each(*cookie, socket);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    /// A connection over loopback, the server's end first, and a duplicate of that end.
    fn connected() -> (TcpStream, TcpStream, Duplicate) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let (server, _) = listener.accept().unwrap();
        let duplicate = own(&server).unwrap();
        (server, client, duplicate)
    }

    fn own(stream: &TcpStream) -> Result<Duplicate, Failure> {
        Process::open(crate::sys::own_pid())?
            .duplicate(stream.as_raw_fd(), getsockopt(stream, Cookie).unwrap())
    }

    #[test]
    fn a_duplicate_is_the_socket_that_was_meant_or_none() {
        let (server, client, _) = connected();
        let process = Process::open(crate::sys::own_pid()).unwrap();
        let cookie = getsockopt(&server, Cookie).unwrap();
        assert!(process.duplicate(server.as_raw_fd(), cookie).is_ok());
        assert_eq!(process.duplicate(client.as_raw_fd(), cookie).unwrap_err(), Failure::Gone, "another");
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(process.duplicate(file.as_raw_fd(), cookie).unwrap_err(), Failure::Gone, "no socket");
        assert_eq!(process.duplicate(1_000_000, cookie).unwrap_err(), Failure::Gone, "no descriptor");
        assert_eq!(Process::open(Pid::new(i32::MAX).unwrap()).unwrap_err(), Failure::Gone, "no process");
    }

    /// The server's end waits for its client when it is closed, which does not read.
    fn lingering() -> (TcpStream, TcpStream, Duplicate) {
        let (mut server, client, duplicate) = connected();
        server.set_nonblocking(true).unwrap();
        while server.write(&[0; 1 << 16]).is_ok() {}
        linger_for(&server, 120);
        (server, client, duplicate)
    }

    fn linger_for(socket: &TcpStream, seconds: i32) {
        setsockopt(socket, Linger, &libc::linger { l_onoff: 1, l_linger: seconds }).unwrap();
    }

    /// Asks and is answered, so soon that both may share a tick, and asks again if it is to.
    fn exchange(server: &mut TcpStream, client: &mut TcpStream, again: bool) {
        let mut buffer = [0; 16];
        client.write_all(b"question").unwrap();
        server.read_exact(&mut buffer[..8]).unwrap();
        server.write_all(b"answer").unwrap();
        client.read_exact(&mut buffer[..6]).unwrap();
        if again {
            client.write_all(b"question").unwrap();
            server.read_exact(&mut buffer[..8]).unwrap();
        }
    }

    #[test]
    fn of_a_question_and_an_answer_in_one_tick_it_is_known_which_was_last() {
        for again in [false, true] {
            let mut seen = vec![];
            // Some are at the end of a tick.
            while seen.len() < 5 {
                let (mut server, mut client, duplicate) = connected();
                exchange(&mut server, &mut client, again);
                // By then the kernel has acknowledged it.
                std::thread::sleep(Duration::from_millis(300));
                let tail = duplicate.look().unwrap();
                if tail.received_ago == tail.sent_ago {
                    seen.push(tail.unreplied);
                }
            }
            assert_eq!(seen, [again && marks_replies(); 5]);
        }
    }

    /// As when the app closes a connection that is watched for a request.
    #[test]
    fn nobody_waits_for_the_close_of_the_last_descriptor() {
        let (server, client, duplicate) = lingering();
        drop(server);
        let (done, is_done) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            drop(duplicate);
            done.send(()).unwrap();
        });
        is_done.recv_timeout(Duration::from_secs(20)).expect("it does not wait for the client");
        drop(client);
    }

    #[test]
    fn what_lingers_is_left_alone() {
        let (server, _client, duplicate) = connected();
        duplicate.cork().unwrap();
        for (seconds, is_left) in [(0, false), (1, true)] {
            linger_for(&server, seconds);
            assert_eq!(own(&server).err(), is_left.then_some(Failure::Lingers), "{seconds} s");
            assert_eq!(duplicate.is_corked(), Ok(!is_left), "not left with our cork");
        }
    }

    #[test]
    fn a_cork_holds_the_tail_until_it_is_drawn() {
        let (mut server, mut client, duplicate) = connected();
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let mut request = [0; 18];
        assert_eq!(duplicate.look().unwrap().unread, 18);
        assert_eq!(duplicate.peek(&mut [0; 4]).unwrap(), b"GET ");
        server.read_exact(&mut request).unwrap();
        duplicate.cork().unwrap();
        assert!(duplicate.is_corked().unwrap());
        server.write_all(b"answer").unwrap();
        let tail = duplicate.look().unwrap();
        assert!(tail.open && tail.mss > 500);
        assert_eq!((tail.unread, tail.unacked, tail.held), (0, 0, 6));
        assert_eq!((tail.received, tail.written), (18, 6));
        duplicate.uncork().unwrap();
        assert!(!duplicate.is_corked().unwrap());
        assert_eq!((duplicate.look().unwrap().held, duplicate.look().unwrap().written), (0, 6));
        client.read_exact(&mut [0; 6]).unwrap();
    }

    #[test]
    fn shut_for_reading_the_app_sees_its_client_hang_up_and_the_tail_leaves_with_its_close() {
        let (mut server, mut client, duplicate) = connected();
        duplicate.cork().unwrap();
        server.write_all(b"answer").unwrap();
        duplicate.shut_read().unwrap();
        drop(duplicate);
        assert_eq!(server.read(&mut [0; 9]).unwrap(), 0);
        drop(server);
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "answer");
    }

    #[test]
    fn shut_for_writing_the_tail_leaves_although_it_is_corked() {
        let (mut server, mut client, duplicate) = connected();
        duplicate.cork().unwrap();
        server.write_all(b"answer").unwrap();
        duplicate.shut_write().unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "answer");
        assert!(!duplicate.look().unwrap().open);
        duplicate.shut().unwrap();
    }

    #[test]
    fn arrivals_are_told_once_and_only_while_watched() {
        let (_server, mut client, duplicate) = connected();
        let mut arrivals = Arrivals::new().unwrap();
        arrivals.watch(7, duplicate).unwrap();
        let taken = |arrivals: &Arrivals| {
            let mut seen = vec![];
            arrivals.take(|cookie, socket| seen.push((cookie, socket.peek(&mut [0; 3]).unwrap().to_vec())));
            seen
        };
        assert_eq!(taken(&arrivals), []);
        client.write_all(b"GET /").unwrap();
        assert_eq!(taken(&arrivals), [(7, b"GET".to_vec())]);
        assert_eq!(taken(&arrivals), [], "told already");
        arrivals.forget(7);
        assert!(arrivals.is_empty() && !arrivals.contains(7));
        client.write_all(b" HTTP/1.1").unwrap();
        assert_eq!(taken(&arrivals), []);
    }

    #[test]
    fn a_short_structure_tells_nothing() {
        assert_eq!(tail(&[0; INFO - 1], 0), None);
        assert_eq!(tail(&[], 0), None);
    }
}
