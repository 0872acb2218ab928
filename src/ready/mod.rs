//! Is the app ready, and who may ask: the checks that find out, the endpoint that answers with its pages, the file that
//! says so, and the probe that asks another adieu.

pub mod checks;
pub mod endpoint;
pub mod file;
pub mod pages;
pub mod probe;
