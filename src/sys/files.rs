//! Files written whole or not at all, without ever waiting for a reader.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Where Kubernetes looks for a termination message, by default.
pub const TERMINATION_LOG: &str = "/dev/termination-log";

/// Writes a file whole or not at all: into a new file beside it, which then takes its name. What is no regular file (a
/// pipe, `/dev/stderr`), or stands where nothing can be renamed (a mount of its own, a directory that may not be
/// written), is written in place, without waiting for a reader.
///
/// # Errors
/// What the last attempt said.
pub fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let replaceable = fs::symlink_metadata(path).map_or(true, |found| found.is_file());
    if replaceable && replace(path, text).is_ok() {
        return Ok(());
    }
    // Through /dev/stderr or /proc/self/fd/2 a log may be reached, which is not ours to empty.
    let stream = path.starts_with("/dev") || path.starts_with("/proc");
    let append = stream && !replaceable;
    let mut options = OpenOptions::new();
    options.write(true).create(!stream).append(append).truncate(!append);
    options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?.write_all(text.as_bytes())
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut beside = OsString::from(".");
    beside.push(name);
    beside.push(format!(".{}", std::process::id()));
    let beside: PathBuf = path.with_file_name(beside);
    let written = OpenOptions::new().write(true).create_new(true).open(&beside).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        fs::rename(&beside, path)
    });
    if written.is_err() {
        // It may not even exist.
        let _ = fs::remove_file(&beside);
    }
    written
}

/// Leaves the message where Kubernetes looks for it: only in a file that is there already and that the app has not
/// written to. True when it was written.
///
/// # Errors
/// What the kernel said; a file that is not there is no error.
pub fn write_termination(path: &Path, message: &str) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(found) if found.is_file() && found.len() == 0 => {
            OpenOptions::new().write(true).open(path)?.write_all(message.as_bytes())?;
            Ok(true)
        }
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of the test's own, removed at its end.
    struct Room(PathBuf);

    impl Room {
        fn new(name: &str) -> Room {
            let path = std::env::temp_dir().join(format!("adieu-report-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Room(path)
        }
    }

    impl Drop for Room {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn a_report_replaces_the_old_one_and_leaves_nothing_beside_it() {
        let room = Room::new("replace");
        let path = room.0.join("report.json");
        for text in ["long and old", "new"] {
            write_whole(&path, text).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(fs::read_dir(&room.0).unwrap().count(), 1);
        assert!(write_whole(&room.0.join("no/such/dir"), "x").is_err());
        let link = room.0.join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        write_whole(&link, "through").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "through");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn a_pipe_without_reader_holds_nobody_up() {
        let room = Room::new("pipe");
        let path = room.0.join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(write_whole(&path, "x").unwrap_err().raw_os_error(), Some(libc::ENXIO));
        write_whole(Path::new("/dev/null"), "x").unwrap();
    }

    #[test]
    fn the_apps_own_termination_message_stays() {
        let room = Room::new("termination");
        let path = room.0.join("log");
        assert!(!write_termination(&path, "ours").unwrap());
        assert!(!path.exists());
        fs::write(&path, "").unwrap();
        assert!(write_termination(&path, "ours").unwrap());
        fs::write(&path, "the app's").unwrap();
        assert!(!write_termination(&path, "ours").unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "the app's");
    }
}
