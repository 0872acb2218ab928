//! Any bytes as /proc/PID/stat and as the tables of /proc/PID/net.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    adieu::fuzzing::stat(bytes);
    adieu::fuzzing::tcp_table(&String::from_utf8_lossy(bytes));
});
