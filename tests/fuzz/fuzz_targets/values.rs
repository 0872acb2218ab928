//! Any text as a value: what is accepted can be shown, and what is shown is accepted again and
//! means the same.
#![no_main]

use adieu::settings::values;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(length) = values::duration(text) {
        let shown = adieu::moment::show_duration(length);
        let again = values::duration(&shown).expect("what is shown can be read");
        // Shown to the millisecond.
        assert!(
            again.as_millis().abs_diff(length.as_millis()) <= 1,
            "{text}: {length:?} is shown as {shown}"
        );
    }
    if let Ok(steps) = values::schedule(text) {
        let shown = values::show_schedule(&steps);
        assert!(values::schedule(&shown).is_ok(), "{text} is shown as {shown}");
    }
    if let Ok(signal) = values::signal(text) {
        assert_eq!(values::signal(&signal.to_string()), Ok(signal), "{text} is shown as {signal}");
    }
    let _ = values::catchable(text);
    let _ = values::request(text);
    let _ = values::rewrite(text);
    let _ = values::status(text);
    let _ = values::port(text);
    let _ = values::listen_address(text);
    let _ = values::target(text);
});
