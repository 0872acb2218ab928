//! Between a process and its kernel: a seccomp filter that refuses some system calls, as a
//! container's profile does, or one that hands each call to the test, which lets it pass or makes
//! it fail (`SECCOMP_RET_USER_NOTIF`, seccomp(2)). It holds for the init from its first
//! instruction, also as PID 1, and needs no tracer that the init could see.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Launch;

/// A call that a profile refuses: its number, and what its first argument must be, where only some
/// are refused.
#[derive(Clone, Copy)]
pub struct Refused {
    pub call: i64,
    pub first: Option<u32>,
    pub errno: i32,
}

impl Refused {
    pub fn call(call: i64, errno: i32) -> Self {
        Self { call, first: None, errno }
    }
}

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const FIRST_ARGUMENT: u32 = 16; // its low half, on a little-endian machine

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const EQUALS: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

fn statement(code: u16, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt: 0, jf: 0, k }
}

/// Goes on where equal, skips so many where not.
fn equals(k: u32, skip: u8) -> libc::sock_filter {
    libc::sock_filter { code: EQUALS, jt: 0, jf: skip, k }
}

/// `action` for this call, and with this first argument if one is given; falls through for all
/// others.
fn rule(call: i64, first: Option<u32>, action: u32) -> Vec<libc::sock_filter> {
    let mut rule = vec![statement(LOAD, NUMBER), equals(call as u32, if first.is_some() { 3 } else { 1 })];
    if let Some(first) = first {
        rule.extend([statement(LOAD, FIRST_ARGUMENT), equals(first, 1)]);
    }
    rule.push(statement(RETURN, action));
    rule
}

/// Loads the filter into the calling thread, whose children inherit it. Allocates nothing.
fn load(filter: &[libc::sock_filter], flags: u64) -> io::Result<i64> {
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    // SAFETY: prctl takes integers; the kernel reads the program, which is alive.
    let done = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(done) }
}

impl Launch {
    /// Under a profile that refuses these calls.
    pub fn refusing(self, refused: &[Refused]) -> Self {
        let action = |refused: &Refused| libc::SECCOMP_RET_ERRNO | refused.errno as u32;
        let rules = refused.iter().flat_map(|one| rule(one.call, one.first, action(one)));
        let filter: Vec<_> = rules.chain([statement(RETURN, libc::SECCOMP_RET_ALLOW)]).collect();
        self.before_exec(move || load(&filter, 0).map(|_| ()))
    }

    /// Asks `judge` about every call of the init and of the children that it has started, up to
    /// their exec.
    pub fn judged(self, judge: impl FnMut(&Call) -> Option<i32> + Send + 'static) -> (Self, Supervisor) {
        self.asking(&[], libc::SECCOMP_RET_USER_NOTIF, judge)
    }

    /// Asks `judge` about their execs alone, so that it may keep one waiting while all others go
    /// on.
    pub fn judged_execs(
        self,
        judge: impl FnMut(&Call) -> Option<i32> + Send + 'static,
    ) -> (Self, Supervisor) {
        let execs = rule(libc::SYS_execve, None, libc::SECCOMP_RET_USER_NOTIF);
        self.asking(&execs, libc::SECCOMP_RET_ALLOW, judge)
    }

    fn asking(
        self,
        rules: &[libc::sock_filter],
        otherwise: u32,
        judge: impl FnMut(&Call) -> Option<i32> + Send + 'static,
    ) -> (Self, Supervisor) {
        let (ours, theirs) = socket_pair();
        let told = theirs.as_raw_fd();
        let filter: Vec<_> = [(libc::SYS_sendmsg, Some(told as u32)), (libc::SYS_seccomp, None)]
            .into_iter()
            .flat_map(|(call, first)| rule(call, first, libc::SECCOMP_RET_ALLOW))
            .chain(rules.iter().copied())
            .chain([statement(RETURN, otherwise)])
            .collect();
        let launch = self.before_exec(move || {
            // WAIT_KILLABLE_RECV: a signal does not make a call begin again that the test has seen
            // already.
            let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
            hand_over(told, load(&filter, flags)? as RawFd)
        });
        let thread = std::thread::spawn(move || receive(&ours).and_then(|listener| listen(&listener, judge)));
        (launch, Supervisor { thread, _theirs: theirs })
    }
}

/// Who makes a call.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Actor {
    Init,
    /// A child of the init's before its exec: the app, a hook or a check to be.
    Child,
}

/// A system call that is about to be made.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub actor: Actor,
    /// As the test sees it.
    pub pid: i32,
    pub number: i64,
    pub arguments: [u64; 6],
    /// Which of this actor's calls of this number it is, from 1.
    pub nth: u32,
}

/// The test's side of a judged launch.
pub struct Supervisor {
    thread: JoinHandle<io::Result<()>>,
    /// Open until the launch is over, so that the reader sees an end only when nobody will write.
    _theirs: OwnedFd,
}

impl Supervisor {
    /// Returns when every process under the filter is gone, which the harness sees to.
    pub fn finish(self) {
        drop(self._theirs);
        self.thread.join().expect("the judge does not panic").expect("the listener can be read");
    }
}

/// Both ends closed on exec, the second one with a number that nothing else uses.
fn socket_pair() -> (OwnedFd, OwnedFd) {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    let pair = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC);
    let (ours, theirs) = pair.expect("two sockets");
    // SAFETY: the descriptor is open, and the new one is owned by nobody else.
    let theirs = unsafe {
        let high = libc::fcntl(theirs.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 800);
        assert!(high >= 0, "no descriptor left: {}", io::Error::last_os_error());
        OwnedFd::from_raw_fd(high)
    };
    (ours, theirs)
}

/// Room for one descriptor in a control message.
#[repr(C, align(8))]
struct Room([u8; 24]);

fn message(data: &mut libc::iovec, room: &mut Room) -> libc::msghdr {
    // SAFETY: all zeroes is a valid msghdr.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = data;
    message.msg_iovlen = 1;
    message.msg_control = room.0.as_mut_ptr().cast();
    message.msg_controllen = room.0.len() as _;
    message
}

/// Sends a descriptor. Between fork and exec: nothing is allocated.
fn hand_over(socket: RawFd, fd: RawFd) -> io::Result<()> {
    let mut byte = [1_u8];
    let mut data = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    let mut room = Room([0; 24]);
    let message = message(&mut data, &mut room);
    // SAFETY: the control buffer is aligned and has room for one header with one descriptor.
    let sent = unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(4) as _;
        libc::CMSG_DATA(header).cast::<RawFd>().write_unaligned(fd);
        libc::sendmsg(socket, &raw const message, 0)
    };
    if sent == 1 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn receive(socket: &OwnedFd) -> io::Result<OwnedFd> {
    nix::sys::socket::setsockopt(
        socket,
        nix::sys::socket::sockopt::ReceiveTimeout,
        &nix::sys::time::TimeVal::new(60, 0),
    )?;
    let mut byte = [0_u8];
    let mut data = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    let mut room = Room([0; 24]);
    let mut message = message(&mut data, &mut room);
    // SAFETY: the buffers live through the call; a header that is there holds one descriptor, which
    // is ours now.
    unsafe {
        let got = libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC);
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        if got != 1 || header.is_null() {
            return Err(io::Error::other("the init was never started"));
        }
        Ok(OwnedFd::from_raw_fd(libc::CMSG_DATA(header).cast::<RawFd>().read_unaligned()))
    }
}

/// `SECCOMP_IOCTL_NOTIF_RECV` and `_SEND` of linux/seccomp.h.
const RECEIVE: libc::c_ulong = 0xc050_2100;
const SEND: libc::c_ulong = 0xc018_2101;

fn listen(listener: &OwnedFd, mut judge: impl FnMut(&Call) -> Option<i32>) -> io::Result<()> {
    let mut actors = Actors::default();
    loop {
        // SAFETY: all zeroes is what the kernel wants to find.
        let mut asked: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        if !has_more(listener)? {
            return Ok(());
        }
        // SAFETY: the kernel writes one struct of its own layout.
        if unsafe { libc::ioctl(listener.as_raw_fd(), RECEIVE, &raw mut asked) } < 0 {
            match io::Error::last_os_error().raw_os_error() {
                Some(libc::ENOENT | libc::EINTR) => continue, // whoever called is gone
                _ => return Err(io::Error::last_os_error()),
            }
        }
        let errno = actors.call(&asked).and_then(|call| judge(&call));
        let mut answer = libc::seccomp_notif_resp {
            id: asked.id,
            val: 0,
            error: errno.map_or(0, |errno| -errno),
            flags: if errno.is_some() { 0 } else { libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32 },
        };
        // SAFETY: the kernel reads one struct of its own layout. That the caller is gone by now is
        // as good.
        unsafe { libc::ioctl(listener.as_raw_fd(), SEND, &raw mut answer) };
    }
}

/// False when nobody is under the filter any more.
fn has_more(listener: &OwnedFd) -> io::Result<bool> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    let mut waits = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    let minute = PollTimeout::try_from(Duration::from_secs(120)).expect("two minutes");
    if poll(&mut waits, minute)? == 0 {
        return Err(io::Error::other("no call within two minutes"));
    }
    Ok(waits[0].revents().is_some_and(|events| events.contains(PollFlags::POLLIN)))
}

/// Who is who among the processes under the filter.
#[derive(Default)]
struct Actors {
    init: Option<i32>,
    /// True for a child of the init's that has not called exec yet.
    others: HashMap<i32, bool>,
    counts: HashMap<(Actor, i64), u32>,
}

impl Actors {
    /// `None` for what is not judged: the harness's own calls before the init's exec, the app and
    /// its like.
    fn call(&mut self, asked: &libc::seccomp_notif) -> Option<Call> {
        let (pid, number) = (asked.pid as i32, i64::from(asked.data.nr));
        let Some(init) = self.init else {
            if number == libc::SYS_execve {
                self.init = Some(pid); // the harness's; what comes next is the init's
            }
            return None;
        };
        let actor = if pid == init {
            Actor::Init
        } else {
            let before_exec = self.others.entry(pid).or_insert_with(|| parent(pid) == Some(init));
            if !*before_exec {
                return None;
            }
            *before_exec = number != libc::SYS_execve;
            Actor::Child
        };
        let nth = self.counts.entry((actor, number)).or_default();
        *nth += 1;
        Some(Call { actor, pid, number, arguments: asked.data.args, nth: *nth })
    }
}

/// Of a process; a thread of the app's has none.
fn parent(thread: i32) -> Option<i32> {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse::<i32>().ok()
    };
    (field("Tgid:")? == thread).then(|| field("PPid:"))?
}
