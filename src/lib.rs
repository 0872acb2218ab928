//! adieu: a tiny init that makes the end of an app's life orderly.

pub mod calls;
pub mod checks;
pub mod drain;
pub mod health;
pub mod hooks;
pub mod lifecycle;
pub mod notify;
pub mod probe;
pub mod report;
pub mod settings;
pub mod sys;
