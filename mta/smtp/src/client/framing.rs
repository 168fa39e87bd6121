//! How a message goes on the wire: dot-stuffed after DATA, or counted after BDAT (RFC 3030 §2).
//!
//! It must not know replies.

use crate::stuff::{DotStuffer, has_bare_newline};
use std::borrow::Cow;
use std::io::Write;

/// What a message's bytes are put through.
#[derive(Debug)]
pub(super) enum Framing {
    Stuffed(DotStuffer),
    Counted(Count),
}

impl Framing {
    /// A piece of the message. The memory of one that is given away may become `out`'s.
    pub fn add(&mut self, chunk: Cow<'_, [u8]>, out: &mut Vec<u8>) -> Result<(), Misfit> {
        match (self, chunk) {
            (Framing::Stuffed(stuffer), Cow::Borrowed(chunk)) => stuffer.stuff(chunk, out),
            (Framing::Stuffed(stuffer), Cow::Owned(chunk)) => stuffer.stuff_owned(chunk, out),
            (Framing::Counted(count), chunk) => return count.add(&chunk, out),
        }
        Ok(())
    }

    /// The message is complete.
    pub fn end(&mut self, out: &mut Vec<u8>) -> Result<(), Misfit> {
        match self {
            Framing::Stuffed(stuffer) => {
                stuffer.finish(out);
                Ok(())
            }
            Framing::Counted(count) => count.end(out),
        }
    }
}

/// A message in one chunk: `BDAT size LAST`, then its bytes as they are.
///
/// The last byte is kept back until the message is known to be complete, so that no server ever has a whole chunk of a
/// message that is not what was promised.
#[derive(Debug)]
pub(super) struct Count {
    size: u64,
    /// Bytes of the message so far.
    given: u64,
    /// The last of them; written already unless it is the last of all.
    last: u8,
}

impl Count {
    pub fn new(size: u64) -> Count {
        Count { size, given: 0, last: 0 }
    }

    fn add(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), Misfit> {
        let Some((&last, before)) = chunk.split_last() else { return Ok(()) };
        if chunk.len() as u64 > self.size - self.given {
            return Err(Misfit::Longer);
        }
        // Whoever stores what we send as lines must not have to guess what a line is.
        if has_bare_newline(chunk, self.last == b'\r') {
            return Err(Misfit::BareNewline);
        }
        if self.given == 0 {
            self.command(out);
        }
        self.given += chunk.len() as u64;
        self.last = last;
        out.extend_from_slice(if self.given == self.size { before } else { chunk });
        Ok(())
    }

    fn end(&self, out: &mut Vec<u8>) -> Result<(), Misfit> {
        match self.last {
            _ if self.given < self.size => return Err(Misfit::Shorter),
            b'\r' => return Err(Misfit::BareNewline),
            _ if self.size == 0 => self.command(out),
            last => out.push(last),
        }
        Ok(())
    }

    fn command(&self, out: &mut Vec<u8>) {
        write!(out, "BDAT {} LAST\r\n", self.size).expect("a Vec takes all that is written");
    }
}

/// Why a message cannot be sent as one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Misfit {
    Longer,
    Shorter,
    /// A CR or LF on its own.
    BareNewline,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn framed(size: u64, pieces: &[&[u8]]) -> (Vec<u8>, Result<(), Misfit>) {
        let (mut framing, mut out) = (Framing::Counted(Count::new(size)), Vec::new());
        let result = pieces
            .iter()
            .try_for_each(|piece| framing.add(Cow::Borrowed(piece), &mut out))
            .and_then(|()| framing.end(&mut out));
        (out, result)
    }

    proptest! {
        /// What was promised goes out byte for byte; of anything else the server never has the whole chunk.
        #[test]
        fn a_chunk_is_complete_only_when_it_is_what_was_promised(
            pieces in prop::collection::vec(
                prop::sample::select(vec![&b"\r\n"[..], b"a", b"\r\n.\r\n", b"", b"bc\r\nd", b"\r", b"\n"]),
                0..12,
            ),
            off in prop_oneof![3 => Just(0), 1 => -3i64..4],
        ) {
            let content = pieces.concat();
            let size = content.len().saturating_add_signed(off as isize) as u64;
            let (out, result) = framed(size, &pieces);
            let command = format!("BDAT {size} LAST\r\n");
            let whole_lines = content.iter().enumerate().all(|(at, byte)| match byte {
                b'\r' => content.get(at + 1) == Some(&b'\n'),
                b'\n' => at > 0 && content[at - 1] == b'\r',
                _ => true,
            });
            if size == content.len() as u64 && whole_lines {
                prop_assert_eq!(result, Ok(()));
                prop_assert_eq!(out, [command.as_bytes(), &content].concat());
            } else {
                prop_assert!(result.is_err());
                prop_assert!(out.len() < command.len() + size as usize || out.is_empty(), "{:?}", out);
            }
        }
    }

    #[test]
    fn each_misfit_has_its_name() {
        assert_eq!(framed(2, &[b"abc"]), (b"".to_vec(), Err(Misfit::Longer)));
        assert_eq!(framed(2, &[b"ab", b"c"]), (b"BDAT 2 LAST\r\na".to_vec(), Err(Misfit::Longer)));
        assert_eq!(framed(2, &[b"a"]), (b"BDAT 2 LAST\r\na".to_vec(), Err(Misfit::Shorter)));
        assert_eq!(framed(2, &[]), (b"".to_vec(), Err(Misfit::Shorter)));
        assert_eq!(framed(3, &[b"a\nb"]), (b"".to_vec(), Err(Misfit::BareNewline)));
        assert_eq!(framed(2, &[b"a\r"]), (b"BDAT 2 LAST\r\na".to_vec(), Err(Misfit::BareNewline)));
        assert_eq!(framed(0, &[b""]), (b"BDAT 0 LAST\r\n".to_vec(), Ok(())));
    }
}
