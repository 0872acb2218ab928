//! The stage: what stands in for the container, seen from the tool. A stagehand raises it, a process of this same binary; what it
//! says and how it is told to go on stands here, and that nothing is left when the rehearsal is over.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::look::{self, Members};
use super::recording::{Ending, Ground};
use super::stagehand::STAGEHAND;

/// What to start, and as whom.
pub struct Script {
    pub program: PathBuf,
    pub argv0: OsString,
    pub args: Vec<OsString>,
    pub env: Vec<(OsString, OsString)>,
    /// Where the app's stdout and stderr go.
    pub log: PathBuf,
    pub at_exit: AtExit,
}

/// What happens to the program when it exits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AtExit {
    Free,
    /// It is held at the brink until it has been looked at.
    Hold,
}

impl AtExit {
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            AtExit::Free => "free",
            AtExit::Hold => "hold",
        }
    }
}

/// What the stagehand tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum News {
    /// The main process is about to end, and is held until it is let go: its descriptors are open still, its children live.
    Leaving,
    Ended(Ending),
}

/// A running rehearsal's processes. Dropping it ends every one of them.
pub struct Stage {
    hand: Child,
    /// The process that the platform signals: the app itself, or adieu.
    pub main: Pid,
    pub members: Members,
    log: PathBuf,
    news: mpsc::Receiver<News>,
}

/// What the tool can run on here: tried out, since what is permitted depends on the kernel's settings and on seccomp.
#[must_use]
pub fn find_ground() -> Ground {
    let mut why = String::new();
    for ground in [Ground::PidNamespace, Ground::UserNamespace] {
        match try_out(&ground) {
            Ok(()) => return ground,
            Err(reason) => why = reason,
        }
    }
    Ground::Ordinary { why }
}

/// Raises a stage on which nothing is played.
fn try_out(ground: &Ground) -> Result<(), String> {
    let output = stagehand(ground, AtExit::Free, OsStr::new("adieu-rehearse"), Path::new(""))
        .stderr(Stdio::piped())
        .output()
        .map_err(|error| error.to_string())?;
    let ended = String::from_utf8_lossy(&output.stdout).lines().any(|line| line == "status 0");
    if ended {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or("no namespaces").to_owned())
}

fn stagehand(ground: &Ground, at_exit: AtExit, argv0: &OsStr, program: &Path) -> Command {
    let word = match ground {
        Ground::PidNamespace => "root",
        Ground::UserNamespace => "user",
        Ground::Ordinary { .. } => "none",
    };
    let mut command = Command::new("/proc/self/exe");
    command.arg0("adieu-rehearse").args([STAGEHAND, word, at_exit.word()]).arg(argv0).arg(program);
    // Its stdin ends when the tool does.
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    // A terminal's Ctrl-C is for the tool, which then takes the stage down in order.
    command.process_group(0);
    command
}

impl Stage {
    /// Starts the script on this ground.
    ///
    /// # Errors
    /// What the stagehand said when it could not start the program.
    pub fn raise(ground: &Ground, script: &Script) -> Result<Stage, String> {
        let log = File::create(&script.log)
            .map_err(|error| format!("cannot write '{}': {error}", script.log.display()))?;
        let mut command = stagehand(ground, script.at_exit, &script.argv0, &script.program);
        command.args(&script.args).envs(script.env.iter().cloned()).stderr(log);
        let mut hand = command.spawn().map_err(|error| format!("cannot start the stage: {error}"))?;
        let Some(stdout) = hand.stdout.take() else {
            return Err("the stage has no voice".into());
        };
        let (teller, news) = mpsc::channel();
        let mut lines = BufReader::new(stdout).lines();
        let Some(main) =
            lines.next().and_then(Result::ok).and_then(|line| line.strip_prefix("pid ")?.parse().ok())
        else {
            let _reaped = hand.wait();
            return Err(format!("cannot start the stage: {}", last_line(&script.log)));
        };
        std::thread::spawn(move || {
            for news in lines.map_while(Result::ok).filter_map(|line| read_news(&line)) {
                // Nobody listens once the rehearsal has been given up.
                let _given_up = teller.send(news);
            }
        });
        let main = Pid::from_raw(main);
        let members = match ground {
            Ground::PidNamespace | Ground::UserNamespace => Members::of_namespace(main),
            Ground::Ordinary { .. } => Members::below(Pid::from_raw(hand.id() as i32)),
        };
        Ok(Stage { hand, main, members, log: script.log.clone(), news })
    }

    /// Sends a signal as the platform would: to the main process alone.
    pub fn signal(&self, signal: Signal) {
        // ESRCH: it is already gone, and the news will say so.
        let _gone = kill(self.main, signal);
    }

    /// The last thing that the app said, for error messages.
    #[must_use]
    pub fn last_words(&self) -> String {
        last_line(&self.log)
    }

    /// Waits so long for news.
    #[must_use]
    pub fn news_within(&self, time: Duration) -> Option<News> {
        self.news.recv_timeout(time).ok()
    }

    /// Lets a process that is held at its exit go.
    pub fn let_go(&self) {
        if let Some(mut stdin) = self.hand.stdin.as_ref() {
            // A stagehand that is gone holds nobody.
            let _gone = stdin.write_all(b"go\n");
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        sweep(&self.members);
        // The stagehand leaves by itself when the main process is gone; only then nothing is left.
        let _reaped = self.hand.wait();
    }
}

/// Kills every member. One may fork while we look: again, until a look finds nobody. Nobody outruns it for long.
pub fn sweep(members: &Members) {
    for _ in 0..100 {
        let left = look::processes(members);
        if left.is_empty() {
            break;
        }
        for seen in left {
            let _gone = kill(Pid::from_raw(seen.pid), Signal::SIGKILL);
        }
    }
}

fn read_news(line: &str) -> Option<News> {
    if line == "leaving" {
        return Some(News::Leaving);
    }
    let (kind, number) = line.split_once(' ')?;
    let number = number.parse().ok()?;
    match kind {
        "status" => Some(News::Ended(Ending::Status(number))),
        "signal" => Some(News::Ended(Ending::Signal(number))),
        _ => None,
    }
}

fn last_line(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing").to_owned()
}
