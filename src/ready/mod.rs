//! Is the app ready, and who may ask: the checks that find out, the endpoint that answers with its pages, and the
//! probe that asks another adieu.

pub mod checks;
pub mod endpoint;
pub mod pages;
pub mod probe;
