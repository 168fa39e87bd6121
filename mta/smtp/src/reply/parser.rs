//! Replies out of a stream of bytes, with bounds.

use super::Reply;
use std::fmt;

/// Finds replies in what a server sends. The caller keeps what was not consumed and gives it again with more.
#[derive(Debug, Default)]
pub struct ReplyParser {
    text: Vec<u8>,
}

impl ReplyParser {
    /// A parser at the start of a reply.
    pub fn new() -> ReplyParser {
        ReplyParser::default()
    }

    /// Returns how many bytes of `input` are done with, and the reply if it is complete.
    ///
    /// # Errors
    /// [`ReplyError`]: the server cannot be understood and the connection has to be dropped.
    pub fn next(&mut self, input: &[u8]) -> Result<(usize, Option<Reply>), ReplyError> {
        todo!("{input:?} {:?}", self.text)
    }
}

/// Why a server cannot be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyError {
    /// A line over [`MAX_REPLY_LINE`] bytes.
    LineTooLong,
    /// More than [`MAX_REPLY_LINES`] lines.
    TooManyLines,
    /// More than [`MAX_REPLY_BYTES`] bytes.
    TooLong,
    /// A line that does not begin with three digits, 200 to 599.
    BadCode,
    /// The code is followed by neither space nor hyphen.
    BadSeparator,
    /// Lines of one reply with different codes.
    MixedCodes,
    /// A CR or LF on its own.
    BareNewline,
    /// A NUL byte.
    Nul,
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReplyError::LineTooLong => write!(f, "reply line over {MAX_REPLY_LINE} bytes"),
            ReplyError::TooManyLines => write!(f, "reply of more than {MAX_REPLY_LINES} lines"),
            ReplyError::TooLong => write!(f, "reply over {MAX_REPLY_BYTES} bytes"),
            ReplyError::BadCode => f.write_str("reply without a code of 200 to 599"),
            ReplyError::BadSeparator => f.write_str("reply code not followed by space or hyphen"),
            ReplyError::MixedCodes => f.write_str("different codes in the lines of one reply"),
            ReplyError::BareNewline => f.write_str("CR or LF on its own in a reply"),
            ReplyError::Nul => f.write_str("NUL in a reply"),
        }
    }
}

impl std::error::Error for ReplyError {}

/// Bytes of one line with its CR LF: four times what RFC 5321 §4.5.3.1.5 allows to be sent.
pub const MAX_REPLY_LINE: usize = 2048;
/// Lines of one reply.
pub const MAX_REPLY_LINES: usize = 128;
/// Bytes of one reply.
pub const MAX_REPLY_BYTES: usize = 16 * 1024;
