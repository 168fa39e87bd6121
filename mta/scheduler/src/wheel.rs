//! The timer of deferred entries: a hierarchical wheel whose slots are lists through the records.
//!
//! Six levels of 256 slots cover 48 bits of milliseconds. An entry sits on the level of the highest byte in
//! which its due time differs from the wheel's own time, and moves down a level when that time reaches its
//! slot; so inserting and removing are O(1), an entry moves at most five times, and entries come out in order of
//! their due time. Moving is done in bounded steps: a slot that holds a hundred thousand entries stalls nobody.
//! Knows nothing of destinations; the wheel's time is handed in.

use crate::entry::{List, Slab, list_number, unlink_from_the_middle};

const LEVELS: usize = 6;
const SLOTS: usize = 256;
const SLOT_BITS: usize = 8;

/// Numbers of the lists that are no slots; a slot's is its place.
const MOVING: u32 = (LEVELS * SLOTS) as u32;
const FLUSHED: u32 = MOVING + 1;

#[derive(Clone, Copy)]
struct Slot {
    list: List,
    /// No entry in `list` is due earlier; exact unless the earliest was removed.
    due_min_ms: u64,
}

impl Slot {
    const fn empty(number: u32) -> Slot {
        Slot { list: List::numbered(number), due_min_ms: u64::MAX }
    }
}

struct Level {
    occupied: [u64; SLOTS / 64],
    slots: Box<[Slot]>,
}

pub(crate) struct Wheel {
    /// Every entry that was due before this moment has come out. Never later than the caller's time.
    time_ms: u64,
    levels: Box<[Level]>,
    /// A slot whose time has come, on its way to lower levels. While it has entries, nothing comes out.
    moving: Slot,
    /// Entries that come out now, whatever their due time.
    flushed: List,
}

/// What [`Wheel::pop`] found.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Popped {
    /// Due; now in no list.
    Entry(u32),
    /// One entry moved to a lower level; ask again.
    Moved,
    /// Nothing is due; the wheel's time is now the caller's.
    Nothing,
}

impl Wheel {
    pub(crate) fn new() -> Wheel {
        let slot = |level: usize, position: usize| Slot::empty((level * SLOTS + position) as u32);
        let level = |level: usize| Level {
            occupied: [0; SLOTS / 64],
            slots: (0..SLOTS).map(|position| slot(level, position)).collect(),
        };
        Wheel {
            time_ms: 0,
            levels: (0..LEVELS).map(level).collect(),
            moving: Slot::empty(MOVING),
            flushed: List::numbered(FLUSHED),
        }
    }

    /// Takes a record that is in no list. An entry due in the past comes out at once.
    pub(crate) fn insert(&mut self, slab: &mut Slab, index: u32) {
        let due_ms = slab.get(index).due.get().max(self.time_ms);
        let differing_bits = u64::BITS - (due_ms ^ self.time_ms).leading_zeros();
        let level = (differing_bits.saturating_sub(1)) as usize / SLOT_BITS;
        let position = slot_of(due_ms, level);
        let Level { occupied, slots } = &mut self.levels[level];
        occupied[position / 64] |= 1 << (position % 64);
        slots[position].due_min_ms = slots[position].due_min_ms.min(due_ms);
        slots[position].list.push_back(slab, index);
    }

    /// Takes out a record that is in the wheel.
    pub(crate) fn remove(&mut self, slab: &mut Slab, index: u32) {
        match list_number(slab, index) {
            None => unlink_from_the_middle(slab, index),
            Some(MOVING) => self.moving.list.unlink(slab, index),
            Some(FLUSHED) => self.flushed.unlink(slab, index),
            Some(number) => {
                let (level, position) = (number as usize / SLOTS, number as usize % SLOTS);
                self.levels[level].slots[position].list.unlink(slab, index);
                if self.levels[level].slots[position].list.is_empty() {
                    self.take(level, position);
                }
            }
        }
    }

    /// Makes everything come out now. Costs the same whatever waits.
    pub(crate) fn flush(&mut self, slab: &mut Slab) {
        self.flushed.append(slab, std::mem::replace(&mut self.moving, Slot::empty(MOVING)).list);
        while let Some((level, position)) = self.first_slot() {
            let slot = self.take(level, position);
            self.flushed.append(slab, slot.list);
        }
    }

    /// One bounded step towards `now_ms`, which must not be earlier than in the call before.
    pub(crate) fn pop(&mut self, slab: &mut Slab, now_ms: u64) -> Popped {
        if let Some(index) = self.flushed.pop_front(slab) {
            return Popped::Entry(index);
        }
        if let Some(index) = self.moving.list.pop_front(slab) {
            self.insert(slab, index);
            return Popped::Moved;
        }
        // all of a level lies before all of the level above
        let Some((level, position)) = self.first_slot() else {
            self.time_ms = self.time_ms.max(now_ms);
            return Popped::Nothing;
        };
        let above = level * SLOT_BITS + SLOT_BITS;
        let start_ms = (self.time_ms >> above << above) | (position as u64) << (level * SLOT_BITS);
        if start_ms > now_ms {
            self.time_ms = self.time_ms.max(now_ms);
            return Popped::Nothing;
        }
        self.time_ms = self.time_ms.max(start_ms);
        if level > 0 {
            let Slot { list, due_min_ms } = self.take(level, position);
            self.moving.list.append(slab, list);
            self.moving.due_min_ms = due_min_ms;
            return Popped::Moved;
        }
        let index =
            self.levels[0].slots[position].list.pop_front(slab).expect("an occupied slot has an entry");
        if self.levels[0].slots[position].list.is_empty() {
            self.take(0, position);
        }
        Popped::Entry(index)
    }

    /// No entry is due earlier; the earliest is due then, unless it was removed.
    pub(crate) fn next_due_ms(&self) -> Option<u64> {
        if !self.flushed.is_empty() {
            return Some(self.time_ms);
        }
        let slot = self.first_slot().map(|(level, position)| self.levels[level].slots[position].due_min_ms);
        let moving = if self.moving.list.is_empty() { None } else { Some(self.moving.due_min_ms) };
        match (slot, moving) {
            (Some(slot), Some(moving)) => Some(slot.min(moving)),
            (slot, moving) => slot.or(moving),
        }
    }

    /// The slot with what it has; it is empty then.
    fn take(&mut self, level: usize, position: usize) -> Slot {
        let Level { occupied, slots } = &mut self.levels[level];
        occupied[position / 64] &= !(1 << (position % 64));
        std::mem::replace(&mut slots[position], Slot::empty((level * SLOTS + position) as u32))
    }

    fn first_slot(&self) -> Option<(usize, usize)> {
        self.levels.iter().enumerate().find_map(|(level, Level { occupied, .. })| {
            let word = occupied.iter().position(|word| *word != 0)?;
            Some((level, word * 64 + occupied[word].trailing_zeros() as usize))
        })
    }
}

fn slot_of(ms: u64, level: usize) -> usize {
    (ms >> (level * SLOT_BITS)) as usize & (SLOTS - 1)
}
