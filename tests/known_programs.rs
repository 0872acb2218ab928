//! What a known program gets besides its signal, seen from outside.

mod harness;

use harness::{End, Init, Launch, Scratch};
use std::os::unix::fs::symlink;

/// A shell under another program's name.
fn shell_as(scratch: &Scratch, name: &str, script: &str) -> Launch {
    symlink("/bin/sh", scratch.path(name)).expect("a new name");
    Launch::program(&Init::Adieu.path()).option("--").command([scratch.path(name)]).arg("-c").arg(script)
}

#[test]
fn uwsgi_gets_the_hook_that_makes_int_graceful_unless_it_has_one() {
    let scratch = Scratch::new();
    let hook = "echo $UWSGI_HOOK_MASTER_START";
    let (end, out, _) = shell_as(&scratch, "uwsgi", hook).run();
    assert_eq!((end, out), (End::Exited(0), vec!["unix_signal:2 gracefully_kill_them_all".to_owned()]));
    let scratch = Scratch::new();
    let own = shell_as(&scratch, "uwsgi", hook).env("UWSGI_HOOK_MASTER_START", "mine");
    let (end, out, _) = own.run();
    assert_eq!((end, out), (End::Exited(0), vec!["mine".to_owned()]));
}

#[test]
fn php_fpm_without_its_timeout_is_worth_a_warning() {
    let warned = |argument: &str| {
        let scratch = Scratch::new();
        let (end, _, err) = shell_as(&scratch, "php-fpm", "exit 0").arg(argument).run();
        assert_eq!(end, End::Exited(0), "{err:?}");
        err.iter().any(|line| line.contains("warning: ") && line.contains("process_control_timeout"))
    };
    // php-fpm itself may be installed here, with or without its timeout.
    let places = ["/usr/local/etc/php-fpm.conf", "/usr/local/etc/php-fpm.d", "/etc/php-fpm.d", "/etc/php"];
    if !places.iter().any(|place| std::path::Path::new(place).exists()) {
        assert!(warned(""));
    }
    assert!(!warned("-dprocess_control_timeout=20s"));
}
