//! Any text as the settings file: read, or refused in a line that names the file.
#![no_main]

use adieu::settings::{self, Surroundings};
use libfuzzer_sys::fuzz_target;
use std::path::PathBuf;
use std::sync::LazyLock;

static FILE: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("adieu-fuzz-{}.toml", std::process::id())));

fuzz_target!(|text: &str| {
    std::fs::write(&*FILE, text).expect("a writable directory for temporary files");
    let around = Surroundings { variable: &|_| None, exists: &|_| false, texts: &|_| Vec::new(), pid: 1 };
    let arguments = ["--config".into(), FILE.clone().into_os_string(), "--".into(), "app".into()];
    if let Err(refusal) = settings::task(arguments, [], &around) {
        assert!(!refusal.0.is_empty());
    }
});
