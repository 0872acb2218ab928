//! The apps that must work unmodified, from the table in tests/apps, and how one of them becomes
//! PID 1's child.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use serde::Deserialize;

use crate::harness::{self, Init, Launch, Running, Scratch, output};

/// The first filling of the toolbox fetches packages.
const FILLING: Duration = Duration::from_secs(900);

#[derive(Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct App {
    command: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    templates: Vec<PathBuf>,
}

impl App {
    /// By its name in the table, also with `-ipv6`, or one of ours: `nginx-proxy` needs something to
    /// pass requests on to, `nginx-nopush` and `haproxy` have only fast answers.
    pub fn named(name: &str) -> Self {
        let ours = |file: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/roll").join(file);
        if let "nginx-proxy" | "nginx-nopush" = name {
            let file = format!("{name}.conf");
            let own = Self::named("nginx");
            let command = own.command.iter().map(|word| word.replace("nginx.conf", &file));
            let templates = vec![ours(&file), "nginx/page.txt".into()];
            return Self { command: command.collect(), templates, ..own };
        }
        if let Some(name) = name.strip_suffix("-ipv6") {
            let own = Self::named(name);
            let over = |word: &String| match word.strip_prefix("127.0.0.1") {
                Some("") => "::1".into(),
                Some(port) => format!("[::1]{port}"),
                None => word.clone(),
            };
            return Self { command: own.command.iter().map(over).collect(), ..own };
        }
        if name == "haproxy" {
            let command = ["/usr/sbin/haproxy", "-db", "-f", "{work}/haproxy-app.cfg"].map(String::from);
            let templates = vec![ours("haproxy-app.cfg")];
            return Self { command: command.to_vec(), env: BTreeMap::new(), templates };
        }
        let text = std::fs::read_to_string(folder().join("apps.toml")).expect("the table of the apps");
        let mut apps: BTreeMap<String, toml::Table> = toml::from_str(&text).expect("a table of apps");
        let app = apps.remove(name).unwrap_or_else(|| panic!("the table has no app '{name}'"));
        app.try_into().unwrap_or_else(|error| panic!("app '{name}': {error}"))
    }

    /// Its argument vector, for one that needs no templates.
    #[allow(dead_code)] // by those who start it without an init of ours
    pub fn words(&self, port: u16) -> Vec<String> {
        let toolbox = toolbox().expect("asked for before").display().to_string();
        let fill = |word: &String| {
            word.replace("{toolbox}", &toolbox)
                .replace("{apps}", &folder().display().to_string())
                .replace("{port}", &port.to_string())
        };
        self.command.iter().map(fill).collect()
    }

    /// Starts it as the child of an init that is PID 1. Its output, and what the init says, go to a
    /// file.
    pub fn start(&self, init: Init, options: &[String], port: u16, more: &[(&str, &str)]) -> Started {
        let scratch = Scratch::new();
        let fill = |text: &str| {
            let toolbox = toolbox().expect("asked for before").display().to_string();
            text.replace("{toolbox}", &toolbox)
                .replace("{apps}", &folder().display().to_string())
                .replace("{work}", &scratch.path("").display().to_string())
                .replace("{port}", &port.to_string())
        };
        for template in &self.templates {
            let text = std::fs::read_to_string(folder().join(template)).expect("the app's template");
            let name = template.file_name().and_then(|name| name.to_str()).expect("a file's name");
            scratch.file(name, &fill(&text));
        }
        let log = scratch.path("log");
        let output = File::create(&log).expect("a writable directory for temporary files");
        let mut launch = Launch::pid1(init).command(self.command.iter().map(|word| fill(word)));
        launch = options.iter().fold(launch, Launch::option);
        launch = self.env.iter().fold(launch, |launch, (name, value)| launch.env(name, fill(value)));
        launch = more.iter().fold(launch, |launch, (name, value)| launch.env(name, value));
        let running = launch
            .env("PORT", port.to_string())
            .env("HOME", scratch.path(""))
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a descriptor"))
            .stderr(output)
            .start();
        Started { running, port, log, _scratch: scratch }
    }
}

/// An app that runs under its init.
pub struct Started {
    pub running: Running,
    pub port: u16,
    log: PathBuf,
    _scratch: Scratch,
}

impl Started {
    /// What the init has said so far, and the app's last words.
    pub fn said(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let (of_init, of_app): (Vec<&str>, Vec<&str>) =
            text.lines().partition(|line| line.starts_with("adieu:"));
        let last = of_app.len().saturating_sub(10);
        [&of_init[..], &of_app[last..]].concat().join("\n")
    }
}

/// Whether an app can be put below an init in a network of its own, with these programs at hand.
pub fn possible(programs: &[&str]) -> Result<(), String> {
    harness::root()?;
    harness::pid_namespaces()?;
    ["ip", "nginx", "node"].iter().chain(programs).try_for_each(|name| harness::program(name))?;
    toolbox().map(|_| ())
}

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apps")
}

/// Where the apps' libraries are: `ADIEU_TOOLBOX`, or a folder below target that is filled at the
/// first use.
pub fn toolbox() -> Result<PathBuf, String> {
    static FILLED: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let fill = || {
        let given = std::env::var_os("ADIEU_TOOLBOX").map(PathBuf::from);
        let place = given.unwrap_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("toolbox"));
        let mut install = Command::new("sh");
        let filled = output(install.arg(folder().join("install.sh")).arg(&place), FILLING);
        if filled.status.success() {
            Ok(place)
        } else {
            let why = String::from_utf8_lossy(&filled.stderr);
            Err(format!("the apps' libraries cannot be installed: {}", why.trim()))
        }
    };
    FILLED.get_or_init(fill).clone()
}
