//! When reports are gathered before they are taken in, as network cards do with packets.
//!
//! Agents that share cores with the queue manager wake it for every report, and each time it starts cold, for one. When
//! it is seen to wait for a core, others have work for that core, so nothing is lost if it sleeps until several reports
//! are there. With cores to spare it never sleeps.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// How the cores are is looked at so often.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Cores are busy when this thread waited for one in more than this part of the time.
const WAITED_PART: u32 = 25;

/// So large a part of the deliveries in flight is waited for.
const GATHERED_PART: u32 = 4;

/// With fewer deliveries in flight, those that wait for their reports to be taken in would be missed.
const IN_FLIGHT_MIN: usize = 8;

/// A hundred agents on one core are at this together.
const PAUSE_MAX: Duration = Duration::from_millis(3);

/// For less, going to sleep costs more than it saves.
const PAUSE_MIN: Duration = Duration::from_micros(50);

pub struct Moderation {
    /// `None`: this kernel does not count, and reports are never gathered.
    schedstat: Option<File>,
    /// As of the last look.
    waited: Duration,
    looked: Instant,
    reports: u32,
    /// How long reports of one delivery after the other are apart; `None` when there are cores to spare.
    apart: Option<Duration>,
}

impl Moderation {
    /// For the thread that calls it.
    pub fn new(now: Instant) -> Moderation {
        let schedstat = File::open("/proc/thread-self/schedstat").ok();
        Moderation { schedstat, waited: Duration::ZERO, looked: now, reports: 0, apart: None }
    }

    /// How long to sleep before looking for more, after a turn that brought in `reports`.
    pub fn pause(&mut self, reports: usize, in_flight: usize, now: Instant) -> Option<Duration> {
        self.reports = self.reports.saturating_add(reports as u32);
        let passed = now.saturating_duration_since(self.looked);
        if passed >= LOOK_EVERY {
            self.look(passed);
            self.looked = now;
        }
        pause(self.apart?, reports, in_flight)
    }

    fn look(&mut self, passed: Duration) {
        let reports = std::mem::take(&mut self.reports);
        let waited = self.schedstat.as_ref().and_then(waited).unwrap_or_default();
        let lately = waited.saturating_sub(std::mem::replace(&mut self.waited, waited));
        self.apart = (lately > passed / WAITED_PART && reports > 0).then(|| passed / reports);
    }
}

/// `apart`: from one report to the next.
fn pause(apart: Duration, reports: usize, in_flight: usize) -> Option<Duration> {
    if in_flight < IN_FLIGHT_MIN {
        return None;
    }
    let wanted = in_flight as u32 / GATHERED_PART;
    let missing = wanted.saturating_sub(reports as u32);
    let pause = apart.saturating_mul(missing).min(PAUSE_MAX);
    (pause >= PAUSE_MIN).then_some(pause)
}

/// How long this thread has waited for a core since it began: the second number of `/proc/thread-self/schedstat`.
fn waited(schedstat: &File) -> Option<Duration> {
    let mut text = [0; 96];
    let count = schedstat.read_at(&mut text, 0).ok()?;
    let mut numbers = str::from_utf8(&text[..count]).ok()?.split_ascii_whitespace();
    numbers.nth(1)?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Duration = Duration::from_micros(1);

    #[test]
    fn a_quarter_of_what_is_in_flight_is_waited_for_within_a_bound() {
        assert_eq!(pause(100 * US, 1, 20), Some(400 * US));
        assert_eq!(pause(100 * US, 5, 20), None, "they are there");
        assert_eq!(pause(100 * US, 1, IN_FLIGHT_MIN - 1), None);
        assert_eq!(pause(US, 0, 20), None, "sleeping would cost more");
        assert_eq!(pause(Duration::MAX, 1, 10_000), Some(PAUSE_MAX));
        assert_eq!(pause(US, usize::MAX, usize::MAX), None);
    }

    #[test]
    fn the_kernel_says_how_long_this_thread_waited() {
        let Ok(schedstat) = File::open("/proc/thread-self/schedstat") else { return };
        let before = waited(&schedstat).expect("three numbers");
        let end = Instant::now() + 30 * Duration::from_millis(1);
        while Instant::now() < end {
            std::thread::sleep(US);
        }
        let lately = waited(&schedstat).expect("three numbers") - before;
        assert!(lately > Duration::ZERO && lately < Duration::from_secs(60), "{lately:?}");
    }
}
