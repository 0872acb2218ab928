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

            /// Whether the app is on its way out: asked to stop, or ended by itself.
            pub fn is_stopping(self) -> bool {
                match self { $(Phase::$phase => $stopping,)+ }
            }
        }
    };
}

phases! {
    /// The app's process exists; readiness checks, if there are any, do not pass yet.
    Starting = "starting", stopping: false;
    /// The app serves. Signals are forwarded.
    Running = "running", stopping: false;
    /// A stop was asked for. The app serves on, unaware, while load balancers stop routing to it.
    PreStop = "pre-stop", stopping: true;
    /// The app serves on until nothing is in flight.
    Draining = "draining", stopping: true;
    /// The stop schedule runs.
    Stopping = "stopping", stopping: true;
    /// The grace is nearly over: everything gets SIGKILL.
    Killing = "killing", stopping: true;
    /// The app is gone; what it left behind is asked to end, and killed in the end.
    Sweeping = "sweeping", stopping: true;
    /// Nothing is left but the hooks that run at the exit.
    Leaving = "leaving", stopping: true;
    /// adieu exits.
    Gone = "gone", stopping: true;
}
