//! Whose socket is it? The kernel's tables give a socket's inode, and /proc/PID/fd gives the inodes that a process holds open
//! ([proc_pid_fd(5)]); the app's are those of its process and its descendants. A process that runs as somebody else hides its
//! descriptors even from root without SYS_PTRACE, as in a container by default: then its uid has to do, and failing that, every
//! listener of the network namespace counts, since waiting for a stranger is better than cutting off a client.
//!
//! [proc_pid_fd(5)]: https://man7.org/linux/man-pages/man5/proc_pid_fd.5.html

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::is_passing;
use super::kernel::Listener;

/// What a walk over the app's processes has shown.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Survey {
    /// Of the inodes that were looked for, those that a process of the app holds open.
    pub held: HashSet<u32>,
    /// The users of processes whose descriptors may not be read.
    pub hidden: HashSet<u32>,
    /// Not even the processes could be seen.
    pub blind: bool,
}

/// Walks the descriptors of the app and its descendants until all of `wanted` are found. Costs some 10 us for each process of the
/// PID namespace and 1 us for each descriptor. Errors: no descriptor or no memory left to read with; nothing else is one.
pub fn survey(app: Pid, wanted: &HashSet<u32>) -> io::Result<Survey> {
    let mut survey = Survey::default();
    let processes = match processes() {
        Err(error) if is_passing(&error) => return Err(error),
        Err(_) => return Ok(Survey { blind: true, ..survey }),
        Ok(processes) => processes,
    };
    let family = family(app.as_raw(), adopter(), &processes);
    // hidepid hides processes altogether; but an app that has ended hides nothing.
    survey.blind = !processes.contains_key(&app.as_raw()) && kill(app, None) != Err(Errno::ESRCH);
    for pid in family {
        if survey.held.len() == wanted.len() {
            break;
        }
        match hold(pid, wanted, &mut survey.held) {
            Ok(()) => {}
            Err(error) if is_passing(&error) => return Err(error),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => match uid(pid) {
                Some(uid) => drop(survey.hidden.insert(uid)),
                None => survey.blind = true,
            },
            // It has just ended.
            Err(_) => {}
        }
    }
    Ok(survey)
}

/// Which of the listeners are the app's, by their place in the list.
pub fn ours(listeners: &[Listener], survey: &Survey, own_ports: &[u16]) -> Vec<bool> {
    let not_adieus = |listener: &Listener| !own_ports.contains(&listener.port);
    let seen = |listener: &Listener| {
        survey.held.contains(&listener.inode) || survey.hidden.contains(&listener.uid) && not_adieus(listener)
    };
    let mut ours: Vec<bool> = listeners.iter().map(seen).collect();
    let something_hides = survey.blind || !survey.hidden.is_empty();
    if something_hides && !ours.contains(&true) {
        ours = listeners.iter().map(not_adieus).collect();
    }
    ours
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Process {
    parent: i32,
    /// It has ended and waits to be reaped; it holds nothing, and may still forbid us to see that.
    zombie: bool,
}

/// The processes of the PID namespace.
fn processes() -> io::Result<HashMap<i32, Process>> {
    let mut processes = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(entry) = entry else { continue };
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        match fs::read(entry.path().join("stat")) {
            Ok(stat) => drop(process(&stat).map(|process| processes.insert(pid, process))),
            Err(error) if is_passing(&error) => return Err(error),
            // It has just ended.
            Err(_) => {}
        }
    }
    Ok(processes)
}

/// The third and fourth field of /proc/PID/stat; the second is the program's name, which may contain anything, parentheses too.
fn process(stat: &[u8]) -> Option<Process> {
    let name_ends = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(&stat[name_ends + 1..]).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let zombie = matches!(fields.next()?, "Z" | "X");
    Some(Process { parent: fields.next()?.parse().ok()?, zombie })
}

/// Ourselves, if orphans are given to us: then a server that has daemonised itself is our child and still the app's.
fn adopter() -> Option<i32> {
    let me = Pid::this();
    let adopts = me.as_raw() == 1 || is_subreaper();
    adopts.then_some(me.as_raw())
}

fn is_subreaper() -> bool {
    // An error means a kernel without such a thing (gVisor).
    nix::sys::prctl::get_child_subreaper().unwrap_or(false)
}

/// The app, its descendants, and those that were handed to its adopter; the app itself first, zombies left out.
fn family(app: i32, adopter: Option<i32>, processes: &HashMap<i32, Process>) -> Vec<i32> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for (&pid, process) in processes {
        children.entry(process.parent).or_default().push(pid);
    }
    let mut family = vec![app];
    let adopted = adopter.and_then(|adopter| children.remove(&adopter)).unwrap_or_default();
    family.extend(adopted.into_iter().filter(|pid| *pid != app));
    let mut next = 0;
    while let Some(pid) = family.get(next) {
        // Removed, so that a table torn by changes cannot lead us in a circle.
        let born = children.remove(pid).unwrap_or_default();
        family.extend(born);
        next += 1;
    }
    family.retain(|pid| processes.get(pid).is_none_or(|process| !process.zombie));
    family
}

/// Adds the wanted sockets that this process holds. Errors: EACCES from listing the descriptors, or, with DAC_OVERRIDE but without
/// SYS_PTRACE, from asking what the first of them is.
fn hold(pid: i32, wanted: &HashSet<u32>, held: &mut HashSet<u32>) -> io::Result<()> {
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let target = match entry.and_then(|entry| fs::read_link(entry.path())) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
            // A descriptor may be closed while we read.
            Err(_) => continue,
            Ok(target) => target,
        };
        if let Some(inode) = socket_inode(&target)
            && wanted.contains(&inode)
        {
            held.insert(inode);
            if held.len() == wanted.len() {
                break;
            }
        }
    }
    Ok(())
}

/// `socket:[12345]`
fn socket_inode(target: &Path) -> Option<u32> {
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The effective uid, under which its sockets are made; /proc/PID itself would say root for a process that hides.
fn uid(pid: i32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::kernel::Family;
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    fn listener(port: u16, inode: u32, uid: u32) -> Listener {
        Listener { family: Family::V4, addr: IpAddr::V4(Ipv4Addr::UNSPECIFIED), port, inode, uid, backlog: 0 }
    }

    fn seen(held: &[u32], hidden: &[u32], blind: bool) -> Survey {
        Survey { held: held.iter().copied().collect(), hidden: hidden.iter().copied().collect(), blind }
    }

    #[test]
    fn a_listener_is_ours_by_its_inode() {
        let listeners = [listener(80, 1, 0), listener(81, 2, 0)];
        assert_eq!(ours(&listeners, &seen(&[2], &[], false), &[]), [false, true]);
        assert_eq!(ours(&listeners, &seen(&[], &[], false), &[]), [false, false]);
    }

    #[test]
    fn a_hidden_process_is_known_by_its_user() {
        let listeners = [listener(80, 1, 1000), listener(81, 2, 33), listener(9, 3, 1000)];
        assert_eq!(ours(&listeners, &seen(&[], &[1000], false), &[9]), [true, false, false]);
    }

    #[test]
    fn everything_less_our_own_counts_when_the_user_tells_nothing_either() {
        // Bound by root, then the user was changed.
        let listeners = [listener(80, 1, 0), listener(81, 2, 33), listener(9, 3, 0)];
        assert_eq!(ours(&listeners, &seen(&[], &[1000], false), &[9]), [true, true, false]);
        assert_eq!(ours(&listeners, &seen(&[], &[], true), &[9]), [true, true, false]);
    }

    fn child_of(parent: i32) -> Process {
        Process { parent, zombie: false }
    }

    #[test]
    fn the_parent_is_found_behind_any_name() {
        assert_eq!(process(b"12 (a) b) (c) S 7 12 12 0"), Some(child_of(7)));
        assert_eq!(process(b"12 (sh) Z 7 12 12 0"), Some(Process { parent: 7, zombie: true }));
        assert_eq!(process(b"12 (sh"), None);
    }

    #[test]
    fn the_family_is_the_app_its_descendants_and_the_adopted() {
        let parents = [(1, 0), (2, 1), (3, 2), (4, 3), (5, 1), (6, 5), (7, 0), (8, 7)];
        let mut processes: HashMap<_, _> = parents.map(|(pid, parent)| (pid, child_of(parent))).into();
        processes.insert(9, Process { parent: 2, zombie: true });
        let sorted = |mut family: Vec<i32>| {
            family.sort();
            family
        };
        assert_eq!(family(2, Some(1), &processes)[0], 2);
        assert_eq!(sorted(family(2, None, &processes)), [2, 3, 4]);
        assert_eq!(sorted(family(2, Some(1), &processes)), [2, 3, 4, 5, 6]);
    }

    #[test]
    fn only_sockets_have_an_inode() {
        assert_eq!(socket_inode(Path::new("socket:[123]")), Some(123));
        assert_eq!(socket_inode(Path::new("pipe:[123]")), None);
        assert_eq!(socket_inode(Path::new("/tmp/socket:[123]")), None);
    }
}
