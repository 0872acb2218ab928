//! The file that exists exactly while the app is ready. What fails now, for lack of a descriptor or
//! of the directory, is tried again until it succeeds.

use std::path::PathBuf;
use std::time::Duration;

use crate::moment::Moment;
use crate::sys::{describe, files};

/// How long to wait before trying again.
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// The ready file, and whether it should exist.
#[derive(Debug)]
pub struct ReadyFile {
    path: PathBuf,
    ready: bool,
    /// When to try again, if the file is not yet as it should be.
    try_again: Option<Moment>,
    /// The failure that was logged last.
    said: Option<String>,
}

impl ReadyFile {
    /// The app is not ready yet: removes a file that a killed adieu has left behind.
    pub fn new(path: PathBuf) -> ReadyFile {
        let mut file = ReadyFile { path, ready: false, try_again: None, said: None };
        file.keep(Moment::START);
        file
    }

    /// The app is ready, or no longer so.
    pub fn announce(&mut self, ready: bool, now: Moment) {
        self.ready = ready;
        self.keep(now);
    }

    /// When it wants to be served.
    pub fn deadline(&self) -> Option<Moment> {
        self.try_again
    }

    /// Tries again what could not be done.
    pub fn serve(&mut self, now: Moment) {
        if self.try_again.is_some_and(|at| now >= at) {
            self.keep(now);
        }
    }

    fn keep(&mut self, now: Moment) {
        let done = if self.ready { files::place(&self.path) } else { files::remove(&self.path) };
        let Err(error) = done else {
            (self.try_again, self.said) = (None, None);
            return;
        };
        self.try_again = Some(now + TRY_AGAIN);
        let verb = if self.ready { "write" } else { "remove" };
        let why = format!("cannot {verb} ready file '{}': {}", self.path.display(), describe(&error));
        if self.said.as_ref() != Some(&why) {
            log::warn!("{why}; trying again");
            self.said = Some(why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A directory that is missing stands for every failure that passes.
    #[test]
    fn what_fails_is_tried_again_until_it_is_done() {
        let folder = std::env::temp_dir().join(format!("adieu-ready-{}", std::process::id()));
        let path = folder.join("ready");
        let mut file = ReadyFile::new(path.clone());
        assert_eq!(file.deadline(), None, "what is not there need not be removed");
        file.announce(true, Moment::START);
        let again = file.deadline().expect("the directory is missing");
        file.serve(again);
        assert!(!path.exists() && file.deadline() > Some(again));
        fs::create_dir(&folder).unwrap();
        file.serve(Moment::START);
        assert!(!path.exists(), "it is not time yet");
        file.serve(again + TRY_AGAIN);
        assert!(path.exists());
        assert_eq!(file.deadline(), None);
        file.announce(false, again);
        assert!(!path.exists());
        fs::create_dir_all(path.join("in the way")).unwrap();
        file.announce(true, again);
        let again = file.deadline().expect("a directory stands there");
        fs::remove_dir_all(&path).unwrap();
        file.serve(again);
        assert!(path.is_file());
        fs::remove_dir_all(&folder).unwrap();
    }
}
