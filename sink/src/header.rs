//! Finds the id in the header section of a message that comes in pieces.
//!
//! A line is looked at where it lies; only one that is cut by the end of a piece is copied. After the header
//! section a message costs nothing here.

use crate::message_id::{Ids, MAX_ID_BYTES, MessageId};

/// Looks through one message's header section.
#[derive(Default)]
pub struct HeaderScan {
    state: State,
    /// The beginning of a line whose end has not come yet; at most [`MAX_CUT_LINE`] bytes.
    cut: Vec<u8>,
    id: Option<MessageId>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// At the beginning of a header field, or of the body.
    #[default]
    Field,
    /// The field `X-Mailrig-Id:` had nothing on its first line: the value may follow, folded.
    FoldedValue,
    /// In the rest of a line that is too long to matter.
    LongLine,
    /// The id is known, or the header section is over without one.
    Over,
}

impl HeaderScan {
    /// Takes the next piece of the message.
    #[inline]
    pub fn feed(&mut self, piece: &[u8], ids: &mut Ids) {
        if self.state != State::Over {
            self.look(piece, ids);
        }
    }

    /// The id, once the message is at its end; ready for the next one then.
    pub fn finish(&mut self, ids: &mut Ids) -> Option<MessageId> {
        if self.state != State::Over && !self.cut.is_empty() {
            let line = std::mem::take(&mut self.cut);
            self.line(&line, ids);
        }
        std::mem::take(self).id
    }

    fn look(&mut self, mut piece: &[u8], ids: &mut Ids) {
        while self.state != State::Over {
            let Some(end) = memchr::memchr(b'\n', piece) else {
                self.keep(piece);
                return;
            };
            let (line, rest) = piece.split_at(end + 1);
            piece = rest;
            if self.state == State::LongLine {
                self.state = State::Field;
            } else if self.cut.is_empty() {
                self.line(line, ids);
            } else {
                self.keep(line);
                let whole = std::mem::take(&mut self.cut);
                match self.state {
                    State::LongLine => self.state = State::Field,
                    _ => self.line(&whole, ids),
                }
            }
        }
        self.cut = Vec::new();
    }

    /// Keeps the cut line's next part, unless the line is too long to be ours.
    fn keep(&mut self, part: &[u8]) {
        if self.cut.len() + part.len() > MAX_CUT_LINE {
            self.cut = Vec::new();
            self.state = State::LongLine;
        } else if self.state != State::LongLine {
            self.cut.extend_from_slice(part);
        }
    }

    /// One whole line, with or without its line end.
    fn line(&mut self, line: &[u8], ids: &mut Ids) {
        if line.len() > MAX_CUT_LINE {
            self.state = State::Field;
            return;
        }
        let line = line.trim_ascii_end();
        let folded = line.first().is_some_and(|byte| matches!(byte, b' ' | b'\t'));
        if folded {
            if self.state == State::FoldedValue {
                self.take(line, ids);
            }
            return;
        }
        self.state = State::Field;
        match line.get(..NAME.len()) {
            Some(name) if name.eq_ignore_ascii_case(NAME) => {
                let value = &line[NAME.len()..];
                if value.trim_ascii().is_empty() {
                    self.state = State::FoldedValue;
                } else {
                    self.take(value, ids);
                }
            }
            // RFC 5322 §2.1: an empty line ends the header section; so does what is no field (§2.2) at all.
            _ if memchr::memchr(b':', line).is_none() => self.state = State::Over,
            _ => {}
        }
    }

    fn take(&mut self, value: &[u8], ids: &mut Ids) {
        self.id = ids.id(value.trim_ascii());
        self.state = State::Over;
    }
}

const NAME: &[u8] = b"X-Mailrig-Id:";
/// A line of the longest id with room for spaces; longer lines are of other fields.
const MAX_CUT_LINE: usize = NAME.len() + MAX_ID_BYTES + 64;

#[cfg(test)]
mod tests {
    use super::*;

    /// The id that is found in the message fed whole, in every two pieces, and byte by byte.
    fn found(message: &str) -> Option<String> {
        let bytes = message.as_bytes();
        let mut ids = Ids::default();
        let mut scan = HeaderScan::default();
        let mut feed = |pieces: &mut dyn Iterator<Item = &[u8]>| {
            pieces.for_each(|piece| scan.feed(piece, &mut ids));
            scan.finish(&mut ids)
        };
        let whole = feed(&mut [bytes].into_iter());
        assert_eq!(feed(&mut bytes.chunks(1)), whole, "byte by byte: {message:?}");
        for at in 0..bytes.len() {
            let (first, second) = bytes.split_at(at);
            assert_eq!(feed(&mut [first, second].into_iter()), whole, "cut at {at}: {message:?}");
        }
        whole.map(|id| ids.text(id).to_string())
    }

    #[test]
    fn the_id_is_found_in_the_header_section_only() {
        let long = format!("X-Long: {}\r\nX-Mailrig-Id: r/1/2\r\n\r\n", "y".repeat(MAX_CUT_LINE));
        let too_long = format!("X-Mailrig-Id: {}\r\nX-Mailrig-Id: r/1/2\r\n\r\n", "y".repeat(MAX_CUT_LINE));
        for (message, id) in [
            ("X-Mailrig-Id: r/1/2\r\n\r\nbody\r\n", Some("r/1/2")),
            ("Received: by a\r\n for b\r\nx-mailrig-ID:r/1/2\r\n\r\n", Some("r/1/2")),
            ("Subject: x\r\nX-Mailrig-Id:\r\n\tr/1/2 \r\nTo: z\r\n\r\n", Some("r/1/2")),
            ("X-Mailrig-Id: r/1/2", Some("r/1/2")),
            ("X-Mailrig-Id: r/1/2\r\nX-Mailrig-Id: r/3/4\r\n\r\n", Some("r/1/2")),
            (&long, Some("r/1/2")),
            ("Subject: x\r\n\r\nX-Mailrig-Id: r/1/2\r\n", None),
            ("no header\r\nX-Mailrig-Id: r/1/2\r\n", None),
            ("Subject: x\r\n X-Mailrig-Id: r/1/2\r\n\r\n", None),
            ("X-Mailrig-Id:\r\nX-Other: y\r\n\r\n", None),
            ("X-Mailrig-Identity: r/1/2\r\n\r\n", None),
            ("X-Mailrig-Id", None),
            (&too_long, Some("r/1/2")),
            ("", None),
        ] {
            assert_eq!(found(message).as_deref(), id, "{message:?}");
        }
    }

    #[test]
    fn a_line_without_end_is_not_kept() {
        let mut ids = Ids::default();
        let mut scan = HeaderScan::default();
        for _ in 0..1000 {
            scan.feed(&[b'x'; 1000], &mut ids);
            assert!(scan.cut.capacity() <= 2 * MAX_CUT_LINE);
        }
        assert_eq!(scan.finish(&mut ids), None);
    }
}
