//! The run's clocks: CLOCK_MONOTONIC nanoseconds for ids and records, CPU time, and the date for header sections.
//!
//! `Instant` reads the same clock but hides its value; one reading of both, taken together, translates every other.

use jiff::{Timestamp, fmt::rfc2822};
use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant};

/// Translates instants into the values that other processes can compare, and holds the date of the current second.
pub struct Clock {
    instant: Instant,
    monotonic_ns: u64,
    cpu: Duration,
    date: String,
    date_made: Instant,
}

impl Clock {
    /// Reads the clocks.
    pub fn start() -> Clock {
        let monotonic_ns = nanoseconds(read(ClockId::Monotonic));
        let instant = Instant::now();
        Clock {
            instant,
            monotonic_ns,
            cpu: read(ClockId::ProcessCPUTime),
            date: date_now(),
            date_made: instant,
        }
    }

    /// CLOCK_MONOTONIC at `instant`, in nanoseconds.
    pub fn monotonic_ns(&self, instant: Instant) -> u64 {
        match instant.checked_duration_since(self.instant) {
            Some(after) => self.monotonic_ns + nanoseconds(after),
            None => self.monotonic_ns - nanoseconds(self.instant - instant),
        }
    }

    /// The instant at which CLOCK_MONOTONIC is `ns`.
    pub fn instant(&self, ns: u64) -> Instant {
        match ns.checked_sub(self.monotonic_ns) {
            Some(after) => self.instant + Duration::from_nanos(after),
            None => self.instant - Duration::from_nanos(self.monotonic_ns - ns),
        }
    }

    /// CPU time that this process has used since the start, in seconds, user and system together.
    pub fn cpu_s(&self) -> f64 {
        (read(ClockId::ProcessCPUTime) - self.cpu).as_secs_f64()
    }

    /// The date of a message made at `now` (RFC 5322 §3.3), made again once a second.
    pub fn date(&mut self, now: Instant) -> &str {
        if now.saturating_duration_since(self.date_made) >= Duration::from_secs(1) {
            self.date = date_now();
            self.date_made = now;
        }
        &self.date
    }
}

/// CLOCK_MONOTONIC now, in nanoseconds.
pub fn monotonic_now_ns() -> u64 {
    nanoseconds(read(ClockId::Monotonic))
}

fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn nanoseconds(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}

fn date_now() -> String {
    let mut date = String::new();
    rfc2822::DateTimePrinter::new()
        .print_timestamp(&Timestamp::now(), &mut date)
        .expect("the present lies within RFC 5322's years and a String accepts every write");
    date
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_translated_to_the_monotonic_clock() {
        let clock = Clock::start();
        let before = nanoseconds(read(ClockId::Monotonic));
        let translated = clock.monotonic_ns(Instant::now());
        let after = nanoseconds(read(ClockId::Monotonic));
        let slack = 1_000_000;
        assert!(before < translated + slack && translated < after + slack, "{before} {translated} {after}");
        assert!(clock.monotonic_ns(clock.instant - Duration::from_nanos(5)) + 5 == clock.monotonic_ns);
        for ns in [clock.monotonic_ns - 7, clock.monotonic_ns + 7] {
            assert_eq!(clock.monotonic_ns(clock.instant(ns)), ns);
        }
    }
}
