//! Whole rehearsals by the real tool. First apps that each do one thing wrong when they are asked to stop, and must fail that one
//! point of the checklist and no other; then the apps that must work unmodified, with their verdicts bare and under adieu.
//! What the machine cannot run is left out aloud.

mod harness;

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use harness::{pid_namespaces, program};
use serde_json::Value;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A rehearsal to be run.
struct Rehearsal {
    command: Command,
    app: Vec<String>,
}

/// What the tool said: its exit status and its JSON.
struct Said {
    status: Option<i32>,
    page: Value,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

impl Rehearsal {
    fn of(app: &[&str], port: u16) -> Rehearsal {
        let mut command = Command::new(env!("CARGO_BIN_EXE_adieu-rehearse"));
        command.args(["--quiet", "--json"]).env("PORT", port.to_string()).stdin(Stdio::null());
        // What the person who runs the tests has set is not what is tested.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ADIEU_"))
        {
            command.env_remove(name);
        }
        Rehearsal { command, app: app.iter().map(|word| (*word).to_owned()).collect() }
    }

    fn bad(name: &str) -> Rehearsal {
        let script = format!("{ROOT}/tests/rehearse/apps/{name}.py");
        Rehearsal::of(&["python3", &script], free_port())
            .with("--url /fast --url /slow?seconds=1 --warm-up 1s --grace 5s --removal 0.6s")
    }

    fn with(mut self, options: &str) -> Rehearsal {
        self.command.args(options.split_whitespace());
        self
    }

    fn env(mut self, name: &str, value: &str) -> Rehearsal {
        self.command.env(name, value);
        self
    }

    fn run(mut self) -> Said {
        self.command.arg("--").args(&self.app);
        // Two at a time would be as many as the machine has cores, and each is a crowd.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let output = self.command.output().expect("the tool starts");
        let page = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!("{:?}: no JSON ({error}); it said: {}", self.app, String::from_utf8_lossy(&output.stderr))
        });
        Said { status: output.status.code(), page }
    }
}

impl Said {
    fn run(&self) -> &Value {
        self.page["runs"].as_array().and_then(|runs| runs.last()).expect("a run")
    }

    fn points(&self, outcome: &str) -> Vec<&str> {
        let findings = self.run()["verdict"]["findings"].as_array().expect("findings");
        let such = findings.iter().filter(|finding| finding["outcome"] == outcome);
        such.map(|finding| finding["point"].as_str().expect("a name")).collect()
    }

    fn lost(&self) -> u64 {
        let tally = &self.run()["verdict"]["tally"];
        ["cut_off", "refused", "failed"].iter().map(|fate| tally[fate].as_u64().expect("a number")).sum()
    }

    fn fails_exactly(&self, points: &[&str]) {
        assert_eq!(self.points("fail"), points, "{}", self.explained());
        assert_eq!(self.status, Some(i32::from(!points.is_empty())), "{}", self.explained());
    }

    fn passes(&self, point: &str) {
        assert!(self.points("pass").contains(&point), "{point}: {}", self.explained());
    }

    fn explained(&self) -> String {
        format!("{:#}\n{}", self.run()["verdict"], self.run()["recording"]["told"])
    }
}

fn able() -> Result<(), String> {
    pid_namespaces().and_then(|()| program("python3"))
}

#[test]
fn an_orderly_app_fails_nothing() {
    require!(able());
    let said = Rehearsal::bad("orderly").with("--bare").run();
    said.fails_exactly(&[]);
    assert_eq!(said.lost(), 0);
    for point in
        ["handles-stop-signal", "stops-accepting", "finishes-requests", "drain-fits-grace", "exits-in-time"]
    {
        said.passes(point);
    }
}

#[test]
fn an_app_that_ignores_the_signal_fails_to_handle_it() {
    require!(able());
    Rehearsal::bad("ignores_signal").with("--bare").run().fails_exactly(&["handles-stop-signal"]);
    Rehearsal::bad("ignores_signal").with("--pre-stop 1s").run().fails_exactly(&["handles-stop-signal"]);
}

#[test]
fn an_app_that_closes_at_once_fails_readiness() {
    require!(able());
    Rehearsal::bad("closes_too_early").with("--bare").run().fails_exactly(&["fails-readiness-first"]);
    Rehearsal::bad("closes_too_early").with("--pre-stop 1s").run().fails_exactly(&[]);
}

#[test]
fn an_app_that_stays_ready_fails_readiness() {
    require!(able());
    Rehearsal::bad("orderly")
        .with("--bare --readiness /ready")
        .run()
        .fails_exactly(&["fails-readiness-first"]);
}

#[test]
fn an_app_that_drops_what_it_accepts_fails_accepting() {
    require!(able());
    Rehearsal::bad("drops_accepted").with("--bare").run().fails_exactly(&["stops-accepting"]);
    Rehearsal::bad("drops_accepted").with("--pre-stop 1s").run().fails_exactly(&[]);
}

#[test]
fn an_app_that_cuts_requests_off_fails_to_finish_them() {
    require!(able());
    Rehearsal::bad("cuts_in_flight").with("--bare").run().fails_exactly(&["finishes-requests"]);
    Rehearsal::bad("cuts_in_flight").with("--pre-stop 1s").run().fails_exactly(&[]);
}

#[test]
fn requests_that_outlast_the_grace_do_not_fit_it() {
    require!(able());
    let long = "--url /slow?seconds=4 --grace 2s --removal 0.3s";
    let rehearsal =
        Rehearsal::of(&["python3", &format!("{ROOT}/tests/rehearse/apps/orderly.py")], free_port());
    rehearsal.with(long).with("--bare").run().fails_exactly(&["drain-fits-grace"]);
}

#[test]
fn an_app_that_leaves_its_database_connections_open_fails_to_close_them() {
    require!(able());
    let database = TcpListener::bind("127.0.0.1:0").expect("a database, of sorts");
    let port = database.local_addr().expect("its address").port().to_string();
    let rehearsal = Rehearsal::bad("leaves_database_open")
        .env("DATABASE", &port)
        .with("--pre-stop 1s --database")
        .with(&port);
    rehearsal.run().fails_exactly(&["closes-databases"]);
}

#[test]
fn an_app_that_leaves_a_stubborn_process_fails_to_leave_none() {
    require!(able());
    Rehearsal::bad("leaves_process").with("--pre-stop 1s").run().fails_exactly(&["leaves-no-process"]);
}

#[test]
fn an_app_that_says_it_failed_fails_to_exit_clean() {
    require!(able());
    Rehearsal::bad("exits_unclean").with("--bare").run().fails_exactly(&["exits-in-time"]);
}

#[test]
fn an_app_that_hangs_at_the_end_fails_to_exit_in_time() {
    require!(able());
    Rehearsal::bad("hangs").with("--bare").run().fails_exactly(&["exits-in-time"]);
}

/// The folder that tests/apps/install.sh has filled, shared by all tests of this machine.
fn toolbox() -> Result<PathBuf, String> {
    static TOOLBOX: std::sync::OnceLock<Result<PathBuf, String>> = std::sync::OnceLock::new();
    let fill = || {
        let folder = std::env::var_os("ADIEU_TOOLBOX")
            .map_or_else(|| PathBuf::from(ROOT).join("target/toolbox"), PathBuf::from);
        let filled =
            Command::new(format!("{ROOT}/tests/apps/install.sh")).arg(&folder).stdin(Stdio::null()).output();
        match filled {
            Ok(output) if output.status.success() => Ok(folder),
            Ok(output) => {
                Err(format!("the toolbox cannot be filled: {}", String::from_utf8_lossy(&output.stderr)))
            }
            Err(error) => Err(format!("the toolbox cannot be filled: {error}")),
        }
    };
    TOOLBOX.get_or_init(fill).clone()
}

/// One app of tests/apps/apps.toml, ready to be started.
struct App {
    command: Vec<String>,
    env: Vec<(String, String)>,
    serves: bool,
    port: u16,
    /// Where its configuration was written to.
    _work: tempfolder::Folder,
}

mod tempfolder {
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A folder that goes with the test.
    pub struct Folder(pub PathBuf);

    impl Folder {
        pub fn new() -> Folder {
            static NUMBER: AtomicU32 = AtomicU32::new(0);
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path =
                std::env::temp_dir().join(format!("adieu-rehearse-test-{}-{number}", std::process::id()));
            std::fs::create_dir_all(&path).expect("a temporary folder");
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _kept = std::fs::remove_dir_all(&self.0);
        }
    }
}

fn app(name: &str) -> Result<App, String> {
    let toolbox = toolbox()?;
    let table = std::fs::read_to_string(format!("{ROOT}/tests/apps/apps.toml")).expect("the table of apps");
    let table: toml::Table = table.parse().expect("TOML");
    let entry = table.get(name).and_then(toml::Value::as_table).expect("the app stands in the table");
    let work = tempfolder::Folder::new();
    let port = free_port();
    let fill = |text: &str| {
        text.replace("{toolbox}", &toolbox.to_string_lossy())
            .replace("{apps}", &format!("{ROOT}/tests/apps"))
            .replace("{port}", &port.to_string())
            .replace("{work}", &work.0.to_string_lossy())
    };
    let words = |key: &str| -> Vec<String> {
        let list = entry.get(key).and_then(toml::Value::as_array);
        list.into_iter().flatten().filter_map(toml::Value::as_str).map(str::to_owned).collect()
    };
    for template in words("templates") {
        let text = std::fs::read_to_string(format!("{ROOT}/tests/apps/{template}")).expect("the template");
        let file = template.rsplit('/').next().expect("a name");
        std::fs::write(work.0.join(file), fill(&text)).expect("the app's folder is writable");
    }
    let command: Vec<String> = words("command").iter().map(|word| fill(word)).collect();
    if !command[0].starts_with('/') {
        program(&command[0])?;
    }
    let env = entry.get("env").and_then(toml::Value::as_table).into_iter().flatten();
    Ok(App {
        command,
        env: env.map(|(name, value)| (name.clone(), fill(value.as_str().expect("a text")))).collect(),
        serves: entry.get("serves").and_then(toml::Value::as_bool).expect("whether it serves"),
        port,
        _work: work,
    })
}

impl App {
    /// Bare it is PID 1, to which no signal comes that it does not handle; a slow request takes a second.
    fn rehearsal(&self) -> Rehearsal {
        let words: Vec<&str> = self.command.iter().map(String::as_str).collect();
        let mut rehearsal =
            Rehearsal::of(&words, self.port).with("--warm-up 1s --grace 8s --removal 0.3s..0.8s");
        for (name, value) in &self.env {
            rehearsal = rehearsal.env(name, value);
        }
        let load = if self.serves { "--url /fast --url /slow?seconds=1" } else { "--no-load" };
        rehearsal.with(load)
    }

    /// What it fails without adieu, and that nothing is lost and nothing else fails with it.
    fn has_verdicts(&self, bare: &[&str], wrapped: &[&str]) {
        let said = self.rehearsal().with("--bare").run();
        for point in bare {
            assert!(said.points("fail").contains(point), "bare, {point}: {}", said.explained());
        }
        assert_eq!(said.points("fail").is_empty(), bare.is_empty(), "bare: {}", said.explained());
        let said = self.rehearsal().with("--pre-stop 1s").run();
        assert_eq!(said.lost(), 0, "{}", said.explained());
        said.fails_exactly(wrapped);
    }
}

/// An app as a test: its name, what it fails bare, what it fails under adieu. `full` ones run in the long selection only.
macro_rules! apps {
    ($($(#[$full:ident])? $test:ident: $name:literal, $bare:expr, $wrapped:expr;)+) => { $(
        #[test]
        fn $test() {
            $(if !harness::$full() {
                eprintln!("{}: part of the long selection (./tests/run.sh full)", $name);
                return;
            })?
            require!(able());
            match app($name) {
                Ok(app) => app.has_verdicts(&$bare, &$wrapped),
                Err(reason) => left_out!("{reason}"),
            }
        }
    )+ };
}

/// As PID 1 it never gets the signal, and the platform has to kill it.
const DEAF: [&str; 1] = ["handles-stop-signal"];
/// It goes at once.
const ABRUPT: [&str; 2] = ["fails-readiness-first", "finishes-requests"];
/// It finishes its requests, but refuses new ones before any balancer knows.
const HASTY: [&str; 1] = ["fails-readiness-first"];
const NONE: [&str; 0] = [];

apps! {
    python_loop: "python-loop", DEAF, NONE;
    http_server: "http-server", DEAF, NONE;
    #[full] flask: "flask", DEAF, NONE;
    #[full] waitress: "waitress", DEAF, NONE;
    #[full] uvicorn: "uvicorn", HASTY, NONE;
    gunicorn: "gunicorn", HASTY, NONE;
    node: "node", DEAF, NONE;
    #[full] express: "express", DEAF, NONE;
    #[full] express_close: "express-close", HASTY, NONE;
    go: "go", ABRUPT, NONE;
    #[full] go_shutdown: "go-shutdown", HASTY, NONE;
    nginx: "nginx", ABRUPT, NONE;
    ignore_term: "ignore-term", DEAF, DEAF;
    shell: "shell", DEAF, NONE;
    #[full] java: "java", ABRUPT, NONE;
}
