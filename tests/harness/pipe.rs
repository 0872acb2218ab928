//! The reading end of a pipe of the test's own, read under the watchdog.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::WATCHDOG;

pub struct Pipe {
    file: File,
    until: Instant,
}

impl Pipe {
    pub fn new(reader: OwnedFd) -> Self {
        Self { file: File::from(reader), until: Instant::now() + WATCHDOG }
    }

    /// The next line must begin with this.
    pub fn expect(&mut self, wanted: &str) {
        let mut line = Vec::new();
        while let Some(byte) = self.byte(wanted)
            && byte != b'\n'
        {
            line.push(byte);
        }
        let line = String::from_utf8_lossy(&line);
        assert!(line.starts_with(wanted), "expected '{wanted}', got '{line}'");
    }

    /// All that still comes, up to the moment when nobody holds the other end.
    pub fn rest(mut self) -> String {
        let mut all = Vec::new();
        while let Some(byte) = self.byte("its end") {
            all.push(byte);
        }
        String::from_utf8_lossy(&all).into_owned()
    }

    fn byte(&mut self, wanted: &str) -> Option<u8> {
        let left = self.until.saturating_duration_since(Instant::now());
        let mut waits = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut waits, PollTimeout::try_from(left).expect("a minute")).expect("a pipe");
        assert!(ready > 0, "the watchdog barked, waiting for {wanted} on a pipe");
        let mut byte = [0];
        (self.file.read(&mut byte).expect("a pipe") == 1).then_some(byte[0])
    }
}
