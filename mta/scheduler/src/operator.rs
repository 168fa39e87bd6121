//! What an operator does to queued mail: hold, release, requeue, flush, remove, count.
//!
//! Each costs the same whatever is queued; a destination's flush looks at every record, in the bounded steps of `poll`.

use crate::entry::{Ms48, State};
use crate::machine::Scheduler;
use crate::{Counts, DestinationId, Entry, EntryId, SenderId};
use delivery::{EpochMs, QueueId};

impl Scheduler {
    /// Keeps the entry from delivery until `release` or `requeue`. One that is with an agent is held if it comes back.
    /// False when it is gone or held already.
    pub fn hold(&mut self, entry: EntryId) -> bool {
        let index = entry.index;
        match self.find(entry) {
            Some(State::Waiting | State::Queued | State::Ready) => {
                self.take_out(index);
                self.put_aside(index);
            }
            Some(State::Active) => self.slab.get_mut(index).state = State::ActiveHeld,
            Some(State::Free | State::Held | State::ActiveHeld | State::ActiveRemoved) | None => {
                return false;
            }
        }
        true
    }

    /// Ends a hold: the entry is due when it was. False when it was not held.
    pub fn release(&mut self, now: EpochMs, entry: EntryId) -> bool {
        self.clock.read(now);
        let index = entry.index;
        match self.find(entry) {
            Some(State::Held) => {
                self.held -= 1;
                let due_ms = self.slab.get(index).due.get();
                self.wait(index, due_ms);
            }
            Some(State::ActiveHeld) => self.slab.get_mut(index).state = State::Active,
            Some(
                State::Free
                | State::Waiting
                | State::Queued
                | State::Ready
                | State::Active
                | State::ActiveRemoved,
            )
            | None => {
                return false;
            }
        }
        true
    }

    /// Makes the entry due now, also when it was held; its attempts still count. False when it is gone or with an
    /// agent.
    pub fn requeue(&mut self, now: EpochMs, entry: EntryId) -> bool {
        let now_ms = self.clock.read(now);
        let index = entry.index;
        match self.find(entry) {
            Some(State::Waiting) => self.take_out(index),
            Some(State::Held) => self.held -= 1,
            Some(State::Queued | State::Ready) => return true,
            Some(State::Free | State::Active | State::ActiveHeld | State::ActiveRemoved) | None => {
                return false;
            }
        }
        self.slab.get_mut(index).due = Ms48::new(now_ms);
        self.make_ready(index);
        true
    }

    /// Makes everything that is deferred due now, and gives dead destinations another chance. What is held stays.
    pub fn flush(&mut self, now: EpochMs) {
        let now_ms = self.clock.read(now);
        self.sweeps.clear();
        self.wheel.flush(&mut self.slab);
        for index in 0..self.destinations.count() {
            self.forgive(index, now_ms);
        }
    }

    /// As [`Scheduler::flush`], for what waits for one destination.
    pub fn flush_destination(&mut self, now: EpochMs, destination: DestinationId) {
        let now_ms = self.clock.read(now);
        self.forgive(destination.0, now_ms);
        self.sweeps.retain(|(other, _)| *other != destination.0);
        self.sweeps.push_back((destination.0, 0));
    }

    /// Takes the entry out of the queue, also while it is under way (its report is `Gone` then). False when
    /// it was gone before.
    pub fn remove(&mut self, entry: EntryId) -> bool {
        let index = entry.index;
        match self.find(entry) {
            Some(State::Waiting | State::Queued | State::Ready) => {
                self.take_out(index);
                self.forget(index);
            }
            Some(State::Held) => {
                self.held -= 1;
                self.forget(index);
            }
            Some(State::Active | State::ActiveHeld) => {
                self.slab.get_mut(index).state = State::ActiveRemoved;
                let destination = self.slab.get(index).destination;
                self.destinations.get_mut(destination).entries -= 1;
                self.destinations.note_if_idle(destination);
            }
            Some(State::Free | State::ActiveRemoved) | None => return false,
        }
        true
    }

    /// What is queued under this name now; `due` of one that is held or with an agent is not to be relied on.
    pub fn entry(&self, entry: EntryId) -> Option<Entry> {
        match self.find(entry)? {
            State::Free | State::ActiveRemoved => None,
            State::Waiting
            | State::Queued
            | State::Ready
            | State::Active
            | State::Held
            | State::ActiveHeld => {
                let record = self.slab.get(entry.index);
                Some(Entry {
                    id: QueueId(record.id),
                    destination: DestinationId(record.destination),
                    sender: SenderId(record.sender),
                    born: EpochMs(record.born.get()),
                    due: self.clock.wall(record.due.get()),
                    attempts: record.attempts(),
                })
            }
        }
    }

    /// Everything queued, in no order. Looks at every record: for views of the queue, not for decisions.
    pub fn entries(&self) -> impl Iterator<Item = (EntryId, Entry)> {
        self.slab.names().filter_map(|entry| Some((entry, self.entry(entry)?)))
    }

    pub fn counts(&mut self, now: EpochMs) -> Counts {
        let now_ms = self.clock.read(now);
        while !self.advance(now_ms, u32::MAX) {}
        let queued = self.active_queue.as_ref().map_or(0, |queue| queue.waiting);
        let due = self.ready - self.ready_of_dead + queued;
        Counts { active: self.active, due, deferred: self.waiting + self.ready_of_dead, held: self.held }
    }

    /// One step of the oldest flush of a destination; false: none is under way.
    pub(crate) fn sweep(&mut self) -> bool {
        let Some((destination, index)) = self.sweeps.front().copied() else { return false };
        match self.slab.find(index) {
            None => drop(self.sweeps.pop_front()),
            Some(record) => {
                let wanted = record.state == State::Waiting && record.destination == destination;
                self.sweeps[0].1 += 1;
                if wanted {
                    self.take_out(index);
                    self.make_ready(index);
                }
            }
        }
        true
    }

    /// Held: counted, in no list.
    pub(crate) fn put_aside(&mut self, index: u32) {
        self.slab.get_mut(index).state = State::Held;
        self.held += 1;
    }

    /// Takes an entry that is waiting or may be delivered out of the list that it is in.
    fn take_out(&mut self, index: u32) {
        let record = self.slab.get(index);
        match (record.state, &mut self.active_queue) {
            (State::Waiting, _) => {
                self.waiting -= 1;
                self.wheel.remove(&mut self.slab, index);
            }
            (State::Queued, Some(queue)) => queue.unlink(&mut self.slab, index),
            _ => {
                let (kind, turn) = self.line_of(index);
                let destination = self.destinations.get_mut(self.slab.get(index).destination);
                destination.line_mut(kind).unlink(&mut self.slab, index, turn);
                self.ready -= 1;
                if destination.window.dead_until_ms().is_some() {
                    self.ready_of_dead -= 1;
                }
                let destination = self.slab.get(index).destination;
                self.note_stirring(destination);
            }
        }
    }

    /// Opens the window of a dead destination before its time.
    fn forgive(&mut self, index: u32, now_ms: u64) {
        self.destinations.get_mut(index).window.cut_death_short(now_ms);
        self.revive(index, now_ms);
        self.place(index);
    }
}
