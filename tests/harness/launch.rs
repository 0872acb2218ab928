//! From a description to a process: namespaces, terminal, limits and signal state are arranged
//! between fork and exec, as a container runtime arranges them, so that the init finds exactly what
//! the test says and nothing of the runner's.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::pty::Winsize;
use nix::sched::{CloneFlags, unshare};

use super::{Init, Running, probe};

type Step = Box<dyn FnMut() -> io::Result<()> + Send + Sync>;

/// What to start, how, and in which surroundings.
pub struct Launch {
    pub(super) name: String,
    program: PathBuf,
    options: Vec<OsString>,
    command: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    namespace: bool,
    terminal: bool,
    steps: Vec<Step>,
    stdio: [Option<Stdio>; 3],
}

impl Launch {
    /// The init as PID 1 of a new PID namespace with its own /proc.
    pub fn pid1(init: Init) -> Self {
        Self { namespace: true, ..Self::ordinary(init) }
    }

    /// The init as a process like any other.
    pub fn ordinary(init: Init) -> Self {
        let mut launch = Self::program(&init.path());
        if let Init::Given(given) = init {
            launch.options.extend(given.options.iter().map(OsString::from));
            launch.name = given.program.display().to_string();
        }
        launch.command = vec![probe().into()];
        launch
    }

    /// Any program, such as a shell.
    pub fn program(path: &Path) -> Self {
        Self {
            name: path.display().to_string(),
            program: path.to_path_buf(),
            options: Vec::new(),
            command: Vec::new(),
            env: vec![("PATH".into(), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into())],
            namespace: false,
            terminal: false,
            steps: Vec::new(),
            stdio: [None, None, None],
        }
    }

    /// Options of the init, as one would type them.
    pub fn options(mut self, words: &str) -> Self {
        self.options.extend(words.split_whitespace().map(OsString::from));
        self
    }

    pub fn option(mut self, word: impl AsRef<OsStr>) -> Self {
        self.options.push(word.as_ref().to_os_string());
        self
    }

    /// Arguments of the probe.
    pub fn args(mut self, words: &str) -> Self {
        self.command.extend(words.split_whitespace().map(OsString::from));
        self
    }

    pub fn arg(mut self, word: impl AsRef<OsStr>) -> Self {
        self.command.push(word.as_ref().to_os_string());
        self
    }

    /// Another app than the probe.
    pub fn command<I: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = I>) -> Self {
        self.command = words.into_iter().map(|word| word.as_ref().to_os_string()).collect();
        self
    }

    pub fn in_namespace(mut self) -> Self {
        self.namespace = true;
        self
    }

    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_os_string(), value.as_ref().to_os_string()));
        self
    }

    pub fn no_env(mut self) -> Self {
        self.env.clear();
        self
    }

    /// On a terminal of its own, as the leader of its session, in the foreground. stderr is that
    /// terminal, too, so adieu leaves out the line at its start.
    pub fn on_terminal(mut self) -> Self {
        self.terminal = true;
        self.env("ADIEU_LOG_LEVEL", "warn")
    }

    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Self {
        self.stdio[0] = Some(stdin.into());
        self
    }

    pub fn stdout(mut self, stdout: impl Into<Stdio>) -> Self {
        self.stdio[1] = Some(stdout.into());
        self
    }

    pub fn stderr(mut self, stderr: impl Into<Stdio>) -> Self {
        self.stdio[2] = Some(stderr.into());
        self
    }

    /// What the process that will be the init does just before the exec. Between fork and exec of a
    /// program with threads only async-signal-safe calls are allowed, so a step may not allocate.
    pub fn before_exec(mut self, step: impl FnMut() -> io::Result<()> + Send + Sync + 'static) -> Self {
        self.steps.push(Box::new(step));
        self
    }

    pub fn blocking(self, set: u64) -> Self {
        self.before_exec(move || {
            raw_mask(set);
            Ok(())
        })
    }

    pub fn ignoring(self, signals: &'static [i32]) -> Self {
        self.before_exec(move || {
            // SAFETY: ignoring a signal runs no code of ours.
            signals.iter().for_each(|&signal| unsafe {
                libc::signal(signal, libc::SIG_IGN);
            });
            Ok(())
        })
    }

    pub fn closing(self, fds: &'static [RawFd]) -> Self {
        self.before_exec(move || {
            // SAFETY: these descriptors are the child's copies, which nothing else in it will use.
            fds.iter().for_each(|&fd| unsafe {
                libc::close(fd);
            });
            Ok(())
        })
    }

    pub fn limit(self, resource: nix::sys::resource::Resource, most: u64) -> Self {
        self.before_exec(move || Ok(nix::sys::resource::setrlimit(resource, most, most)?))
    }

    /// In the cgroup whose `cgroup.procs` this is.
    pub fn in_cgroup(self, procs: CString) -> Self {
        self.before_exec(move || {
            // SAFETY: the path is alive; "0" means the writer itself.
            let done = unsafe {
                let fd = libc::open(procs.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
                let done = libc::write(fd, c"0".as_ptr().cast(), 1);
                libc::close(fd);
                done
            };
            if done == 1 { Ok(()) } else { Err(io::Error::last_os_error()) }
        })
    }

    /// Runs it to its end with nothing on stdin; its end, its stdout and its stderr, by lines.
    pub fn run(self) -> (super::End, Vec<String>, Vec<String>) {
        let mut run = self.start();
        run.close_stdin();
        let (out, err) = (run.rest(), run.errors());
        (run.end(), out, err)
    }

    pub fn start(self) -> Running {
        let name = self.name.clone();
        self.try_start().unwrap_or_else(|error| panic!("cannot start {name}: {error}"))
    }

    pub fn try_start(mut self) -> io::Result<Running> {
        let terminal = self.terminal.then(open_terminal).transpose()?;
        let (status_reader, status_writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
        let mut command = Command::new(&self.program);
        command.args(&self.options);
        if !self.command.is_empty() && !self.options.iter().any(|word| word == "--") && is_init(&self.program)
        {
            command.arg("--");
        }
        command.args(&self.command).env_clear().envs(self.env.drain(..));
        let [stdin, stdout, stderr] = self.stdio;
        let slave = |given: Option<Stdio>| match (&terminal, given) {
            (_, Some(given)) => Ok::<Stdio, io::Error>(given),
            (Some((_, slave)), None) => Ok(slave.try_clone()?.into()),
            (None, None) => Ok(Stdio::piped()),
        };
        command.stdin(slave(stdin)?).stdout(slave(stdout)?).stderr(slave(stderr)?);
        prepare(
            &mut command,
            self.namespace,
            terminal.as_ref().map(|(_, slave)| slave),
            &status_writer,
            self.steps,
        );
        let child = command.spawn()?;
        drop(command);
        drop(status_writer);
        let master = terminal.map(|(master, _)| master);
        Ok(Running::watch(self.name, child, self.namespace.then_some(status_reader), master))
    }
}

fn is_init(program: &Path) -> bool {
    [Init::Adieu, Init::Tini].iter().any(|init| init.path() == program)
}

fn open_terminal() -> io::Result<(OwnedFd, OwnedFd)> {
    let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    let pair = nix::pty::openpty(Some(&size), None)?;
    // What is typed shall not stand between the lines that the app prints.
    let mut modes = nix::sys::termios::tcgetattr(&pair.slave)?;
    modes.local_flags.remove(nix::sys::termios::LocalFlags::ECHO);
    nix::sys::termios::tcsetattr(&pair.slave, nix::sys::termios::SetArg::TCSANOW, &modes)?;
    for fd in [&pair.master, &pair.slave] {
        nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))?;
    }
    Ok((pair.master, pair.slave))
}

/// Everything between fork and exec, in its order.
fn prepare(
    command: &mut Command,
    namespace: bool,
    slave: Option<&OwnedFd>,
    status: &OwnedFd,
    mut steps: Vec<Step>,
) {
    let (slave, status) = (slave.map(AsRawFd::as_raw_fd), status.as_raw_fd());
    let maps = (!nix::unistd::geteuid().is_root()).then(Maps::new);
    let arrange = move || {
        if namespace {
            enter_namespace(maps.as_ref(), status)?;
        }
        // SAFETY: prctl with an integer; when the test's thread ends, so does what it started.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        // The runner's own dispositions (nohup, a CI's ignored SIGINT) are none of the test's.
        (1..=64).for_each(default_action);
        raw_mask(0);
        if let Some(slave) = slave {
            nix::unistd::setsid()?;
            // SAFETY: the ioctl takes an integer.
            if unsafe { libc::ioctl(slave, libc::TIOCSCTTY, 0) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        steps.iter_mut().try_for_each(|step| step())
    };
    // SAFETY: the closure makes system calls alone and allocates nothing.
    unsafe { command.pre_exec(arrange) };
}

/// What a user namespace needs to be told, written out beforehand since nothing may allocate after
/// the fork.
struct Maps {
    files: [(CString, Vec<u8>); 3],
}

impl Maps {
    fn new() -> Self {
        let file = |name: &str, text: String| {
            (CString::new(format!("/proc/self/{name}")).expect("no NUL"), text.into_bytes())
        };
        let (user, group) = (nix::unistd::geteuid(), nix::unistd::getegid());
        Self {
            files: [
                file("setgroups", "deny".into()),
                file("uid_map", format!("0 {user} 1")),
                file("gid_map", format!("0 {group} 1")),
            ],
        }
    }

    fn write(&self) -> io::Result<()> {
        self.files.iter().try_for_each(|(path, text)| {
            // SAFETY: path and text are alive, the descriptor is ours alone.
            let done = unsafe {
                let fd = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
                let done = libc::write(fd, text.as_ptr().cast(), text.len());
                libc::close(fd);
                done
            };
            if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
        })
    }
}

/// Returns in PID 1 of a new namespace. The process that was there before it stays behind as its
/// parent, tells PID 1's number and later its wait status through `status`, four bytes each, and
/// takes PID 1 along when it is killed.
fn enter_namespace(maps: Option<&Maps>, status: RawFd) -> io::Result<()> {
    let user = if maps.is_some() { CloneFlags::CLONE_NEWUSER } else { CloneFlags::empty() };
    unshare(user | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS)?;
    maps.map_or(Ok(()), Maps::write)?;
    // SAFETY: the parent makes raw system calls alone from here on, the child goes on to its exec.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => mount_proc(),
        child => stay_behind(child, status),
    }
}

fn mount_proc() -> io::Result<()> {
    use nix::mount::{MsFlags, mount};
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), None::<&str>)?;
    Ok(())
}

fn stay_behind(child: i32, status: RawFd) -> ! {
    // SAFETY: raw calls on integers and on buffers of this frame. The death signal was not set yet
    // when this process was forked; without its descriptors it holds no pipe of the test's open.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        if status > 0 {
            libc::syscall(libc::SYS_close_range, 0, status - 1, 0);
        }
        libc::syscall(libc::SYS_close_range, status + 1, u32::MAX, 0);
        let tell = |number: i32| libc::write(status, number.to_ne_bytes().as_ptr().cast(), 4);
        tell(child);
        let mut ended = 0;
        while libc::waitpid(child, &raw mut ended, 0) < 0 {}
        tell(ended);
        libc::_exit(0);
    }
}

pub(super) fn default_action(signal: i32) {
    #[repr(C)]
    struct KernelAction([u64; 4]);
    let action = KernelAction([0; 4]);
    // SAFETY: the struct is the kernel's own, all zeroes: SIG_DFL. glibc would refuse 32 and 33.
    unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, &raw const action, std::ptr::null::<u8>(), 8) };
}

pub(super) fn raw_mask(set: u64) {
    // SAFETY: the set is 8 bytes, as the kernel expects; glibc would leave out 32 and 33.
    unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const set, std::ptr::null::<u8>(), 8)
    };
}

/// Whether a namespace can be made: by making one.
pub(super) fn try_namespace() -> io::Result<()> {
    let mut running = Launch::program(Path::new("/bin/true")).in_namespace().try_start()?;
    match running.end() {
        super::End::Exited(0) => Ok(()),
        other => Err(io::Error::other(format!("/bin/true in a new namespace: {other:?}"))),
    }
}
