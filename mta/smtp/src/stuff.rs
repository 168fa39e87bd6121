//! Dot-stuffing and its opposite, RFC 5321 §4.5.2: the only place that knows how a message ends.
//!
//! What goes out has CR LF line ends only, and `CR LF . CR LF` once, at its end. What comes in ends at exactly
//! `CR LF . CR LF`: no CR or LF on its own, and no NUL, ever ends a message. It must not know sessions.

/// Makes message content fit for DATA, in any number of pieces.
#[derive(Debug, Clone)]
pub struct DotStuffer {
    line_start: bool,
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
        todo!("{chunk:?} {out:?}")
    }

    /// Ends the message: CR LF if its last line has none, then the final dot. The stuffer is at the start of
    /// a message again.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        todo!("{out:?}")
    }
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
    line_start: bool,
    after_cr: bool,
    bare_newline: bool,
}

impl Default for DotUnstuffer {
    fn default() -> Self {
        DotUnstuffer::new()
    }
}

impl DotUnstuffer {
    /// At the start of a message.
    pub const fn new() -> DotUnstuffer {
        DotUnstuffer { line_start: true, after_cr: false, bare_newline: false }
    }

    /// Returns how many bytes of `input` are done with, and what they were. The caller keeps the rest, at most
    /// two bytes on [`Chunk::More`], and gives it again with more.
    pub fn next<'a>(&mut self, input: &'a [u8]) -> (usize, Chunk<'a>) {
        todo!("{input:?}")
    }

    /// Whether a CR or LF on its own was seen since the start of the message.
    pub const fn bare_newline(&self) -> bool {
        self.bare_newline
    }
}
