//! Who may have the next free slot of an agent: shares of all slots, by what is known of destination and entry.
//!
//! A destination that answers slowly without ever failing is invisible to window feedback, and a few of them hold every
//! agent. So deliveries of new mail to slow destinations together have a bounded share of the slots, and with those to
//! destinations that have not answered yet a larger one. Retries to destinations that were not well last have a share
//! of their own, so that slow failures cannot starve new mail. Inside a lane destinations take turns. A destination
//! that is alone has nobody to leave slots to.
//!
//! Postfix's rules have one lane without a bound, in the order of the entries' age.

use crate::limits::Limits;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// Which of a destination's two lines.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Kind {
    New,
    Retry,
}

impl Kind {
    pub(crate) const BOTH: [Kind; 2] = [Kind::New, Kind::Retry];
}

/// What is known of how long a destination keeps an agent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pace {
    /// No delivery has ended yet.
    Unproven,
    Quick,
    Slow,
}

/// Where a destination's line waits for its turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Lane {
    /// It counts against the retries' share.
    pub(crate) bounded_retry: bool,
    pub(crate) pace: Pace,
}

const LANES: usize = 6;

impl Lane {
    fn number(self) -> usize {
        usize::from(self.bounded_retry) * 3 + self.pace as usize
    }

    fn of_number(number: usize) -> Lane {
        let pace = [Pace::Unproven, Pace::Quick, Pace::Slow][number % 3];
        Lane { bounded_retry: number >= 3, pace }
    }
}

/// A line of a destination.
pub(crate) type Place = (u32, Kind);

enum Round {
    Turns(VecDeque<Place>),
    /// By the moment since which the first entry is ready.
    ByAge(BinaryHeap<Reverse<(u64, Place)>>),
}

/// The most slots that may be busy with each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shares {
    pub(crate) retries: u32,
    pub(crate) slow: u32,
    /// Slow ones and unproven ones together.
    pub(crate) unproven: u32,
}

impl Shares {
    pub(crate) fn of(limits: &Limits) -> Shares {
        Shares {
            retries: limits.slots_of(limits.retry_share),
            slow: limits.slots_of(limits.slow_share),
            unproven: limits.slots_of(limits.unproven_share),
        }
    }
}

pub(crate) struct Lanes {
    rounds: [Round; LANES],
    shares: Shares,
    /// Slots busy by pace of their destinations, as it is known now; bounded retries apart.
    busy: [u32; 3],
    busy_retries: u32,
    /// The lane that is asked first; it moves on with every turn.
    first: usize,
}

impl Lanes {
    /// `None`: everything by age, without shares.
    pub(crate) fn new(shares: Option<Shares>) -> Lanes {
        let all = Shares { retries: u32::MAX, slow: u32::MAX, unproven: u32::MAX };
        let round = |_| match shares {
            Some(_) => Round::Turns(VecDeque::new()),
            None => Round::ByAge(BinaryHeap::new()),
        };
        Lanes {
            rounds: std::array::from_fn(round),
            shares: shares.unwrap_or(all),
            busy: [0; 3],
            busy_retries: 0,
            first: 0,
        }
    }

    /// Other shares from now on; who has more than its share keeps it until it ends.
    pub(crate) fn share(&mut self, shares: Shares) {
        self.shares = shares;
    }

    /// Whether what is put in goes by its age.
    pub(crate) fn by_age(&self) -> bool {
        matches!(self.rounds[0], Round::ByAge(_))
    }

    pub(crate) fn put(&mut self, lane: Lane, place: Place, ready_since_ms: u64) {
        match &mut self.rounds[lane.number()] {
            Round::Turns(turns) => turns.push_back(place),
            Round::ByAge(heap) => heap.push(Reverse((ready_since_ms, place))),
        }
    }

    /// The next line of a lane that has slots left, with the lane that it was put into.
    /// `alone`: no other destination has anything to deliver, so that nobody is protected by the shares of pace.
    pub(crate) fn next(&mut self, alone: bool) -> Option<(Place, Lane)> {
        for offset in 0..LANES {
            let number = (self.first + offset) % LANES;
            let lane = Lane::of_number(number);
            if !self.has_slot(lane, alone) {
                continue;
            }
            let place = match &mut self.rounds[number] {
                Round::Turns(turns) => turns.pop_front(),
                Round::ByAge(heap) => heap.pop().map(|Reverse((_, place))| place),
            };
            if let Some(place) = place {
                return Some((place, lane));
            }
        }
        None
    }

    fn has_slot(&self, lane: Lane, alone: bool) -> bool {
        let [unproven, _, slow] = self.busy;
        let by_pace = match lane.pace {
            Pace::Unproven => unproven + slow < self.shares.unproven,
            Pace::Quick => true,
            Pace::Slow => slow < self.shares.slow,
        };
        if lane.bounded_retry { self.busy_retries < self.shares.retries } else { alone || by_pace }
    }

    pub(crate) fn begin(&mut self, lane: Lane) {
        if lane.bounded_retry {
            self.busy_retries += 1;
        } else {
            self.busy[lane.pace as usize] += 1;
        }
        self.first = (lane.number() + 1) % LANES;
    }

    pub(crate) fn end(&mut self, pace: Pace, was_bounded_retry: bool) {
        if was_bounded_retry {
            self.busy_retries -= 1;
        } else {
            self.busy[pace as usize] -= 1;
        }
    }

    /// A destination with `busy` slots, bounded retries apart, is now known to be otherwise.
    pub(crate) fn change(&mut self, from: Pace, to: Pace, busy: u32) {
        self.busy[from as usize] -= busy;
        self.busy[to as usize] += busy;
    }
}
