//! adieu's exit status is the app's.

mod harness;

use harness::{Init, Launch};

also_under_tini!(
    exits_with_the_apps_status,
    exits_with_128_and_the_apps_signal
);

fn exits_with_the_apps_status(init: Init) {
    for status in [0, 1, 2, 42, 125, 126, 127, 128, 143, 255] {
        let mut run = Launch::pid1(init).start();
        run.expect("ready");
        run.say(&format!("exit {status}"));
        run.expect_exit(status);
    }
}

fn exits_with_128_and_the_apps_signal(init: Init) {
    for (name, number) in [
        ("HUP", 1),
        ("KILL", 9),
        ("USR1", 10),
        ("PIPE", 13),
        ("TERM", 15),
        ("64", 64),
    ] {
        let mut run = Launch::pid1(init).start();
        run.expect("ready");
        run.say(&format!("die {name}"));
        run.expect_exit(128 + number);
    }
}
