//! The commands that a unit runs before its app, ExecStartPre: one after the other, with the same
//! user, directory and variables. They run outside the sandbox, because what they prepare may have
//! to outlive them.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::manifest::workload::PreStart;
use super::plan::typed;
use super::sandbox::{Launch, last_line};
use super::session::{POLL, RehearsalError, Session};
use adieu::errno::describe;

/// Runs all of them.
///
/// # Errors
/// A command fails and may not, or does not end in time; or the user interrupts.
pub(crate) fn run(launch: &Launch, session: &Session, patience: Duration) -> Result<(), RehearsalError> {
    for step in &launch.start_as.before {
        session.progress.say(&format!("before the app: {}", typed(&step.command)));
        let until = Instant::now() + patience;
        match start(step, launch) {
            Ok(mut child) => {
                let status = await_end(&mut child, session, until);
                if status.is_err() {
                    // It may have ended already.
                    let _gone = child.kill().and_then(|()| child.wait());
                }
                judge(step, launch, status?)?;
            }
            Err(_) if step.may_fail => {}
            Err(error) => {
                return Err(RehearsalError::Cannot(format!(
                    "cannot run '{}': {}",
                    typed(&step.command),
                    describe(&error)
                )));
            }
        }
    }
    Ok(())
}

fn start(step: &PreStart, launch: &Launch) -> std::io::Result<Child> {
    let Some((program, arguments)) = step.command.split_first() else {
        return Err(std::io::Error::other("no command"));
    };
    let log = File::options().create(true).append(true).open(&launch.log)?;
    let mut command = Command::new(program);
    command.args(arguments).envs(launch.env.iter().cloned());
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    if let Some(directory) = &launch.start_as.directory {
        command.current_dir(directory);
    }
    if let Some(user) = launch.start_as.user.filter(|_| nix::unistd::geteuid().is_root()) {
        command.uid(user.uid).gid(user.gid);
    }
    command.spawn()
}

/// Its status, or `None` when it took too long.
fn await_end(
    child: &mut Child,
    session: &Session,
    until: Instant,
) -> Result<Option<ExitStatus>, RehearsalError> {
    while Instant::now() < until {
        session.check()?;
        if let Ok(Some(status)) = child.try_wait() {
            return Ok(Some(status));
        }
        std::thread::park_timeout(POLL);
    }
    let _gone = child.kill().and_then(|()| child.wait()); // it may just have ended
    Ok(None)
}

fn judge(step: &PreStart, launch: &Launch, status: Option<ExitStatus>) -> Result<(), RehearsalError> {
    let why = match status {
        Some(status) if status.success() || step.may_fail => return Ok(()),
        Some(status) => format!("ended with {status}; its last output: {}", last_line(&launch.log)),
        None => "did not end in time".to_owned(),
    };
    Err(RehearsalError::Cannot(format!("'{}', which runs before the app, {why}", typed(&step.command))))
}
