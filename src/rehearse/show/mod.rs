//! Showing what was seen: as text for the terminal, JSON for machines, JUnit for CI systems, SVG
//! and HTML for people. All of it is made by pure functions from recordings and verdicts.

pub mod html;
pub mod json;
pub mod junit;
mod lanes;
pub mod run;
mod style;
pub mod svg;
pub mod text;
