//! The records of queued entries and the lists that run through them.
//!
//! Ten million deferred messages must fit in memory, so a record is 32 bytes, is never on the heap by
//! itself, and carries the one link that puts it into a timer slot or a destination's queue. Records live
//! in chunks that never move: growth copies nothing. Knows no clock and no rule of scheduling.

/// No record: the end of a list.
pub(crate) const NONE: u32 = u32::MAX;

/// The last moment that a record can hold, in milliseconds (the year 10889).
pub(crate) const END_OF_TIME_MS: u64 = (1 << 48) - 1;

const CHUNK_RECORDS_LOG2: u32 = 15;
const CHUNK_RECORDS: usize = 1 << CHUNK_RECORDS_LOG2;

const _: () = assert!(size_of::<Record>() == 32);

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
    /// In its destination's queue.
    Ready,
    /// With an agent; in no list.
    Active,
    /// Removed while waiting or ready; freed when its list comes to it.
    Removed,
    /// Removed while with an agent; freed by the report.
    ActiveRemoved,
}

pub(crate) struct Record {
    pub(crate) id: u64,
    pub(crate) destination: u32,
    next: u32,
    /// By the wall clock: ages are what the operator would say they are.
    pub(crate) born: Ms48,
    /// On the scheduler's own time, which never goes back.
    pub(crate) due: Ms48,
    pub(crate) attempts: u16,
    pub(crate) generation: u8,
    pub(crate) state: State,
}

/// All records. An index stays good until [`Slab::free`].
pub(crate) struct Slab {
    chunks: Vec<Vec<Record>>,
    free: List,
}

impl Slab {
    pub(crate) fn new() -> Slab {
        Slab { chunks: Vec::new(), free: List::EMPTY }
    }

    /// A record in state `Waiting`, in no list.
    pub(crate) fn insert(
        &mut self,
        id: u64,
        destination: u32,
        born_ms: u64,
        due_ms: u64,
        attempts: u16,
    ) -> u32 {
        let record = Record {
            id,
            destination,
            next: NONE,
            born: Ms48::new(born_ms),
            due: Ms48::new(due_ms),
            attempts,
            generation: 0,
            state: State::Waiting,
        };
        let mut free = self.free;
        if let Some(index) = free.pop_front(self) {
            self.free = free;
            let generation = self.get(index).generation;
            *self.get_mut(index) = Record { generation, ..record };
            return index;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK_RECORDS) {
            self.chunks.push(Vec::with_capacity(CHUNK_RECORDS));
        }
        let chunk = self.chunks.len() - 1;
        let index = chunk << CHUNK_RECORDS_LOG2 | self.chunks[chunk].len();
        self.chunks[chunk].push(record);
        u32::try_from(index)
            .ok()
            .filter(|index| *index != NONE)
            .expect("fewer than 2^32 - 1 entries fit in memory")
    }

    /// The record must be in no list. Its generation moves on, so that an old `EntryId` finds nothing.
    pub(crate) fn free(&mut self, index: u32) {
        let record = self.get_mut(index);
        record.state = State::Free;
        record.generation = record.generation.wrapping_add(1);
        let mut free = self.free;
        free.push_front(self, index);
        self.free = free;
    }

    pub(crate) fn get(&self, index: u32) -> &Record {
        &self.chunks[(index >> CHUNK_RECORDS_LOG2) as usize][index as usize & (CHUNK_RECORDS - 1)]
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> &mut Record {
        &mut self.chunks[(index >> CHUNK_RECORDS_LOG2) as usize][index as usize & (CHUNK_RECORDS - 1)]
    }

    pub(crate) fn find(&self, index: u32) -> Option<&Record> {
        self.chunks.get((index >> CHUNK_RECORDS_LOG2) as usize)?.get(index as usize & (CHUNK_RECORDS - 1))
    }
}

/// A first-in first-out list of records, linked through the records themselves.
#[derive(Clone, Copy)]
pub(crate) struct List {
    head: u32,
    tail: u32,
}

impl List {
    pub(crate) const EMPTY: List = List { head: NONE, tail: NONE };

    pub(crate) fn is_empty(&self) -> bool {
        self.head == NONE
    }

    pub(crate) fn push_back(&mut self, slab: &mut Slab, index: u32) {
        slab.get_mut(index).next = NONE;
        if self.tail == NONE {
            self.head = index;
        } else {
            slab.get_mut(self.tail).next = index;
        }
        self.tail = index;
    }

    fn push_front(&mut self, slab: &mut Slab, index: u32) {
        slab.get_mut(index).next = self.head;
        self.head = index;
        if self.tail == NONE {
            self.tail = index;
        }
    }

    pub(crate) fn pop_front(&mut self, slab: &mut Slab) -> Option<u32> {
        let index = self.head;
        if index == NONE {
            return None;
        }
        self.head = slab.get(index).next;
        if self.head == NONE {
            self.tail = NONE;
        }
        Some(index)
    }
}
