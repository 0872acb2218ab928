//! What can be seen: without sock_diag, without privileges, without descriptors, in other
//! namespaces.

use super::*;

#[test]
fn without_sock_diag_open_connections_count() {
    let mut app = Puppet::new();
    let port = app.listen();
    let mut client = connect(port);
    let mut watcher = Watcher::with(&app, &settings(), Via::ProcNet);
    watcher.stays_for(3, 1);
    client.write_all(b"question").unwrap();
    app.tell("accept 0");
    watcher.stays_for(3, 1);
    app.tell("read 0");
    app.tell("send 0 answer");
    watcher.stays_for(3, 1);
    assert_eq!(watcher.look().by_port, [(port, 1)]);
    drop(client);
    watcher.becomes_idle();
}

#[test]
fn an_app_in_a_network_namespace_of_its_own_is_seen_through_proc() {
    if !permitted(&["unshare", "--net", "true"]) {
        return left_out("no network namespace may be made");
    }
    let mut app = Puppet::under(&["unshare", "--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"]);
    let port = app.listen();
    app.tell(&format!("connect {port}"));
    app.tell("accept 0");
    let mut watcher = Watcher::over(&app);
    watcher.stays_for(3, 1);
    app.tell("close 0");
    app.tell("close 1");
    watcher.becomes_idle();
}

/// Root without SYS_PTRACE, as in a container by default, may not read the descriptors of another
/// user's process.
#[test]
fn an_app_of_another_user_is_known_by_its_user() {
    alone("an_app_of_another_user_is_known_by_its_user", &["--bounding-set=-sys_ptrace"], || {
        let mut app = Puppet::new();
        app.tell("user 65534");
        let port = app.listen();
        hidden_app(app, port);
    });
}

#[test]
fn an_app_that_changed_its_user_after_binding_is_known_by_the_namespace() {
    alone(
        "an_app_that_changed_its_user_after_binding_is_known_by_the_namespace",
        &["--bounding-set=-sys_ptrace"],
        || {
            let mut app = Puppet::new();
            let port = app.listen();
            app.tell("user 65534");
            hidden_app(app, port);
        },
    );
}

/// Also: adieu's own listener in the same namespace never counts.
fn hidden_app(mut app: Puppet, port: u16) {
    let denied = std::fs::read_link(format!("/proc/{}/fd/0", app.pid()));
    assert!(denied.is_err(), "the descriptors can be read after all");
    let health = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = health.local_addr().unwrap().port();
    let _prober = connect(own);
    let _client = app.asked_at(port);
    let mut watcher = Watcher::new(Drain::new(&settings(), process(app.pid()), &[own]));
    watcher.stays(1);
    assert_eq!(watcher.look().by_port, [(port, 1)]);
    app.tell("send 0 answer");
    watcher.becomes_idle();
}

#[test]
fn the_watch_works_without_any_privilege() {
    let nobody =
        ["--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"];
    alone("the_watch_works_without_any_privilege", &nobody, || {
        let mut app = Puppet::new();
        let _client = app.asked();
        let mut watcher = Watcher::over(&app);
        watcher.stays(1);
        app.tell("send 0 answer");
        watcher.becomes_idle();
    });
}

#[test]
fn without_a_descriptor_nothing_is_seen_until_there_is_one() {
    alone("without_a_descriptor_nothing_is_seen_until_there_is_one", &[], || {
        let mut app = Puppet::new();
        let _client = connect(app.listen());
        let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let before = open();
        let mut watcher = Watcher::over(&app);
        assert_eq!(open(), before, "nothing is opened before the first look");
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, 0, hard).unwrap();
        assert_eq!(watcher.look().verdict, Verdict::Blind);
        assert_eq!(watcher.drain.count_now(Moment::at(watcher.start.elapsed())), None);
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        // One for the question to the kernel, but none to find out in /proc whose the listener is.
        let free = std::fs::File::open("/dev/null").unwrap();
        let limit = std::os::fd::AsRawFd::as_raw_fd(&free) as u64 + 1;
        drop(free);
        setrlimit(Resource::RLIMIT_NOFILE, limit, hard).unwrap();
        assert_eq!(watcher.look().verdict, Verdict::Blind);
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        watcher.stays(1);
        assert_eq!(open(), before + 1);
        watcher.drain.close();
        assert_eq!(open(), before);
    });
}

/// Runs a test again in a process and a network namespace of its own, with the privileges that
/// setpriv leaves it.
pub fn alone(name: &str, setpriv: &[&str], test: impl FnOnce()) {
    if std::env::var_os("ADIEU_TEST_ALONE").is_some() {
        return test();
    }
    let mut prefix =
        vec!["unshare", "--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh", "setpriv"];
    prefix.extend(setpriv);
    if !permitted(&[&prefix[..], &["true"]].concat()) {
        return left_out("unshare --net or setpriv is not permitted");
    }
    let me = std::env::current_exe().unwrap();
    let mut command = Command::new(prefix[0]);
    command.args(&prefix[1..]).arg(me).args([&format!("sight::{name}"), "--exact", "--nocapture"]);
    let output = harness::output(command.env("ADIEU_TEST_ALONE", "1"), WATCHDOG);
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{}\n{said}", output.status);
}

fn permitted(argv: &[&str]) -> bool {
    let there = harness::program(argv[0]).is_ok();
    there && harness::output(Command::new(argv[0]).args(&argv[1..]), WATCHDOG).status.success()
}
