//! Any words and variables, one a line: settings, or one line that refuses them, and settings whose
//! times fit into one another.
#![no_main]

use adieu::settings::{self, Surroundings, Task};
use libfuzzer_sys::fuzz_target;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

fuzz_target!(|bytes: &[u8]| {
    let lines: Vec<Vec<u8>> = bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let around = Surroundings { variable: &|_| None, exists: &|_| false, texts: &|_| Vec::new(), pid: 1 };
    // NAME=VALUE is a variable, everything else an argument.
    let variable = |line: &[u8]| {
        let (name, value) =
            line.strip_prefix(b"ADIEU_")?.split_at_checked(line.iter().position(|b| *b == b'=')? - 6)?;
        let name = [b"ADIEU_", name].concat();
        Some((OsString::from_vec(name), OsString::from_vec(value[1..].to_vec())))
    };
    // What is read from disk is the target `file`'s.
    let reads = |line: &&Vec<u8>| line.windows(6).any(|part| part.eq_ignore_ascii_case(b"config"));
    let lines: Vec<&Vec<u8>> = lines.iter().filter(|line| !reads(line)).collect();
    let variables = lines.iter().filter_map(|line| variable(line)).collect::<Vec<_>>();
    let arguments = lines.iter().filter(|line| variable(line).is_none());
    let arguments: Vec<_> = arguments.map(|line| OsString::from_vec(line.to_vec())).collect();
    match settings::task(arguments, variables, &around) {
        Ok(Task::Run(settings) | Task::Check(settings)) => {
            let plan = &settings.plan;
            assert!(plan.kill_margin < plan.grace);
            assert!(plan.pre_stop < plan.grace - plan.kill_margin);
            assert!(!settings.command.is_empty());
            assert!(!settings::timeline(&settings).is_empty());
        }
        Ok(Task::Probe { .. } | Task::Show(_) | Task::Wait(_) | Task::Install(_)) => {}
        Err(refusal) => assert!(!refusal.0.is_empty()),
    }
});
