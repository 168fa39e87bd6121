//! The state machine itself: moves entries between timer, destination queues and agents.
//!
//! All rules are elsewhere (windows in `window`, turns and names in `destination`, waiting in `wheel`); here
//! is what happens when, and the bookkeeping that ties them together.

use crate::clock::Clock;
use crate::destination::Destinations;
use crate::entry::{END_OF_TIME_MS, Ms48, Record, Slab, State};
use crate::wheel::{Popped, Wheel};
use crate::window::Bounds;
use crate::{DestinationId, Disposition, Entry, EntryId, Limits, Next, Outcome, RETRY_JITTER, Report};
use delivery::{EpochMs, QueueId};
use smtp::client::HopStatus;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

/// Timer steps that one poll takes when it has something else to offer already.
const POLL_TIMER_STEPS_MAX: u32 = 128;

pub struct Scheduler {
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
    pub(crate) slab: Slab,
    pub(crate) wheel: Wheel,
    pub(crate) destinations: Destinations,
    /// Destinations that can be served, each at most once, in the order of service.
    round: VecDeque<u32>,
    /// Ends of dead destinations that have ready entries: (moment, destination).
    pub(crate) dead: BinaryHeap<Reverse<(u64, u32)>>,
    pub(crate) active: u64,
    pub(crate) ready: u64,
    /// Of `ready`: those whose destination is dead.
    pub(crate) ready_of_dead: u64,
    pub(crate) waiting: u64,
    pub(crate) held: u64,
    /// Destinations of which everything is to be due now, and the record that each search has come to.
    pub(crate) sweeps: VecDeque<(u32, u32)>,
    random: fastrand::Rng,
}

impl Scheduler {
    pub fn new(limits: Limits) -> Scheduler {
        let limit = limits.destination_concurrency.max(1);
        let bounds = Bounds { limit, initial: limits.initial_destination_concurrency.clamp(1, limit) };
        let random = fastrand::Rng::with_seed(limits.seed);
        Scheduler {
            limits,
            clock: Clock::default(),
            slab: Slab::new(),
            wheel: Wheel::new(),
            destinations: Destinations::new(bounds),
            round: VecDeque::new(),
            dead: BinaryHeap::new(),
            active: 0,
            ready: 0,
            ready_of_dead: 0,
            waiting: 0,
            held: 0,
            sweeps: VecDeque::new(),
            random,
        }
    }

    /// Gives this next hop a limit of its own in the place of [`Limits::destination_concurrency`]. To be called
    /// before there is mail for it.
    pub fn limit_destination(&mut self, next_hop: &str, concurrency: u32) {
        self.destinations.limit(next_hop, concurrency);
    }

    /// The destination of this next hop; the text is compared byte by byte.
    pub fn destination(&mut self, next_hop: &str) -> DestinationId {
        DestinationId(self.destinations.intern(next_hop))
    }

    pub fn next_hop(&self, destination: DestinationId) -> &str {
        self.destinations.name(destination.0)
    }

    /// Deliveries that the destination is trusted with now; 0 while it is dead.
    pub fn window(&self, destination: DestinationId) -> u32 {
        self.destinations.get(destination.0).window.size()
    }

    pub fn enqueue(&mut self, entry: Entry) -> EntryId {
        let Entry { id, destination, sender, born, due, attempts } = entry;
        let due_ms = self.clock.own_ms(due);
        let record = Record::new(id.0, destination.0, sender.0, born.0, due_ms, attempts);
        let index = self.slab.insert(record);
        self.destinations.get_mut(destination.0).entries += 1;
        self.wait(index, due_ms);
        EntryId { index, generation: self.slab.get(index).generation }
    }

    /// The next delivery. To be called only while an agent is free: what it returns counts as under way.
    pub fn poll(&mut self, now: EpochMs) -> Next {
        let now_ms = self.clock.read(now);
        loop {
            let settled = self.advance(now_ms, POLL_TIMER_STEPS_MAX);
            if let Some(next) = self.deliver() {
                return next;
            }
            if settled {
                break;
            }
        }
        match (self.next_due(), self.active) {
            (Some(due), _) => Next::Sleep(due),
            (None, 1..) => Next::Blocked,
            (None, 0) => Next::Empty,
        }
    }

    /// Takes the result of a delivery that `poll` gave out. An entry that is not under way is `Gone`.
    pub fn report(&mut self, now: EpochMs, entry: EntryId, report: Report) -> Disposition {
        let now_ms = self.clock.read(now);
        let Some(index) = self.end_of_delivery(entry, Some((report.hop, now_ms))) else {
            return Disposition::Gone;
        };
        if self.slab.get(index).state == State::ActiveRemoved {
            self.slab.free(index);
            return Disposition::Gone;
        }
        if report.outcome == Outcome::Finished {
            self.forget(index);
            return Disposition::Gone;
        }
        let age = now.since(EpochMs(self.slab.get(index).born.get()));
        if age >= self.limits.lifetime {
            self.forget(index);
            return Disposition::Expired;
        }
        let due = now.plus(self.retry_delay(age));
        let due_ms = self.clock.own_ms(due);
        let record = self.slab.get_mut(index);
        record.attempts = record.attempts.saturating_add(1);
        record.due = Ms48::new(due_ms);
        let attempts = record.attempts;
        if record.state == State::ActiveHeld {
            self.put_aside(index);
        } else {
            self.wait(index, due_ms);
        }
        Disposition::Retry { due, attempts }
    }

    /// The agent was lost before it tried: the entry is due again at once and no attempt is counted. It goes
    /// behind its destination's other ready entries: one that kills its agents must not hold up the rest.
    pub fn put_back(&mut self, now: EpochMs, entry: EntryId) {
        self.clock.read(now);
        let Some(index) = self.end_of_delivery(entry, None) else { return };
        match self.slab.get(index).state {
            State::ActiveRemoved => self.slab.free(index),
            State::ActiveHeld => self.put_aside(index),
            _ => self.make_ready(index),
        }
    }

    /// When the next deferred entry or dead destination comes due, if any does.
    pub fn next_due(&self) -> Option<EpochMs> {
        let revival = self.dead.peek().map(|Reverse((until_ms, _))| *until_ms);
        let due = if self.sweeps.is_empty() { self.wheel.next_due_ms() } else { Some(self.clock.now_ms()) };
        let next_ms = match (revival, due) {
            (Some(revival), Some(due)) => revival.min(due),
            (revival, due) => revival.or(due)?,
        };
        Some(self.clock.wall(next_ms))
    }

    /// Makes everything ready whose time has come; false when `steps` were not enough.
    pub(crate) fn advance(&mut self, now_ms: u64, steps: u32) -> bool {
        while let Some(Reverse((until_ms, index))) = self.dead.peek().copied() {
            let destination = self.destinations.get_mut(index);
            let waited_for =
                destination.ready_count > 0 && destination.window.dead_until_ms() == Some(until_ms);
            if waited_for && until_ms > now_ms {
                break;
            }
            self.dead.pop();
            destination.in_timer = false;
            self.revive(index, now_ms);
            self.place(index);
        }
        for _ in 0..steps {
            if self.sweep() {
                continue;
            }
            match self.wheel.pop(&mut self.slab, now_ms) {
                Popped::Nothing => return true,
                Popped::Moved => {}
                Popped::Entry(index) => {
                    self.waiting -= 1;
                    self.make_ready(index);
                }
            }
        }
        false
    }

    /// One entry of the destination whose turn it is.
    fn deliver(&mut self) -> Option<Next> {
        loop {
            let destination_index = self.round.pop_front()?;
            let destination = self.destinations.get_mut(destination_index);
            destination.in_round = false;
            if destination.ready_count == 0 || destination.busy >= destination.window.size() {
                continue;
            }
            let index = destination.ready.pop_front(&mut self.slab).expect("ready_count counts the list");
            destination.ready_count -= 1;
            destination.busy += 1;
            self.ready -= 1;
            self.active += 1;
            let record = self.slab.get_mut(index);
            record.state = State::Active;
            let entry = EntryId { index, generation: record.generation };
            let id = QueueId(record.id);
            self.place(destination_index);
            return Some(Next::Deliver(entry, id, DestinationId(destination_index)));
        }
    }

    /// Frees the entry's slot; with a `verdict` on the host, also tells the window. None: it is not under way.
    fn end_of_delivery(&mut self, entry: EntryId, verdict: Option<(HopStatus, u64)>) -> Option<u32> {
        match self.find(entry)? {
            State::Active | State::ActiveHeld | State::ActiveRemoved => {}
            State::Free | State::Waiting | State::Ready | State::Held => return None,
        }
        let index = self.slab.get(entry.index).destination;
        let destination = self.destinations.get_mut(index);
        let was_dead = destination.window.dead_until_ms().is_some();
        match verdict {
            Some((HopStatus::Up, _)) => destination.window.succeed(destination.bounds, destination.busy),
            Some((HopStatus::Throttle, now_ms)) => {
                let rest_ms = u64::try_from(self.limits.minimal_backoff.as_millis()).unwrap_or(u64::MAX);
                destination.window.fail(now_ms.saturating_add(rest_ms));
            }
            None => {}
        }
        destination.busy -= 1;
        self.active -= 1;
        match (was_dead, destination.window.dead_until_ms().is_some()) {
            (false, true) => self.ready_of_dead += u64::from(destination.ready_count),
            (true, false) => self.ready_of_dead -= u64::from(destination.ready_count),
            (false, false) | (true, true) => {}
        }
        self.place(index);
        Some(entry.index)
    }

    /// Opens a dead destination's window if its time has come.
    pub(crate) fn revive(&mut self, index: u32, now_ms: u64) {
        let destination = self.destinations.get_mut(index);
        if destination.window.dead_until_ms().is_some_and(|until_ms| until_ms <= now_ms) {
            destination.window.reopen(now_ms);
            self.ready_of_dead -= u64::from(destination.ready_count);
        }
    }

    /// Puts a destination that can be served into the round, and a dead one that is waited for into the timer.
    pub(crate) fn place(&mut self, index: u32) {
        let destination = self.destinations.get_mut(index);
        if destination.ready_count == 0 {
            return;
        }
        if let Some(until_ms) = destination.window.dead_until_ms() {
            if !destination.in_timer {
                destination.in_timer = true;
                self.dead.push(Reverse((until_ms, index)));
            }
        } else if destination.busy < destination.window.size() && !destination.in_round {
            destination.in_round = true;
            self.round.push_back(index);
        }
    }

    /// Into the timer, or into its destination's queue when it is due already.
    pub(crate) fn wait(&mut self, index: u32, due_ms: u64) {
        if due_ms <= self.clock.now_ms() {
            self.make_ready(index);
        } else {
            self.waiting += 1;
            self.slab.get_mut(index).state = State::Waiting;
            self.wheel.insert(&mut self.slab, index);
        }
    }

    pub(crate) fn make_ready(&mut self, index: u32) {
        let record = self.slab.get_mut(index);
        record.state = State::Ready;
        let destination_index = record.destination;
        self.revive(destination_index, self.clock.now_ms());
        let destination = self.destinations.get_mut(destination_index);
        destination.ready.push_back(&mut self.slab, index);
        destination.ready_count += 1;
        self.ready += 1;
        if destination.window.dead_until_ms().is_some() {
            self.ready_of_dead += 1;
        }
        self.place(destination_index);
    }

    /// The entry is in no list any more and is over.
    pub(crate) fn forget(&mut self, index: u32) {
        let destination = self.slab.get(index).destination;
        self.slab.free(index);
        self.destinations.get_mut(destination).entries -= 1;
        self.destinations.note_if_idle(destination);
    }

    pub(crate) fn find(&self, entry: EntryId) -> Option<State> {
        self.slab
            .find(entry.index)
            .filter(|record| record.generation == entry.generation)
            .map(|record| record.state)
    }

    /// Postfix's rule, clamp(age, minimal, maximal), with jitter.
    fn retry_delay(&mut self, age: Duration) -> Duration {
        let delay = age.min(self.limits.maximal_backoff).max(self.limits.minimal_backoff);
        let ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX).min(END_OF_TIME_MS);
        let jitter = 1.0 - RETRY_JITTER + self.random.f64() * 2.0 * RETRY_JITTER;
        Duration::from_millis((ms as f64 * jitter) as u64)
    }
}
