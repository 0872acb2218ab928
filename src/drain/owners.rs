//! Which process holds a socket? The kernel's tables give a socket's inode, and /proc/PID/fd the
//! inodes that a process holds open; the app's sockets are those of its process and descendants. A
//! process of another user hides its descriptors even from root without SYS_PTRACE, as in a
//! container by default. Then the uid decides, and without that every listener of the network
//! namespace counts: better to wait for another program than to cut off a client.

use std::collections::{HashMap, HashSet};
use std::io::{self, ErrorKind};
use std::os::fd::RawFd;
use std::time::Duration;

use crate::process::Pid;
use crate::sys;
use crate::sys::proc::{self, Descriptors, Stat};
use crate::sys::tcp::Listener;

/// What a walk over the app's processes has shown.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Survey {
    /// Of the wanted inodes, those that a process of the app holds open, with one such process.
    pub held: HashMap<u32, Holder>,
    /// The users of processes whose descriptors may not be read.
    pub hidden: HashSet<u32>,
    /// Even the processes are hidden.
    pub blind: bool,
}

/// A process of the app that holds a socket open, and its descriptor for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Holder {
    pub pid: Pid,
    pub fd: RawFd,
}

/// How many descriptors are looked at between two looks at the clock.
const DESCRIPTORS: usize = 64;

/// A walk over the descriptors of the app and its descendants until all of `wanted` are found. It
/// costs some 10 us for each process of the PID namespace and up to 7 us for each descriptor, so
/// that it goes on a piece at a time.
#[derive(Debug)]
pub(super) struct OwnerWalk {
    wanted: HashSet<u32>,
    /// The next one last.
    left: Vec<Pid>,
    at: Option<(Pid, Descriptors)>,
    survey: Survey,
}

impl OwnerWalk {
    /// Errors: no descriptor or memory left; a /proc of another PID namespace. No others.
    pub(super) fn begin(app: Pid, wanted: HashSet<u32>) -> io::Result<OwnerWalk> {
        let mut walk = OwnerWalk { wanted, left: vec![], at: None, survey: Survey::default() };
        let processes = match processes() {
            Err(error) if sys::is_passing(&error) => return Err(error),
            Err(_) => {
                walk.survey.blind = true;
                return Ok(walk);
            }
            Ok(None) => return Err(proc::another_namespace()),
            Ok(Some(processes)) => processes,
        };
        // The hidepid mount option hides processes; but an app that has ended is not hidden.
        walk.survey.blind = !processes.contains_key(&app) && sys::exists(app);
        walk.left = family(app, adopter(), &processes);
        walk.left.reverse();
        Ok(walk)
    }

    /// What is looked for.
    pub(super) fn wanted(&self) -> &HashSet<u32> {
        &self.wanted
    }

    /// What it has shown so far.
    pub(super) fn survey(&self) -> &Survey {
        &self.survey
    }

    /// Goes on for so much processor time, and a little more. True when it is over.
    ///
    /// Errors: no descriptor or memory left. It has to begin anew then.
    pub(super) fn go_on(&mut self, piece: Duration) -> io::Result<bool> {
        let begun = sys::processor_time();
        loop {
            for _ in 0..DESCRIPTORS {
                if self.is_over() {
                    return Ok(true);
                }
                self.look_at_next()?;
            }
            if sys::processor_time().saturating_sub(begun) >= piece {
                return Ok(self.is_over());
            }
        }
    }

    /// Everything was seen, or found.
    pub(super) fn is_over(&self) -> bool {
        self.survey.held.len() == self.wanted.len() || self.left.is_empty() && self.at.is_none()
    }

    fn look_at_next(&mut self) -> io::Result<()> {
        let Some((pid, descriptors)) = &mut self.at else {
            let Some(pid) = self.left.pop() else { return Ok(()) };
            return match Descriptors::of(pid) {
                Ok(descriptors) => {
                    self.at = Some((pid, descriptors));
                    Ok(())
                }
                Err(error) => self.hides(pid, error),
            };
        };
        match descriptors.next() {
            Some(Ok(Some((fd, inode)))) if self.wanted.contains(&inode) => {
                self.survey.held.entry(inode).or_insert(Holder { pid: *pid, fd });
                Ok(())
            }
            Some(Ok(_)) => Ok(()),
            Some(Err(error)) => {
                let pid = *pid;
                self.at = None;
                self.hides(pid, error)
            }
            None => {
                self.at = None;
                Ok(())
            }
        }
    }

    /// This process does not show its descriptors.
    fn hides(&mut self, pid: Pid, error: io::Error) -> io::Result<()> {
        match error {
            error if sys::is_passing(&error) => Err(error),
            error if error.kind() == ErrorKind::PermissionDenied => match proc::uid(pid) {
                Ok(uid) => {
                    self.survey.hidden.insert(uid);
                    Ok(())
                }
                Err(error) if sys::is_passing(&error) => Err(error),
                Err(_) => {
                    self.survey.blind = true;
                    Ok(())
                }
            },
            // It has just ended.
            _ => Ok(()),
        }
    }
}

/// A whole walk at once, where little is to be found.
pub(super) fn survey(app: Pid, wanted: &HashSet<u32>) -> io::Result<Survey> {
    let mut walk = OwnerWalk::begin(app, wanted.clone())?;
    while !walk.go_on(Duration::MAX)? {}
    Ok(walk.survey)
}

/// The app's processes. Errors: as above.
pub(super) fn pids(app: Pid) -> io::Result<Vec<Pid>> {
    Ok(processes()?.map_or_else(Vec::new, |processes| family(app, adopter(), &processes)))
}

/// Which of the listeners are the app's, by their place in the list: those whose inodes its
/// processes hold, or by their user.
pub(super) fn ours(
    listeners: &[Listener],
    held: &HashSet<u32>,
    survey: &Survey,
    own_ports: &[u16],
) -> Vec<bool> {
    let not_adieus = |listener: &Listener| !own_ports.contains(&listener.port);
    let seen = |listener: &Listener| {
        held.contains(&listener.inode) || survey.hidden.contains(&listener.uid) && not_adieus(listener)
    };
    let mut ours: Vec<bool> = listeners.iter().map(seen).collect();
    let something_hides = survey.blind || !survey.hidden.is_empty();
    if something_hides && !ours.contains(&true) {
        ours = listeners.iter().map(not_adieus).collect();
    }
    ours
}

type Processes = HashMap<Pid, Stat>;

/// The processes of our PID namespace; None where /proc shows another.
fn processes() -> io::Result<Option<Processes>> {
    if proc::is_of_another_namespace()? {
        return Ok(None);
    }
    let mut processes = HashMap::new();
    for pid in proc::pids()? {
        match proc::stat(pid) {
            Ok(stat) => drop(processes.insert(pid, stat)),
            Err(error) if sys::is_passing(&error) => return Err(error),
            // It has just ended.
            Err(_) => {}
        }
    }
    Ok(Some(processes))
}

/// Ourselves, if orphans are handed to us: then a server that has daemonised itself is our child
/// and still belongs to the app.
fn adopter() -> Option<Pid> {
    (sys::is_init() || sys::is_subreaper()).then(sys::own_pid)
}

/// The app, its descendants, and those that were handed to its adopter, without zombies; the app
/// comes first.
fn family(app: Pid, adopter: Option<Pid>, processes: &Processes) -> Vec<Pid> {
    let mut children: HashMap<Pid, Vec<Pid>> = HashMap::new();
    for (&pid, stat) in processes {
        if let Some(parent) = stat.parent {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut family = vec![app];
    let adopted = adopter.and_then(|adopter| children.remove(&adopter)).unwrap_or_default();
    family.extend(adopted.into_iter().filter(|pid| *pid != app));
    let mut next = 0usize;
    while let Some(pid) = family.get(next) {
        // Removed, so that a table that changed while it was read cannot lead in a circle.
        let born = children.remove(pid).unwrap_or_default();
        family.extend(born);
        next = next.saturating_add(1);
    }
    family.retain(|pid| processes.get(pid).is_none_or(|stat| !stat.zombie));
    family
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::tcp::Family;
    use std::net::{IpAddr, Ipv4Addr};

    fn listener(port: u16, inode: u32, uid: u32) -> Listener {
        Listener { family: Family::V4, addr: IpAddr::V4(Ipv4Addr::UNSPECIFIED), port, inode, uid, backlog: 0 }
    }

    fn ours(listeners: &[Listener], held: &[u32], hidden: &[u32], blind: bool, own: &[u16]) -> Vec<bool> {
        let survey = Survey { hidden: hidden.iter().copied().collect(), blind, ..Survey::default() };
        super::ours(listeners, &held.iter().copied().collect(), &survey, own)
    }

    #[test]
    fn a_listener_is_ours_by_its_inode() {
        let listeners = [listener(80, 1, 0), listener(81, 2, 0)];
        assert_eq!(ours(&listeners, &[2], &[], false, &[]), [false, true]);
        assert_eq!(ours(&listeners, &[], &[], false, &[]), [false, false]);
    }

    #[test]
    fn a_hidden_process_is_known_by_its_user() {
        let listeners = [listener(80, 1, 1000), listener(81, 2, 33), listener(9, 3, 1000)];
        assert_eq!(ours(&listeners, &[], &[1000], false, &[9]), [true, false, false]);
    }

    #[test]
    fn everything_less_our_own_counts_when_the_user_tells_nothing_either() {
        // Bound by root, then the user was changed.
        let listeners = [listener(80, 1, 0), listener(81, 2, 33), listener(9, 3, 0)];
        assert_eq!(ours(&listeners, &[], &[1000], false, &[9]), [true, true, false]);
        assert_eq!(ours(&listeners, &[], &[], true, &[9]), [true, true, false]);
    }

    #[test]
    fn the_family_is_the_app_its_descendants_and_the_adopted() {
        let pid = |number| Pid::new(number).unwrap();
        let parents = [(1, 0), (2, 1), (3, 2), (4, 3), (5, 1), (6, 5), (7, 0), (8, 7)];
        let child_of = |parent| Stat { parent: Pid::new(parent), zombie: false };
        let mut processes: Processes = parents.map(|(child, parent)| (pid(child), child_of(parent))).into();
        processes.insert(pid(9), Stat { zombie: true, ..child_of(2) });
        let sorted = |family: Vec<Pid>| {
            let mut family: Vec<i32> = family.into_iter().map(Pid::number).collect();
            family.sort();
            family
        };
        assert_eq!(family(pid(2), Some(pid(1)), &processes)[0], pid(2));
        assert_eq!(sorted(family(pid(2), None, &processes)), [2, 3, 4]);
        assert_eq!(sorted(family(pid(2), Some(pid(1)), &processes)), [2, 3, 4, 5, 6]);
    }

    #[test]
    fn the_holder_of_a_socket_is_found_with_its_descriptor() {
        use std::os::fd::AsRawFd;
        use std::os::linux::fs::MetadataExt;
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let inode = std::fs::metadata(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap().st_ino();
        let inode = u32::try_from(inode).unwrap();
        let many: Vec<_> = (0..2 * DESCRIPTORS).map(|_| socket.try_clone().unwrap()).collect();
        let mut walk = OwnerWalk::begin(sys::own_pid(), HashSet::from([inode, u32::MAX])).unwrap();
        let mut pieces = 1;
        while !walk.go_on(Duration::ZERO).unwrap() {
            pieces += 1;
        }
        drop(many);
        assert!(pieces > 1 && walk.is_over());
        assert!(walk.survey().held.contains_key(&inode));
        let survey = survey(sys::own_pid(), &HashSet::from([inode])).unwrap();
        assert_eq!(
            survey.held,
            HashMap::from([(inode, Holder { pid: sys::own_pid(), fd: socket.as_raw_fd() })])
        );
    }
}
