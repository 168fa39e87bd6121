//! Whose entry goes next within one destination: a large mailing must not hold up one person's note.
//!
//! While all that waits is one sender's it is a plain queue. With several senders each has a queue of its own, and the
//! rule is that of qmgr(8)'s preemption, by sender: the sender in front earns a credit with each entry; when it has a
//! lot waiting, one that waits with little may go first if the credits pay for it, [`SLOT_COST`] an entry, with a loan.
//! So a note waits for a few entries, and notes delay a mailing by a quarter at most (k/(k-1) for a cost of k).
//!
//! qmgr's messages come to an end, but a sender may never run dry: so beyond its rule the sender in front goes to the
//! end of the line after [`QUANTUM`] entries, and all who have little have one place in that line together, for
//! [`SMALL`] entries. Whatever the mailings, notes have three entries of ten, if there are so many.

use crate::entry::{List, Slab};
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

/// Postfix: default_delivery_slot_cost
const SLOT_COST: i32 = 5;
/// Postfix: default_delivery_slot_loan
const SLOT_LOAN: i32 = 3;
/// Postfix: default_delivery_slot_discount, 50 %
const SLOT_DISCOUNT: i32 = 2;
/// Postfix: default_minimum_delivery_slots; fewer than this many slots' worth of entries are not preempted.
const SLOTS_MIN: u32 = 3;
/// A sender with no more than this waiting may go first.
const SMALL: u32 = SLOT_COST as u32;
/// Entries after which another sender has its turn.
const QUANTUM: u32 = 20;
/// In the order of service: all senders with little.
const POOL: Place = (u32::MAX, 0);

/// The ready entries of a destination.
pub(crate) struct Line {
    /// All of them, while they are of one sender.
    list: List,
    sender: u32,
    len: u32,
    turns: Option<Box<Turns>>,
}

impl Line {
    pub(crate) const EMPTY: Line = Line { list: List::EMPTY, sender: 0, len: 0, turns: None };

    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn push(&mut self, slab: &mut Slab, index: u32, sender: u32) {
        if self.len == 0 {
            self.sender = sender;
        }
        self.len += 1;
        if let Some(turns) = &mut self.turns {
            return turns.push(slab, index, sender);
        }
        if sender == self.sender {
            return self.list.push_back(slab, index);
        }
        let mut turns = Box::<Turns>::default();
        turns.adopt(self.sender, std::mem::replace(&mut self.list, List::EMPTY), self.len - 1);
        turns.push(slab, index, sender);
        self.turns = Some(turns);
    }

    pub(crate) fn pop(&mut self, slab: &mut Slab) -> Option<u32> {
        let index = match &mut self.turns {
            None => self.list.pop_front(slab)?,
            Some(turns) => turns.pop(slab)?,
        };
        self.shrink();
        Some(index)
    }

    /// Takes out an entry that is in this line.
    pub(crate) fn unlink(&mut self, slab: &mut Slab, index: u32, sender: u32) {
        match &mut self.turns {
            None => self.list.unlink(slab, index),
            Some(turns) => turns.unlink(slab, index, sender),
        }
        self.shrink();
    }

    /// An entry that may be next.
    pub(crate) fn front(&self) -> Option<u32> {
        match &self.turns {
            None => self.list.front(),
            Some(turns) => turns.front(),
        }
    }

    fn shrink(&mut self) {
        self.len -= 1;
        if self.len == 0 {
            self.turns = None;
        }
    }
}

/// One sender's entries for the destination.
struct Flow {
    sender: u32,
    list: List,
    len: u32,
    credits: i32,
    /// It has a place of its own in the order, and none among the small.
    large: bool,
    /// Changes when the flow's number is given to another; places with an older one mean nothing.
    serial: u32,
}

/// A flow's number and serial.
type Place = (u32, u32);

#[derive(Default)]
struct Turns {
    flows: Vec<Flow>,
    by_sender: HashMap<u32, u32, BuildHasherDefault<Spread>>,
    free: Vec<u32>,
    /// Large flows and the pool of small ones, the one in front first.
    order: VecDeque<Place>,
    /// Those with little, longest waiting first.
    small: VecDeque<Place>,
    pool_placed: bool,
    /// A small one that has been paid for and goes before the one in front.
    preempting: Option<Place>,
    /// Entries that the one in front has had in this turn.
    served: u32,
}

/// Senders' numbers are hashes already; this spreads them over the map. Who makes numbers meet slows down turns of
/// one destination, and gains nothing.
#[derive(Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u32(u32::from(*byte)));
    }

    fn write_u32(&mut self, number: u32) {
        let mixed = (self.0 ^ u64::from(number)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ mixed >> 32;
    }
}

impl Turns {
    fn push(&mut self, slab: &mut Slab, index: u32, sender: u32) {
        let number = match self.by_sender.get(&sender) {
            Some(number) => *number,
            None => self.adopt(sender, List::EMPTY, 0),
        };
        let flow = &mut self.flows[number as usize];
        flow.list.push_back(slab, index);
        flow.len += 1;
        if flow.len > SMALL && !flow.large {
            flow.large = true;
            self.order.push_back((number, flow.serial));
        }
    }

    fn adopt(&mut self, sender: u32, list: List, len: u32) -> u32 {
        let number = self.free.pop().unwrap_or(self.flows.len() as u32);
        let serial = self.flows.get(number as usize).map_or(0, |flow| flow.serial);
        let flow = Flow { sender, list, len, credits: 0, large: len > SMALL, serial };
        let (place, large) = ((number, serial), flow.large);
        match self.flows.get_mut(number as usize) {
            Some(old) => *old = flow,
            None => self.flows.push(flow),
        }
        self.by_sender.insert(sender, number);
        if large {
            self.order.push_back(place);
        } else {
            self.small.push_back(place);
            if !self.pool_placed {
                self.pool_placed = true;
                self.order.push_back(POOL);
            }
        }
        self.forget_old_places();
        number
    }

    fn pop(&mut self, slab: &mut Slab) -> Option<u32> {
        loop {
            // what has grown large meanwhile has not been paid for
            self.preempting = self.preempting.filter(|place| self.is_small(*place));
            if let Some(place) = self.preempting {
                return self.take(slab, place.0);
            }
            let front = *self.order.front()?;
            if front == POOL {
                let Some(place) = self.first_small() else {
                    self.order.pop_front();
                    (self.served, self.pool_placed) = (0, false);
                    continue;
                };
                self.serve(SMALL);
                return self.take(slab, place.0);
            }
            if !self.is_valid(front) {
                self.order.pop_front();
                self.served = 0;
                continue;
            }
            self.preempting = self.affordable(front);
            if self.preempting.is_none() {
                self.flows[front.0 as usize].credits += 1;
                self.serve(QUANTUM);
                return self.take(slab, front.0);
            }
        }
    }

    /// The one in front has an entry of the `quantum` that it may have in a turn.
    fn serve(&mut self, quantum: u32) {
        self.served += 1;
        if self.served >= quantum {
            self.served = 0;
            self.order.rotate_left(1);
        }
    }

    fn first_small(&mut self) -> Option<Place> {
        loop {
            let place = *self.small.front()?;
            if self.is_small(place) {
                return Some(place);
            }
            self.small.pop_front();
        }
    }

    /// The one that has waited longest with little, if the one in front has enough left and pays for it.
    fn affordable(&mut self, front: Place) -> Option<Place> {
        if self.flows[front.0 as usize].len < SLOTS_MIN * SLOT_COST as u32 {
            return None;
        }
        let place = self.first_small()?;
        let needed = self.flows[place.0 as usize].len as i32;
        let payer = &mut self.flows[front.0 as usize];
        if (payer.credits.div_euclid(SLOT_COST) + SLOT_LOAN) * SLOT_DISCOUNT < needed {
            return None;
        }
        payer.credits -= needed * SLOT_COST;
        Some(place)
    }

    fn take(&mut self, slab: &mut Slab, number: u32) -> Option<u32> {
        let index = self.flows[number as usize].list.front().expect("a flow that has a place has entries");
        self.leave(slab, index, number);
        Some(index)
    }

    fn unlink(&mut self, slab: &mut Slab, index: u32, sender: u32) {
        let number = self.by_sender[&sender];
        self.leave(slab, index, number);
    }

    fn leave(&mut self, slab: &mut Slab, index: u32, number: u32) {
        let flow = &mut self.flows[number as usize];
        flow.list.unlink(slab, index);
        flow.len -= 1;
        if flow.len == 0 {
            flow.serial = flow.serial.wrapping_add(1);
            self.by_sender.remove(&flow.sender);
            self.free.push(number);
        }
    }

    fn front(&self) -> Option<u32> {
        let places = self.order.iter().chain(&self.small);
        let mut valid = places.filter(|place| **place != POOL && self.is_valid(**place));
        valid.next().and_then(|place| self.flows[place.0 as usize].list.front())
    }

    fn is_valid(&self, (number, serial): Place) -> bool {
        self.flows[number as usize].serial == serial
    }

    fn is_small(&self, place: Place) -> bool {
        self.is_valid(place) && !self.flows[place.0 as usize].large
    }

    /// Places of flows that are gone are dropped when they come to the front, or when they are most of what there is.
    fn forget_old_places(&mut self) {
        let Turns { flows, order, small, .. } = self;
        for places in [order, small] {
            if places.len() > 2 * flows.len() + 16 {
                places.retain(|place| *place == POOL || flows[place.0 as usize].serial == place.1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Record;

    const NEWSLETTER: u32 = 1;

    /// A line with a mailing of this length in it.
    fn with_mailing(length: u64) -> (Slab, Line) {
        let (mut slab, mut line) = (Slab::new(), Line::EMPTY);
        for n in 0..length {
            push(&mut slab, &mut line, NEWSLETTER, n);
        }
        (slab, line)
    }

    fn push(slab: &mut Slab, line: &mut Line, sender: u32, id: u64) {
        let index = slab.insert(Record::new(id, 0, sender, 0, 0, 0));
        line.push(slab, index, sender);
    }

    fn pop(slab: &mut Slab, line: &mut Line) -> (u32, u64) {
        let index = line.pop(slab).expect("not empty");
        (slab.get(index).sender, slab.get(index).id)
    }

    #[test]
    fn a_note_goes_before_a_mailing_and_many_notes_have_three_entries_of_ten() {
        let (mut slab, mut line) = with_mailing(10_000);
        push(&mut slab, &mut line, 2, 0);
        assert_eq!(pop(&mut slab, &mut line), (2, 0), "the loan pays for the first");
        // a thousand people with a note each
        for sender in 3..1003 {
            push(&mut slab, &mut line, sender, 0);
        }
        let order: Vec<u32> = (0..1000).map(|_| pop(&mut slab, &mut line).0).collect();
        let notes = order.iter().filter(|sender| **sender != NEWSLETTER).count();
        assert!((280..=340).contains(&notes), "{notes} of the first thousand");
    }

    #[test]
    fn two_mailings_share_and_a_third_sender_with_little_is_not_behind_them() {
        let (mut slab, mut line) = with_mailing(1000);
        for n in 0..1000 {
            push(&mut slab, &mut line, 2, n);
        }
        let of_second = (0..200).filter(|_| pop(&mut slab, &mut line).0 == 2).count();
        assert!((80..=120).contains(&of_second), "{of_second} of 200 are the second mailing's");
        push(&mut slab, &mut line, 3, 7);
        let waited = (0..100).position(|_| pop(&mut slab, &mut line) == (3, 7)).expect("within a hundred");
        assert!(waited <= QUANTUM as usize, "it waited for {waited} entries");
    }

    #[test]
    fn each_senders_entries_keep_their_order_and_none_is_lost() {
        let (mut slab, mut line) = with_mailing(50);
        let mut random = fastrand::Rng::with_seed(7);
        let mut next = [50u64, 0, 0, 0];
        let mut seen = [0u64; 4];
        let mut left = 50;
        for _ in 0..5000 {
            if left == 0 || random.bool() {
                let sender = random.usize(0..4);
                push(&mut slab, &mut line, sender as u32 + 1, next[sender]);
                next[sender] += 1;
                left += 1;
            } else {
                let (sender, id) = pop(&mut slab, &mut line);
                let sender = sender as usize - 1;
                assert_eq!(id, seen[sender], "sender {sender}");
                seen[sender] += 1;
                left -= 1;
            }
            assert_eq!(line.len(), left);
        }
        while left > 0 {
            pop(&mut slab, &mut line);
            left -= 1;
        }
        assert_eq!(line.pop(&mut slab), None);
    }
}
