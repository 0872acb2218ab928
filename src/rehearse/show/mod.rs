//! The output formats for the result: text for the terminal, JSON for machines, JUnit for CI
//! systems, SVG and HTML for people. All are pure functions of recordings and verdicts.

pub mod html;
pub mod json;
pub mod junit;
mod lanes;
pub mod run;
mod style;
pub mod svg;
pub mod text;
