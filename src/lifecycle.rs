//! What should happen, and nothing else.

use std::time::Duration;

/// A point in time: how long adieu has been running (monotonic, never a wall clock).
pub type Moment = Duration;

/// A signal's number, 1 to 64 ([signal(7)]).
///
/// [signal(7)]: https://man7.org/linux/man-pages/man7/signal.7.html
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Signal(pub u8);

/// How a process ended, as waitpid(2) tells it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// It called exit with this status.
    Status(u8),
    /// It died of this signal.
    Killed(Signal),
}

/// Where in its life the app is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Phase {
    Starting,
    Running,
    PreStop,
    Draining,
    Stopping,
    Killing,
    Sweeping,
    Leaving,
    Gone,
}
