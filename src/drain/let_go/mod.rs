//! Letting clients go: those with kept connections straight to the app, who would ask on and on as
//! nobody tells them to leave. [`protocol`] knows who may be touched at all, [`schedule`] when each
//! begins, and [`connection`] how it is closed between two of its requests; these are pure. What
//! they decide is done by [`act`].

mod act;
mod connection;
mod protocol;
mod schedule;

pub(super) use self::act::{Candidate, LetGo};
