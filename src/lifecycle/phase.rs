//! The phases of an app's life: one row each.

/// Makes [`Phase`] out of one row for each phase: a sentence, its name, and whether a stop is under
/// way.
macro_rules! phases {
    ($($(#[$sentence:meta])+ $phase:ident = $name:literal, stopping: $stopping:literal;)+) => {
        /// Where in its life the app is. The order is that of life.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Phase {
            $($(#[$sentence])+ $phase,)+
        }

        impl Phase {
            /// All phases, in the order of life.
            pub const ALL: &[Phase] = &[$(Phase::$phase),+];

            /// As in logs, metrics, hooks and the report.
            pub fn name(self) -> &'static str {
                match self { $(Phase::$phase => $name,)+ }
            }

            /// Whether a stop was requested, or the app has ended by itself.
            pub fn is_stopping(self) -> bool {
                match self { $(Phase::$phase => $stopping,)+ }
            }
        }
    };
}

phases! {
    /// The app is being started; readiness checks, if there are any, do not pass yet.
    Starting = "starting", stopping: false;
    /// The app serves. Signals are forwarded.
    Running = "running", stopping: false;
    /// A stop was requested. The app gets no signal and serves on while load balancers stop routing
    /// to it.
    PreStop = "pre-stop", stopping: true;
    /// The app serves on until nothing is in flight.
    Draining = "draining", stopping: true;
    /// The stop schedule runs.
    Stopping = "stopping", stopping: true;
    /// The grace is nearly over: everything gets SIGKILL.
    Killing = "killing", stopping: true;
    /// The app is gone; its leftovers get TERM, and KILL at last.
    Sweeping = "sweeping", stopping: true;
    /// Only the hooks of `--on-exit` still run.
    Leaving = "leaving", stopping: true;
    /// adieu exits.
    Gone = "gone", stopping: true;
}
