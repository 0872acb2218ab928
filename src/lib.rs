//! adieu: a tiny init that makes the end of an app's life orderly.

pub mod drain;
pub mod lifecycle;
pub mod settings;
pub mod sys;
