//! Readiness: the checks, the health endpoint with its pages, the ready file, and the probe that
//! asks another adieu.

#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::arithmetic_side_effects,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]

pub mod checks;
pub mod endpoint;
pub mod file;
pub mod pages;
pub mod probe;
