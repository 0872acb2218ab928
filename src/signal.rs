//! Signals by number and name, and a signal that has arrived. Pure.

use std::fmt;
use std::str::FromStr;

use crate::process::Pid;

/// A signal's number, 1 to 64 ([signal(7)]).
///
/// [signal(7)]: https://man7.org/linux/man-pages/man7/signal.7.html
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Signal(u8);

/// The standard signals: their constants, their names and their parsing all come from here.
macro_rules! standard_signals {
    ($($name:ident = $number:literal),+ $(,)?) => {
        #[allow(missing_docs)]
        impl Signal {
            $(pub const $name: Signal = Signal($number);)+
        }

        const NAMES: &[(&str, Signal)] = &[$((stringify!($name), Signal::$name)),+];
    };
}

// The numbers of x86, ARM, RISC-V and most others (signal(7), "Signal numbering for standard
// signals").
standard_signals! {
    HUP = 1, INT = 2, QUIT = 3, ILL = 4, TRAP = 5, ABRT = 6, BUS = 7, FPE = 8, KILL = 9, USR1 = 10,
    SEGV = 11, USR2 = 12, PIPE = 13, ALRM = 14, TERM = 15, STKFLT = 16, CHLD = 17, CONT = 18, STOP = 19,
    TSTP = 20, TTIN = 21, TTOU = 22, URG = 23, XCPU = 24, XFSZ = 25, VTALRM = 26, PROF = 27, WINCH = 28,
    IO = 29, PWR = 30, SYS = 31,
}

/// Other names of the same signals.
const SYNONYMS: &[(&str, Signal)] = &[("IOT", Signal::ABRT), ("CLD", Signal::CHLD), ("POLL", Signal::IO)];

/// What libc calls SIGRTMIN: glibc and musl keep 32 and 33 to themselves.
const RTMIN: u8 = 34;
const RTMAX: u8 = 64;

impl Signal {
    /// A signal by its number; `None` outside of 1 to 64.
    pub const fn new(number: i32) -> Option<Signal> {
        if number >= 1 && number <= RTMAX as i32 { Some(Signal(number as u8)) } else { None }
    }

    /// Its number, 1 to 64.
    pub const fn number(self) -> i32 {
        self.0 as i32
    }

    /// Its bit in the kernel's sets: bit n-1 stands for signal n.
    pub(crate) const fn bit(self) -> u64 {
        1u64.rotate_left((self.0 as u32).wrapping_sub(1))
    }

    /// The kernel's view: 32 and above are queued, one by one and with their value.
    pub fn is_realtime(self) -> bool {
        self.0 >= 32
    }

    /// Whether it stops a process that has no handler for it, and can be caught: TSTP, TTIN, TTOU.
    pub fn is_job_control_stop(self) -> bool {
        matches!(self, Signal::TSTP | Signal::TTIN | Signal::TTOU)
    }

    /// Whether a process can block, catch or ignore it: all but KILL and STOP.
    pub fn is_catchable(self) -> bool {
        !matches!(self, Signal::KILL | Signal::STOP)
    }
}

/// The name without SIG: `TERM`, `RTMIN+3`; a bare number where there is none.
impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match (NAMES.iter().find(|(_, signal)| signal == self), self.0) {
            (Some((name, _)), _) => f.pad(name),
            (None, RTMIN) => f.pad("RTMIN"),
            (None, number @ RTMIN..=RTMAX) => f.pad(&format!("RTMIN+{}", number.saturating_sub(RTMIN))),
            (None, number) => f.pad(&number.to_string()),
        }
    }
}

/// A text that names no signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnknownSignal;

/// Reads a signal in any of the usual ways: `TERM`, `sigterm`, `15`, `RTMIN+3`, `RTMAX-1`.
impl FromStr for Signal {
    type Err = UnknownSignal;

    fn from_str(text: &str) -> Result<Signal, UnknownSignal> {
        let upper = text.trim().to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        numbered(name).or_else(|| realtime(name)).or_else(|| named(name)).ok_or(UnknownSignal)
    }
}

fn numbered(digits: &str) -> Option<Signal> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { Signal::new(digits.parse().ok()?) } else { None }
}

fn realtime(name: &str) -> Option<Signal> {
    let number = if let Some(more) = name.strip_prefix("RTMIN") {
        RTMIN.checked_add(offset(more, '+')?)?
    } else {
        RTMAX.checked_sub(offset(name.strip_prefix("RTMAX")?, '-')?)?
    };
    (RTMIN..=RTMAX).contains(&number).then_some(Signal(number))
}

fn offset(text: &str, sign: char) -> Option<u8> {
    if text.is_empty() { Some(0) } else { text.strip_prefix(sign)?.parse().ok() }
}

fn named(name: &str) -> Option<Signal> {
    NAMES.iter().chain(SYNONYMS).find(|(known, _)| *known == name).map(|(_, signal)| *signal)
}

/// Some signals out of the 64.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct SignalSet(u64);

impl SignalSet {
    /// The set with one signal more.
    #[must_use]
    pub fn with(self, signal: Signal) -> SignalSet {
        SignalSet(self.0 | signal.bit())
    }

    /// Whether a signal is in the set.
    pub fn contains(self, signal: Signal) -> bool {
        self.0 & signal.bit() != 0
    }

    /// Its signals by rising number.
    pub fn iter(self) -> impl Iterator<Item = Signal> {
        (1..=RTMAX).map(Signal).filter(move |signal| self.contains(*signal))
    }
}

/// Who sent a signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sender {
    /// The kernel itself: a terminal's key or resize, a hangup, an alarm.
    Kernel,
    /// A process of our PID namespace or below.
    Process(Pid),
    /// A process outside of our PID namespace, as a container's engine is.
    Outside,
}

/// `the kernel`, `pid 12`, `outside`
impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Sender::Kernel => f.write_str("the kernel"),
            Sender::Process(pid) => write!(f, "pid {pid}"),
            Sender::Outside => f.write_str("outside"),
        }
    }
}

/// A signal that adieu received.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrival {
    /// Which one.
    pub signal: Signal,
    /// Who sent it.
    pub from: Sender,
    /// The value that came with it, when it was queued by sigqueue(3).
    pub value: Option<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<i32> {
        text.parse::<Signal>().ok().map(Signal::number)
    }

    #[test]
    fn every_signal_has_a_name_that_leads_back_to_it() {
        for signal in (1..=64).filter_map(Signal::new) {
            assert_eq!(signal.to_string().parse(), Ok(signal), "{signal}");
        }
        assert_eq!(Signal::new(0), None);
        assert_eq!(Signal::new(65), None);
    }

    #[test]
    fn names_are_taken_as_people_write_them() {
        for (text, number) in [
            ("TERM", 15),
            ("SIGTERM", 15),
            ("sigusr1", 10),
            ("9", 9),
            ("RTMIN", 34),
            ("RTMIN+3", 37),
            ("SIGRTMAX-1", 63),
            ("rtmax", 64),
            ("IOT", 6),
        ] {
            assert_eq!(read(text), Some(number), "{text}");
        }
    }

    #[test]
    fn what_is_no_signal_is_refused() {
        for text in [
            "",
            "0",
            "65",
            "-1",
            "TERMINATE",
            "SIG",
            "RTMIN+31",
            "RTMAX-31",
            "RTMIN-1",
            "RTMIN+",
            "999",
            "TE RM",
            "RTMIN+255",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_set_holds_what_was_put_in() {
        let set = SignalSet::default().with(Signal::TERM).with(Signal(64)).with(Signal::HUP);
        assert_eq!(set.iter().map(Signal::number).collect::<Vec<_>>(), [1, 15, 64]);
        assert!(!set.contains(Signal::INT));
    }
}
