//! From due to delivered: entries into their destinations' lines, lines into lanes, and out of these by turns.

use crate::entry::{Ms48, State};
use crate::lanes::{Kind, Pace};
use crate::limits::Rules;
use crate::machine::{Alarm, Scheduler};
use crate::wheel::Popped;
use crate::{DestinationId, EntryId, Next};
use delivery::EpochMs;
use std::cmp::Reverse;

/// Waiting entries of dead destinations that one poll looks at.
const CONDEMNED_STEPS_MAX: u32 = 128;

impl Scheduler {
    /// Makes everything ready whose time has come; false when `steps` were not enough.
    pub(crate) fn advance(&mut self, now_ms: u64, steps: u32) -> bool {
        self.ring_alarms(now_ms);
        self.notice_slow(now_ms);
        let mut settled = false;
        for _ in 0..steps {
            if self.sweep() {
                continue;
            }
            match self.wheel.pop(&mut self.slab, now_ms) {
                Popped::Nothing => {
                    settled = true;
                    break;
                }
                Popped::Moved => {}
                Popped::Entry(index) => {
                    self.waiting -= 1;
                    self.make_ready(index);
                }
            }
        }
        self.fill_active_queue();
        settled
    }

    fn ring_alarms(&mut self, now_ms: u64) {
        while let Some(Reverse((at_ms, alarm))) = self.alarms.peek().copied() {
            if let Alarm::Revival(index) = alarm {
                let destination = self.destinations.get_mut(index);
                let waited_for = destination.ready() > 0 && destination.window.dead_until_ms() == Some(at_ms);
                if waited_for && at_ms > now_ms {
                    return;
                }
                self.alarms.pop();
                destination.in_timer = false;
                self.revive(index, now_ms);
                self.place(index);
            } else if at_ms > now_ms {
                return;
            } else if let Alarm::Gate(number) = alarm {
                self.alarms.pop();
                self.open_gate(number, now_ms);
            }
        }
    }

    /// Lets those go on that have waited longest, as many as the rate has in a millisecond, at least one.
    fn open_gate(&mut self, number: u32, now_ms: u64) {
        let gate = self.destinations.gates.get_mut(number);
        gate.in_timer = false;
        for _ in 0..gate.turns_a_ms() {
            let gate = self.destinations.gates.get_mut(number);
            let Some(index) = gate.waiting.pop_front() else { return };
            let destination = self.destinations.get_mut(index);
            (destination.at_gate, destination.let_through) = (false, true);
            self.place(index);
        }
        let gate = self.destinations.gates.get_mut(number);
        if !gate.waiting.is_empty() {
            gate.in_timer = true;
            let next_ms = now_ms + gate.interval_ms();
            self.alarms.push(Reverse((next_ms, Alarm::Gate(number))));
        }
    }

    /// Destinations whose deliveries take too long are slow before these have ended.
    fn notice_slow(&mut self, now_ms: u64) {
        while let Some((began_ms, entry)) = self.watched.front().copied() {
            if now_ms.saturating_sub(began_ms) <= self.slow_after_ms {
                return;
            }
            self.watched.pop_front();
            if self.is_active(entry) && self.slab.get(entry.index).due.get() == began_ms {
                let index = self.slab.get(entry.index).destination;
                let destination = self.destinations.get_mut(index);
                let (pace, busy) = (destination.pace, destination.busy - destination.busy_retries);
                destination.is_taking(self.slow_after_ms);
                self.lanes.change(pace, Pace::Slow, busy);
                self.place(index);
            }
        }
    }

    pub(crate) fn make_ready(&mut self, index: u32) {
        match &mut self.active_queue {
            None => self.put_in_line(index),
            Some(queue) => {
                self.slab.get_mut(index).state = State::Queued;
                queue.push(&mut self.slab, index);
                self.fill_active_queue();
            }
        }
    }

    pub(crate) fn fill_active_queue(&mut self) {
        while let Some(queue) = &mut self.active_queue {
            let Some(index) = queue.pop(&mut self.slab, self.active + self.ready) else { return };
            self.put_in_line(index);
        }
    }

    fn put_in_line(&mut self, index: u32) {
        self.slab.get_mut(index).state = State::Ready;
        let (kind, turn) = self.line_of(index);
        let record = self.slab.get(index);
        let (destination_index, born_ms) = (record.destination, record.born.get());
        self.revive(destination_index, self.clock.now_ms());
        let destination = self.destinations.get_mut(destination_index);
        destination.oldest_born_ms = destination.oldest_born_ms.min(born_ms);
        destination.line_mut(kind).push(&mut self.slab, index, turn);
        self.ready += 1;
        if destination.window.dead_until_ms().is_some() {
            self.ready_of_dead += 1;
            if self.limits.rules == Rules::Postfix {
                self.condemned.push_back((destination_index, kind, 1));
            }
        }
        self.place(destination_index);
    }

    /// The line that an entry waits in, and whose turns it shares there: its sender's, or in Postfix its message's.
    pub(crate) fn line_of(&self, index: u32) -> (Kind, u32) {
        let record = self.slab.get(index);
        match self.limits.rules {
            Rules::Postfix => (Kind::New, (record.id ^ record.id >> 32) as u32),
            Rules::Mailrig if record.attempts() > 0 => (Kind::Retry, record.sender),
            Rules::Mailrig => (Kind::New, record.sender),
        }
    }

    /// One entry of the destination whose turn it is.
    pub(crate) fn deliver(&mut self, now_ms: u64) -> Option<Next> {
        loop {
            let ((index, kind), lane) = self.lanes.next(self.stirring <= 1)?;
            let destination = self.destinations.get_mut(index);
            if *destination.placed_mut(kind) != Some(lane) {
                // it has a place elsewhere since
                continue;
            }
            *destination.placed_mut(kind) = None;
            if destination.line(kind).is_empty() || !destination.has_slot() || destination.at_gate {
                continue;
            }
            if destination.lane(kind) != lane {
                self.place(index);
                continue;
            }
            if self.stopped_at_gate(index, now_ms) {
                continue;
            }
            let destination = self.destinations.get_mut(index);
            let entry_index = destination.line_mut(kind).pop(&mut self.slab).expect("it is not empty");
            destination.busy += 1;
            destination.busy_retries += u32::from(lane.bounded_retry);
            self.ready -= 1;
            self.active += 1;
            self.lanes.begin(lane);
            let record = self.slab.get_mut(entry_index);
            record.state = State::Active;
            record.due = Ms48::new(now_ms);
            record.set_bounded_retry(lane.bounded_retry);
            let entry = EntryId { index: entry_index, generation: record.generation };
            self.watch(now_ms, entry);
            self.place(index);
            self.fill_active_queue();
            return Some(Next::Deliver(entry, self.id(entry_index), DestinationId(index)));
        }
    }

    /// Passes the destination's gates; true: one is closed, and it waits there.
    fn stopped_at_gate(&mut self, index: u32, now_ms: u64) -> bool {
        let destination = self.destinations.get_mut(index);
        let gates = destination.gates;
        if gates == [None; 2] {
            return false;
        }
        let let_through = std::mem::take(&mut destination.let_through);
        for number in gates.into_iter().flatten() {
            let gate = self.destinations.gates.get_mut(number);
            let opens_ms = gate.opens_ms();
            if opens_ms > now_ms || (!let_through && !gate.waiting.is_empty()) {
                gate.waiting.push_back(index);
                if !gate.in_timer {
                    gate.in_timer = true;
                    self.alarms.push(Reverse((opens_ms.max(now_ms + 1), Alarm::Gate(number))));
                }
                self.destinations.get_mut(index).at_gate = true;
                return true;
            }
        }
        for number in gates.into_iter().flatten() {
            self.destinations.gates.get_mut(number).pass(now_ms);
        }
        false
    }

    /// Opens a dead destination's window if its time has come.
    pub(crate) fn revive(&mut self, index: u32, now_ms: u64) {
        let destination = self.destinations.get_mut(index);
        if destination.window.dead_until_ms().is_some_and(|until_ms| until_ms <= now_ms) {
            destination.window.reopen(destination.bounds, now_ms);
            self.ready_of_dead -= u64::from(destination.ready());
        }
    }

    /// Puts the lines of a destination that can be served into their lanes, and a dead one that is waited for into the
    /// timer. To be called whenever one of these may have changed.
    pub(crate) fn place(&mut self, index: u32) {
        self.note_stirring(index);
        let destination = self.destinations.get_mut(index);
        if destination.ready() == 0 || destination.at_gate {
            return;
        }
        if let Some(until_ms) = destination.window.dead_until_ms() {
            if !destination.in_timer {
                destination.in_timer = true;
                self.alarms.push(Reverse((until_ms, Alarm::Revival(index))));
            }
            return;
        }
        if !destination.has_slot() {
            return;
        }
        for kind in Kind::BOTH {
            let lane = destination.lane(kind);
            if destination.line(kind).is_empty() || *destination.placed_mut(kind) == Some(lane) {
                continue;
            }
            *destination.placed_mut(kind) = Some(lane);
            let front = if self.lanes.by_age() { destination.line(kind).front() } else { None };
            let since_ms = front.map_or(0, |front| self.slab.get(front).due.get());
            self.lanes.put(lane, (index, kind), since_ms);
        }
    }

    /// Keeps count of the destinations that have something ready or under way. To be called whenever that may have changed.
    pub(crate) fn note_stirring(&mut self, index: u32) {
        let destination = self.destinations.get_mut(index);
        let stirs = destination.busy > 0 || destination.ready() > 0;
        if std::mem::replace(&mut destination.stirring, stirs) != stirs {
            if stirs {
                self.stirring += 1;
            } else {
                self.stirring -= 1;
            }
        }
    }

    /// The destination has just died: under Postfix's rules all that waits for it is deferred; under ours only what is
    /// too old by now is given up, as nothing else would come to do it.
    pub(crate) fn condemn_line_by_line(&mut self, index: u32) {
        let destination = self.destinations.get(index);
        let now = self.clock.wall(self.clock.now_ms());
        let too_old = now.since(EpochMs(destination.oldest_born_ms)) >= self.limits.lifetime;
        if self.limits.rules == Rules::Mailrig && !too_old {
            return;
        }
        let lines = Kind::BOTH.map(|kind| (index, kind, destination.line(kind).len()));
        self.condemned.extend(lines.into_iter().filter(|(_, _, len)| *len > 0));
        // found anew by the entries that stay
        self.destinations.get_mut(index).oldest_born_ms = u64::MAX;
    }

    /// One step through the lines of dead destinations.
    pub(crate) fn condemn(&mut self, now: EpochMs, now_ms: u64) -> Option<Next> {
        for _ in 0..CONDEMNED_STEPS_MAX {
            let (destination_index, kind, left) = self.condemned.front_mut()?;
            let (destination_index, kind) = (*destination_index, *kind);
            let destination = self.destinations.get_mut(destination_index);
            let dead = destination.window.dead_until_ms().is_some();
            if *left == 0 || !dead || destination.line(kind).is_empty() {
                self.condemned.pop_front();
                continue;
            }
            *left -= 1;
            let index = destination.line_mut(kind).pop(&mut self.slab).expect("it is not empty");
            self.ready -= 1;
            self.ready_of_dead -= 1;
            self.note_stirring(destination_index);
            let entry = EntryId { index, generation: self.slab.get(index).generation };
            let (id, destination) = (self.id(index), DestinationId(destination_index));
            let age = now.since(EpochMs(self.slab.get(index).born.get()));
            if age >= self.limits.lifetime {
                self.forget(index);
                return Some(Next::Expired(entry, id, destination));
            }
            if self.limits.rules == Rules::Mailrig {
                self.put_in_line(index);
                continue;
            }
            let Some(due_ms) = self.next_attempt_ms(now, now_ms, index) else {
                self.forget(index);
                return Some(Next::Expired(entry, id, destination));
            };
            let record = self.slab.get_mut(index);
            record.due = Ms48::new(due_ms);
            let attempts = record.attempts();
            self.wait(index, due_ms);
            return Some(Next::Suspended { entry, id, destination, due: self.clock.wall(due_ms), attempts });
        }
        None
    }
}
