//! Who is still busy.
mod kernel;
mod owners;
mod procnet;
mod rule;
