//! What an init may be expected to do, one function each, by the tests' own harness. No case gives
//! the init an option of its own, so that any init can be asked; each ends normally when the init
//! does what the case's words say.

pub mod inheritance;
pub mod processes;
pub mod signals;
pub mod status;
pub mod terminal;

use crate::harness::Init;

/// One row of the table.
pub struct Case {
    pub topic: &'static str,
    pub name: &'static str,
    /// What an init does that passes.
    pub about: &'static str,
    /// Whether it can only be seen where a PID namespace can be made.
    pub as_pid_1: bool,
    /// Whether tini 0.19 does it, too.
    pub tini: bool,
    pub run: fn(Init),
}

/// Calls a macro with all cases: `pid1 tini topic::function "what it does"`. The ones marked `pid1`
/// run the init as PID 1 of a new PID namespace, the others as an ordinary process; the ones marked
/// `tini` pass with tini 0.19, too: where that fails, the test is to be suspected.
#[macro_export]
macro_rules! every_case {
    ($take:ident) => { $take! {
        pid1 tini  signals::ordinary_signals "forwards HUP, INT, QUIT, USR1, USR2, WINCH and all others that end or wake an app";
        pid1 adieu signals::signals_of_faults "forwards ABRT, SEGV, ILL, TRAP, BUS, FPE and SYS when a process sends them";
        pid1 adieu signals::job_control_signals "forwards TSTP, TTIN and TTOU when a process sends them";
        pid1 tini  signals::real_time_signals "forwards the real-time signals 34 to 64";
        pid1 adieu signals::signals_32_and_33 "forwards 32 and 33, which libcs keep for themselves";
        pid1 tini  signals::a_queue_keeps_its_count "loses none of 200 real-time signals that come at once";
        pid1 adieu signals::a_queue_keeps_values_and_order "keeps the order and the values of sigqueue(3)";
        pid1 tini  signals::stray_chlds "goes on after 300 stray CHLDs";
        pid1 tini  signals::the_app_alone "signals the app alone, not its process group";
        pid1 tini  signals::before_the_first_instruction "acts on a TERM that came before its first instruction";
        pid1 adieu signals::while_others_fork "passes signals on while 40 processes make orphans without pause";
        ordinary tini  signals::as_an_ordinary_process "forwards when it is not PID 1";
        pid1 tini  processes::orphans "reaps orphans";
        ordinary tini  processes::orphans_of_an_ordinary_process "reaps orphans when it is not PID 1";
        pid1 tini  processes::a_storm_of_orphans "keeps the app's status through 20,000 orphans";
        pid1 tini  processes::ends_with_the_app "ends when the app has ended";
        pid1 adieu processes::leftovers_get_term "lets what the app leaves behind act on a TERM";
        pid1 adieu processes::leftovers_elsewhere_get_term "lets what the app leaves behind in another session act on a TERM";
        pid1 adieu processes::leftovers_get_time "lets what is left behind finish";
        ordinary adieu processes::the_app_ends_with_a_killed_init "takes the app along when it is killed itself";
        pid1 tini  status::the_apps_status "exits with the app's status";
        pid1 tini  status::the_apps_signal "exits with 128 and the signal that the app died of";
        pid1 tini  status::an_app_that_ends_by_term "exits with 143 when the app ends by the TERM passed on";
        pid1 tini  status::not_found_is_127 "exits with 127 when the command is not found, and names it";
        pid1 tini  status::not_executable_is_126 "exits with 126 when the command cannot be executed, and names it";
        pid1 tini  inheritance::a_clean_slate "starts the app with no signal blocked or ignored";
        pid1 tini  inheritance::mask_and_ignored_signals "hands on the signal mask and the ignored signals it was given";
        ordinary adieu inheritance::chld_ignored_by_the_parent "reaps though its parent ignores CHLD";
        ordinary tini  inheritance::chld_blocked_by_the_parent "reaps though its parent blocks CHLD";
        pid1 tini  inheritance::arguments "hands arguments on byte for byte";
        pid1 tini  inheritance::environment "hands the environment on byte for byte";
        pid1 tini  inheritance::odd_environment "hands on an environment with names twice, without = and without a name";
        pid1 tini  inheritance::empty_environment "leaves an empty environment empty";
        pid1 tini  inheritance::descriptors "hands on exactly the descriptors it was given";
        pid1 adieu inheritance::lets_go_of_descriptors "keeps none of them open itself";
        pid1 tini  inheritance::directory "starts the app where it was started";
        ordinary adieu inheritance::leaves_the_directory "does not stay in that directory itself";
        pid1 adieu inheritance::listen_pid "makes LISTEN_PID name the app, for socket activation";
        pid1 tini  inheritance::stdin_is_the_apps "leaves stdin to the app, to its end";
        pid1 tini  inheritance::stdout_is_the_apps "writes nothing on stdout";
        pid1 tini  terminal::foreground "puts the app in the terminal's foreground, in a process group of its own";
        pid1 tini  terminal::one_ctrl_c "makes one INT of one Ctrl-C";
        pid1 tini  terminal::resize "lets the app see the terminal's new size";
        pid1 tini  terminal::hangup "lets a hang-up end the app";
        ordinary adieu terminal::ctrl_z_and_fg "is suspended by Ctrl-Z and resumed by fg, with the app";
    } };
}

macro_rules! table {
    ($($kind:ident $known:ident $topic:ident::$case:ident $about:literal;)+) => {
        pub const CASES: &[Case] = &[$(Case {
            topic: stringify!($topic),
            name: stringify!($case),
            about: $about,
            as_pid_1: matches!(stringify!($kind).as_bytes(), b"pid1"),
            tini: matches!(stringify!($known).as_bytes(), b"tini"),
            run: $topic::$case,
        }),+];
    };
}

every_case!(table);
