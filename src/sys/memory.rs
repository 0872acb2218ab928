//! Memory that ran out: the count that the kernel keeps for our control group ([cgroup-v2],
//! memory.events).
//!
//! [cgroup-v2]: https://docs.kernel.org/admin-guide/cgroup-v2.html

use std::fs;

/// How many processes the kernel has killed in our control group for lack of memory; `None` where
/// it does not say so: cgroup version 1, no memory controller, no /sys.
pub fn oom_kills() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let events = fs::read_to_string(format!("/sys/fs/cgroup{}/memory.events", unified(&groups)?)).ok()?;
    count(&events)
}

/// The path in the unified hierarchy: the line `0::/path`.
fn unified(groups: &str) -> Option<&str> {
    groups.lines().find_map(|line| line.strip_prefix("0::"))
}

fn count(events: &str) -> Option<u64> {
    events.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_the_one_of_kills() {
        assert_eq!(count("low 0\nhigh 0\nmax 31\noom 2\noom_kill 1\noom_group_kill 0\n"), Some(1));
        assert_eq!(count(""), None);
        assert_eq!(unified("1:name=systemd:/a\n0::/b/c\n"), Some("/b/c"));
        assert_eq!(unified("0::/\n"), Some("/"));
    }
}
