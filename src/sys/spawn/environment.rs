//! What the child finds in its environment, and where it looks for its command.

use std::ffi::{CStr, CString, c_char};
use std::os::unix::ffi::OsStrExt;

/// Where a command is looked for when there is no PATH: the places that both libcs' own searches
/// agree on.
const NO_PATH: &[u8] = b"/bin:/usr/bin";
/// What runs a script without `#!`.
pub(super) const SHELL: &CStr = c"/bin/sh";
pub(super) const LISTEN_PID: &[u8] = b"LISTEN_PID=";
/// Names the process that LISTEN_FDS is meant for by its pidfd's inode, since systemd 259. It is
/// taken away where LISTEN_PID is rewritten, which is then asked alone.
const LISTEN_PIDFDID: &[u8] = b"LISTEN_PIDFDID=";

/// The inherited environment byte for byte, entries without `=` included, with some variables
/// replaced.
pub(super) struct Environment<'a> {
    variables: &'a [CString],
}

unsafe extern "C" {
    static environ: *const *const c_char;
}

impl<'a> Environment<'a> {
    pub(super) fn with(variables: &'a [CString]) -> Environment<'a> {
        Environment { variables }
    }

    pub(super) fn pointers(&self, listen_pid: Option<*const c_char>) -> Vec<*const c_char> {
        let mut pointers = Vec::new();
        for entry in inherited() {
            // SAFETY: an entry of environ is a C string that nothing in adieu changes or frees.
            let bytes = unsafe { CStr::from_ptr(entry) }.to_bytes();
            match listen_pid {
                Some(ours) if bytes.starts_with(LISTEN_PID) => pointers.push(ours),
                Some(_) if bytes.starts_with(LISTEN_PIDFDID) => {}
                Some(_) | None if self.replaces(bytes) => {}
                Some(_) | None => pointers.push(entry),
            }
        }
        let given = self.variables.iter().filter(|variable| variable.to_bytes().contains(&b'='));
        pointers.extend(given.map(|variable| variable.as_ptr()));
        pointers.push(std::ptr::null());
        pointers
    }

    fn replaces(&self, entry: &[u8]) -> bool {
        fn name(entry: &[u8]) -> Option<&[u8]> {
            entry.split(|byte| *byte == b'=').next()
        }
        let replaced = |variable: &CString| name(entry) == name(variable.to_bytes());
        entry.contains(&b'=') && self.variables.iter().any(replaced)
    }
}

fn inherited() -> impl Iterator<Item = *const c_char> {
    // SAFETY: environ is set by libc before main and never changed by adieu; null when the
    // environment was cleared.
    let mut at = unsafe { environ };
    std::iter::from_fn(move || {
        if at.is_null() {
            return None;
        }
        // SAFETY: the array ends with a null pointer, at which the iteration ends.
        let entry = unsafe { *at };
        // SAFETY: as above; one past a non-null entry is still inside of the array.
        at = unsafe { at.add(1) };
        (!entry.is_null()).then_some(entry)
    })
}

pub(super) fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
}

/// Everywhere that a shell would look for the command, in order: the command itself when it has a
/// slash. Made here and not by execvpe(3) in the child, since musl's knows no script without `#!`
/// and glibc's puts argv on the stack.
pub(super) fn candidates(command: Option<&CString>) -> Vec<CString> {
    let Some(command) = command.filter(|command| !command.is_empty()) else { return Vec::new() };
    if command.to_bytes().contains(&b'/') {
        return vec![command.clone()];
    }
    let path = std::env::var_os("PATH");
    let path = path.as_ref().map_or(NO_PATH, |path| path.as_bytes());
    let in_folder = |folder: &[u8]| {
        // An empty entry is the working directory.
        let separator: &[u8] = if folder.is_empty() { b"" } else { b"/" };
        CString::new([folder, separator, command.to_bytes()].concat()).ok()
    };
    path.split(|byte| *byte == b':').filter_map(in_folder).collect()
}

/// `/bin/sh SCRIPT ARGUMENT...`; where SCRIPT stands, the child puts the file that it has found.
pub(super) fn shell_arguments(argv: &[CString]) -> Vec<*const c_char> {
    let script = argv.first().map_or(SHELL.as_ptr(), |command| command.as_ptr());
    let arguments = argv.iter().skip(1).map(|argument| argument.as_ptr());
    [SHELL.as_ptr(), script].into_iter().chain(arguments).chain([std::ptr::null()]).collect()
}

/// `LISTEN_PID=` and the child's own pid, which it alone knows in time.
pub(super) struct ListenPid([u8; LISTEN_PID.len() + MOST_DIGITS + 1]);

/// Of a pid.
const MOST_DIGITS: usize = 10;

impl ListenPid {
    pub(super) fn new() -> ListenPid {
        ListenPid([0; LISTEN_PID.len() + MOST_DIGITS + 1])
    }

    pub(super) fn as_ptr(&self) -> *const c_char {
        self.0.as_ptr().cast()
    }

    /// As text with its final zero, without allocating.
    pub(super) fn write(&mut self, pid: u32) {
        let count = pid.checked_ilog10().unwrap_or(0);
        let unit = |place| 10u32.saturating_pow(place).max(1);
        let digit = |place| pid.checked_div(unit(place)).unwrap_or(0) % 10;
        let digits = (0..=count).rev().map(|place| b'0' | digit(place) as u8);
        let text = LISTEN_PID.iter().copied().chain(digits).chain([0]);
        self.0.iter_mut().zip(text).for_each(|(to, byte)| *to = byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_pid_is_written_as_systemd_reads_it() {
        for (pid, text) in [(7, c"LISTEN_PID=7"), (4_194_304, c"LISTEN_PID=4194304")] {
            let mut room = ListenPid::new();
            room.0.fill(b'x');
            room.write(pid);
            assert_eq!(CStr::from_bytes_until_nul(&room.0).unwrap(), text);
        }
        let mut room = ListenPid::new();
        room.write(u32::MAX);
        assert_eq!(CStr::from_bytes_until_nul(&room.0).unwrap(), c"LISTEN_PID=4294967295");
    }

    #[test]
    fn a_command_is_looked_for_as_a_shell_would() {
        assert_eq!(candidates(Some(&c"./app".to_owned())), [c"./app".to_owned()]);
        assert!(candidates(Some(&c"".to_owned())).is_empty() && candidates(None).is_empty());
        let path = std::env::var("PATH").unwrap_or_else(|_| "/bin:/usr/bin".to_owned());
        let found = candidates(Some(&c"app".to_owned()));
        assert_eq!(found.len(), path.split(':').count());
        assert!(found.iter().all(|candidate| candidate.to_bytes().ends_with(b"app")), "{found:?}");
    }
}
