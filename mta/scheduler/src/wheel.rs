//! The timer of deferred entries: a hierarchical wheel whose slots are lists through the records.
//!
//! Six levels of 256 slots cover 48 bits of milliseconds. An entry sits on the level of the highest byte in
//! which its due time differs from the wheel's own time, and moves down a level when that time reaches its
//! slot; so inserting is O(1), an entry moves at most five times, and entries come out in order of their due
//! time. Moving is done in bounded steps: a slot that holds a hundred thousand entries stalls nobody.
//! Knows nothing of destinations; the wheel's time is handed in.

use crate::entry::{List, Slab};

const LEVELS: usize = 6;
const SLOTS: usize = 256;
const SLOT_BITS: usize = 8;

#[derive(Clone, Copy)]
struct Slot {
    list: List,
    /// Earliest due time in `list`; kept so that the next wake-up is exact on every level.
    due_min_ms: u64,
}

const EMPTY_SLOT: Slot = Slot { list: List::EMPTY, due_min_ms: u64::MAX };

struct Level {
    occupied: [u64; SLOTS / 64],
    slots: [Slot; SLOTS],
}

pub(crate) struct Wheel {
    /// Every entry that was due before this moment has come out. Never later than the caller's time.
    time_ms: u64,
    levels: Box<[Level]>,
    /// A slot whose time has come, on its way to lower levels. While it has entries, nothing comes out.
    moving: Slot,
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
        let level = || Level { occupied: [0; SLOTS / 64], slots: [EMPTY_SLOT; SLOTS] };
        Wheel { time_ms: 0, levels: (0..LEVELS).map(|_| level()).collect(), moving: EMPTY_SLOT }
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

    /// One bounded step towards `now_ms`, which must not be earlier than in the call before.
    pub(crate) fn pop(&mut self, slab: &mut Slab, now_ms: u64) -> Popped {
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
        let Level { occupied, slots } = &mut self.levels[level];
        if level > 0 {
            self.moving = std::mem::replace(&mut slots[position], EMPTY_SLOT);
            occupied[position / 64] &= !(1 << (position % 64));
            return Popped::Moved;
        }
        let index = slots[position].list.pop_front(slab).expect("an occupied slot has an entry");
        if slots[position].list.is_empty() {
            slots[position] = EMPTY_SLOT;
            occupied[position / 64] &= !(1 << (position % 64));
        }
        Popped::Entry(index)
    }

    /// The earliest due time of all entries (of removed ones too, until their time has come).
    pub(crate) fn next_due_ms(&self) -> Option<u64> {
        let slot = self.first_slot().map(|(level, position)| self.levels[level].slots[position].due_min_ms);
        let moving = if self.moving.list.is_empty() { None } else { Some(self.moving.due_min_ms) };
        match (slot, moving) {
            (Some(slot), Some(moving)) => Some(slot.min(moving)),
            (slot, moving) => slot.or(moving),
        }
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
