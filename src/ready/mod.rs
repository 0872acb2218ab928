//! Readiness: the checks, the health endpoint with its pages, the ready file, and the probe that
//! asks another adieu.

pub mod checks;
pub mod endpoint;
pub mod file;
pub mod pages;
pub mod probe;
