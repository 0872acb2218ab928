//! Any bytes as a message of the app: what only adieu may say is never passed on.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| adieu::fuzzing::notification(bytes));
