//! The simulated load balancer. It keeps sending for a while after the stop request, because the
//! nodes of a cluster learn of a stop with a delay; then it sends nothing more. Clients ask it
//! before every request and pause in it, so that the removal ends their pauses.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Shared by all clients of one rehearsal.
#[derive(Default)]
pub(crate) struct Balancer {
    removed: Mutex<bool>,
    news: Condvar,
}

impl Balancer {
    /// From now on no request is routed to the app.
    pub(crate) fn remove(&self) {
        *self.removed.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.news.notify_all();
    }

    /// Waits for this time and returns whether the app still gets requests; the removal ends the
    /// wait early.
    pub(crate) fn routes_after(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        let mut removed = self.removed.lock().unwrap_or_else(PoisonError::into_inner);
        while !*removed {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            removed = self.news.wait_timeout(removed, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        false
    }
}
