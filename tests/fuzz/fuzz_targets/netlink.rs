//! Any bytes as the kernel's reply to a question about sockets.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| adieu::fuzzing::kernel_reply(bytes));
