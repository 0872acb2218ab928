//! Files written whole or not at all. A process that can write to the directory, often the app, can
//! put anything in the file's place: a symbolic link to another file, a pipe that nobody reads. So
//! a new file takes the name by rename(2), which replaces what is there and neither follows nor
//! opens it.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Copies our own program to this path, or into this folder, executable by all. A process that runs
/// the old file keeps it.
///
/// # Errors
/// As from [std::fs::copy] and [std::fs::rename].
pub fn install_own_program(to: &Path) -> io::Result<()> {
    let to = if to.is_dir() { to.join("adieu") } else { to.to_owned() };
    let mut beside = to.clone().into_os_string();
    beside.push(format!(".{}", std::process::id()));
    let copied = fs::copy("/proc/self/exe", &beside)
        .and_then(|_| fs::set_permissions(&beside, fs::Permissions::from_mode(0o755)))
        .and_then(|()| fs::rename(&beside, &to));
    if copied.is_err() {
        // It may not even have been made.
        let _ = fs::remove_file(&beside);
    }
    copied
}

/// Where Kubernetes looks for a termination message, by default.
pub const TERMINATION_LOG: &str = "/dev/termination-log";

/// Never waits for the other end of a pipe, never makes a terminal ours.
const AT_ONCE: i32 = libc::O_NONBLOCK | libc::O_NOCTTY;

/// Makes an empty file of this name, and replaces what is there unless it is a directory.
///
/// # Errors
/// What open(2) and rename(2) say.
pub fn place(path: &Path) -> io::Result<()> {
    replace(path, b"")
}

/// Takes the name away; one that is not there is no error.
///
/// # Errors
/// What unlink(2) says.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Writes a file whole or not at all: into a new file beside it, which then takes its name. A file
/// behind a symbolic link is never touched: the link is replaced. What is a stream is written to as
/// it is, without waiting for a reader: a pipe, a device, `/dev/stderr` and its like, also through
/// a link. Where nothing can be renamed (a mount of its own, a directory that may not be written),
/// a regular file is written in place.
///
/// # Errors
/// What the last attempt said.
pub fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    if is_stream(path) {
        let mut stream = OpenOptions::new().append(true).custom_flags(AT_ONCE).open(path)?;
        // The stream may have been replaced by a file.
        if names_a_stream(path) || !stream.metadata()?.is_file() {
            return stream.write_all(text.as_bytes());
        }
    }
    match replace(path, text.as_bytes()) {
        Ok(()) => Ok(()),
        Err(error) => match in_place(path) {
            Ok(mut file) => {
                file.set_len(0)?;
                file.write_all(text.as_bytes())
            }
            Err(_) => Err(error),
        },
    }
}

/// Names of inherited descriptors. A log may be behind them, which must not be truncated.
fn names_a_stream(path: &Path) -> bool {
    ["/dev/stdin", "/dev/stdout", "/dev/stderr"].iter().any(|name| path == Path::new(name))
        || path.starts_with("/dev/fd")
        || path.starts_with("/proc")
}

fn is_stream(path: &Path) -> bool {
    let found = || fs::metadata(path).map(|found| found.file_type());
    names_a_stream(path) || found().is_ok_and(|kind| kind.is_fifo() || kind.is_char_device())
}

fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut beside = OsString::from(".");
    beside.push(name);
    // A name that no other process can have created before.
    beside.push(format!(".{:016x}", RandomState::new().hash_one(std::process::id())));
    let beside: PathBuf = path.with_file_name(beside);
    let mut file = OpenOptions::new().write(true).create_new(true).open(&beside)?;
    let written = file.write_all(text).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // The next attempt has a name of its own.
        let _ = fs::remove_file(&beside);
    }
    written
}

/// A regular file that has no other name, opened without a link being followed.
fn in_place(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).custom_flags(AT_ONCE | libc::O_NOFOLLOW).open(path)?;
    let found = file.metadata()?;
    if found.is_file() && found.nlink() == 1 { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

/// Leaves the message where Kubernetes looks for it: only in a file that is there already and that
/// the app has not written to. True when it was written.
///
/// # Errors
/// What the kernel said; a file that is not there is no error.
pub fn write_termination(path: &Path, message: impl FnOnce() -> String) -> io::Result<bool> {
    let mut file = match in_place(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) => {
            return Ok(false);
        }
        Err(error) => return Err(error),
    };
    if file.metadata()?.len() > 0 {
        return Ok(false);
    }
    file.write_all(message().as_bytes())?;
    Ok(true)
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
    }

    #[test]
    fn a_pipe_without_reader_holds_nobody_up() {
        let room = Room::new("pipe");
        let path = room.0.join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(write_whole(&path, "x").unwrap_err().raw_os_error(), Some(libc::ENXIO));
        write_whole(Path::new("/dev/null"), "x").unwrap();
    }

    /// What the app may have put there: the report takes the link's place, and the file behind it
    /// stays as it was.
    #[test]
    fn a_link_is_replaced_and_what_is_behind_it_stays() {
        let room = Room::new("link");
        let (link, behind) = (room.0.join("link"), room.0.join("behind"));
        for write in [|path: &Path| write_whole(path, "new"), |path: &Path| place(path)] {
            fs::write(&behind, "precious").unwrap();
            std::os::unix::fs::symlink(&behind, &link).unwrap();
            write(&link).unwrap();
            assert_eq!(fs::read_to_string(&behind).unwrap(), "precious");
            assert!(fs::symlink_metadata(&link).unwrap().is_file());
            remove(&link).unwrap();
            remove(&link).unwrap();
        }
        std::os::unix::fs::symlink("/nowhere/at-all", &link).unwrap();
        place(&link).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_file());
        assert_eq!(fs::read_dir(&room.0).unwrap().count(), 2, "nothing is left beside them");
    }

    #[test]
    fn a_pipe_makes_way_for_a_file_that_is_placed() {
        let room = Room::new("place");
        let path = room.0.join("ready");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        place(&path).unwrap();
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
        assert!(place(&room.0).is_err(), "a directory stays");
    }

    #[test]
    fn a_stream_is_reached_through_a_link() {
        let room = Room::new("stream");
        let (pipe, link) = (room.0.join("pipe"), room.0.join("link"));
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::os::unix::fs::symlink(&pipe, &link).unwrap();
        let reader = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&pipe).unwrap();
        write_whole(&link, "through").unwrap();
        assert_eq!(io::read_to_string(reader).unwrap(), "through");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn the_apps_own_termination_message_stays() {
        let room = Room::new("termination");
        let path = room.0.join("log");
        let ours = || "ours".to_owned();
        assert!(!write_termination(&path, ours).unwrap());
        assert!(!path.exists());
        fs::write(&path, "").unwrap();
        assert!(write_termination(&path, ours).unwrap());
        fs::write(&path, "the app's").unwrap();
        assert!(!write_termination(&path, ours).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "the app's");
        fs::write(&path, "").unwrap();
        let link = room.0.join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(write_termination(&link, ours).is_err(), "a link is not followed");
        let pipe = room.0.join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(write_termination(&pipe, ours).is_err(), "nobody reads it, and nobody waits");
        assert_eq!(fs::read_to_string(&path).unwrap(), "");
    }
}
