//! The message itself, as it comes.

use super::Event;
use super::session::{Pending, Session};
use crate::stuff::Chunk;

impl Session {
    /// After DATA, up to the final dot.
    pub(super) fn next_content<'a>(&mut self, input: &'a [u8]) -> (usize, Option<Event<'a>>) {
        let max_bytes = self.options.limits.max_message_bytes;
        let transaction = &mut self.transaction;
        let mut consumed = 0;
        loop {
            let (bytes, chunk) = transaction.unstuffer.next(&input[consumed..]);
            consumed += bytes;
            match chunk {
                Chunk::More => return (consumed, None),
                Chunk::Content(content) => {
                    let wanted = transaction.count(content, max_bytes);
                    if !wanted.is_empty() {
                        return (consumed, Some(Event::Body(wanted)));
                    }
                }
                Chunk::End => {
                    self.pending = Some(Pending::EndOfData);
                    let bare_newline = transaction.unstuffer.bare_newline();
                    return (consumed, Some(Event::EndOfData { bare_newline, too_big: transaction.too_big }));
                }
            }
        }
    }
}
