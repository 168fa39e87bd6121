//! A reply as a value: writing it, and showing it on one line of a log.
//!
//! Parsing it from a stream is [`ReplyParser`]'s. It must not know what was asked, nor sessions.

mod parser;

pub(crate) use parser::ParsedReply;
pub use parser::{MAX_REPLY_BYTES, MAX_REPLY_LINE, MAX_REPLY_LINES, ReplyError, ReplyParser};

use crate::status::{EnhancedStatus, ReplyCode};
use std::fmt::Write;

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
        self.write_with(self.enhanced, out);
    }

    /// As [`Reply::write`] with another enhanced status or none, for a session that did not offer them.
    pub(crate) fn write_with(&self, enhanced: Option<EnhancedStatus>, out: &mut Vec<u8>) {
        let enhanced = EnhancedText::new(enhanced);
        let lines = self.text.split('\n').flat_map(fold).take(MAX_REPLY_LINES);
        let mut bytes = 0;
        let mut lines = lines
            .take_while(|line| {
                bytes += LINE_OVERHEAD + line.len();
                bytes <= MAX_REPLY_BYTES
            })
            .peekable();
        while let Some(line) = lines.next() {
            out.extend_from_slice(&self.code.digits());
            // RFC 5321 §4.2.1: a hyphen on every line but the last
            out.push(if lines.peek().is_some() { b'-' } else { b' ' });
            // RFC 2034 §4: each line of a reply carries the same enhanced status
            out.extend_from_slice(enhanced.as_bytes());
            out.extend(line.iter().map(|&byte| if is_textstring(byte) { byte } else { b'?' }));
            out.extend_from_slice(b"\r\n");
        }
    }

    /// Code, enhanced status and text on one line for a log: control characters are escaped, at most
    /// [`MAX_ONE_LINE`] bytes.
    pub fn one_line(&self) -> String {
        let mut line = String::with_capacity(16 + self.text.len());
        // Writing to a String cannot fail.
        let _ = write!(line, "{} ", self.code);
        if let Some(enhanced) = self.enhanced {
            let _ = write!(line, "{enhanced} ");
        }
        push_one_line(&mut line, &self.text);
        line
    }
}

/// `text` on one line of at most [`MAX_ONE_LINE`] bytes.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(MAX_ONE_LINE));
    push_one_line(&mut line, text);
    line
}

/// Appends `text` to `line` up to [`MAX_ONE_LINE`] bytes: line breaks become spaces, what could command a
/// terminal or forge a log line is escaped.
fn push_one_line(line: &mut String, text: &str) {
    if line.len() + text.len() <= MAX_ONE_LINE && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        line.push_str(text);
        return;
    }
    for character in text.chars() {
        if line.len() + ESCAPED_BYTES_MAX > MAX_ONE_LINE {
            line.push_str(CUT);
            return;
        }
        match character {
            '\n' => line.push(' '),
            ' '..='~' => line.push(character),
            _ if character.is_alphanumeric() => line.push(character),
            _ => line.extend(character.escape_default()),
        }
    }
}

/// A line's pieces of at most [`MAX_TEXT_ON_LINE`] bytes; one empty piece for an empty line.
fn fold(line: &str) -> impl Iterator<Item = &[u8]> {
    let bytes = line.strip_suffix('\r').unwrap_or(line).as_bytes();
    let (first, rest) = bytes.split_at(bytes.len().min(MAX_TEXT_ON_LINE));
    std::iter::once(first).chain(rest.chunks(MAX_TEXT_ON_LINE))
}

/// RFC 5321 §4.2 textstring.
fn is_textstring(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~')
}

/// `4.7.1 ` without an allocation; empty for none.
struct EnhancedText {
    bytes: [u8; EnhancedText::ROOM],
    length: usize,
}

impl EnhancedText {
    /// `5.999.999 `
    const ROOM: usize = 10;

    fn new(enhanced: Option<EnhancedStatus>) -> EnhancedText {
        let mut text = EnhancedText { bytes: [0; EnhancedText::ROOM], length: 0 };
        if let Some(enhanced) = enhanced {
            use std::io::Write;
            let mut free = &mut text.bytes[..];
            write!(free, "{enhanced} ").expect("an enhanced status has at most nine characters");
            text.length = EnhancedText::ROOM - free.len();
        }
        text
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Bytes that [`Reply::one_line`] returns at most.
pub const MAX_ONE_LINE: usize = 512;
/// RFC 5321 §4.5.3.1.5: 512 bytes a line, less code, separator, enhanced status and CR LF.
const MAX_TEXT_ON_LINE: usize = 512 - LINE_OVERHEAD;
const LINE_OVERHEAD: usize = 4 + EnhancedText::ROOM + 2;
/// `\u{10ffff}` and the mark of a cut.
const ESCAPED_BYTES_MAX: usize = 10 + CUT.len();
const CUT: &str = "...";

#[cfg(test)]
mod tests {
    use super::*;

    fn written(reply: &Reply) -> String {
        let mut out = Vec::new();
        reply.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_line_has_code_and_enhanced_status() {
        let reply = Reply::new(550, Some((5, 1, 1)), "no such user\nreally");
        assert_eq!(written(&reply), "550-5.1.1 no such user\r\n550 5.1.1 really\r\n");
        assert_eq!(reply.one_line(), "550 5.1.1 no such user really");
        assert_eq!(written(&Reply::new(250, None, "")), "250 \r\n");
    }

    #[test]
    fn text_can_neither_end_a_line_nor_grow_without_bound() {
        let reply = Reply::new(250, None, "a\rb\0c\u{1b}[2Jd\r\ne\u{e9}");
        assert_eq!(written(&reply), "250-a?b?c?[2Jd\r\n250 e??\r\n");
        assert_eq!(reply.one_line(), "250 a\\rb\\u{0}c\\u{1b}[2Jd\\r e\u{e9}");

        let long = Reply::new(250, Some((2, 0, 0)), "\u{7}".repeat(100_000));
        assert!(long.one_line().len() <= MAX_ONE_LINE);
        assert!(written(&long).lines().all(|line| line.len() <= 510));
        assert!(written(&long).len() > MAX_REPLY_BYTES - 512 && written(&long).len() <= MAX_REPLY_BYTES);
        assert_eq!(written(&Reply::new(250, None, "\n".repeat(1000))).lines().count(), MAX_REPLY_LINES);
    }
}
