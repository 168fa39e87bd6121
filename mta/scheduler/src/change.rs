//! Other limits and rules while mail is queued: what a reload of the configuration does here.

use crate::lanes::Shares;
use crate::limits::{Limits, Rule, Rules};
use crate::machine::{Alarm, Scheduler};
use delivery::EpochMs;
use std::cmp::Reverse;

impl Scheduler {
    /// Holds `limits` and `rules` from now on; whose rules these are ([`Limits::rules`]) and the seed stay. What is queued
    /// stays due when it was, a dead destination dead as long as it was; windows keep what they have learned, within their
    /// new limits, and a rate counts what passed before. Entries keep their recipients. Looks at every destination once.
    pub fn change(&mut self, now: EpochMs, limits: Limits, rules: Vec<Rule>) {
        let now_ms = self.clock.read(now);
        let limits = Limits { rules: self.limits.rules, seed: self.limits.seed, ..limits };
        self.slow_after_ms = limits.slow_after_ms();
        if limits.rules == Rules::Mailrig {
            self.lanes.share(Shares::of(&limits));
        }
        if let Some(queue) = &mut self.active_queue {
            queue.limit = limits.active_limit.max(1);
        }
        // who waited at a gate goes to the one that is there now
        self.alarms.retain(|Reverse((_, alarm))| matches!(alarm, Alarm::Revival(_)));
        self.destinations.change(&limits, rules, now_ms);
        self.limits = limits;
        for index in 0..self.destinations.count() {
            self.place(index);
        }
        self.fill_active_queue();
    }
}
