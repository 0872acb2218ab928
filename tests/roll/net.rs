//! A network namespace for the calling thread and for all that it starts, so that every roll has
//! its own ports, and no other test's. The servers of a roll share it, as the containers of a pod
//! do.

use std::process::Command;

use nix::sched::{CloneFlags, unshare};

/// Only root may make one without a user namespace, and a process with threads cannot enter a user
/// namespace.
pub fn enter() {
    unshare(CloneFlags::CLONE_NEWNET).expect("root may make a network namespace");
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
    assert!(up.expect("ip of iproute2").success(), "cannot bring up the loopback interface");
}
