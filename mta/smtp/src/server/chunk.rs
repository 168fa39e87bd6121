//! A chunk of BDAT, RFC 3030 §2: so many bytes, whatever they are.

use super::Event;
use super::refusal::Refusal;
use super::session::{Pending, Session, State};
use super::transaction::Form;
use crate::stage::Stage;

/// The chunk under way.
#[derive(Debug)]
pub(super) struct Chunk {
    pub size: u64,
    /// Bytes still to come.
    left: u64,
    fate: Fate,
}

#[derive(Debug, Clone, Copy)]
enum Fate {
    /// They are handed out.
    Taken { last: bool },
    /// They are thrown away, and then the refusal is said.
    Refused(Refusal),
}

impl Session {
    /// BDAT was said. Its bytes are no commands, whether it is allowed now or not.
    pub(super) fn begin_chunk<'a>(
        &mut self,
        size: u64,
        last: bool,
        input: &'a [u8],
    ) -> (usize, Option<Event<'a>>) {
        let fate = self.check_chunk().map_or_else(Fate::Refused, |()| Fate::Taken { last });
        self.chunk = Some(Box::new(Chunk { size, left: size, fate }));
        match fate {
            Fate::Taken { last } => {
                self.transaction.form = Form::Chunks;
                (0, Some(Event::Bdat { size, last }))
            }
            Fate::Refused(_) => self.next_of_chunk(input),
        }
    }

    /// After BDAT, until its bytes have come.
    pub(super) fn next_of_chunk<'a>(&mut self, input: &'a [u8]) -> (usize, Option<Event<'a>>) {
        let chunk = self.chunk.as_mut().expect("a chunk is under way");
        let bytes = usize::try_from(chunk.left).map_or(input.len(), |left| left.min(input.len()));
        chunk.left -= bytes as u64;
        let (is_whole, size, fate) = (chunk.left == 0, chunk.size, chunk.fate);
        if matches!(fate, Fate::Taken { .. }) {
            let content = &input[..bytes];
            self.transaction.newlines.see(content);
            let wanted = self.transaction.count(content, self.options.limits.max_message_bytes);
            if !wanted.is_empty() {
                return (bytes, Some(Event::Body(wanted)));
            }
        }
        if !is_whole {
            return (bytes, None);
        }
        let too_big = self.transaction.too_big;
        let event = match fate {
            Fate::Refused(refusal) => {
                self.chunk = None;
                self.refuse(refusal)
            }
            // The chunk is kept for its answer, which has its size.
            Fate::Taken { last: false } => {
                self.pending = Some(Pending::EndOfChunk);
                Event::EndOfChunk { size, too_big }
            }
            Fate::Taken { last: true } => {
                self.chunk = None;
                self.pending = Some(Pending::EndOfData);
                Event::EndOfData { bare_newline: self.transaction.newlines.any_bare_at_end(), too_big }
            }
        };
        (bytes, Some(event))
    }

    fn check_chunk(&self) -> Result<(), Refusal> {
        if self.state != State::Transaction || self.transaction.form == Form::Dots {
            return Err(Refusal::Sequence(Stage::Body));
        }
        if self.transaction.recipients == 0 { Err(self.no_recipients(Stage::Body)) } else { Ok(()) }
    }
}
