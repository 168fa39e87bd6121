//! Rate limits: gates that let one pass after another, in the order in which they came (generic cell rate algorithm).
//!
//! A gate belongs to one destination, or to a rule whose destinations share it. Destinations that meet a closed gate
//! wait at it, and a timer lets the next one go on: nobody looks at a closed gate again and again.

use std::collections::VecDeque;

/// So much of a gate's traffic may pass at once, in seconds of its rate, after a pause: turns come in milliseconds.
const BURST_US: u64 = 100_000;

pub(crate) struct Gate {
    interval_us: u64,
    /// When the next would pass if there were no burst.
    pub(crate) due_us: u64,
    /// Destinations in the order in which they came.
    pub(crate) waiting: VecDeque<u32>,
    /// A timer waits for it to open.
    pub(crate) in_timer: bool,
}

impl Gate {
    fn new(per_second: f64) -> Gate {
        let interval_us = (1e6 / per_second.max(1e-6)) as u64;
        Gate { interval_us: interval_us.max(1), due_us: 0, waiting: VecDeque::new(), in_timer: false }
    }

    /// From when on one may pass.
    pub(crate) fn opens_ms(&self) -> u64 {
        self.due_us.saturating_sub(BURST_US).div_ceil(1000)
    }

    /// How many may go on at one moment, since turns come in milliseconds.
    pub(crate) fn turns_a_ms(&self) -> u64 {
        (1000 / self.interval_us).max(1)
    }

    pub(crate) fn interval_ms(&self) -> u64 {
        (self.interval_us / 1000).max(1)
    }

    pub(crate) fn pass(&mut self, now_ms: u64) {
        self.due_us = self.due_us.max(now_ms * 1000) + self.interval_us;
    }

    /// Takes the place of another one: what has passed that still counts.
    pub(crate) fn succeed(&mut self, due_us: u64, now_ms: u64) {
        // no more than could have passed here
        let most_us = now_ms * 1000 + BURST_US + self.interval_us;
        self.due_us = self.due_us.max(due_us.min(most_us));
    }

    /// One that passed did not need to.
    pub(crate) fn give_back(&mut self) {
        self.due_us = self.due_us.saturating_sub(self.interval_us);
    }
}

#[derive(Default)]
pub(crate) struct Gates {
    all: Vec<Gate>,
    free: Vec<u32>,
}

impl Gates {
    /// `per_second`: more than 0.
    pub(crate) fn add(&mut self, per_second: f64) -> u32 {
        let gate = Gate::new(per_second);
        if let Some(number) = self.free.pop() {
            self.all[number as usize] = gate;
            return number;
        }
        self.all.push(gate);
        (self.all.len() - 1) as u32
    }

    /// Nobody waits at it any more, nor does a timer.
    pub(crate) fn remove(&mut self, number: u32) {
        self.free.push(number);
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn get(&self, number: u32) -> &Gate {
        &self.all[number as usize]
    }

    pub(crate) fn get_mut(&mut self, number: u32) -> &mut Gate {
        &mut self.all[number as usize]
    }
}
