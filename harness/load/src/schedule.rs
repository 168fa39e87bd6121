//! Which message is sent next, and when it was meant to start.
//!
//! One iterator for every load model: a connection that is free asks for its next message and gets a number of its own and
//! the time from which latency counts. In the open loop that time was fixed before the run began, whatever the server does;
//! in the closed loop it is the moment of asking. Pure: the time comes from the caller, chance from a seed.
//!
//! | module | for |
//! |---|---|
//! | [`rate`] | how many messages a second are meant at each time, and when each is due |
//! | [`stages`] | such rates as people write them |

pub mod rate;
pub mod stages;

use distribution::Distribution;
use rate::{Arrivals, Course, Spacing};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// What load is meant, and until when. Its serialized form is for processes of the same executable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub model: Model,
    pub stop: Stop,
    /// Messages meant to start before this time are sent and kept out of the statistics.
    pub warm_up: Duration,
    /// Which part of the load is ours.
    pub shard: Shard,
}

/// What decides when a message starts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Model {
    /// The connections: each starts its next message when the last one is over, after a pause of so many nanoseconds
    /// where there is one.
    Closed { think: Option<Distribution> },
    /// The clock: messages are due at times of their own, whether or not the server keeps up.
    Open { course: Course, spacing: Spacing },
}

impl Model {
    /// How long messages come due; none where it is connections that decide, or no end is in sight.
    pub fn length(&self) -> Option<Duration> {
        match self {
            Model::Closed { .. } => None,
            Model::Open { course, .. } => {
                Some(course.length()).filter(|&length| length < settings::duration::LONGEST)
            }
        }
    }
}

/// When no more messages are started: whichever comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// Messages of the whole run.
    pub after: Option<u64>,
    /// Time since the start.
    pub at: Option<Duration>,
}

/// One of several processes that share a load: it takes every `of`th message, from `index` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    pub index: u32,
    pub of: u32,
}

impl Shard {
    /// The only one.
    pub const WHOLE: Shard = Shard { index: 0, of: 1 };
}

/// A message that a connection has taken upon itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// From 1, never given out twice.
    pub number: u64,
    /// When the message was meant to start; latency counts from here.
    pub intended: Instant,
    /// Whether it is part of the statistics, or of the warm-up.
    pub measured: bool,
}

/// What a free connection is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Send this message.
    Start(Claim),
    /// Wait: no message is due before then.
    Wait(Instant),
    /// No more messages are to be started.
    End,
}

/// The messages still to be sent.
pub struct Schedule {
    start: Instant,
    end: Option<Instant>,
    measured_from: Instant,
    messages: Option<u64>,
    shard: Shard,
    /// Messages of this shard that were given out, and those of them that are part of the warm-up.
    claimed: u64,
    warm_up: u64,
    /// The open loop's due times of this shard: those given out are behind it.
    due: Option<Arrivals>,
    next_due: Option<Duration>,
    /// The same times again: those that have come by now are behind it.
    offered: Option<Offered>,
    stopped: Option<Instant>,
}

/// Counts the due times that have passed.
struct Offered {
    arrivals: Arrivals,
    next: Option<Duration>,
    count: u64,
    warm_up: u64,
}

/// How many messages were meant, and how many of them were begun; the warm-up stands apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Messages that were meant to have started.
    pub offered: u64,
    /// Messages that a connection took upon itself.
    pub started: u64,
    /// Messages of the warm-up that a connection took upon itself.
    pub warm_up: u64,
}

impl Schedule {
    /// The messages of `plan` for a run that begins at `start`.
    pub fn new(plan: &Plan, start: Instant) -> Schedule {
        let arrivals = match &plan.model {
            Model::Closed { .. } => None,
            Model::Open { course, spacing } => Some(Arrivals::new(course.clone(), *spacing, plan.shard)),
        };
        let length = [plan.stop.at, plan.model.length()].into_iter().flatten().min();
        let mut schedule = Schedule {
            start,
            end: length.map(|length| start + length),
            measured_from: start + plan.warm_up,
            messages: plan.stop.after,
            shard: plan.shard,
            claimed: 0,
            warm_up: 0,
            due: arrivals.clone(),
            next_due: None,
            offered: arrivals.map(|arrivals| Offered { arrivals, next: None, count: 0, warm_up: 0 }),
            stopped: None,
        };
        schedule.next_due = schedule.due.as_mut().and_then(Iterator::next);
        if let Some(offered) = &mut schedule.offered {
            offered.next = offered.arrivals.next();
        }
        schedule
    }

    /// What a connection that is free at `now` is to do.
    pub fn claim(&mut self, now: Instant) -> Next {
        if self.is_finished(now) {
            return Next::End;
        }
        let intended = match (&mut self.due, self.next_due) {
            (None, _) => now,
            (Some(_), None) => return Next::End,
            (Some(due), Some(next)) => {
                let intended = self.start + next;
                if self.end.is_some_and(|end| intended >= end) {
                    return Next::End;
                }
                if now < intended {
                    return Next::Wait(intended);
                }
                self.next_due = due.next();
                intended
            }
        };
        let number = self.number(self.claimed);
        let measured = intended >= self.measured_from;
        self.claimed += 1;
        self.warm_up += u64::from(!measured);
        Next::Start(Claim { number, intended, measured })
    }

    /// No message is started from `now` on.
    pub fn stop(&mut self, now: Instant) {
        self.stopped.get_or_insert(now);
    }

    /// Whether no message is to be started at `now` or later.
    fn is_finished(&self, now: Instant) -> bool {
        let grace = if self.is_open() { GRACE } else { Duration::ZERO };
        self.stopped.is_some()
            || self.messages.is_some_and(|messages| self.number(self.claimed) > messages)
            || self.end.is_some_and(|end| now >= end + grace)
    }

    /// What was meant to have started by `now`, whether it did or not, and what did. Later calls must not go back in time.
    pub fn tally(&mut self, now: Instant) -> Tally {
        let started = self.claimed - self.warm_up;
        let messages = self.messages_of_shard();
        let until = [self.stopped, self.end].into_iter().flatten().fold(now, Instant::min);
        let Some(offered) = &mut self.offered else {
            return Tally { offered: started, started, warm_up: self.warm_up };
        };
        while let Some(next) = offered.next.map(|next| self.start + next)
            && next <= until
            && self.end.is_none_or(|end| next < end)
            && messages.is_none_or(|messages| offered.count < messages)
        {
            offered.count += 1;
            offered.warm_up += u64::from(next < self.measured_from);
            offered.next = offered.arrivals.next();
        }
        Tally { offered: offered.count - offered.warm_up, started, warm_up: self.warm_up }
    }

    /// Whether what happens at `now` is part of the statistics.
    pub fn is_measured(&self, now: Instant) -> bool {
        now >= self.measured_from
    }

    /// Messages that were asked for by number; none if the run ends by time alone.
    pub fn messages_of_shard(&self) -> Option<u64> {
        let Shard { index, of } = self.shard;
        self.messages.map(|messages| messages.saturating_sub(index.into()).div_ceil(of.into()))
    }

    /// When the run begins.
    pub fn start(&self) -> Instant {
        self.start
    }

    /// Whether latency counts from times that were fixed beforehand.
    pub fn is_open(&self) -> bool {
        self.due.is_some()
    }

    /// The number of this shard's message after `before` others.
    fn number(&self, before: u64) -> u64 {
        before * u64::from(self.shard.of) + u64::from(self.shard.index) + 1
    }
}

/// How long after the end a message that was due before it may still be started: it is not missed for being the last.
const GRACE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
