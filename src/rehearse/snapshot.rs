//! A snapshot of the app from outside, through /proc: its processes, the ports that they listen on,
//! and their connections to databases.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use procfs::net::TcpState;
use procfs::process::{FDTarget, Process};

use adieu::sys::sock_diag::{Ports, SockDiag};
use adieu::sys::tcp::Family;

/// Which processes belong to the app.
#[derive(Clone, Debug)]
pub(crate) enum Members {
    /// All processes in the PID namespace with this link. The namespace is held open: the kernel
    /// would give its number to the next one as soon as the last process has ended, and the
    /// processes of another rehearsal would be taken for ours.
    Namespace { link: PathBuf, _held: Option<Arc<File>> },
    /// All descendants of this process, without itself.
    Below { root: i32 },
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LiveProcess {
    pub(crate) pid: i32,
    /// The kernel's name for it, at most 15 bytes.
    pub(crate) name: String,
}

/// One connection from the app to another host or process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Socket {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    /// The process that holds it, or one of them if there are several.
    pub(crate) owner: i32,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) processes: Vec<LiveProcess>,
    /// Ports, sorted.
    pub(crate) listening: Vec<u16>,
    /// Connections to databases.
    pub(crate) databases: Vec<Socket>,
}

impl Members {
    pub(crate) fn of_namespace(main: Pid) -> Members {
        let held = File::open(format!("/proc/{main}/ns/pid")).ok().map(Arc::new);
        let link_of = |path: &str| std::fs::read_link(path).ok();
        // If the process is gone and another one has its number, the link may be that of our own
        // namespace. Then there are no members, rather than all processes of this machine.
        let link = held
            .as_ref()
            .and_then(|held| link_of(&format!("/proc/self/fd/{}", held.as_raw_fd())))
            .filter(|link| Some(link) != link_of("/proc/self/ns/pid").as_ref());
        Members::Namespace { link: link.unwrap_or_default(), _held: held }
    }

    pub(crate) fn below(root: Pid) -> Members {
        Members::Below { root: root.as_raw() }
    }

    /// Kills every member. One may fork meanwhile, so this repeats until no member is left, with a
    /// limit.
    pub(crate) fn kill_all(&self) {
        for _ in 0..100 {
            let left = processes(self);
            if left.is_empty() {
                break;
            }
            for seen in left {
                let _gone = kill(Pid::from_raw(seen.pid), Signal::SIGKILL);
            }
        }
    }
}

/// All processes of the app that are alive; zombies are not.
pub(crate) fn processes(members: &Members) -> Vec<LiveProcess> {
    match members {
        Members::Namespace { link, .. } => in_namespace(link, &mut HashSet::new()),
        Members::Below { root } => below(*root),
    }
}

/// The processes in this PID namespace. A process never changes its own namespace, so those of
/// other namespaces are checked only once.
fn in_namespace(link: &Path, foreign: &mut HashSet<i32>) -> Vec<LiveProcess> {
    let numbers = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let present: Vec<i32> = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    let strangers: HashSet<i32> = present.iter().copied().filter(|pid| foreign.contains(pid)).collect();
    *foreign = strangers;
    let mut ours = Vec::new();
    for pid in present {
        if foreign.contains(&pid) {
            continue;
        }
        match std::fs::read_link(format!("/proc/{pid}/ns/pid")) {
            Ok(ns) if ns == link => {
                ours.extend(Process::new(pid).ok().and_then(|process| seen(&process)).map(|(seen, _)| seen))
            }
            Ok(_) => {
                foreign.insert(pid);
            }
            // It is gone or exiting, or we have no permission.
            Err(_) => {}
        }
    }
    ours
}

/// The descendants of this process, without itself.
fn below(root: i32) -> Vec<LiveProcess> {
    let all = procfs::process::all_processes().into_iter().flatten().flatten();
    let family: HashMap<i32, (LiveProcess, i32)> =
        all.filter_map(|process| seen(&process)).map(|(seen, parent)| (seen.pid, (seen, parent))).collect();
    let descends = |mut pid: i32| {
        while let Some((_, parent)) = family.get(&pid) {
            if *parent == root {
                return true;
            }
            pid = *parent;
        }
        false
    };
    let mut ours: Vec<LiveProcess> =
        family.values().filter(|(seen, _)| descends(seen.pid)).map(|(seen, _)| seen.clone()).collect();
    ours.sort_by_key(|seen| seen.pid);
    ours
}

/// Of a process that is about to end; it closes what it holds (PF_EXITING, linux/sched.h).
const EXITING: u32 = 4;

/// The process and its parent; `None` when it ends or has ended.
fn seen(process: &Process) -> Option<(LiveProcess, i32)> {
    let stat = process.stat().ok()?;
    if matches!(stat.state, 'Z' | 'X' | 'x') || stat.flags & EXITING != 0 {
        return None;
    }
    Some((LiveProcess { pid: stat.pid, name: stat.comm }, stat.ppid))
}

/// Takes snapshots repeatedly, and remembers which processes it can skip.
pub(crate) struct Observer {
    members: Members,
    /// The init, which is not part of the app.
    but: Option<Pid>,
    /// Remote ports that count as databases.
    databases: Vec<u16>,
    /// A NETLINK_SOCK_DIAG socket; without one, the slower files in /proc/net are read.
    sock_diag: Option<SockDiag>,
    foreign: HashSet<i32>,
}

impl Observer {
    pub(crate) fn new(members: Members, but: Option<Pid>, databases: &[u16]) -> Observer {
        Observer {
            members,
            but,
            databases: databases.to_vec(),
            sock_diag: SockDiag::open().ok(),
            foreign: HashSet::new(),
        }
    }

    pub(crate) fn snapshot(&mut self) -> Snapshot {
        let mut snapshot = self.look();
        // What a process closed by ending must not look as if it had closed it before.
        for _ in 0..3 {
            let lives = |known: &LiveProcess| Process::new(known.pid).is_ok_and(|now| seen(&now).is_some());
            if snapshot.processes.iter().all(lives) {
                break;
            }
            snapshot = self.look();
        }
        snapshot
    }

    fn look(&mut self) -> Snapshot {
        let processes = match &self.members {
            Members::Namespace { link, .. } => in_namespace(link, &mut self.foreign),
            Members::Below { root } => below(*root),
        };
        let mut snapshot = Snapshot { processes, ..Snapshot::default() };
        snapshot.processes.retain(|seen| Some(seen.pid) != self.but.map(Pid::as_raw));
        let inodes = inodes(&snapshot.processes);
        let asked = self.sock_diag.as_mut().map(|sock_diag| ask(sock_diag, &inodes, &self.databases));
        let (listening, databases) =
            asked.and_then(Result::ok).unwrap_or_else(|| read(&inodes, &self.databases));
        snapshot.listening = listening;
        snapshot.databases = databases;
        snapshot
    }
}

/// The listening ports, and the connections to databases.
type AppSockets = (Vec<u16>, Vec<Socket>);

fn ask(sock_diag: &mut SockDiag, inodes: &HashMap<u64, i32>, databases: &[u16]) -> io::Result<AppSockets> {
    let listeners = sock_diag.listeners()?;
    let ours = listeners.iter().filter(|listener| inodes.contains_key(&u64::from(listener.inode)));
    let mut ports: Vec<u16> = ours.map(|listener| listener.port).collect();
    ports.sort_unstable();
    ports.dedup();
    let mut lines = Vec::new();
    for family in Family::BOTH {
        sock_diag.connections(family, Ports::Remote(databases), |connection| {
            if let Some(owner) = inodes.get(&u64::from(connection.inode)) {
                lines.push(Socket {
                    local: connection.id.local,
                    remote: connection.id.remote,
                    owner: *owner,
                });
            }
        })?;
    }
    Ok((ports, lines))
}

fn read(inodes: &HashMap<u64, i32>, databases: &[u16]) -> AppSockets {
    let v4 = procfs::net::tcp().into_iter().flatten();
    let v6 = procfs::net::tcp6().into_iter().flatten();
    let ours: Vec<_> = v4.chain(v6).filter(|entry| inodes.contains_key(&entry.inode)).collect();
    let listening = ours.iter().filter(|entry| entry.state == TcpState::Listen);
    let mut ports: Vec<u16> = listening.map(|entry| entry.local_address.port()).collect();
    ports.sort_unstable();
    ports.dedup();
    let to_database = |port: u16| databases.contains(&port);
    let lines = ours
        .iter()
        .filter(|entry| entry.state == TcpState::Established && to_database(entry.remote_address.port()));
    (
        ports,
        lines
            .map(|entry| Socket {
                local: entry.local_address,
                remote: entry.remote_address,
                owner: inodes[&entry.inode],
            })
            .collect(),
    )
}

/// The inodes of all sockets of these processes, each with a process that holds it.
fn inodes(processes: &[LiveProcess]) -> HashMap<u64, i32> {
    let mut inodes = HashMap::new();
    for seen in processes {
        let descriptors =
            Process::new(seen.pid).and_then(|process| process.fd()).into_iter().flatten().flatten();
        for descriptor in descriptors {
            if let FDTarget::Socket(inode) = descriptor.target {
                inodes.entry(inode).or_insert(seen.pid);
            }
        }
    }
    inodes
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};
    use std::time::{Duration, Instant};

    use super::*;

    /// A process in a PID namespace of its own, and the members of that namespace.
    fn namespace() -> (Child, Members) {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--pid", "--fork", "sleep", "60"]);
        let outer = command.spawn().expect("unshare of util-linux");
        let children = format!("/proc/{0}/task/{0}/children", outer.id());
        let until = Instant::now() + Duration::from_secs(30);
        let members = || {
            let inner = std::fs::read_to_string(&children).ok()?.trim().parse().ok()?;
            Some(Members::of_namespace(Pid::from_raw(inner))).filter(|members| !processes(members).is_empty())
        };
        let mut found = members();
        while found.is_none() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
            found = members();
        }
        (outer, found.expect("a PID namespace can be created here"))
    }

    fn end(mut outer: Child, members: &Members) {
        members.kill_all();
        outer.wait().expect("it ends with its child");
        // The kernel frees the number of a namespace a little after its last process.
        std::thread::sleep(Duration::from_millis(100));
    }

    #[test]
    fn the_next_namespace_is_not_taken_for_one_that_has_ended() {
        let (first, ended) = namespace();
        end(first, &ended);
        for _ in 0..10 {
            let (next, alive) = namespace();
            ended.kill_all();
            let lives = !processes(&alive).is_empty();
            end(next, &alive);
            assert!(lives, "the namespace that has ended gave its number away");
        }
    }
}
