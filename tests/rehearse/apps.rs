//! Whole rehearsals by the real tool. First, apps that each do one thing wrong in their stop, and
//! must fail that one point of the checklist and no other. Then real apps that must work
//! unmodified, with their verdicts bare and under adieu. What the machine cannot run is reported as
//! left out.

#[path = "../harness/mod.rs"]
mod harness;

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use harness::{Companion, free_port, pid_namespaces, program};
use serde_json::Value;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Many times longer than the longest rehearsal here.
const REHEARSAL: Duration = Duration::from_secs(180);
/// The first installation of the toolbox downloads packages.
const FILLING: Duration = Duration::from_secs(900);
const TOOL: Duration = Duration::from_secs(60);

/// A rehearsal to run.
struct Rehearsal {
    command: Command,
    app: Vec<String>,
}

/// The result of the tool: its exit status and its JSON.
struct Said {
    status: Option<i32>,
    page: Value,
}

impl Rehearsal {
    fn of(app: &[&str], port: u16) -> Rehearsal {
        let mut command = Command::new(env!("CARGO_BIN_EXE_adieu-rehearse"));
        command.args(["--quiet", "--json"]).env("PORT", port.to_string()).stdin(Stdio::null());
        // Settings of the person who runs the tests must not have an effect.
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
        let output = harness::output(&mut self.command, REHEARSAL);
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
        ["cut_off", "turned_away"].iter().map(|fate| tally[fate].as_u64().expect("a number")).sum()
    }

    fn fails_exactly(&self, points: &[&str]) {
        assert_eq!(self.points("fail"), points, "{}", self.explained());
        assert_eq!(self.status, Some(i32::from(!points.is_empty())), "{}", self.explained());
    }

    fn passes(&self, point: &str) {
        assert!(self.points("pass").contains(&point), "{point}: {}", self.explained());
    }

    fn explained(&self) -> String {
        let recording = &self.run()["recording"];
        let requests = recording["requests"].as_array().into_iter().flatten();
        let lost: Vec<_> = requests.filter(|request| request["fate"]["kind"] != "answered").collect();
        format!(
            "{:#}\nlost: {lost:?}\nclosed: {}\nadieu: {}",
            self.run()["verdict"],
            recording["closed"],
            recording["adieu_report"]
        )
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
    Rehearsal::bad("leaves_process").with("--bare").run().fails_exactly(&["leaves-no-process"]);
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

/// An app with answers as in production, and a quick stop.
fn streams(load: &str) -> Rehearsal {
    let script = format!("{ROOT}/tests/rehearse/apps/streams.py");
    Rehearsal::of(&["python3", &script], free_port())
        .with("--bare --warm-up 0.8s --grace 6s --removal 0.5s")
        .with(load)
}

impl Said {
    /// How many requests used this kind of connection, and how many of them were answered.
    fn count(&self, connection: &str) -> (usize, usize) {
        let requests = self.run()["recording"]["requests"].as_array().expect("requests");
        let such: Vec<_> = requests.iter().filter(|request| request["connection"] == connection).collect();
        (such.len(), such.iter().filter(|request| request["fate"]["kind"] == "answered").count())
    }

    fn all_answered(&self, connection: &str) {
        let (sent, answered) = self.count(connection);
        assert!(sent > 0 && sent == answered, "{answered} of {sent}: {}", self.explained());
    }
}

#[test]
fn pinned_clients_stay_until_the_app_closes_their_connection() {
    require!(able());
    let said = streams("--url /fast --pinned 2").run();
    said.fails_exactly(&[]);
    said.passes("lets-connections-go");
    said.all_answered("pinned");
    let recording = &said.run()["recording"];
    let removal = recording["limits"]["removal_ms"].as_i64().expect("a time");
    let requests = recording["requests"].as_array().expect("requests");
    let late = |connection: &str| {
        let of = requests.iter().filter(|request| request["connection"] == connection);
        of.filter(|request| request["from"].as_i64().is_some_and(|from| from > removal + 100)).count()
    };
    assert_eq!((late("new"), late("kept")), (0, 0), "the balancer has removed the app");
    assert!(late("pinned") > 0, "no balancer takes a pinned client away");
    assert_eq!(recording["moved_on"].as_array().map(Vec::len), Some(2), "{}", said.explained());

    // Many clients, so that one of them has a request in flight when the app ends.
    streams("--url /slow?0.2 --pinned 8").env("RUDE", "keep").run().fails_exactly(&["lets-connections-go"]);
}

#[test]
fn a_slow_balancer_finds_what_a_quick_one_does_not() {
    require!(able());
    let app = format!("{ROOT}/tests/rehearse/apps/orderly.py");
    let balancer = |removal: &str| {
        let rehearsal = Rehearsal::of(&["python3", &app], free_port());
        rehearsal.with("--bare --warm-up 0.8s --grace 6s --url /fast --removal").with(removal).run()
    };
    balancer("0.8s").fails_exactly(&[]);
    let said = balancer("2.5s");
    assert!(said.points("fail").contains(&"fails-readiness-first"), "{}", said.explained());
}

#[test]
fn under_adieu_a_balancer_slower_than_the_pre_stop_sleep_loses_nothing() {
    require!(able());
    let script = format!("{ROOT}/tests/rehearse/apps/closes_too_early.py");
    let said = Rehearsal::of(&["python3", &script], free_port())
        .with("--url /fast --pre-stop 1s --warm-up 0.8s --grace 20s --removal 2.5s")
        .run();
    said.fails_exactly(&[]);
    assert_eq!(said.lost(), 0, "{}", said.explained());
    let requests = said.run()["recording"]["requests"].as_array().expect("requests");
    let new = requests.iter().filter(|request| request["connection"] == "new");
    let late = new.filter(|request| request["from"].as_i64().is_some_and(|from| from > 1500)).count();
    assert!(late > 0, "no new connection came after the pre-stop sleep: {}", said.explained());
}

/// The app itself would drop them with requests on them.
#[test]
fn under_adieu_pinned_clients_are_let_go() {
    require!(able());
    let script = format!("{ROOT}/tests/rehearse/apps/streams.py");
    let said = Rehearsal::of(&["python3", &script], free_port())
        .with("--url /slow?0.2 --pinned 2 --pre-stop 1s --warm-up 0.8s --grace 20s --removal 0.5s")
        .env("RUDE", "keep")
        .run();
    said.fails_exactly(&[]);
    said.passes("lets-connections-go");
    said.all_answered("pinned");
    let moved_on = &said.run()["recording"]["moved_on"];
    assert_eq!(moved_on.as_array().map(Vec::len), Some(2), "{}", said.explained());
}

#[test]
fn tls_is_spoken_in_both_versions() {
    require!(able().and_then(|()| program("openssl")));
    let folder = tempfolder::Folder::new();
    let cert = folder.0.join("cert.pem");
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]);
    openssl.arg("-keyout").arg(&cert).arg("-out").arg(folder.0.join("c"));
    assert!(harness::output(&mut openssl, TOOL).status.success(), "a certificate");
    let both = [std::fs::read(&cert), std::fs::read(folder.0.join("c"))].map(|part| part.expect("a part"));
    std::fs::write(&cert, both.concat()).expect("a writable folder");
    let cert = cert.to_string_lossy().into_owned();
    let said = streams("--url https:/fast --url https:/slow?1 --pinned 2").env("CERT", &cert).run();
    said.fails_exactly(&[]);
    said.passes("lets-connections-go");
    for connection in ["new", "kept", "pinned"] {
        said.all_answered(connection);
    }
    assert_eq!(said.run()["recording"]["targets"][0]["tls"], serde_json::json!(["1.3", "1.2"]));
}

#[test]
fn an_answer_that_pauses_is_answered_only_at_its_end() {
    require!(able());
    let said = streams("--url /pause?1.2").run();
    said.fails_exactly(&[]);
    said.passes("finishes-requests");
    let requests = said.run()["recording"]["requests"].as_array().expect("requests");
    for request in requests {
        let whole = request["to"].as_i64() >= request["from"].as_i64().map(|from| from + 1200);
        assert!(whole, "{request}");
    }
    // Half an answer counts as cut off, although its head came long before.
    let script = format!("{ROOT}/tests/rehearse/apps/cuts_in_flight.py");
    let cut = Rehearsal::of(&["python3", &script], free_port())
        .with("--bare --grace 5s --removal 0.5s --url /slow?seconds=1");
    cut.run().fails_exactly(&["finishes-requests"]);
}

#[test]
fn streams_of_events_and_websockets_are_held_until_the_app_ends_them() {
    require!(able());
    let said = streams("--url /events --url ws:/ws").run();
    said.fails_exactly(&[]);
    said.all_answered("stream");
    assert!(said.count("stream").0 >= 4, "two clients for each: {}", said.explained());
    let kinds = &said.run()["recording"]["targets"];
    assert_eq!((&kinds[0]["kind"], &kinds[1]["kind"]), (&"events".into(), &"websocket".into()));

    let said = streams("--url /events --url ws:/ws").env("RUDE", "cut").run();
    said.fails_exactly(&["finishes-requests"]);
    assert_eq!(said.count("stream").1, 0, "{}", said.explained());
}

#[test]
fn uploads_have_their_method_headers_body_and_time() {
    require!(able());
    let mut rehearsal = streams("--url /upload?2000 --method PUT --upload 0.6s --rate 100");
    rehearsal.command.args(["--header", "X-Who: me", "--body", &"x".repeat(2000)]);
    let said = rehearsal.run();
    said.fails_exactly(&[]);
    let requests = said.run()["recording"]["requests"].as_array().expect("requests");
    // The last of twenty parts is sent after nineteen twentieths of the time.
    assert!(requests.iter().all(|r| r["to"].as_i64() >= r["from"].as_i64().map(|from| from + 560)));
}

#[test]
fn the_rate_is_kept() {
    require!(able());
    let slow = streams("--url /fast --rate 2").run().count("kept").0;
    let fast = streams("--url /fast --rate 200").run().count("kept").0;
    assert!(slow <= 10 && fast > 5 * slow, "{slow} and {fast} requests");
}

#[test]
fn a_unix_socket_is_reached() {
    require!(able());
    let folder = tempfolder::Folder::new();
    let socket = folder.0.join("app.sock").to_string_lossy().into_owned();
    let said =
        streams(&format!("--pinned 1 --url http://unix:{socket}:/slow?0.5")).env("SOCKET", &socket).run();
    said.fails_exactly(&[]);
    said.passes("finishes-requests");
    for connection in ["new", "kept", "pinned"] {
        said.all_answered(connection);
    }
}

#[test]
fn a_request_of_forty_seconds_is_waited_for() {
    long!();
    require!(able());
    let script = format!("{ROOT}/tests/rehearse/apps/orderly.py");
    let rehearsal = Rehearsal::of(&["python3", &script], free_port());
    let said = rehearsal.with("--bare --url /slow?seconds=40 --clients 1 --grace 60s --removal 0.5s").run();
    said.fails_exactly(&[]);
    said.passes("finishes-requests");
}

/// The directory that tests/apps/install.sh has filled, shared by all tests on this machine.
fn toolbox() -> Result<PathBuf, String> {
    static TOOLBOX: std::sync::OnceLock<Result<PathBuf, String>> = std::sync::OnceLock::new();
    let fill = || {
        let folder = std::env::var_os("ADIEU_TOOLBOX")
            .map_or_else(|| PathBuf::from(ROOT).join("target/toolbox"), PathBuf::from);
        let mut fill = Command::new(format!("{ROOT}/tests/apps/install.sh"));
        let filled = harness::output(fill.arg(&folder).stdin(Stdio::null()), FILLING);
        if filled.status.success() {
            return Ok(folder);
        }
        Err(format!("the toolbox cannot be filled: {}", String::from_utf8_lossy(&filled.stderr)))
    };
    TOOLBOX.get_or_init(fill).clone()
}

/// One app of tests/apps/apps.toml, ready to start.
struct App {
    command: Vec<String>,
    env: Vec<(String, String)>,
    serves: bool,
    port: u16,
    /// The path of its configuration.
    _work: tempfolder::Folder,
}

mod tempfolder {
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A directory that is removed after the test.
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
    /// Bare it is PID 1, which gets no signal that it does not handle. A slow request takes a
    /// second.
    fn rehearsal(&self) -> Rehearsal {
        let words: Vec<&str> = self.command.iter().map(String::as_str).collect();
        let mut rehearsal = Rehearsal::of(&words, self.port).with("--grace 8s --removal 0.3s..0.8s");
        for (name, value) in &self.env {
            rehearsal = rehearsal.env(name, value);
        }
        let load = if self.serves {
            "--warm-up 1s --url /fast --url /slow?seconds=1"
        } else {
            "--warm-up 3s --no-load"
        };
        rehearsal.with(load)
    }

    /// Bare it fails at least the points in `bare`. Under adieu it loses no request and fails exactly
    /// those in `wrapped`.
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

/// An app as a test: its name, the points that it fails bare and under adieu. Some run only in the
/// long selection.
macro_rules! apps {
    ($($(#[$long:ident])? $test:ident: $name:literal, $bare:expr, $wrapped:expr;)+) => { $(
        #[test]
        fn $test() {
            $(if !harness::$long() { return; })?
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
/// It ends at once.
const ABRUPT: [&str; 2] = ["fails-readiness-first", "finishes-requests"];
/// It finishes its requests, but refuses new ones before a balancer can know.
const HASTY: [&str; 1] = ["fails-readiness-first"];
const NONE: [&str; 0] = [];

apps! {
    #[long_selection] python_loop: "python-loop", DEAF, NONE;
    http_server: "http-server", DEAF, NONE;
    #[long_selection] flask: "flask", DEAF, NONE;
    #[long_selection] waitress: "waitress", DEAF, NONE;
    #[long_selection] uvicorn: "uvicorn", HASTY, NONE;
    #[long_selection] node: "node", DEAF, NONE;
    #[long_selection] express: "express", DEAF, NONE;
    #[long_selection] express_close: "express-close", HASTY, NONE;
    #[long_selection] go: "go", ABRUPT, NONE;
    #[long_selection] go_shutdown: "go-shutdown", HASTY, NONE;
    nginx: "nginx", ABRUPT, NONE;
    #[long_selection] ignore_term: "ignore-term", DEAF, DEAF;
    shell: "shell", DEAF, NONE;
    #[long_selection] java: "java", ABRUPT, NONE;
}

/// Its workers close their listeners at different times, so bare it always loses requests, but by
/// different causes.
#[test]
fn gunicorn() {
    require!(able());
    let app = match app("gunicorn") {
        Ok(app) => app,
        Err(reason) => left_out!("{reason}"),
    };
    let bare = app.rehearsal().with("--bare").run();
    assert!(bare.lost() > 0 && bare.status == Some(1), "{}", bare.explained());
    let wrapped = app.rehearsal().with("--pre-stop 1s").run();
    assert_eq!(wrapped.lost(), 0, "{}", wrapped.explained());
    wrapped.fails_exactly(&NONE);
}

/// A server that the app needs; it ends with the test.
struct Server {
    _process: Companion,
    port: u16,
    folder: tempfolder::Folder,
}

impl Server {
    fn start(command: &mut Command, port: u16, folder: tempfolder::Folder) -> Server {
        let process = Companion::start(command.stdin(Stdio::null()).stdout(Stdio::null()));
        // Both stop fast on QUIT. PostgreSQL would leave shared memory behind when killed.
        let server = Server { _process: process.asked_with(libc::SIGQUIT), port, folder };
        harness::until("the server listens", || harness::try_connect(("127.0.0.1", port)).is_ok());
        server
    }

    fn redis() -> Server {
        let (port, folder) = (free_port(), tempfolder::Folder::new());
        let mut command = Command::new("redis-server");
        command
            .args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string()])
            .current_dir(&folder.0);
        Server::start(&mut command, port, folder)
    }

    /// PostgreSQL refuses to run as root.
    fn postgres() -> Result<Server, String> {
        let (port, folder) = (free_port(), tempfolder::Folder::new());
        let tools = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().next();
        let tools = tools.ok_or("PostgreSQL is not installed")?.path().join("bin");
        let user =
            nix::unistd::User::from_name("postgres").ok().flatten().ok_or("there is no user postgres")?;
        nix::unistd::chown(&folder.0, Some(user.uid), Some(user.gid))
            .map_err(|error| format!("chown: {error}"))?;
        let as_postgres = |tool: &str| {
            let mut command = Command::new(tools.join(tool));
            command
                .uid(user.uid.as_raw())
                .gid(user.gid.as_raw())
                .current_dir(&folder.0)
                .arg("-D")
                .arg(folder.0.join("data"));
            command
        };
        // In a machine without a locale it would be SQL_ASCII, whose texts Python's driver gives as bytes.
        let made = harness::output(as_postgres("initdb").args(["-A", "trust", "--encoding=UTF8"]), TOOL);
        if !made.status.success() {
            return Err(format!("initdb: {}", String::from_utf8_lossy(&made.stderr)));
        }
        let mut command = as_postgres("postgres");
        command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-k"]).arg(&folder.0);
        command.stderr(std::fs::File::create(folder.0.join("log")).expect("a log"));
        Ok(Server::start(&mut command, port, folder))
    }

    /// The option that tells the tool its port.
    fn option(&self) -> String {
        format!("--database {}", self.port)
    }
}

#[test]
fn a_pool_of_database_connections_is_closed_under_adieu_and_left_open_without() {
    require!(able());
    require!(harness::root());
    let (app, server) = match app("sqlalchemy").and_then(|app| Ok((app, Server::postgres()?))) {
        Ok(both) => both,
        Err(reason) => left_out!("{reason}"),
    };
    let url = format!("postgresql+psycopg://postgres@127.0.0.1:{}/postgres", server.port);
    let rehearsal = || app.rehearsal().env("DATABASE_URL", &url).with(&server.option());
    let log = || std::fs::read_to_string(server.folder.0.join("log")).expect("the server's log");

    let wrapped = rehearsal().with("--pre-stop 1s").run();
    assert_eq!(wrapped.lost(), 0, "{}", wrapped.explained());
    wrapped.fails_exactly(&NONE);
    assert!(!log().contains("unexpected EOF"), "{}", log());

    let bare = rehearsal().with("--bare").run();
    for point in ["finishes-requests", "closes-databases"] {
        assert!(bare.points("fail").contains(&point), "{}", bare.explained());
    }
}

/// With a drain check and a hook that stops new jobs, the worker ends between two jobs. It never
/// closes its connection, though.
#[test]
fn a_queue_worker_ends_between_two_jobs_under_adieu() {
    require!(able());
    require!(program("redis-server").and_then(|()| program("redis-cli")));
    let app = match app("queue-worker") {
        Ok(app) => app,
        Err(reason) => left_out!("{reason}"),
    };
    let server = Server::redis();
    let cli = |words: &str| {
        let mut command = Command::new("redis-cli");
        command.args(["-p", &server.port.to_string()]).args(words.split(' '));
        String::from_utf8(harness::output(&mut command, TOOL).stdout).expect("text").trim().to_owned()
    };
    cli("rpush jobs 0.3 0.3 0.3 0.3 0.3 0.3 0.3 0.3 0.3 0.3 0.3 0.3 0.3 0.3 0.3 0.3 0.3 0.3 0.3 0.3");
    let ask = format!("redis-cli -p {}", server.port);
    let mut rehearsal = app.rehearsal().env("REDIS_URL", &format!("redis://127.0.0.1:{}/0", server.port));
    rehearsal = rehearsal.with(&server.option()).with("--pre-stop 0.2s");
    rehearsal.command.arg("-o").arg(format!("on-stop=exec:{ask} set jobs:paused 1"));
    rehearsal.command.arg("-o").arg(format!("drain-check=exec:sh -c 'test $({ask} llen jobs:working) = 0'"));
    let said = rehearsal.run();
    said.fails_exactly(&["closes-databases"]);
    assert_eq!(cli("llen jobs:working"), "0", "a job was lost half-way: {}", said.explained());
    let done: u32 = cli("get jobs:done").parse().expect("a number");
    let left: u32 = cli("llen jobs").parse().expect("a number");
    assert_eq!(done + left, 20);
    assert!(done > 0 && left > 0, "it was stopped in the middle of its work: {done} done, {left} left");
}
