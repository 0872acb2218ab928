//! What is sent to adieu reaches the app: every signal that can be caught, with its number, count, order and value.

mod harness;

use harness::{Init, Launch};

also_under_tini!(
    forwards_the_everyday_signals,
    forwards_a_usr1_after_each_of_many_stray_chlds
);

fn forwards_the_everyday_signals(init: Init) {
    let mut run = Launch::pid1(init).start();
    run.expect("ready");
    let everyday = [
        (libc::SIGHUP, "HUP"),
        (libc::SIGUSR1, "USR1"),
        (libc::SIGUSR2, "USR2"),
        (libc::SIGINT, "INT"),
    ];
    for (number, name) in everyday {
        run.signal(number);
        run.expect_signal(name);
    }
}

fn forwards_a_usr1_after_each_of_many_stray_chlds(init: Init) {
    let mut run = Launch::pid1(init).start();
    run.expect("ready");
    for _ in 0..100 {
        run.signal(libc::SIGCHLD);
        run.signal(libc::SIGUSR1);
        run.expect_signal("USR1");
    }
}
