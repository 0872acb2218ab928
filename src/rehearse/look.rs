//! A look at the app from outside, through /proc: which of its processes live, where they listen, which databases they talk to.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::PathBuf;

use nix::unistd::Pid;
use procfs::net::TcpState;
use procfs::process::{FDTarget, Process};

/// How the app's processes are told from all others.
#[derive(Clone, Debug)]
pub enum Members {
    /// Everything in the PID namespace with this link.
    Namespace { link: PathBuf },
    /// Everything that descends from this process, without itself.
    Below { root: i32 },
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    pub pid: i32,
    /// The kernel's name for it, at most 15 bytes.
    pub name: String,
}

/// One connection of the app's processes to somewhere else.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Line {
    pub local: SocketAddr,
    pub remote: SocketAddr,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Look {
    pub processes: Vec<Seen>,
    pub listening: Vec<SocketAddr>,
    pub outbound: Vec<Line>,
}

impl Members {
    #[must_use]
    pub fn of_namespace(main: Pid) -> Members {
        let link = std::fs::read_link(format!("/proc/{main}/ns/pid")).unwrap_or_default();
        Members::Namespace { link }
    }

    #[must_use]
    pub fn below(root: Pid) -> Members {
        Members::Below { root: root.as_raw() }
    }
}

/// Every process of the app that is alive; a zombie is not.
#[must_use]
pub fn processes(members: &Members) -> Vec<Seen> {
    let all = procfs::process::all_processes().into_iter().flatten().flatten();
    match members {
        Members::Namespace { link } => all
            .filter(|process| {
                std::fs::read_link(format!("/proc/{}/ns/pid", process.pid)).is_ok_and(|ns| ns == *link)
            })
            .filter_map(|process| seen(&process).map(|(seen, _)| seen))
            .collect(),
        Members::Below { root } => {
            let family: HashMap<i32, (Seen, i32)> = all
                .filter_map(|process| seen(&process))
                .map(|(seen, parent)| (seen.pid, (seen, parent)))
                .collect();
            let descends = |mut pid: i32| {
                while let Some((_, parent)) = family.get(&pid) {
                    if parent == root {
                        return true;
                    }
                    pid = *parent;
                }
                false
            };
            family.values().filter(|(seen, _)| descends(seen.pid)).map(|(seen, _)| seen.clone()).collect()
        }
    }
}

/// The process and its parent; nothing when it has ended.
fn seen(process: &Process) -> Option<(Seen, i32)> {
    let stat = process.stat().ok()?;
    if matches!(stat.state, 'Z' | 'X' | 'x') {
        return None;
    }
    Some((Seen { pid: stat.pid, name: stat.comm }, stat.ppid))
}

/// Looks at processes and sockets. Without the process `but` (adieu itself), if there is one.
#[must_use]
pub fn look(members: &Members, but: Option<Pid>) -> Look {
    let mut processes = processes(members);
    processes.retain(|seen| Some(seen.pid) != but.map(Pid::as_raw));
    let inodes = inodes(&processes);
    let mut look = Look { processes, ..Look::default() };
    let v4 = procfs::net::tcp().into_iter().flatten();
    let v6 = procfs::net::tcp6().into_iter().flatten();
    let ours: Vec<_> = v4.chain(v6).filter(|entry| inodes.contains(&entry.inode)).collect();
    look.listening = ours.iter().filter(|e| e.state == TcpState::Listen).map(|e| e.local_address).collect();
    let served: HashSet<u16> = look.listening.iter().map(SocketAddr::port).collect();
    look.outbound = ours
        .iter()
        .filter(|entry| entry.state == TcpState::Established && !served.contains(&entry.local_address.port()))
        .map(|entry| Line { local: entry.local_address, remote: entry.remote_address })
        .collect();
    look
}

/// The sockets that these processes hold.
fn inodes(processes: &[Seen]) -> HashSet<u64> {
    let descriptors =
        processes.iter().filter_map(|seen| Process::new(seen.pid).ok()?.fd().ok()).flatten().flatten();
    descriptors
        .filter_map(|descriptor| match descriptor.target {
            FDTarget::Socket(inode) => Some(inode),
            _ => None,
        })
        .collect()
}
