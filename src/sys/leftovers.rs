//! Every other process of the container or service: who they are, and how signals reach them.
//!
//! As the init of a PID namespace adieu signals all of them in one call. As an ordinary process it
//! must never do that; it looks in /proc who started whom. Since adieu is a subreaper then, every
//! orphan is its child, and none escapes, not even by setsid(2).

use super::{is_init, own_pid, proc, signals};
use crate::process::Pid;
use crate::signal::Signal;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// How often our children are looked up anew while new ones appear.
const ROUNDS: usize = 16;
/// How long that may take in one call; the loop calls again.
const AT_ONCE: Duration = Duration::from_millis(20);

/// Sends each of `all` to every process below us.
pub fn signal(all: &[Signal]) {
    if is_init() {
        return all.iter().for_each(|signal| signals::send_everyone(*signal));
    }
    for pid in descendants() {
        for signal in all {
            // EPERM: it changed its user. The others still get the signal.
            let _ = signals::send(pid, *signal);
        }
    }
}

/// SIGKILL to every process below us. As an ordinary process, to our children: their orphans become
/// our children too, and are found in the next round or call. A round reads one file, so it outruns
/// processes that fork without pause, which a walk over all of /proc does not.
pub fn kill() {
    if is_init() {
        return signals::send_everyone(Signal::KILL);
    }
    let began = Instant::now();
    let mut killed = HashSet::new();
    for _ in 0..ROUNDS {
        let found = children().unwrap_or_else(descendants);
        let new: Vec<Pid> = found.into_iter().filter(|pid| killed.insert(*pid)).collect();
        for pid in &new {
            // EPERM: it changed its user; nothing more can be done about it.
            let _ = signals::send(*pid, Signal::KILL);
        }
        if new.is_empty() || began.elapsed() > AT_ONCE {
            break;
        }
    }
}

/// All processes below us; empty without /proc.
fn descendants() -> Vec<Pid> {
    table().map(|table| below(own_pid(), &table)).unwrap_or_default()
}

/// Our own children, zombies among them. adieu has one thread.
fn children() -> Option<Vec<Pid>> {
    proc::children(own_pid()).ok()
}

/// Who lives, with its parent, out of every /proc/PID/stat.
fn table() -> Option<Vec<(Pid, Pid)>> {
    let living_parent = |pid: Pid| proc::stat(pid).ok().filter(|stat| !stat.zombie)?.parent;
    let row = |pid: Pid| Some((pid, living_parent(pid)?));
    Some(proc::pids().ok()?.into_iter().filter_map(row).collect())
}

fn below(root: Pid, table: &[(Pid, Pid)]) -> Vec<Pid> {
    let mut children: HashMap<Pid, Vec<Pid>> = HashMap::new();
    for (pid, parent) in table {
        children.entry(*parent).or_default().push(*pid);
    }
    let mut found = Vec::new();
    let mut next = vec![root];
    while let Some(parent) = next.pop() {
        for pid in children.remove(&parent).unwrap_or_default() {
            found.push(pid);
            next.push(pid);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_descendants_are_found_and_loops_do_no_harm() {
        let pid = |number| Pid::new(number).unwrap();
        let table = [(2, 1), (3, 2), (4, 3), (9, 8), (8, 9), (5, 1)];
        let table = table.map(|(child, parent)| (pid(child), pid(parent)));
        let mut found = below(pid(2), &table);
        found.sort();
        assert_eq!(found, [pid(3), pid(4)]);
    }
}
