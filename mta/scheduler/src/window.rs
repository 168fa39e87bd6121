//! Destination concurrency: how many deliveries one next hop is trusted with at a time.
//!
//! Feedback as in Postfix's qmgr(8), hysteresis 1: successes open the window by one at the end of a run of them that
//! adds up to 1, up to the limit and to what is used plus the initial window; failures of the host close it by one at
//! the beginning of such a run, down to one. Failures are also summed in cohorts (one window's worth): after
//! `failed_cohorts` of them without a success the destination is dead, which is one moment stored once and costs the
//! waiting messages nothing. How long, and with what window it comes back, is the caller's rule.
//! A deferral of one recipient says nothing about the host and never comes here as a failure.

use crate::feedback::Feedback;
use crate::limits::{Limits, Rules};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Open,
    Dead { until_ms: u64 },
}

#[derive(Debug)]
pub(crate) struct Window {
    size: u32,
    state: State,
    /// Parts of a step that successes and failures have added up to.
    success: f64,
    failure: f64,
    failed_cohorts: f64,
    /// When it first died without having delivered since.
    died_ms: Option<u64>,
}

/// The rules of a destination's window; `1 <= initial <= limit`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) initial: u32,
    pub(crate) limit: u32,
    pub(crate) positive: Feedback,
    pub(crate) negative: Feedback,
    pub(crate) failed_cohorts: f64,
    /// A destination that was dead is tried with one delivery, and dies again with it; else it starts anew.
    pub(crate) probe: bool,
}

impl Bounds {
    pub(crate) fn of(limits: &Limits) -> Bounds {
        let limit = limits.destination_concurrency.max(1);
        Bounds {
            limit,
            initial: limits.initial_destination_concurrency.clamp(1, limit),
            positive: limits.positive_feedback,
            negative: limits.negative_feedback,
            failed_cohorts: limits.failed_cohort_limit,
            probe: limits.rules == Rules::Mailrig,
        }
    }
}

impl Window {
    pub(crate) fn new(bounds: Bounds) -> Window {
        Window {
            size: bounds.initial,
            state: State::Open,
            success: 0.0,
            failure: 0.0,
            failed_cohorts: 0.0,
            died_ms: None,
        }
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

    /// When the destination died for the first time since its last success; `None`: it did not.
    pub(crate) fn died_ms(&self) -> Option<u64> {
        self.died_ms
    }

    /// A delivery found the host well. `busy` counts the deliveries under way, this one among them.
    pub(crate) fn succeed(&mut self, bounds: Bounds, busy: u32) {
        self.failed_cohorts = 0.0;
        self.died_ms = None;
        if self.state != State::Open {
            self.state = State::Open;
            self.size = busy.clamp(1, bounds.limit);
            (self.success, self.failure) = (0.0, 0.0);
        } else if self.size < bounds.limit && self.size < busy + bounds.initial {
            self.success += bounds.positive.at(self.size);
            // 1 but for rounding
            while self.success >= 1.0 - 1e-9 {
                self.success -= 1.0;
                self.failure = 0.0;
                self.size = (self.size + 1).min(bounds.limit);
            }
        }
    }

    /// A delivery found the host unwell (no connection, no greeting, 421, lost or timed out). True: it is dead now,
    /// and `die` is to say until when.
    pub(crate) fn fail(&mut self, bounds: Bounds) -> bool {
        if self.state != State::Open {
            // sent before the destination was found dead: nothing new
            return false;
        }
        self.failed_cohorts += 1.0 / f64::from(self.size);
        // the sum of N times 1/N may be just below 1
        if self.failed_cohorts + 1e-9 >= bounds.failed_cohorts {
            return true;
        }
        self.failure -= bounds.negative.at(self.size);
        // below 0 by more than rounding
        while self.failure < -1e-9 {
            self.failure += 1.0;
            self.success = 0.0;
            self.size = (self.size - 1).max(1);
        }
        false
    }

    pub(crate) fn die(&mut self, now_ms: u64, until_ms: u64) {
        self.died_ms.get_or_insert(now_ms);
        self.state = State::Dead { until_ms };
    }

    /// The limit is another one.
    pub(crate) fn keep_within(&mut self, bounds: Bounds) {
        self.size = self.size.min(bounds.limit);
    }

    /// A dead destination's rest ends now.
    pub(crate) fn cut_death_short(&mut self, now_ms: u64) {
        if let State::Dead { until_ms } = &mut self.state {
            *until_ms = now_ms.min(*until_ms);
        }
    }

    /// Opens a dead window whose time has come.
    pub(crate) fn reopen(&mut self, bounds: Bounds, now_ms: u64) {
        if self.dead_until_ms().is_some_and(|until_ms| until_ms <= now_ms) {
            *self = Window { died_ms: self.died_ms, ..Window::new(bounds) };
            if bounds.probe {
                self.size = 1;
                self.failed_cohorts = bounds.failed_cohorts - 1.0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        initial: 5,
        limit: 20,
        positive: Feedback::Fixed(1.0),
        negative: Feedback::Fixed(1.0),
        failed_cohorts: 3.0,
        probe: true,
    };

    fn fail(window: &mut Window, bounds: Bounds, until_ms: u64) {
        if window.fail(bounds) {
            window.die(0, until_ms);
        }
    }

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
    fn opens_at_the_end_of_a_run_and_closes_at_its_beginning() {
        let bounds = Bounds { positive: Feedback::Inverse(1.0), negative: Feedback::Inverse(1.0), ..BOUNDS };
        let mut window = Window::new(bounds);
        let sizes: Vec<u32> = (0..5)
            .map(|_| {
                window.succeed(bounds, 5);
                window.size()
            })
            .collect();
        assert_eq!(sizes, [5, 5, 5, 5, 6]);
        let sizes: Vec<u32> = (0..7)
            .map(|_| {
                fail(&mut window, bounds, 300);
                window.size()
            })
            .collect();
        assert_eq!(sizes, [5, 5, 5, 5, 5, 4, 4]);
    }

    #[test]
    fn dies_after_three_failed_cohorts_and_is_probed_by_one() {
        let mut window = Window::new(BOUNDS);
        // 1/5 + 1/4 + 1/3 + 1/2 + 1 < 3 <= 1/5 + 1/4 + 1/3 + 1/2 + 1 + 1
        for size in [4, 3, 2, 1, 1] {
            fail(&mut window, BOUNDS, 300);
            assert_eq!(window.size(), size);
        }
        fail(&mut window, BOUNDS, 300);
        assert_eq!((window.size(), window.dead_until_ms()), (0, Some(300)));
        fail(&mut window, BOUNDS, 400);
        window.reopen(BOUNDS, 299);
        assert_eq!(window.dead_until_ms(), Some(300), "neither extended nor opened early");
        window.reopen(BOUNDS, 300);
        assert_eq!(window.size(), 1);
        fail(&mut window, BOUNDS, 600);
        assert_eq!(window.dead_until_ms(), Some(600));
        window.reopen(BOUNDS, 600);
        window.succeed(BOUNDS, 1);
        assert_eq!(window.size(), 2);
    }

    #[test]
    fn a_late_success_revives_a_dead_destination() {
        let mut window = Window::new(BOUNDS);
        for _ in 0..6 {
            fail(&mut window, BOUNDS, 300);
        }
        window.succeed(BOUNDS, 3);
        assert_eq!((window.size(), window.dead_until_ms()), (3, None));
    }

    #[test]
    fn without_probing_a_dead_destination_starts_anew() {
        let bounds = Bounds { failed_cohorts: 1.0, probe: false, ..BOUNDS };
        let mut window = Window::new(bounds);
        // 1/5 + 1/4 + 1/3 < 1 <= 1/5 + 1/4 + 1/3 + 1/2
        for _ in 0..4 {
            fail(&mut window, bounds, 300);
        }
        assert_eq!(window.size(), 0);
        window.reopen(bounds, 300);
        fail(&mut window, bounds, 300);
        assert_eq!(window.size(), 4);
    }
}
