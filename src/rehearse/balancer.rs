//! The load balancer, played: it goes on sending for a while after the stop request, because in a
//! cluster the news of a stop takes its time to every node, and then it sends nothing more. Clients
//! ask it before every request, and do their pauses here, so that a pause ends when sending ends.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Shared by all clients of one rehearsal.
#[derive(Default)]
pub(crate) struct Balancer {
    removed: Mutex<bool>,
    news: Condvar,
}

impl Balancer {
    /// From now on nothing is sent to the app.
    pub(crate) fn remove(&self) {
        *self.removed.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.news.notify_all();
    }

    /// Waits so long and tells whether the app is still sent requests; returns early when that
    /// ends.
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
