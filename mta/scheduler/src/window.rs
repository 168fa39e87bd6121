//! Destination concurrency: how many deliveries one next hop is trusted with at a time.
//!
//! Feedback as in Postfix's qmgr(8) with positive and negative feedback 1: every delivery that found the host
//! well opens the window by one, up to the limit and to what is used plus the initial window; every one that
//! did not closes it by one, down to one. Failures are also summed in cohorts (one window's worth). After
//! [`FAILED_COHORT_LIMIT`] of them without a success the destination is dead for the minimal backoff time,
//! which is one moment stored once and costs the waiting messages nothing; then a single delivery probes it.
//! A deferral of one recipient says nothing about the host and never comes here as a failure.

/// Postfix gives up after 1 cohort; its window of 1 then dies by a single lost connection.
pub(crate) const FAILED_COHORT_LIMIT: f64 = 3.0;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Open,
    Dead { until_ms: u64 },
}

#[derive(Debug)]
pub(crate) struct Window {
    size: u32,
    failed_cohorts: f64,
    state: State,
}

/// The bounds of a destination's window; `1 <= initial <= limit`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) initial: u32,
    pub(crate) limit: u32,
}

impl Window {
    pub(crate) fn new(bounds: Bounds) -> Window {
        Window { size: bounds.initial, failed_cohorts: 0.0, state: State::Open }
    }

    /// How many deliveries may be under way.
    pub(crate) fn size(&self) -> u32 {
        match self.state {
            State::Open => self.size,
            State::Dead { .. } => 0,
        }
    }

    pub(crate) fn dead_until_ms(&self) -> Option<u64> {
        match self.state {
            State::Open => None,
            State::Dead { until_ms } => Some(until_ms),
        }
    }

    /// A delivery found the host well. `busy` counts the deliveries under way, this one among them.
    pub(crate) fn succeed(&mut self, bounds: Bounds, busy: u32) {
        self.failed_cohorts = 0.0;
        match self.state {
            State::Dead { .. } => {
                self.state = State::Open;
                self.size = busy.clamp(1, bounds.limit);
            }
            State::Open if self.size < bounds.limit && self.size < busy + bounds.initial => self.size += 1,
            State::Open => {}
        }
    }

    /// A delivery found the host unwell (no connection, no greeting, 421, lost or timed out).
    pub(crate) fn fail(&mut self, dead_until_ms: u64) {
        if self.state != State::Open {
            // sent before the destination was found dead: nothing new
            return;
        }
        self.failed_cohorts += 1.0 / f64::from(self.size);
        if self.failed_cohorts >= FAILED_COHORT_LIMIT {
            self.state = State::Dead { until_ms: dead_until_ms };
        } else {
            self.size = (self.size - 1).max(1);
        }
    }

    /// A dead destination's rest ends now.
    pub(crate) fn cut_death_short(&mut self, now_ms: u64) {
        if let State::Dead { until_ms } = &mut self.state {
            *until_ms = now_ms.min(*until_ms);
        }
    }

    /// Opens a dead window whose time has come, for one delivery: if that fails it is dead again.
    pub(crate) fn reopen(&mut self, now_ms: u64) {
        if self.dead_until_ms().is_some_and(|until_ms| until_ms <= now_ms) {
            *self = Window { size: 1, failed_cohorts: FAILED_COHORT_LIMIT - 1.0, state: State::Open };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { initial: 5, limit: 20 };

    #[test]
    fn opens_by_one_a_success_up_to_the_limit_while_it_is_used() {
        let mut window = Window::new(BOUNDS);
        window.succeed(BOUNDS, 1);
        assert_eq!(window.size(), 6);
        window.succeed(BOUNDS, 1);
        assert_eq!(window.size(), 6, "one busy delivery plus the initial five is all that is used");
        for _ in 0..100 {
            window.succeed(BOUNDS, window.size());
        }
        assert_eq!(window.size(), BOUNDS.limit);
    }

    #[test]
    fn dies_after_three_failed_cohorts_and_is_probed_by_one() {
        let mut window = Window::new(BOUNDS);
        // 1/5 + 1/4 + 1/3 + 1/2 + 1 < 3 <= 1/5 + 1/4 + 1/3 + 1/2 + 1 + 1
        for size in [4, 3, 2, 1, 1] {
            window.fail(300);
            assert_eq!(window.size(), size);
        }
        window.fail(300);
        assert_eq!((window.size(), window.dead_until_ms()), (0, Some(300)));
        window.fail(400);
        window.reopen(299);
        assert_eq!(window.dead_until_ms(), Some(300), "neither extended nor opened early");
        window.reopen(300);
        assert_eq!(window.size(), 1);
        window.fail(600);
        assert_eq!(window.dead_until_ms(), Some(600));
        window.reopen(600);
        window.succeed(BOUNDS, 1);
        assert_eq!(window.size(), 2);
    }

    #[test]
    fn a_late_success_revives_a_dead_destination() {
        let mut window = Window::new(BOUNDS);
        for _ in 0..6 {
            window.fail(300);
        }
        window.succeed(BOUNDS, 3);
        assert_eq!((window.size(), window.dead_until_ms()), (3, None));
    }
}
