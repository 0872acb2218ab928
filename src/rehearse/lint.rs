//! Something in a manifest that does not fit, and what to do about it.

use serde::{Deserialize, Serialize};

/// Something in a manifest that does not fit, and what to do about it.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct Lint {
    pub what: String,
    pub advice: String,
}

impl Lint {
    pub(crate) fn new(what: impl Into<String>, advice: impl Into<String>) -> Lint {
        Lint { what: what.into(), advice: advice.into() }
    }
}
