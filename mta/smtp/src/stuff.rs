//! Dot-stuffing and its opposite, RFC 5321 §4.5.2: the only place that knows how a message ends.
//!
//! What goes out has CR LF line ends only, and `CR LF . CR LF` once, at its end. What comes in ends at exactly
//! `CR LF . CR LF`: no CR or LF on its own, and no NUL, ever ends a message (RFC 5321 §4.1.1.4). It must not
//! know sessions.
//!
//! Content is looked at in two ways only, both of which the compiler or memchr make wide: one pass that answers
//! yes or no for a whole piece, and a search for the next place of interest.

use memchr::{memchr_iter, memchr2, memmem};
use std::sync::LazyLock;

/// Makes message content fit for DATA, in any number of pieces.
#[derive(Debug, Clone)]
pub struct DotStuffer {
    /// What was written last is a line end, or nothing was written yet.
    line_start: bool,
    /// The last byte of the content so far is a CR, which was written as CR LF already.
    after_cr: bool,
}

impl Default for DotStuffer {
    fn default() -> Self {
        DotStuffer::new()
    }
}

impl DotStuffer {
    /// At the start of a message.
    pub const fn new() -> DotStuffer {
        DotStuffer { line_start: true, after_cr: false }
    }

    /// Appends a piece of the message to `out` as it goes on the wire. A CR or LF on its own is written as
    /// CR LF, so that nobody downstream can take it for a line end of another kind.
    pub fn stuff(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        let mut rest = chunk;
        if self.after_cr && !rest.is_empty() {
            self.after_cr = false;
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        if rest.is_empty() {
            return;
        }
        out.reserve(rest.len() + STUFFING_ROOM);
        if self.line_start && rest[0] == b'.' {
            out.push(b'.');
        }
        // A final CR is left to the next piece, which may begin with its LF.
        let (body, final_cr) = match rest.split_last() {
            Some((b'\r', body)) => (body, true),
            _ => (rest, false),
        };
        if goes_as_it_is(body) {
            out.extend_from_slice(body);
        } else if !has_bare_newline(body, false) && body.last() != Some(&b'\r') {
            stuff_canonical(body, out);
        } else {
            stuff_any(body, out);
        }
        self.line_start = match body.last() {
            Some(&last) => last == b'\n',
            None => self.line_start,
        };
        if final_cr {
            out.extend_from_slice(b"\r\n");
            self.line_start = true;
            self.after_cr = true;
        }
    }

    /// As [`DotStuffer::stuff`]; where nothing is to be changed and `out` is empty, the piece's memory becomes `out`'s.
    pub fn stuff_owned(&mut self, chunk: Vec<u8>, out: &mut Vec<u8>) {
        let begins_line = self.line_start && !self.after_cr && !chunk.starts_with(b".");
        if out.is_empty() && begins_line && goes_as_it_is(&chunk) {
            self.line_start = chunk.last().is_none_or(|last| *last == b'\n');
            *out = chunk;
        } else {
            self.stuff(&chunk, out);
        }
    }

    /// Ends the message: CR LF if its last line has none, then the final dot. The stuffer is at the start of
    /// a message again.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        // RFC 5321 §4.1.1.4: the line end before the dot is that of the last line, or of DATA itself.
        out.extend_from_slice(if self.line_start { b".\r\n" } else { b"\r\n.\r\n" });
        *self = DotStuffer::new();
    }
}

/// Appends content whose only line ends are CR LF. The first line's dot is seen to by the caller.
fn stuff_canonical(body: &[u8], out: &mut Vec<u8>) {
    let mut from = 0;
    for at in memchr_iter(b'\n', body) {
        if body.get(at + 1) == Some(&b'.') {
            out.extend_from_slice(&body[from..=at]);
            out.push(b'.'); // RFC 5321 §4.5.2: a dot before each line that begins with one
            from = at + 1;
        }
    }
    out.extend_from_slice(&body[from..]);
}

/// As `stuff_canonical`, with line ends of all kinds written as CR LF.
fn stuff_any(body: &[u8], out: &mut Vec<u8>) {
    let mut from = 0;
    while let Some(found) = memchr2(b'\r', b'\n', &body[from..]) {
        let at = from + found;
        out.extend_from_slice(&body[from..at]);
        out.extend_from_slice(b"\r\n");
        from = if body[at..].starts_with(b"\r\n") { at + 2 } else { at + 1 };
        if body.get(from) == Some(&b'.') {
            out.push(b'.');
        }
    }
    out.extend_from_slice(&body[from..]);
}

/// A piece of what a client sends after 354.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunk<'a> {
    /// Message content as received, dots removed.
    Content(&'a [u8]),
    /// The message ended.
    End,
    /// Nothing can be said before more bytes come.
    More,
}

/// Finds the content and the end of a message in what a client sends after 354.
#[derive(Debug, Clone)]
pub struct DotUnstuffer {
    /// The last two bytes of the content so far are CR LF, or there is none yet.
    line_start: bool,
    newlines: Newlines,
}

impl Default for DotUnstuffer {
    fn default() -> Self {
        DotUnstuffer::new()
    }
}

impl DotUnstuffer {
    /// At the start of a message.
    pub const fn new() -> DotUnstuffer {
        DotUnstuffer { line_start: true, newlines: Newlines::new() }
    }

    /// Returns how many bytes of `input` are done with, and what they were. The caller keeps the rest, at most
    /// two bytes on [`Chunk::More`], and gives it again with more. After [`Chunk::End`] comes the next message.
    pub fn next<'a>(&mut self, input: &'a [u8]) -> (usize, Chunk<'a>) {
        let mut dot_bytes = 0;
        if self.line_start && input.first() == Some(&b'.') {
            match input {
                [_] | [_, b'\r'] => return (0, Chunk::More),
                // The CR LF before this dot was handed out as content, of which it is a part.
                [_, b'\r', b'\n', ..] => {
                    self.line_start = true;
                    return (3, Chunk::End);
                }
                // RFC 5321 §4.5.2: the first dot of a line with more on it is removed
                _ => dot_bytes = 1,
            }
        }
        let content = &input[dot_bytes..];
        if content.is_empty() {
            return (0, Chunk::More);
        }
        let content = &content[..self.content_bytes(content)];
        self.line_start = match content {
            [b'\n'] => self.newlines.after_cr,
            _ => content.ends_with(b"\r\n"),
        };
        self.newlines.see(content);
        (dot_bytes + content.len(), Chunk::Content(content))
    }

    /// How much of `content` comes before the next line that begins with a dot.
    fn content_bytes(&self, content: &[u8]) -> usize {
        if self.newlines.after_cr && content.starts_with(b"\n.") {
            return 1;
        }
        LINE_WITH_DOT.find(content).map_or(content.len(), |at| at + 2)
    }

    /// Whether a CR or LF on its own was seen in the message that began last.
    pub const fn bare_newline(&self) -> bool {
        self.newlines.any_bare
    }
}

/// Whether content that comes in pieces has a CR or LF on its own.
#[derive(Debug, Clone, Default)]
pub struct Newlines {
    /// The last byte so far is a CR.
    after_cr: bool,
    any_bare: bool,
}

impl Newlines {
    /// Before the first piece.
    pub const fn new() -> Newlines {
        Newlines { after_cr: false, any_bare: false }
    }

    /// Looks at the next piece.
    pub fn see(&mut self, piece: &[u8]) {
        if let Some(&last) = piece.last() {
            self.any_bare |= has_bare_newline(piece, self.after_cr);
            self.after_cr = last == b'\r';
        }
    }

    /// Whether there was one, if no more comes: a CR at the very end has no LF.
    pub const fn any_bare_at_end(&self) -> bool {
        self.any_bare || self.after_cr
    }
}

/// Whether a CR is not followed by LF, or an LF not preceded by CR. `after_cr` is the byte before; a CR at the
/// very end is left open.
pub(crate) fn has_bare_newline(bytes: &[u8], after_cr: bool) -> bool {
    let Some(&first) = bytes.first() else { return false };
    let seam = after_cr != (first == b'\n');
    seam | any_pair(bytes, |left, right| (left == b'\r') ^ (right == b'\n'))
}

/// Whether content has CR LF line ends only, the last one whole, and no line after the first that begins with a dot.
fn goes_as_it_is(bytes: &[u8]) -> bool {
    let unfit = |left, right| ((left == b'\r') ^ (right == b'\n')) | ((left == b'\n') & (right == b'.'));
    bytes.first() != Some(&b'\n') && bytes.last() != Some(&b'\r') && !any_pair(bytes, unfit)
}

/// Whether any two neighbours satisfy `test`. Without an early way out inside a block, so that it is done in
/// wide registers.
#[inline(always)]
fn any_pair(bytes: &[u8], test: impl Fn(u8, u8) -> bool) -> bool {
    if bytes.len() < 2 {
        return false;
    }
    let (left, right) = (&bytes[..bytes.len() - 1], &bytes[1..]);
    left.chunks(PAIR_BLOCK_BYTES).zip(right.chunks(PAIR_BLOCK_BYTES)).any(|(left, right)| {
        left.iter().zip(right).fold(0u8, |found, (&left, &right)| found | u8::from(test(left, right))) != 0
    })
}

/// Built once: with a dot on each line of a message, building it would cost more than the search.
static LINE_WITH_DOT: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(b"\r\n."));
/// How far [`any_pair`] looks before it asks whether it is done.
const PAIR_BLOCK_BYTES: usize = 1024;
/// What [`DotStuffer::finish`] adds at most.
pub const END_BYTES: usize = 5;
/// Room beyond the content itself for a few dots and the end, so that most messages cost one allocation.
const STUFFING_ROOM: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn stuffed(pieces: &[&[u8]]) -> String {
        let (mut stuffer, mut out) = (DotStuffer::new(), Vec::new());
        pieces.iter().for_each(|piece| stuffer.stuff(piece, &mut out));
        stuffer.finish(&mut out);
        assert_eq!(out, owned(pieces), "{pieces:?}");
        String::from_utf8(out).unwrap()
    }

    /// As pieces that are given away, each into an empty buffer.
    fn owned(pieces: &[&[u8]]) -> Vec<u8> {
        let (mut stuffer, mut wire, mut out) = (DotStuffer::new(), Vec::new(), Vec::new());
        for piece in pieces {
            stuffer.stuff_owned(piece.to_vec(), &mut out);
            wire.append(&mut out);
        }
        stuffer.finish(&mut wire);
        wire
    }

    #[test]
    fn dots_are_doubled_and_newlines_made_whole() {
        for (content, wire) in [
            ("", ".\r\n"),
            (".", "..\r\n.\r\n"),
            ("a", "a\r\n.\r\n"),
            ("a\r\n", "a\r\n.\r\n"),
            ("a\r\n.\r\n", "a\r\n..\r\n.\r\n"),
            ("a\n.\nb", "a\r\n..\r\nb\r\n.\r\n"),
            ("a\r.\rb", "a\r\n..\r\nb\r\n.\r\n"),
            ("a\r\r\n.\r\r\n", "a\r\n\r\n..\r\n\r\n.\r\n"),
            ("\n\r.", "\r\n\r\n..\r\n.\r\n"),
            ("..a\r\n..b\r\n", "...a\r\n...b\r\n.\r\n"),
        ] {
            assert_eq!(stuffed(&[content.as_bytes()]), wire, "{content:?}");
            let bytes: Vec<&[u8]> = content.as_bytes().chunks(1).collect();
            assert_eq!(stuffed(&bytes), wire, "{content:?} byte by byte");
        }
    }

    #[test]
    fn what_is_kept_back_is_at_most_two_bytes() {
        let mut unstuffer = DotUnstuffer::new();
        assert_eq!(unstuffer.next(b""), (0, Chunk::More));
        assert_eq!(unstuffer.next(b"."), (0, Chunk::More));
        assert_eq!(unstuffer.next(b".\r"), (0, Chunk::More));
        assert_eq!(unstuffer.next(b".\rx"), (3, Chunk::Content(b"\rx")));
        assert_eq!(unstuffer.next(b"y\r"), (2, Chunk::Content(b"y\r")));
        assert_eq!(unstuffer.next(b"\n.\r\n"), (1, Chunk::Content(b"\n")));
        assert_eq!(unstuffer.next(b".\r\nNOOP"), (3, Chunk::End));
        assert!(unstuffer.bare_newline());
    }
}
