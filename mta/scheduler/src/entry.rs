//! The records of queued entries and the lists that run through them.
//!
//! Ten million deferred messages must fit in memory, so a record is 40 bytes, is never on the heap by itself, and
//! carries the links that put it into a timer slot or a destination's queue. It is linked both ways, so that what an
//! operator holds or removes leaves its list at once. Records live in chunks that never move: growth copies nothing.
//! Knows no clock and no rule of scheduling.

use crate::EntryId;

/// The last moment that a record can hold, in milliseconds (the year 10889).
pub(crate) const END_OF_TIME_MS: u64 = (1 << 48) - 1;

/// In a link: no record but the end of the list whose number is in the other bits.
const END: u32 = 1 << 31;

const CHUNK_RECORDS_LOG2: u32 = 15;
const CHUNK_RECORDS: usize = 1 << CHUNK_RECORDS_LOG2;

const _: () = assert!(size_of::<Record>() == 40);

/// Milliseconds in 48 bits; later moments become [`END_OF_TIME_MS`].
#[derive(Clone, Copy)]
pub(crate) struct Ms48([u16; 3]);

impl Ms48 {
    pub(crate) fn new(ms: u64) -> Ms48 {
        let ms = ms.min(END_OF_TIME_MS);
        Ms48([ms as u16, (ms >> 16) as u16, (ms >> 32) as u16])
    }

    pub(crate) fn get(self) -> u64 {
        u64::from(self.0[0]) | u64::from(self.0[1]) << 16 | u64::from(self.0[2]) << 32
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// Not in use; linked into the free list.
    Free,
    /// In the timer, for a later moment.
    Waiting,
    /// Due; waits for a place in the active queue, where that has a limit.
    Queued,
    /// In its destination's queue.
    Ready,
    /// With an agent; in no list.
    Active,
    /// Held by the operator; in no list.
    Held,
    /// Held while with an agent: if it comes back, it is held.
    ActiveHeld,
    /// Removed while with an agent; freed by the report.
    ActiveRemoved,
}

pub(crate) struct Record {
    pub(crate) id: u64,
    pub(crate) destination: u32,
    pub(crate) sender: u32,
    next: u32,
    previous: u32,
    /// By the wall clock: ages are what the operator would say they are.
    pub(crate) born: Ms48,
    /// On the scheduler's own time, which never goes back. Of an active entry: when its delivery began.
    pub(crate) due: Ms48,
    /// Attempts in the low bits, flags above.
    tally: u16,
    pub(crate) generation: u8,
    pub(crate) state: State,
}

/// The sender was told that the message is late.
const WARNED: u16 = 1 << 15;
/// The delivery under way counts against the retries' share of slots.
const BOUNDED_RETRY: u16 = 1 << 14;
/// More are not counted.
const ATTEMPTS_MAX: u16 = BOUNDED_RETRY - 1;

impl Record {
    /// A record in state `Waiting`, in no list.
    pub(crate) fn new(
        id: u64,
        destination: u32,
        sender: u32,
        born_ms: u64,
        due_ms: u64,
        attempts: u16,
    ) -> Record {
        Record {
            id,
            destination,
            sender,
            next: END,
            previous: END,
            born: Ms48::new(born_ms),
            due: Ms48::new(due_ms),
            tally: attempts.min(ATTEMPTS_MAX),
            generation: 0,
            state: State::Waiting,
        }
    }

    pub(crate) fn attempts(&self) -> u16 {
        self.tally & ATTEMPTS_MAX
    }

    pub(crate) fn count_attempt(&mut self) {
        if self.attempts() < ATTEMPTS_MAX {
            self.tally += 1;
        }
    }

    pub(crate) fn warned(&self) -> bool {
        self.tally & WARNED != 0
    }

    pub(crate) fn set_warned(&mut self) {
        self.tally |= WARNED;
    }

    pub(crate) fn bounded_retry(&self) -> bool {
        self.tally & BOUNDED_RETRY != 0
    }

    pub(crate) fn set_bounded_retry(&mut self, bounded: bool) {
        self.tally = self.tally & !BOUNDED_RETRY | if bounded { BOUNDED_RETRY } else { 0 };
    }
}

/// All records. An index stays good until [`Slab::free`].
pub(crate) struct Slab {
    chunks: Vec<Vec<Record>>,
    /// Linked by `next`.
    first_free: u32,
}

impl Slab {
    pub(crate) fn new() -> Slab {
        Slab { chunks: Vec::new(), first_free: END }
    }

    pub(crate) fn insert(&mut self, record: Record) -> u32 {
        let index = self.first_free;
        if index & END == 0 {
            let free = self.get_mut(index);
            let (next_free, generation) = (free.next, free.generation);
            *free = Record { generation, ..record };
            self.first_free = next_free;
            return index;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK_RECORDS) {
            self.chunks.push(Vec::with_capacity(CHUNK_RECORDS));
        }
        let chunk = self.chunks.len() - 1;
        let index = chunk << CHUNK_RECORDS_LOG2 | self.chunks[chunk].len();
        self.chunks[chunk].push(record);
        let index = u32::try_from(index).ok().filter(|index| index & END == 0);
        index.expect("fewer than 2^31 entries fit in memory")
    }

    /// The record must be in no list. Its generation moves on, so that an old `EntryId` finds nothing.
    pub(crate) fn free(&mut self, index: u32) {
        let first_free = self.first_free;
        let record = self.get_mut(index);
        record.state = State::Free;
        record.generation = record.generation.wrapping_add(1);
        record.next = first_free;
        self.first_free = index;
    }

    pub(crate) fn get(&self, index: u32) -> &Record {
        &self.chunks[(index >> CHUNK_RECORDS_LOG2) as usize][index as usize & (CHUNK_RECORDS - 1)]
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> &mut Record {
        &mut self.chunks[(index >> CHUNK_RECORDS_LOG2) as usize][index as usize & (CHUNK_RECORDS - 1)]
    }

    /// What names each record, free ones among them.
    pub(crate) fn names(&self) -> impl Iterator<Item = EntryId> {
        let records = (0..).zip(self.chunks.iter().flatten());
        records.map(|(index, record)| EntryId { index, generation: record.generation })
    }

    pub(crate) fn find(&self, index: u32) -> Option<&Record> {
        self.chunks.get((index >> CHUNK_RECORDS_LOG2) as usize)?.get(index as usize & (CHUNK_RECORDS - 1))
    }
}

/// A first-in first-out list of records, linked through the records themselves. It has a number, which the links at
/// both of its ends hold, so that a record at an end can be taken out by who does not know its list.
#[derive(Clone, Copy)]
pub(crate) struct List {
    head: u32,
    tail: u32,
}

impl List {
    pub(crate) const EMPTY: List = List::numbered(0);

    pub(crate) const fn numbered(number: u32) -> List {
        List { head: number | END, tail: number | END }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.head & END != 0
    }

    pub(crate) fn front(&self) -> Option<u32> {
        if self.is_empty() { None } else { Some(self.head) }
    }

    pub(crate) fn push_back(&mut self, slab: &mut Slab, index: u32) {
        let end = self.end(slab);
        let tail = self.tail;
        let record = slab.get_mut(index);
        (record.previous, record.next) = (tail, end);
        if self.is_empty() {
            self.head = index;
        } else {
            slab.get_mut(tail).next = index;
        }
        self.tail = index;
    }

    pub(crate) fn pop_front(&mut self, slab: &mut Slab) -> Option<u32> {
        let index = self.front()?;
        self.unlink(slab, index);
        Some(index)
    }

    /// Takes out a record that is in this list.
    pub(crate) fn unlink(&mut self, slab: &mut Slab, index: u32) {
        let Record { previous, next, .. } = *slab.get(index);
        if previous & END == 0 {
            slab.get_mut(previous).next = next;
        } else {
            self.head = next;
        }
        if next & END == 0 {
            slab.get_mut(next).previous = previous;
        } else {
            self.tail = previous;
        }
    }

    /// Moves all of `other` behind what is here.
    pub(crate) fn append(&mut self, slab: &mut Slab, other: List) {
        if other.is_empty() {
            return;
        }
        let (end, tail) = (self.end(slab), self.tail);
        slab.get_mut(other.head).previous = tail;
        slab.get_mut(other.tail).next = end;
        if self.is_empty() {
            self.head = other.head;
        } else {
            slab.get_mut(tail).next = other.head;
        }
        self.tail = other.tail;
    }

    fn end(&self, slab: &Slab) -> u32 {
        if self.is_empty() { self.head } else { slab.get(self.head).previous }
    }
}

/// The number of the list that the record is at an end of; `None`: it is in the middle of one.
pub(crate) fn list_number(slab: &Slab, index: u32) -> Option<u32> {
    let record = slab.get(index);
    [record.previous, record.next].into_iter().find(|link| link & END != 0).map(|link| link & !END)
}

/// Takes a record out of the middle of a list, whichever it is.
pub(crate) fn unlink_from_the_middle(slab: &mut Slab, index: u32) {
    let mut untouched = List::EMPTY;
    untouched.unlink(slab, index);
}
