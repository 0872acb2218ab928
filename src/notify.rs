//! sd_notify(3), in both directions. [`Outbound`] sends to the service manager: ready, stopping,
//! status, more time, watchdog. [`Inbound`] is a socket of adieu's own that the app gets instead,
//! so that its READY=1 also counts where no manager listens. adieu forwards the app's messages with
//! their descriptors, except what only adieu may send: it is the main process, and knows when the
//! service is ready and stopping.

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use crate::lifecycle::Phase;
use crate::moment::{Moment, half};
use crate::process::Pid;
use crate::signal::Signal;
use crate::sys::poll::PollFds;
use crate::sys::sockets::{Datagram, DatagramAddress, DatagramSocket};
use crate::sys::{aside, describe, signals};

/// Messages that could not be sent because the manager's queue is full. Later ones are dropped.
const KEPT: usize = 32;
/// How long to wait before trying them again.
const TRY_AGAIN: Duration = Duration::from_millis(100);
/// How long a process may take to drop a message with its descriptors.
const ASIDE_LIMIT: Duration = Duration::from_secs(1);
/// How long an app that speaks sd_notify may take to announce a reload itself.
const OWN_ANSWER: Duration = Duration::from_secs(5);
/// Messages of the app taken in one turn of the loop.
const MESSAGES_A_TURN: usize = 64;

/// The socket to the service manager.
#[derive(Debug)]
pub(crate) struct Outbound {
    socket: DatagramSocket,
    manager: DatagramAddress,
    kept: Vec<String>,
    try_again: Option<Moment>,
    watchdog: Option<Watchdog>,
    said_ready: bool,
    said_stopping: bool,
    /// The app has sent READY=1 itself.
    app_speaks: bool,
    reload: Option<Reload>,
}

/// A reload that nobody has announced yet.
#[derive(Debug)]
struct Reload {
    /// When its signal came, on the kernel's monotonic clock.
    began: Duration,
    /// When adieu announces it.
    announce_at: Moment,
}

/// The manager expects a ping this often.
#[derive(Debug)]
struct Watchdog {
    every: Duration,
    next: Moment,
}

impl Outbound {
    /// `address` is NOTIFY_SOCKET's value: a path, or a name in the abstract namespace after `@`.
    ///
    /// # Errors
    /// One line; adieu still runs the app.
    pub(crate) fn open(address: &OsStr) -> Result<Outbound, String> {
        let manager = DatagramAddress::parse(address).map_err(|error| {
            format!("cannot use NOTIFY_SOCKET '{}': {}", address.to_string_lossy(), describe(&error))
        })?;
        let socket = DatagramSocket::open().map_err(cannot_open)?;
        Ok(Outbound {
            socket,
            manager,
            kept: Vec::new(),
            try_again: None,
            watchdog: None,
            said_ready: false,
            said_stopping: false,
            app_speaks: false,
            reload: None,
        })
    }

    /// To keep when all other descriptors are closed.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Keeps the watchdog quiet until the app does so itself: `interval` is WATCHDOG_USEC, when
    /// WATCHDOG_PID is adieu's own. A ping is due at half of it (sd_watchdog_enabled(3)).
    pub(crate) fn ping_every(&mut self, interval: Duration, now: Moment) {
        self.watchdog = Some(Watchdog { every: half(interval), next: now });
    }

    /// Traffic may come. Sent once, also when the app was not ready in between, since sd_notify
    /// cannot take READY=1 back.
    pub(crate) fn ready(&mut self, now: Moment) {
        if !self.said_ready {
            self.said_ready = true;
            self.say("READY=1".to_owned(), now);
        }
    }

    /// A phase begins that lasts for at most `rest`. From the stop request on the manager gets
    /// STOPPING=1, and while the app goes on serving EXTEND_TIMEOUT_USEC: that works only where the
    /// unit's own timeout would end earlier, and counts from now.
    pub(crate) fn enter(&mut self, phase: Phase, rest: Option<Duration>, now: Moment) {
        let mut message = format!("STATUS={}", phase.name());
        if phase.is_stopping() && !self.said_stopping {
            self.said_stopping = true;
            self.reload = None;
            message.insert_str(0, "STOPPING=1\n");
        }
        if let (Phase::PreStop | Phase::Draining, Some(rest)) = (phase, rest) {
            message.push_str(&format!("\nEXTEND_TIMEOUT_USEC={}", rest.as_micros()));
        }
        self.say(message, now);
    }

    /// The app gets the signal of a reload. With Type=notify-reload the manager waits until the
    /// reload is announced and then over (systemd.service(5)). An app that speaks sd_notify gets
    /// time to announce it. For any other, all that can be known is that the signal was sent.
    pub(crate) fn reload(&mut self, began: Duration, now: Moment) {
        if self.said_ready && !self.said_stopping {
            let announce_at = if self.app_speaks { now + OWN_ANSWER } else { now };
            self.reload = Some(Reload { began, announce_at });
        }
    }

    pub(crate) fn deadline(&self) -> Option<Moment> {
        let ping = self.watchdog.as_ref().map(|watchdog| watchdog.next);
        let reload = self.reload.as_ref().map(|reload| reload.announce_at);
        ping.into_iter().chain(reload).chain(self.try_again).min()
    }

    pub(crate) fn serve(&mut self, now: Moment) {
        if self.try_again.is_some_and(|at| now >= at) {
            self.try_again = None;
            for message in std::mem::take(&mut self.kept) {
                self.say(message, now);
            }
        }
        if let Some(watchdog) = self.watchdog.as_mut().filter(|watchdog| now >= watchdog.next) {
            watchdog.next = now + watchdog.every;
            // A lost ping is followed by another one in time.
            let _ = self.send("WATCHDOG=1", &[]);
        }
        if let Some(reload) = self.reload.take_if(|reload| now >= reload.announce_at) {
            self.say(format!("RELOADING=1\nMONOTONIC_USEC={}", reload.began.as_micros()), now);
            self.say("READY=1".to_owned(), now);
        }
    }

    /// In order: what cannot be sent now waits, and everything after it too.
    fn say(&mut self, message: String, now: Moment) {
        let sent =
            if self.kept.is_empty() { self.send(&message, &[]) } else { Err(ErrorKind::WouldBlock.into()) };
        match sent {
            Ok(()) => {}
            Err(error) if is_full(&error) && self.kept.len() < KEPT => {
                self.kept.push(message);
                self.try_again = Some(now + TRY_AGAIN);
            }
            Err(error) => log::debug!("cannot tell the service manager '{message}': {}", describe(&error)),
        }
    }

    fn send(&self, message: &str, descriptors: &[OwnedFd]) -> io::Result<()> {
        self.socket.send(&self.manager, message.as_bytes(), descriptors)
    }

    /// Forwards a message of the app. The manager needs its READY=1 only at the end of a reload;
    /// before adieu's own it would be too early, and after STOPPING=1 too late.
    fn pass_on(&mut self, said: &Notification, descriptors: &[OwnedFd]) {
        if said.watchdog && self.watchdog.take().is_some() {
            log::debug!("the app feeds the watchdog itself");
        }
        self.app_speaks |= said.ready;
        if said.reloading {
            self.reload = None;
        }
        let mut message = said.rest.clone();
        if said.ready && self.said_ready && !self.said_stopping {
            message.push_str("READY=1\n");
        }
        if message.is_empty() {
            return;
        }
        if let Err(error) = self.send(&message, descriptors) {
            log::debug!("cannot pass on '{}': {}", message.trim_end(), describe(&error));
        }
    }
}

/// A message of the app.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Notification {
    ready: bool,
    reloading: bool,
    watchdog: bool,
    /// What the manager may get, a line each.
    rest: String,
}

impl Notification {
    fn read(message: &[u8]) -> Notification {
        let mut said = Notification::default();
        // systemd ends a line at a carriage return too (its NEWLINE is both).
        for line in String::from_utf8_lossy(message).split(['\n', '\r']) {
            let (name, value) = line.split_once('=').unwrap_or((line, ""));
            match name {
                "READY" => said.ready |= value == "1",
                // The main process is adieu, which announces the stop itself.
                "MAINPID" | "MAINPIDFDID" | "MAINPIDFD" | "STOPPING" | "" => {}
                _ => {
                    said.watchdog |= line == "WATCHDOG=1";
                    said.reloading |= line == "RELOADING=1";
                    said.rest.push_str(line);
                    said.rest.push('\n');
                }
            }
        }
        said
    }
}

/// Any bytes as a message of the app: what only adieu may send is never forwarded.
#[cfg(fuzzing)]
pub fn read_any(message: &[u8]) {
    let said = Notification::read(message);
    for line in said.rest.lines() {
        let name = line.split_once('=').map_or(line, |(name, _)| name);
        assert!(!["READY", "STOPPING", "MAINPID"].contains(&name), "{line}");
    }
}

/// The socket that the app gets as NOTIFY_SOCKET.
#[derive(Debug)]
pub(crate) struct Inbound {
    socket: DatagramSocket,
    address: String,
    /// The process that closes descriptors for us. There is one at a time, so that what these can
    /// delay is bounded.
    aside: Option<Aside>,
    /// Descriptors that wait for such a process.
    unclosed: Vec<OwnedFd>,
    /// Until then nothing is read.
    try_again: Option<Moment>,
}

#[derive(Debug)]
struct Aside {
    pid: Pid,
    /// When it is killed.
    end_at: Option<Moment>,
}

impl Inbound {
    /// Opens a socket at a free name in the abstract namespace.
    ///
    /// # Errors
    /// One line.
    pub(crate) fn open() -> Result<Inbound, String> {
        let (socket, address) = DatagramSocket::bind().map_err(cannot_open)?;
        Ok(Inbound { socket, address, aside: None, unclosed: Vec::new(), try_again: None })
    }

    /// The value of NOTIFY_SOCKET for the app.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// To keep when all other descriptors are closed.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(crate) fn poll_fds<'a>(&'a self, fds: &mut PollFds<'a>) {
        if self.aside.is_none() && self.try_again.is_none() {
            fds.readable(self.socket.as_fd());
        }
    }

    pub(crate) fn deadline(&self) -> Option<Moment> {
        let end_aside = self.aside.as_ref().and_then(|aside| aside.end_at);
        end_aside.into_iter().chain(self.try_again).min()
    }

    /// Takes messages, a bounded number, and forwards them; true when the app has sent READY=1.
    pub(crate) fn serve(&mut self, mut manager: Option<&mut Outbound>, now: Moment) -> bool {
        let mut ready = false;
        for _ in 0..MESSAGES_A_TURN {
            if !self.may_read(now) {
                break;
            }
            match self.socket.peek() {
                Ok(Some(message)) => match self.take(&message, manager.as_deref_mut(), now) {
                    Ok(descriptors) => {
                        ready |= hear(&message, &descriptors, manager.as_deref_mut());
                        self.let_go_of(descriptors, now);
                    }
                    Err(error) => self.pause(&error, now),
                },
                Ok(None) => break,
                Err(error) => self.pause(&error, now),
            }
        }
        ready
    }

    /// Not while a process of ours still has descriptors of earlier messages to close.
    fn may_read(&mut self, now: Moment) -> bool {
        if let Some(aside) = &mut self.aside {
            if aside.end_at.is_some_and(|at| now >= at) {
                aside.end_at = None;
                // Killing it is safe: a socket of a killed process does not linger.
                let _ = signals::send(aside.pid, Signal::KILL);
            }
            return false;
        }
        if self.try_again.is_some_and(|at| now < at) {
            return false;
        }
        self.try_again = None;
        let unclosed = std::mem::take(&mut self.unclosed);
        self.let_go_of(unclosed, now);
        self.aside.is_none() && self.try_again.is_none()
    }

    /// Takes the message off the queue, with its descriptors where the manager is to have them.
    fn take(
        &mut self,
        message: &Datagram,
        manager: Option<&mut Outbound>,
        now: Moment,
    ) -> io::Result<Vec<OwnedFd>> {
        if !message.carries_descriptors {
            self.socket.drop_text()?;
            return Ok(Vec::new());
        }
        if manager.is_some() && is_heard(message) {
            match self.socket.take_descriptors()? {
                Some(descriptors) => return Ok(descriptors),
                None => log::warn!("cannot pass on the app's descriptors: too many open files (ulimit -n)"),
            }
        }
        let pid = self.socket.drop_descriptors()?;
        self.aside = Some(Aside { pid, end_at: Some(now + ASIDE_LIMIT) });
        Ok(Vec::new())
    }

    fn let_go_of(&mut self, descriptors: Vec<OwnedFd>, now: Moment) {
        if descriptors.is_empty() {
            return;
        }
        match aside::close(descriptors) {
            // If it were killed, the rest would stay open.
            Ok(pid) => self.aside = Some(Aside { pid, end_at: None }),
            Err((error, unclosed)) => {
                self.unclosed = unclosed;
                self.pause(&error, now);
            }
        }
    }

    fn pause(&mut self, error: &io::Error, now: Moment) {
        log::debug!("cannot take the app's notification: {}", describe(error));
        self.try_again = Some(now + TRY_AGAIN);
    }

    /// Takes the end of a process; true when it was one of ours.
    pub(crate) fn reaped(&mut self, pid: Pid) -> bool {
        self.aside.take_if(|aside| aside.pid == pid).is_some()
    }
}

/// Any process in the network namespace, which the containers of a pod share, can reach an abstract
/// socket. Only messages of our descendants count.
fn is_heard(message: &Datagram) -> bool {
    !message.truncated && message.sender.is_some_and(super::sys::sockets::Credentials::is_ours)
}

/// Forwards one message of a descendant; true when it is READY=1.
fn hear(message: &Datagram, descriptors: &[OwnedFd], manager: Option<&mut Outbound>) -> bool {
    if !is_heard(message) {
        let why = if message.truncated {
            "it is too long"
        } else {
            "it comes from a process that is not the app's"
        };
        log::debug!("dropped a notification: {why}");
        return false;
    }
    let said = Notification::read(&message.bytes);
    if let Some(manager) = manager {
        manager.pass_on(&said, descriptors);
    }
    said.ready
}

fn is_full(error: &io::Error) -> bool {
    // ENOBUFS has no kind of its own.
    error.kind() == ErrorKind::WouldBlock || describe(error) == "no buffer space available"
}

fn cannot_open(error: io::Error) -> String {
    format!("cannot open a notify socket: {}", describe(&error))
}

#[cfg(test)]
mod tests {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::at(Duration::from_secs(seconds))
    }

    /// A service manager's end.
    fn manager() -> (UnixDatagram, Outbound) {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("adieu-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        manager.set_nonblocking(true).unwrap();
        (manager, Outbound::open(format!("@{name}").as_ref()).unwrap())
    }

    fn heard(manager: &UnixDatagram) -> Vec<String> {
        let mut messages = Vec::new();
        let mut bytes = [0; 4096];
        while let Ok(length) = manager.recv(&mut bytes) {
            messages.push(String::from_utf8(bytes[..length].to_vec()).unwrap());
        }
        messages
    }

    /// The app's end: sends to the address as sd_notify does.
    fn tell(inbound: &Inbound, message: &[u8]) {
        let name = inbound.address().strip_prefix('@').unwrap();
        let addr = SocketAddr::from_abstract_name(name).unwrap();
        UnixDatagram::unbound().unwrap().send_to_addr(message, &addr).unwrap();
    }

    #[test]
    fn the_manager_hears_each_thing_once_and_in_order() {
        let (manager, mut out) = manager();
        let now = Moment::START;
        out.ready(now);
        out.ready(now);
        out.enter(Phase::Running, None, now);
        out.enter(Phase::PreStop, Some(Duration::from_secs(5)), now);
        out.enter(Phase::Stopping, Some(Duration::from_secs(9)), now);
        assert_eq!(
            heard(&manager),
            [
                "READY=1",
                "STATUS=running",
                "STOPPING=1\nSTATUS=pre-stop\nEXTEND_TIMEOUT_USEC=5000000",
                "STATUS=stopping",
            ]
        );
        assert_eq!(out.deadline(), None);
    }

    #[test]
    fn a_manager_that_reads_late_hears_all_the_same() {
        let (manager, mut out) = manager();
        let mut sent = 0;
        while out.kept.is_empty() {
            out.enter(Phase::Running, None, Moment::START);
            sent += 1;
        }
        out.ready(Moment::START);
        assert_eq!(out.deadline(), Some(Moment::at(TRY_AGAIN)));
        out.serve(Moment::at(TRY_AGAIN));
        assert_eq!(out.kept.len(), 2, "still full");
        let mut messages = heard(&manager);
        out.serve(Moment::at(TRY_AGAIN * 2));
        messages.extend(heard(&manager));
        assert_eq!(messages.len(), sent + 1);
        assert_eq!(messages.last().unwrap(), "READY=1");
        assert_eq!(out.deadline(), None);
    }

    #[test]
    fn a_manager_that_is_gone_does_no_harm() {
        let (manager, mut out) = manager();
        drop(manager);
        out.ready(Moment::START);
        out.serve(at(1));
        assert_eq!(out.deadline(), None);
        assert!(Outbound::open("vsock:2:1234".as_ref()).unwrap_err().contains("'vsock:2:1234'"));
        assert!(Outbound::open("".as_ref()).is_err());
    }

    #[test]
    fn the_watchdog_is_fed_until_the_app_does_it() {
        let (manager, mut out) = manager();
        let mut inbound = Inbound::open().unwrap();
        out.ping_every(Duration::from_secs(10), at(1));
        for second in [1, 2, 6, 7, 11] {
            out.serve(at(second));
        }
        assert_eq!(heard(&manager).len(), 3);
        assert_eq!(out.deadline(), Some(at(16)));
        tell(&inbound, b"WATCHDOG=1");
        inbound.serve(Some(&mut out), Moment::START);
        assert_eq!(out.deadline(), None);
        assert_eq!(heard(&manager), ["WATCHDOG=1\n"]);
    }

    #[test]
    fn ready_counts_and_is_not_passed_on_before_its_time() {
        let (manager, mut out) = manager();
        let mut inbound = Inbound::open().unwrap();
        assert!(!inbound.serve(Some(&mut out), Moment::START));
        tell(&inbound, b"STATUS=warming up\nMAINPID=4711");
        assert!(!inbound.serve(Some(&mut out), Moment::START));
        tell(&inbound, b"READY=1\nSTATUS=fine");
        assert!(inbound.serve(Some(&mut out), Moment::START));
        tell(&inbound, b"READY=1");
        assert!(inbound.serve(None, Moment::START));
        assert_eq!(heard(&manager), ["STATUS=warming up\n", "STATUS=fine\n"]);
        out.ready(Moment::START);
        tell(&inbound, b"RELOADING=1\nMONOTONIC_USEC=5");
        tell(&inbound, b"READY=1\n");
        inbound.serve(Some(&mut out), Moment::START);
        assert_eq!(heard(&manager), ["READY=1", "RELOADING=1\nMONOTONIC_USEC=5\n", "READY=1\n"]);
        out.enter(Phase::PreStop, None, Moment::START);
        tell(&inbound, b"STOPPING=1");
        tell(&inbound, b"READY=1");
        inbound.serve(Some(&mut out), Moment::START);
        assert_eq!(heard(&manager), ["STOPPING=1\nSTATUS=pre-stop"]);
    }

    #[test]
    fn a_reload_is_announced_for_an_app_that_does_not_do_it() {
        let (manager, mut out) = manager();
        let mut inbound = Inbound::open().unwrap();
        let began = Duration::from_micros(1_700_001);
        let announced = ["RELOADING=1\nMONOTONIC_USEC=1700001", "READY=1"];
        out.reload(began, at(1));
        out.serve(at(1));
        assert_eq!(heard(&manager), [""; 0], "the manager does not know it as ready yet");
        out.ready(at(1));
        out.reload(began, at(2));
        assert_eq!(out.deadline(), Some(at(2)));
        out.serve(at(2));
        out.serve(at(20));
        assert_eq!(heard(&manager), [&["READY=1"], &announced[..]].concat());

        // An app that speaks has its time.
        tell(&inbound, b"READY=1");
        inbound.serve(Some(&mut out), at(20));
        assert_eq!(heard(&manager), ["READY=1\n"]);
        out.reload(began, at(21));
        out.serve(at(25));
        tell(&inbound, b"RELOADING=1\nMONOTONIC_USEC=1700002");
        tell(&inbound, b"READY=1");
        inbound.serve(Some(&mut out), at(25));
        out.serve(at(26));
        assert_eq!(heard(&manager), ["RELOADING=1\nMONOTONIC_USEC=1700002\n", "READY=1\n"]);
        assert_eq!(out.deadline(), None);
        out.reload(began, at(30));
        out.serve(at(34));
        assert_eq!(heard(&manager), [""; 0]);
        out.serve(at(35));
        assert_eq!(heard(&manager), announced);

        // After the stop request READY=1 would be wrong.
        out.reload(began, at(36));
        out.enter(Phase::PreStop, None, at(36));
        out.reload(began, at(36));
        out.serve(at(50));
        assert_eq!(heard(&manager), ["STOPPING=1\nSTATUS=pre-stop"]);
    }

    #[test]
    fn a_carriage_return_ends_a_line_as_it_does_for_systemd() {
        let said = Notification::read(b"STATUS=up\rSTOPPING=1\r\nREADY=1\rX=1");
        assert!(said.ready);
        assert_eq!(said.rest, "STATUS=up\nX=1\n");
    }

    #[test]
    fn descriptors_travel_with_their_message_and_none_is_kept() {
        let (manager, address) = DatagramSocket::bind().unwrap();
        let mut out = Outbound::open(address.as_ref()).unwrap();
        let mut inbound = Inbound::open().unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        let to = DatagramAddress::parse(inbound.address().as_ref()).unwrap();
        let app = DatagramSocket::open().unwrap();
        app.send(&to, b"FDSTORE=1\nFDNAME=listener", &[writer.into()]).unwrap();
        inbound.serve(Some(&mut out), Moment::START);
        let message = manager.peek().unwrap().unwrap();
        assert_eq!(message.bytes, b"FDSTORE=1\nFDNAME=listener\n");
        assert_eq!(manager.take_descriptors().unwrap().unwrap().len(), 1);
        let aside = inbound.aside.as_ref().unwrap().pid;
        nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(aside.number()), None).unwrap();
        assert!(!inbound.reaped(crate::sys::own_pid()) && inbound.reaped(aside));
        // All ends of the pipe's writer are closed now, the copy that adieu had as well.
        assert_eq!(std::io::Read::read(&mut reader, &mut [0; 1]).unwrap(), 0);
    }

    #[test]
    fn too_long_messages_and_empty_ones_are_dropped() {
        let mut inbound = Inbound::open().unwrap();
        let mut long = b"READY=1\n".to_vec();
        long.extend([b'x'; 4096]);
        tell(&inbound, &long);
        tell(&inbound, b"");
        assert!(!inbound.serve(None, Moment::START));
    }

    #[test]
    fn a_flood_of_the_app_takes_many_turns() {
        let mut inbound = Inbound::open().unwrap();
        let name = inbound.address().strip_prefix('@').unwrap();
        let addr = SocketAddr::from_abstract_name(name).unwrap();
        let app = UnixDatagram::unbound().unwrap();
        app.set_nonblocking(true).unwrap();
        let mut sent = 0;
        while app.send_to_addr(b"STATUS=x", &addr).is_ok() {
            sent += 1;
        }
        let turns = (0..)
            .take_while(|_| inbound.socket.drop_text().is_ok() && !inbound.serve(None, Moment::START))
            .count();
        assert!(turns >= sent / (MESSAGES_A_TURN + 1));
    }

    proptest::proptest! {
        /// Whatever an app says: only adieu speaks of the main process and of stopping, and no line
        /// is invented.
        #[test]
        fn what_only_adieu_may_say_is_never_passed_on(
            lines in proptest::collection::vec("(READY=1|STOPPING=1|MAINPID=[0-9]+|WATCHDOG=1|[A-Z]{0,4}=?.{0,9})", 0..6),
            noise in proptest::collection::vec(proptest::num::u8::ANY, 0..20),
        ) {
            let mut message = lines.join("\n").into_bytes();
            message.extend(noise);
            let said = Notification::read(&message);
            let heard = String::from_utf8_lossy(&message).into_owned();
            for line in said.rest.split_terminator('\n') {
                proptest::prop_assert!(!["MAINPID=", "STOPPING=", "READY="].iter().any(|own| line.starts_with(own)));
                proptest::prop_assert!(heard.split(['\n', '\r']).any(|told| told == line));
            }
        }
    }
}
