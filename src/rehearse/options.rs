//! The options of the rehearsal tool.

use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use nix::sys::signal::Signal;

use super::url::Url;
use adieu::errno::describe;
use adieu::settings::{Platform, values};

use super::lint::rules::{Rule, Severity};
use super::lint::show::Format;

/// Answers the question "does my app shut down well?" before production does.
///
/// Starts the app as a container would, with adieu as its PID 1, puts load on it, asks it to stop,
/// plays the load balancer and the platform, and shows what became of every request. Without
/// COMMAND it rehearses a built-in legacy app, bare and under adieu, in less than 40 seconds.
#[derive(Parser, Clone, Debug)]
#[command(name = "adieu-rehearse", version, max_term_width = 100, after_help = AFTER)]
pub(crate) struct Options {
    /// The app and its arguments.
    #[arg(last = true)]
    pub(crate) command: Vec<OsString>,

    /// Run the app without adieu: the app itself is PID 1.
    #[arg(long, conflicts_with = "compare")]
    pub(crate) bare: bool,

    /// Run the app without and with adieu, and show both side by side.
    #[arg(long)]
    pub(crate) compare: bool,

    /// How often to rehearse; the worst run decides and is shown.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) repeat: u16,

    /// Take command, times, probes and variables from a Kubernetes manifest, a compose file, a
    /// systemd unit or a Quadlet.
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: Option<PathBuf>,

    /// Rehearse a container of this image, with its own entry point; COMMAND is what it gets.
    #[arg(long, value_name = "IMAGE", conflicts_with_all = ["manifest", "lint", "bare", "compare", "init", "adieu", "option", "pre_stop"])]
    pub(crate) image: Option<String>,

    /// The engine for --image, and options of its own: 'podman --runtime runc' [default: docker or
    /// podman].
    #[arg(long, value_name = "COMMAND", requires = "image")]
    pub(crate) engine: Option<String>,

    /// An option for the engine's run: --run-option=--network=none; repeatable.
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true, requires = "image")]
    pub(crate) run_option: Vec<OsString>,

    /// Which container or service of the manifest.
    #[arg(long, value_name = "NAME", requires = "manifest")]
    pub(crate) container: Option<String>,

    /// Check manifests and Dockerfiles without running anything; - is standard input.
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["manifest", "command"], help_heading = "Lint")]
    pub(crate) lint: Vec<String>,

    /// How to show what --lint finds.
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text", help_heading = "Lint")]
    pub(crate) format: Format,

    /// The least severity that makes --lint fail: error, warning, note or never.
    #[arg(long, value_name = "SEVERITY", value_parser = weight, default_value = "warning", help_heading = "Lint")]
    pub(crate) fail_on: FailOn,

    /// Skip a rule of --lint; repeatable.
    #[arg(long, value_name = "RULE", value_parser = Rule::named, help_heading = "Lint")]
    pub(crate) allow: Vec<Rule>,

    /// Explain a rule of --lint, by the name in its findings; all explains every rule.
    #[arg(long, value_name = "RULE", help_heading = "Lint")]
    pub(crate) explain: Option<String>,

    /// Whose time limits to play: kubernetes, ecs, cloud-run, nomad, fly, heroku, systemd, docker
    /// or none.
    #[arg(long, value_name = "NAME", value_parser = platform, help_heading = "Time")]
    pub(crate) platform: Option<Platform>,

    /// From the stop request to the platform's SIGKILL [default: by platform, else 30s].
    #[arg(long, value_name = "TIME", value_parser = values::duration, help_heading = "Time")]
    pub(crate) grace: Option<Duration>,

    /// adieu's pre-stop sleep [default: adieu's own].
    #[arg(long, value_name = "TIME", value_parser = values::duration, help_heading = "Time")]
    pub(crate) pre_stop: Option<Duration>,

    /// How long after the stop request the balancer stops sending requests: a time, or a range to
    /// choose from at random.
    #[arg(long, value_name = "RANGE", value_parser = range, default_value = "0.5s..3s", help_heading = "Time")]
    pub(crate) removal: RangeInclusive<Duration>,

    /// How long the app may take until its first answer.
    #[arg(long, value_name = "TIME", value_parser = values::duration, default_value = "30s", help_heading = "Time")]
    pub(crate) start: Duration,

    /// How long to send requests before the stop; slow addresses get longer.
    #[arg(long, value_name = "TIME", value_parser = values::duration, default_value = "2s", help_heading = "Time")]
    pub(crate) warm_up: Duration,

    /// The port to wait for; repeatable [default: the ports that the app listens on].
    #[arg(long, value_name = "PORT", help_heading = "Load")]
    pub(crate) port: Vec<u16>,

    /// Where to send requests, slow addresses too: SCHEME://HOST:PORT/PATH (http, https, ws, wss),
    /// http://unix:SOCKET:/PATH, or a path on the app's first port, as /PATH or https:/PATH;
    /// repeatable [default: /].
    #[arg(long, value_name = "URL", value_parser = url, help_heading = "Load")]
    pub(crate) url: Vec<Url>,

    /// How many clients with keep-alive connections, and as many with new ones, for each URL.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=200), help_heading = "Load")]
    pub(crate) clients: u16,

    /// How many clients for each URL keep their connection until the app closes it, even after the
    /// balancer has removed the app, as behind a ClusterIP [default: 1 on Kubernetes, else 0].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=200), help_heading = "Load")]
    pub(crate) pinned: Option<u16>,

    /// How many requests a second each client sends; slow answers make it fewer.
    #[arg(long, value_name = "N", value_parser = rate, default_value = "25", help_heading = "Load")]
    pub(crate) rate: f64,

    /// The method of the requests [default: GET, with a body POST].
    #[arg(long, value_name = "METHOD", value_parser = token, help_heading = "Load")]
    pub(crate) method: Option<String>,

    /// A header of the requests; repeatable.
    #[arg(long, value_name = "NAME: VALUE", value_parser = header, help_heading = "Load")]
    pub(crate) header: Vec<(String, String)>,

    /// The body of the requests: a text, or @FILE.
    #[arg(long, value_name = "TEXT", value_parser = body, help_heading = "Load")]
    pub(crate) body: Option<Body>,

    /// How long a client takes to send the body.
    #[arg(long, value_name = "TIME", value_parser = values::duration, requires = "body", help_heading = "Load")]
    pub(crate) upload: Option<Duration>,

    /// Send no requests: the app is a worker that listens on no port.
    #[arg(long, conflicts_with_all = ["port", "url"], help_heading = "Load")]
    pub(crate) no_load: bool,

    /// The app's own readiness address, which a balancer would ask when there is no adieu.
    #[arg(long, value_name = "URL", value_parser = url, help_heading = "What to watch")]
    pub(crate) readiness: Option<Url>,

    /// The port of a database that the app connects to, besides the well-known ones; repeatable.
    #[arg(long, value_name = "PORT", help_heading = "What to watch")]
    pub(crate) database: Vec<u16>,

    /// An option for adieu, as KEY or KEY=VALUE: -o pre-stop=2s -o drain=off; repeatable.
    #[arg(short = 'o', long = "option", value_name = "KEY[=VALUE]", help_heading = "How to start it")]
    pub(crate) option: Vec<OsString>,

    /// The adieu to run [default: the one inside this program].
    #[arg(long, value_name = "PATH", conflicts_with = "init", help_heading = "How to start it")]
    pub(crate) adieu: Option<PathBuf>,

    /// Another init instead of adieu, such as tini, for contrast; -o gives it options.
    #[arg(long, value_name = "PATH", help_heading = "How to start it")]
    pub(crate) init: Option<PathBuf>,

    /// A variable for the app, as NAME=VALUE; repeatable.
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable, help_heading = "How to start it")]
    pub(crate) env: Vec<(String, String)>,

    /// The signal by which the platform asks for the stop.
    #[arg(long, value_name = "SIG", value_parser = signal, help_heading = "How to start it")]
    pub(crate) stop_signal: Option<Signal>,

    /// Keep the app's and adieu's output in this file [default: a temporary one].
    #[arg(long, value_name = "FILE", help_heading = "How to start it")]
    pub(crate) log: Option<PathBuf>,

    /// Print the result as JSON instead of text.
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,

    /// Write the result as JSON to this file; its schema is packaging/schema/rehearsal.json.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) report: Option<PathBuf>,

    /// Fail only if something is worse than in this earlier --report.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) baseline: Option<PathBuf>,

    /// Write the result to this file as one self-contained HTML page.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) html: Option<PathBuf>,

    /// Draw the timeline into this SVG file.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) svg: Option<PathBuf>,

    /// Write the checklist to this file as JUnit XML, for CI systems.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) junit: Option<PathBuf>,

    /// Print no progress on stderr.
    #[arg(short, long, help_heading = "Output")]
    pub(crate) quiet: bool,
}

const AFTER: &str = "Exit status: 0 when nothing was lost and no point of the checklist failed, 1 when something was or did, 125 when it
could not be rehearsed. With --compare (and without COMMAND) the run under adieu decides. With --baseline: 0 when nothing is
worse. With --lint: 0 when nothing was found at or above --fail-on, 1 when something was, 125 when a file could not be read.";

/// The least severity that makes the lint fail; `None` for never.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FailOn(pub(crate) Option<Severity>);

fn weight(text: &str) -> Result<FailOn, String> {
    if text == "never" {
        return Ok(FailOn(None));
    }
    let found = Severity::ALL.into_iter().find(|severity| severity.name() == text);
    found
        .map(|severity| FailOn(Some(severity)))
        .ok_or_else(|| "write error, warning, note or never".to_owned())
}

fn platform(text: &str) -> Result<Platform, String> {
    Platform::named(text)
}

fn signal(text: &str) -> Result<Signal, String> {
    let number = values::catchable(text)?;
    Signal::try_from(number.number())
        .map_err(|_| format!("'{text}' is a real-time signal, which no platform sends as a stop"))
}

fn range(text: &str) -> Result<RangeInclusive<Duration>, String> {
    let (low, high) = text.split_once("..").unwrap_or((text, text));
    let (low, high) = (values::duration(low)?, values::duration(high)?);
    if low > high {
        return Err(format!("'{text}' ends before it begins; write 0.5s..3s"));
    }
    Ok(low..=high)
}

fn url(text: &str) -> Result<Url, String> {
    text.parse()
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.01..=10_000.0).contains(rate));
    rate.ok_or_else(|| format!("'{text}' is not a number from 0.01 to 10000"))
}

/// A method or the name of a header, RFC 9110, 5.6.2.
fn token(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !text.is_empty() && text.bytes().all(fits) {
        return Ok(text.to_owned());
    }
    Err(format!("'{text}' has characters that HTTP does not allow here"))
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or_else(|| format!("'{text}' is not NAME: VALUE"))?;
    if value.contains(['\r', '\n']) {
        return Err("a header must be one line".to_owned());
    }
    Ok((token(name)?, value.trim().to_owned()))
}

fn body(text: &str) -> Result<Body, String> {
    match text.strip_prefix('@') {
        Some(path) => std::fs::read(path)
            .map(Body)
            .map_err(|error| format!("cannot read '{path}': {}", describe(&error))),
        None => Ok(Body(text.as_bytes().to_vec())),
    }
}

/// The bytes of a request's body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Body(pub(crate) Vec<u8>);

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("'{text}' is not NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}
