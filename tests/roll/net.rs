//! A network namespace for the calling thread and for all that it starts, so that every roll has
//! its own ports, and no other test's. The servers of a roll share it, as the containers of a pod
//! do.

use std::process::Command;

use nix::sched::{CloneFlags, unshare};

use crate::harness::{WATCHDOG, output};

/// Only root may make one without a user namespace, and a process with threads cannot enter a user
/// namespace.
pub fn enter() {
    unshare(CloneFlags::CLONE_NEWNET).expect("root may make a network namespace");
    let up = output(Command::new("ip").args(["link", "set", "lo", "up"]), WATCHDOG);
    assert!(up.status.success(), "cannot bring up the loopback interface");
}
