//! The state machine itself: what goes in, what comes out, and what both do to an entry.
//!
//! All rules are elsewhere (windows in `window`, waiting in `wheel` and `schedule`, turns in `lanes`, `turns` and `gate`,
//! which destination is served in `dispatch`); here is the bookkeeping that ties them together.

use crate::active::ActiveQueue;
use crate::clock::Clock;
use crate::destination::Destinations;
use crate::entry::{Ms48, Record, Slab, State};
use crate::lanes::{Kind, Lanes, Shares};
use crate::limits::{Limits, Rule, Rules};
use crate::wheel::Wheel;
use crate::{DestinationId, Disposition, Entry, EntryId, Next, Outcome, Report};
use delivery::{EpochMs, QueueId};
use smtp::client::HopStatus;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// Timer steps that one poll takes when it has something else to offer already.
const POLL_TIMER_STEPS_MAX: u32 = 128;

/// Deliveries under way that are watched for taking long.
const WATCHED_MAX: usize = 1 << 20;

pub struct Scheduler {
    pub(crate) limits: Limits,
    pub(crate) slow_after_ms: u64,
    pub(crate) clock: Clock,
    pub(crate) slab: Slab,
    pub(crate) wheel: Wheel,
    pub(crate) destinations: Destinations,
    pub(crate) lanes: Lanes,
    /// Postfix's rules only.
    pub(crate) active_queue: Option<ActiveQueue>,
    /// Ends of dead destinations' rests, and openings of gates.
    pub(crate) alarms: BinaryHeap<Reverse<(u64, Alarm)>>,
    /// Lines of dead destinations whose entries are looked at once more: (destination, line, entries left).
    pub(crate) condemned: VecDeque<(u32, Kind, u32)>,
    /// Deliveries under way by their beginning, those that have ended among them.
    pub(crate) watched: VecDeque<(u64, EntryId)>,
    pub(crate) active: u64,
    /// In their destinations' lines.
    pub(crate) ready: u64,
    /// Of `ready`: those whose destination is dead.
    pub(crate) ready_of_dead: u64,
    pub(crate) waiting: u64,
    /// Destinations with something ready or under way.
    pub(crate) stirring: u32,
    pub(crate) held: u64,
    /// Destinations of which everything is to be due now, and the record that each search has come to.
    pub(crate) sweeps: VecDeque<(u32, u32)>,
    random: fastrand::Rng,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Alarm {
    Revival(u32),
    Gate(u32),
}

impl Scheduler {
    pub fn new(limits: Limits) -> Scheduler {
        let ours = limits.rules == Rules::Mailrig;
        Scheduler {
            slow_after_ms: limits.slow_after_ms(),
            clock: Clock::default(),
            slab: Slab::new(),
            wheel: Wheel::new(),
            destinations: Destinations::new(&limits),
            lanes: Lanes::new(ours.then(|| Shares::of(&limits))),
            active_queue: (!ours).then(|| ActiveQueue::new(limits.active_limit)),
            alarms: BinaryHeap::new(),
            condemned: VecDeque::new(),
            watched: VecDeque::new(),
            active: 0,
            ready: 0,
            ready_of_dead: 0,
            waiting: 0,
            stirring: 0,
            held: 0,
            sweeps: VecDeque::new(),
            random: fastrand::Rng::with_seed(limits.seed),
            limits,
        }
    }

    /// Gives this next hop a limit of its own in the place of [`Limits::destination_concurrency`]. To be called
    /// before there is mail for it.
    pub fn limit_destination(&mut self, next_hop: &str, concurrency: u32) {
        self.add_rule(Rule {
            next_hops: vec![next_hop.to_owned()],
            concurrency: Some(concurrency),
            ..Rule::default()
        });
    }

    /// To be called before there is mail for its next hops. Of several rules for one the first counts.
    pub fn add_rule(&mut self, rule: Rule) {
        self.destinations.add_rule(rule);
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

    /// Recipients that one transaction with the destination may have; the caller makes its entries by it.
    pub fn recipients(&self, destination: DestinationId) -> u16 {
        self.destinations.get(destination.0).recipients
    }

    pub fn enqueue(&mut self, entry: Entry) -> EntryId {
        let Entry { id, destination, sender, born, due, attempts } = entry;
        let due_ms = self.clock.own_ms(due);
        let record = Record::new(id.0, destination.0, sender.0, born.0, due_ms, attempts);
        let index = self.slab.insert(record);
        if self.limits.delay_warning.is_some_and(|after| attempts > 0 && due.since(born) >= after) {
            // an entry of an earlier run of the queue manager: better no warning than a second one
            self.slab.get_mut(index).set_warned();
        }
        self.destinations.get_mut(destination.0).entries += 1;
        self.wait(index, due_ms);
        EntryId { index, generation: self.slab.get(index).generation }
    }

    /// The next decision. To be called only while an agent is free: what it gives out counts as under way.
    pub fn poll(&mut self, now: EpochMs) -> Next {
        let now_ms = self.clock.read(now);
        loop {
            let settled = self.advance(now_ms, POLL_TIMER_STEPS_MAX);
            if let Some(next) = self.condemn(now, now_ms) {
                return next;
            }
            if let Some(next) = self.deliver(now_ms) {
                return next;
            }
            if settled && self.condemned.is_empty() {
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
        let Some(index) = self.end_of_delivery(entry, Some(report), now_ms) else {
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
        let Some(due_ms) = self.next_attempt_ms(now, now_ms, index) else {
            self.forget(index);
            return Disposition::Expired;
        };
        let record = self.slab.get_mut(index);
        record.due = Ms48::new(due_ms);
        let attempts = record.attempts();
        let age = now.since(EpochMs(record.born.get()));
        let warn = !record.warned() && self.limits.delay_warning.is_some_and(|after| age >= after);
        if warn {
            record.set_warned();
        }
        if record.state == State::ActiveHeld {
            self.put_aside(index);
        } else {
            self.wait(index, due_ms);
        }
        Disposition::Retry { due: self.clock.wall(due_ms), attempts, warn }
    }

    /// The agent was lost before it tried: the entry is due again at once and no attempt is counted. It goes
    /// behind its destination's other ready entries: one that kills its agents must not hold up the rest.
    pub fn put_back(&mut self, now: EpochMs, entry: EntryId) {
        let now_ms = self.clock.read(now);
        let Some(index) = self.end_of_delivery(entry, None, now_ms) else { return };
        match self.slab.get(index).state {
            State::ActiveRemoved => self.slab.free(index),
            State::ActiveHeld => self.put_aside(index),
            _ => self.make_ready(index),
        }
    }

    /// The delivery of this entry, which is under way, used a connection that was there: it does not count against a
    /// rate of connections.
    pub fn connection_reused(&mut self, entry: EntryId) {
        if !matches!(self.find(entry), Some(State::Active | State::ActiveHeld | State::ActiveRemoved)) {
            return;
        }
        let destination = self.slab.get(entry.index).destination;
        if let [_, Some(gate)] = self.destinations.get(destination).gates {
            self.destinations.gates.get_mut(gate).give_back();
        }
    }

    /// When the next deferred entry or dead destination comes due, or a rate allows more, if anything does.
    pub fn next_due(&self) -> Option<EpochMs> {
        if !self.sweeps.is_empty() || !self.condemned.is_empty() {
            return Some(self.clock.wall(self.clock.now_ms()));
        }
        let alarm = self.alarms.peek().map(|Reverse((at_ms, _))| *at_ms);
        let next_ms = match (alarm, self.wheel.next_due_ms()) {
            (Some(alarm), Some(due)) => alarm.min(due),
            (alarm, due) => alarm.or(due)?,
        };
        Some(self.clock.wall(next_ms))
    }

    /// Counts an attempt that failed and says when the next one is due; `None`: the message is too old.
    pub(crate) fn next_attempt_ms(&mut self, now: EpochMs, now_ms: u64, index: u32) -> Option<u64> {
        let random = self.random.f64();
        let record = self.slab.get_mut(index);
        record.count_attempt();
        let age = now.since(EpochMs(record.born.get()));
        self.limits.next_attempt_ms(now_ms, age, record.attempts(), random)
    }

    /// Frees the entry's slot and, if there is a report, learns from it. None: it is not under way.
    fn end_of_delivery(&mut self, entry: EntryId, report: Option<Report>, now_ms: u64) -> Option<u32> {
        match self.find(entry)? {
            State::Active | State::ActiveHeld | State::ActiveRemoved => {}
            State::Free | State::Waiting | State::Queued | State::Ready | State::Held => return None,
        }
        let record = self.slab.get(entry.index);
        let (index, bounded_retry) = (record.destination, record.bounded_retry());
        let slot_time_ms = now_ms.saturating_sub(record.due.get());
        if let Some(report) = report {
            self.learn(index, report, slot_time_ms, now_ms);
        }
        let destination = self.destinations.get_mut(index);
        destination.busy -= 1;
        destination.busy_retries -= u32::from(bounded_retry);
        self.active -= 1;
        self.lanes.end(destination.pace, bounded_retry);
        // its own state is about to change: it is not under way any more
        while self.watched.front().is_some_and(|(_, other)| *other == entry || !self.is_active(*other)) {
            self.watched.pop_front();
        }
        self.place(index);
        Some(entry.index)
    }

    /// What one delivery says of its destination: window, pace and health.
    fn learn(&mut self, index: u32, report: Report, slot_time_ms: u64, now_ms: u64) {
        let ours = self.limits.rules == Rules::Mailrig;
        let destination = self.destinations.get_mut(index);
        let was_dead = destination.window.dead_until_ms().is_some();
        match report.hop {
            HopStatus::Up => destination.window.succeed(destination.bounds, destination.busy),
            HopStatus::Throttle => {
                if destination.window.fail(destination.bounds) {
                    let ms = |duration: std::time::Duration| u64::try_from(duration.as_millis());
                    let minimal_ms = ms(self.limits.minimal_backoff).unwrap_or(u64::MAX);
                    let maximal_ms = ms(self.limits.maximal_backoff).unwrap_or(u64::MAX);
                    // the longer it has been dead, the less often it is tried
                    let dead_ms =
                        destination.window.died_ms().map_or(0, |died_ms| now_ms - died_ms.min(now_ms));
                    let rest_ms = if ours { dead_ms.min(maximal_ms).max(minimal_ms) } else { minimal_ms };
                    destination.window.die(now_ms, now_ms.saturating_add(rest_ms));
                }
            }
        }
        if ours {
            let (pace, busy) = (destination.pace, destination.busy - destination.busy_retries);
            destination.took(slot_time_ms, self.slow_after_ms);
            destination.well = report.outcome == Outcome::Finished && report.hop == HopStatus::Up;
            self.lanes.change(pace, destination.pace, busy);
        }
        let destination = self.destinations.get(index);
        let ready = u64::from(destination.ready());
        match (was_dead, destination.window.dead_until_ms().is_some()) {
            (false, true) => {
                self.ready_of_dead += ready;
                self.condemn_line_by_line(index);
            }
            (true, false) => self.ready_of_dead -= ready,
            (false, false) | (true, true) => {}
        }
    }

    pub(crate) fn is_active(&self, entry: EntryId) -> bool {
        matches!(self.find(entry), Some(State::Active | State::ActiveHeld | State::ActiveRemoved))
    }

    /// A delivery begins: it is watched for taking long.
    pub(crate) fn watch(&mut self, now_ms: u64, entry: EntryId) {
        if self.limits.rules == Rules::Mailrig
            && self.limits.slots != u32::MAX
            && self.watched.len() < WATCHED_MAX
        {
            self.watched.push_back((now_ms, entry));
        }
    }

    /// Into the timer, or among what may be delivered when it is due already.
    pub(crate) fn wait(&mut self, index: u32, due_ms: u64) {
        if due_ms <= self.clock.now_ms() {
            self.make_ready(index);
        } else {
            self.waiting += 1;
            self.slab.get_mut(index).state = State::Waiting;
            self.wheel.insert(&mut self.slab, index);
        }
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

    pub(crate) fn id(&self, index: u32) -> QueueId {
        QueueId(self.slab.get(index).id)
    }
}
