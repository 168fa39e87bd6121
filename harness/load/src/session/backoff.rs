//! How long a connection waits after the server turned it away, and when the whole run gives up.
//!
//! Every connection slot counts its own failures in a row; a success anywhere shows that the server is there, so a run is
//! only given up by a slot that failed often while nobody succeeded. Pure: the caller sleeps.

use std::time::Duration;

/// A slot's failures in a row.
#[derive(Default)]
pub struct Backoff {
    failures: u32,
    /// The run's count of successes when the first of these failures happened.
    successes_seen: u64,
}

/// What to do after a failure.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Wait this long, then try again.
    Wait(Duration),
    /// Too many failures with no success anywhere: the server is not there or does not want us.
    GiveUp,
}

impl Backoff {
    /// Notes a failure; `successes` is the run's count of successes so far, `fraction` a random number in 0..1.
    pub fn failed(&mut self, successes: u64, fraction: f64) -> Verdict {
        if successes != self.successes_seen {
            self.successes_seen = successes;
            // The server lives; this slot keeps its pace but starts counting again.
            self.failures = self.failures.min(SLOW_FAILURES);
        }
        self.failures += 1;
        if self.failures >= FAILURES_MAX {
            return Verdict::GiveUp;
        }
        let wait = WAIT_MAX.min(WAIT_FIRST * 2u32.pow(self.failures - 1));
        // Between half and the whole of it, so that slots turned away together do not come back together.
        Verdict::Wait(wait.mul_f64(0.5 + fraction / 2.0))
    }

    /// The slot works again.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }
}

const WAIT_FIRST: Duration = Duration::from_millis(10);
const WAIT_MAX: Duration = Duration::from_millis(500);
/// Failures in a row, with no success anywhere, after which a run is given up: about two seconds.
pub const FAILURES_MAX: u32 = 10;
/// Failures after which the wait is no longer far from its maximum.
const SLOW_FAILURES: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_up_within_seconds_when_nobody_succeeds() {
        let mut backoff = Backoff::default();
        let mut waited = Duration::ZERO;
        for _ in 1..FAILURES_MAX {
            match backoff.failed(0, 0.999) {
                Verdict::Wait(wait) => waited += wait,
                Verdict::GiveUp => panic!("gave up early"),
            }
        }
        assert!(waited > Duration::from_secs(1) && waited < Duration::from_secs(4), "{waited:?}");
        assert_eq!(backoff.failed(0, 0.0), Verdict::GiveUp);
    }

    #[test]
    fn keeps_trying_slowly_while_others_succeed() {
        let mut backoff = Backoff::default();
        for successes in 0..1000 {
            match backoff.failed(successes, 0.0) {
                Verdict::Wait(wait) => assert!(wait >= WAIT_FIRST / 2 && wait <= WAIT_MAX),
                Verdict::GiveUp => panic!("gave up at {successes}"),
            }
        }
        backoff.succeeded();
        assert_eq!(backoff.failed(1000, 0.0), Verdict::Wait(WAIT_FIRST / 2));
    }
}
