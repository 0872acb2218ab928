//! Letting clients go: those with keep-alive connections straight to the app, which would go on
//! sending requests. [`protocol`] decides which connections may be closed at all, [`schedule`] when
//! each attempt begins, and [`connection`] how one is closed between two of its requests. These are
//! pure; [`act`] does what they decide.

mod act;
mod connection;
mod protocol;
mod schedule;

pub(super) use self::act::{Candidate, LetGo, ShutConnection};
pub(super) use self::connection::LastData;
