//! Memory that connections use in turn.

use std::cell::RefCell;

/// A read takes at most so much; replies are far shorter.
pub const READ_BYTES: usize = 16 * 1024;

/// Buffers kept for the next connection that has something to write; more are freed.
const SPARE_BUFFERS: usize = 64;

/// A buffer that grew beyond this is freed, not kept.
const SPARE_CAPACITY_BYTES: usize = 128 * 1024;

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Lends the loop's read buffer; it must not be held across a wait, which a closure can't.
pub fn with_read_buffer<T>(use_it: impl FnOnce(&mut [u8]) -> T) -> T {
    READ.with(|buffer| use_it(&mut buffer.borrow_mut()))
}

/// An empty buffer to write into.
pub fn take() -> Vec<u8> {
    SPARE.with(|spare| spare.borrow_mut().pop()).unwrap_or_default()
}

/// Gives a buffer back for others to use.
pub fn give_back(mut buffer: Vec<u8>) {
    if buffer.capacity() == 0 || buffer.capacity() > SPARE_CAPACITY_BYTES {
        return;
    }
    buffer.clear();
    SPARE.with(|spare| {
        let mut spare = spare.borrow_mut();
        if spare.len() < SPARE_BUFFERS {
            spare.push(buffer);
        }
    });
}
