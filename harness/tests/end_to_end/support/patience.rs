//! Waiting, always with an end.

use std::time::{Duration, Instant};

/// Everything that is waited for comes within this, or the test fails: far more than it takes on a busy machine.
pub const BOUND: Duration = Duration::from_secs(40);

const STEP: Duration = Duration::from_millis(5);

/// Waits until `holds`; says what it waited for when it does not come.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + BOUND;
    while !holds() {
        assert!(Instant::now() < end, "waited {BOUND:?} in vain: {what}");
        std::thread::sleep(STEP);
    }
}

/// Waits until `found` gives something.
pub fn eventually_some<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let mut result = None;
    eventually(what, || {
        result = found();
        result.is_some()
    });
    result.expect("eventually said so")
}
