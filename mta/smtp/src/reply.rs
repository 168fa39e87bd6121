//! A reply as a value: writing it, and showing it on one line of a log.
//!
//! Parsing from a stream is in [`parser`]. It must not know what was asked, nor sessions.

mod parser;

pub use parser::{MAX_REPLY_BYTES, MAX_REPLY_LINE, MAX_REPLY_LINES, ReplyError, ReplyParser};

use crate::status::{EnhancedStatus, ReplyCode};

/// A whole reply, of one or several lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The code, the same on each line.
    pub code: ReplyCode,
    /// RFC 2034 §4: what stands before the text, if its class is that of the code.
    pub enhanced: Option<EnhancedStatus>,
    /// The lines without code and enhanced status, joined by `\n`.
    pub text: String,
}

impl Reply {
    /// # Panics
    /// On a code outside 200..=599 or an impossible enhanced status: a mistake of ours, not of a peer.
    pub fn new(code: u16, enhanced: Option<(u8, u16, u16)>, text: impl Into<String>) -> Reply {
        Reply {
            code: ReplyCode::new(code).expect("a reply code that we wrote is in 200..=599"),
            enhanced: enhanced.map(|(class, subject, detail)| EnhancedStatus::new(class, subject, detail)),
            text: text.into(),
        }
    }

    /// Appends the reply as it goes on the wire, each line ended by CR LF and at most 512 bytes long
    /// (RFC 5321 §4.5.3.1.5): a longer one is folded. What is not printable ASCII becomes `?`.
    pub fn write(&self, out: &mut Vec<u8>) {
        todo!("{out:?}")
    }

    /// Code, enhanced status and text on one line for a log: control characters are escaped, at most
    /// [`MAX_ONE_LINE`] bytes.
    pub fn one_line(&self) -> String {
        todo!()
    }
}

/// Bytes that [`Reply::one_line`] returns at most.
pub const MAX_ONE_LINE: usize = 512;
