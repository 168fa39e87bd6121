//! A delivery as the loop holds it, with its message on a shelf apart from the heap.
//!
//! Messages come by the thousand between the tasks of their deliveries, and go when they are sent, while the tasks wait
//! for an answer. On the heap they would leave holes that nobody can give back. Here they lie in blocks that the
//! allocator maps by themselves, so that a block goes when its last message is sent.

use delivery::{Content, Received};
use smtp::client::Transaction;
use std::cell::RefCell;
use std::rc::Rc;

/// From this size on the allocator maps blocks by themselves; some thirty usual messages.
const BLOCK_BYTES: usize = 128 * 1024;

/// A request that was taken apart: what it says, and the message.
pub struct Parcel {
    /// Without inline content.
    pub received: Received,
    size_bytes: u64,
    /// Inline content, until it is sent or given back.
    pub message: Option<Message>,
}

/// Where new messages are put.
#[derive(Default)]
pub struct Shelf {
    block: Rc<Block>,
}

/// One on the shelf.
pub struct Message {
    block: Rc<Block>,
    start: usize,
    length: usize,
}

/// Only grows at its end, and never beyond its capacity.
#[derive(Default)]
struct Block(RefCell<Vec<u8>>);

impl Parcel {
    /// What the session is told to do. It has the addresses from here on, and the request no more.
    pub fn transaction(&mut self) -> Transaction {
        Transaction { size_bytes: Some(self.size_bytes), ..self.received.request.take_transaction() }
    }
}

impl Shelf {
    pub fn parcel(&mut self, mut received: Received) -> Parcel {
        let size_bytes = received.request.size_bytes();
        let message = match &mut received.request.content {
            Content::Inline(bytes) => Some(self.put(&std::mem::take(bytes))),
            Content::Descriptor { .. } => None,
        };
        Parcel { received, size_bytes, message }
    }

    pub fn put(&mut self, bytes: &[u8]) -> Message {
        if Rc::strong_count(&self.block) == 1 {
            // nobody's message is in it any more
            self.block.0.borrow_mut().clear();
        }
        let start = self.block.0.borrow().len();
        if self.block.0.borrow().capacity() - start < bytes.len() {
            let room = Vec::with_capacity(BLOCK_BYTES.max(bytes.len()));
            self.block = Rc::new(Block(RefCell::new(room)));
            return self.put(bytes);
        }
        self.block.0.borrow_mut().extend_from_slice(bytes);
        Message { block: self.block.clone(), start, length: bytes.len() }
    }
}

impl Message {
    /// Lends the message; nothing must be put on the shelf meanwhile.
    pub fn with<T>(&self, use_it: impl FnOnce(&[u8]) -> T) -> T {
        use_it(&self.block.0.borrow()[self.start..self.start + self.length])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_stay_as_they_were_and_blocks_go_with_them() {
        let mut shelf = Shelf::default();
        let sizes = (0..500).map(|number| number * 977 % 9000);
        let mut held: Vec<(Message, Vec<u8>)> = sizes
            .map(|size| {
                let bytes: Vec<u8> = (0..size).map(|at| (at * 31 + size) as u8).collect();
                (shelf.put(&bytes), bytes)
            })
            .collect();
        let large = vec![7; BLOCK_BYTES * 2];
        held.push((shelf.put(&large), large));
        held.push((shelf.put(b"after"), b"after".to_vec()));
        for (message, bytes) in &held {
            message.with(|kept| assert_eq!(kept, bytes));
        }
        let blocks = held.iter().filter(|(message, _)| message.start == 0).count();
        assert!((10..60).contains(&blocks), "{blocks}");
        let first = Rc::downgrade(&held[0].0.block);
        held.drain(..100);
        assert!(first.upgrade().is_none(), "its messages are sent, so it is gone");
        held.clear();
        assert_eq!(Rc::strong_count(&shelf.block), 1);
        let again = shelf.put(b"again");
        assert_eq!(again.start, 0, "the shelf's own block begins anew");
    }
}
