//! Postfix's active queue: only so many messages are looked at, new ones and deferred ones coming in by turns.
//!
//! What waits for a place is in two plain queues, whose links have numbers of their own.

use crate::entry::{List, Slab, list_number};

const INCOMING: u32 = 1;
const DEFERRED: u32 = 2;

pub(crate) struct ActiveQueue {
    pub(crate) limit: u64,
    incoming: List,
    deferred: List,
    pub(crate) waiting: u64,
    /// Whose turn it is.
    deferred_next: bool,
}

impl ActiveQueue {
    pub(crate) fn new(limit: u64) -> ActiveQueue {
        ActiveQueue {
            limit: limit.max(1),
            incoming: List::numbered(INCOMING),
            deferred: List::numbered(DEFERRED),
            waiting: 0,
            deferred_next: false,
        }
    }

    pub(crate) fn push(&mut self, slab: &mut Slab, index: u32) {
        let list = if slab.get(index).attempts() > 0 { &mut self.deferred } else { &mut self.incoming };
        list.push_back(slab, index);
        self.waiting += 1;
    }

    /// The next to come in, `active` messages being active.
    pub(crate) fn pop(&mut self, slab: &mut Slab, active: u64) -> Option<u32> {
        if active >= self.limit {
            return None;
        }
        self.deferred_next = !self.deferred_next;
        let (first, second) = if self.deferred_next {
            (&mut self.incoming, &mut self.deferred)
        } else {
            (&mut self.deferred, &mut self.incoming)
        };
        let index = first.pop_front(slab).or_else(|| second.pop_front(slab))?;
        self.waiting -= 1;
        Some(index)
    }

    pub(crate) fn unlink(&mut self, slab: &mut Slab, index: u32) {
        self.waiting -= 1;
        // in the middle either will do
        let list =
            if list_number(slab, index) == Some(DEFERRED) { &mut self.deferred } else { &mut self.incoming };
        list.unlink(slab, index);
    }
}
