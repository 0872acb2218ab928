//! HAProxy before the servers, commanded through its admin socket as an ingress controller does.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use crate::harness::{Launch, Running, Scratch, rest, try_connect_unix, until};

/// How HAProxy itself looks after a server, if it does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Check {
    Off,
    /// This path, at the server's port plus this.
    Http(&'static str, u16),
}

pub struct HaProxy {
    pub port: u16,
    scratch: Scratch,
    _running: Running,
}

impl HaProxy {
    /// All servers are known from the start by their ports, and none is in use.
    pub fn start(port: u16, servers: impl Iterator<Item = u16>, check: Check) -> Self {
        let scratch = Scratch::new();
        let template = include_str!("haproxy.cfg");
        let (option, always) = match check {
            Check::Off => (String::new(), String::new()),
            Check::Http(path, _) => (format!("option httpchk GET {path}"), " check inter 500ms".into()),
        };
        let mut config = template
            .replace("{work}", &scratch.path("").display().to_string())
            .replace("{port}", &port.to_string())
            .replace("{check}", &option);
        for server in servers {
            let at = match check {
                Check::Off => String::new(),
                Check::Http(_, more) => format!(" port {}", server + more),
            };
            config += &format!("    server {server} 127.0.0.1:{server}{always}{at} disabled\n");
        }
        let config = scratch.file("haproxy.cfg", &config);
        let mut running = Launch::program(Path::new("/usr/sbin/haproxy"))
            .option("-db")
            .option("-f")
            .option(&config)
            .stdin(Stdio::null())
            .start();
        until("haproxy listens", || {
            if running.has_ended() {
                running.fail("haproxy has ended");
            }
            try_connect_unix(scratch.path("admin.sock")).is_ok()
        });
        Self { port, scratch, _running: running }
    }

    pub fn join(&self, server: u16) {
        self.command(&format!("set server servers/{server} state ready"));
    }

    /// No new requests for it; those in flight go on.
    pub fn remove(&self, server: u16) {
        self.command(&format!("set server servers/{server} state maint"));
    }

    /// Whether HAProxy would give it requests.
    pub fn uses(&self, server: u16) -> bool {
        let table = self.ask("show servers state servers");
        let line = table.lines().find(|line| line.split(' ').nth(3) == Some(&server.to_string()));
        let fields: Vec<&str> = line.expect("a server of its own").split(' ').collect();
        // srv_op_state 2 is running; in srv_admin_state 4 only remembers that the configuration
        // began with maintenance (HAProxy's management guide, "show servers state").
        fields[5] == "2" && ["0", "4"].contains(&fields[6])
    }

    fn command(&self, command: &str) {
        let answer = self.ask(command);
        assert_eq!(answer.trim(), "", "haproxy did not take '{command}'");
    }

    fn ask(&self, command: &str) -> String {
        let mut socket = try_connect_unix(self.scratch.path("admin.sock")).expect("haproxy's admin socket");
        socket.write_all(format!("{command}\n").as_bytes()).expect("haproxy listens");
        rest(&mut socket)
    }
}
