//! What apps need besides clients: a Redis and a PostgreSQL of the test's own, in its network and
//! in a folder that goes with it.

use std::fs::File;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::{Gid, Uid, User, setgid, setuid};

use crate::harness::{Launch, Running, Scratch, WATCHDOG, output, until};

pub struct Redis {
    _running: Running,
    _scratch: Scratch,
}

impl Redis {
    pub fn start() -> Self {
        let scratch = Scratch::new();
        let running = Launch::program(Path::new("/usr/bin/redis-server"))
            .options("--port 6379 --bind 127.0.0.1 --save --appendonly no --dir")
            .option(scratch.path(""))
            .stdin(Stdio::null())
            .start();
        let redis = Self { _running: running, _scratch: scratch };
        until("redis answers", || redis.ask("ping") == "PONG");
        redis
    }

    pub fn env(&self) -> [(&str, &str); 1] {
        [("REDIS_URL", "redis://127.0.0.1:6379/0")]
    }

    /// A command line that asks this.
    pub fn command(&self, words: &str) -> String {
        format!("redis-cli -h 127.0.0.1 -p 6379 {words}")
    }

    pub fn ask(&self, words: &str) -> String {
        let answer = output(Command::new("sh").arg("-c").arg(self.command(words)), WATCHDOG);
        String::from_utf8_lossy(&answer.stdout).trim().to_string()
    }
}

pub struct Postgres {
    log: PathBuf,
    _running: Running,
    _scratch: Scratch,
}

impl Postgres {
    pub fn possible() -> Result<(), String> {
        binaries().map(|_| ()).ok_or_else(|| "PostgreSQL is not installed".into())
    }

    /// A fresh cluster, kept by a user that is not root, as PostgreSQL demands.
    pub fn start() -> Self {
        let (uid, gid) = keeper();
        let scratch = Scratch::new();
        let data = scratch.path("data");
        std::fs::create_dir(&data).expect("a writable directory for temporary files");
        chown(&data, Some(uid.as_raw()), Some(gid.as_raw())).expect("root may give a folder away");
        let binaries = binaries().expect("asked for before");
        let mut initdb = Command::new(binaries.join("initdb"));
        initdb
            .args(["-U", "postgres", "-A", "trust", "--no-sync", "--no-locale", "-E", "UTF8", "-D"])
            .arg(&data)
            .current_dir("/")
            .uid(uid.as_raw())
            .gid(gid.as_raw());
        let initdb = output(&mut initdb, WATCHDOG);
        assert!(initdb.status.success(), "initdb: {}", String::from_utf8_lossy(&initdb.stderr));
        let log = scratch.path("log");
        // An end within a transaction is logged always, any other at debug1
        // (src/backend/tcop/postgres.c).
        let settings = [
            "log_min_messages=debug1",
            "fsync=off",
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
        ];
        let launch = Launch::program(&binaries.join("postgres")).option("-D").option(&data);
        let launch = settings.iter().fold(launch, |launch, setting| launch.option("-c").option(setting));
        let mut running = launch
            .stdin(Stdio::null())
            .stderr(File::create(&log).expect("a writable directory for temporary files"))
            .before_exec(move || become_keeper(uid, gid))
            .start();
        until("postgres is ready", || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            assert!(!running.has_ended(), "postgres has ended:\n{text}");
            text.contains("ready to accept connections")
        });
        Self { log, _running: running, _scratch: scratch }
    }

    pub fn url(&self) -> String {
        "postgresql+psycopg://postgres@127.0.0.1:5432/postgres".into()
    }

    /// What the log says of connections that ended without a goodbye.
    pub fn unexpected_ends(&self) -> Vec<String> {
        let signs = ["unexpected EOF", "could not receive data from client", "connection to client lost"];
        let text = std::fs::read_to_string(&self.log).expect("postgres's log");
        let tells = |line: &&str| signs.iter().any(|sign| line.contains(sign));
        text.lines().filter(tells).map(str::to_string).collect()
    }
}

fn binaries() -> Option<PathBuf> {
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .collect();
    versions.retain(|binaries| binaries.join("postgres").is_file());
    versions.sort();
    versions.pop()
}

/// Debian's own user for it, or else nobody.
fn keeper() -> (Uid, Gid) {
    let user = ["postgres", "nobody"].into_iter().find_map(|name| User::from_name(name).ok().flatten());
    user.map_or((Uid::from_raw(65_534), Gid::from_raw(65_534)), |user| (user.uid, user.gid))
}

fn become_keeper(uid: Uid, gid: Gid) -> std::io::Result<()> {
    setgid(gid)?;
    setuid(uid)?;
    // SAFETY: prctl with an integer; a change of the user takes this back (prctl(2),
    // PR_SET_PDEATHSIG).
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    Ok(())
}
