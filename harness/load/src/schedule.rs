//! Which message is sent next, and when it was meant to start.
//!
//! One iterator for every load model: a connection that is free asks for its next message and gets a number of its own and
//! the time from which latency counts. In the closed loop that time is the moment of asking. Pure: the time comes from the
//! caller.

use std::time::Instant;

/// A message that a connection has taken upon itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// From 1, never given out twice.
    pub number: u64,
    /// When the message was meant to start; latency counts from here.
    pub intended: Instant,
}

/// The messages still to be sent.
pub struct Schedule {
    claimed: u64,
    messages: u64,
    stopped: bool,
}

impl Schedule {
    /// `messages` in all, each as soon as a connection is free for it.
    pub fn closed_loop(messages: u64) -> Schedule {
        Schedule { claimed: 0, messages, stopped: false }
    }

    /// The next message for a connection that is free at `now`; `None` when no more are to be started.
    pub fn claim(&mut self, now: Instant) -> Option<Claim> {
        if self.is_finished() {
            return None;
        }
        self.claimed += 1;
        Some(Claim { number: self.claimed, intended: now })
    }

    /// No message is started from here on.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// Whether the last message has been claimed, or the schedule was stopped.
    pub fn is_finished(&self) -> bool {
        self.stopped || self.claimed == self.messages
    }

    /// Messages given out so far.
    pub fn claimed(&self) -> u64 {
        self.claimed
    }

    /// Messages that were asked for in all.
    pub fn messages(&self) -> u64 {
        self.messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_each_number_once_and_ends() {
        let now = Instant::now();
        let mut schedule = Schedule::closed_loop(3);
        let numbers: Vec<u64> =
            std::iter::from_fn(|| schedule.claim(now)).map(|claim| claim.number).take(10).collect();
        assert_eq!(numbers, [1, 2, 3]);
        let mut stopped = Schedule::closed_loop(3);
        assert!(stopped.claim(now).is_some());
        stopped.stop();
        assert_eq!((stopped.claim(now), stopped.claimed()), (None, 1));
    }
}
