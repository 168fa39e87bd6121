//! Replies out of a stream of bytes, RFC 5321 §4.2, with a bound on everything.
//!
//! Liberal where it is harmless (text of any kind, a code without text), strict where two readers could
//! disagree on where a reply ends. It must not know what was asked.

use super::Reply;
use crate::status::{EnhancedStatus, ReplyCode};
use memchr::memchr;
use std::borrow::Cow;
use std::fmt;
use std::mem;

/// Finds replies in what a server sends. The caller keeps what was not consumed, less than [`MAX_REPLY_LINE`]
/// bytes, and gives it again with more.
#[derive(Debug, Default)]
pub struct ReplyParser {
    /// Of the lines so far, if there were any.
    begun: Option<Begun>,
}

/// A reply whose last line has not come.
#[derive(Debug)]
struct Begun {
    code: ReplyCode,
    enhanced: Option<EnhancedStatus>,
    lines: u16,
    bytes: u32,
    text: Vec<u8>,
}

/// A reply that borrows its text from the input where it is one line.
#[derive(Debug)]
pub(crate) struct ParsedReply<'a> {
    pub code: ReplyCode,
    pub enhanced: Option<EnhancedStatus>,
    pub text: Cow<'a, str>,
}

impl ParsedReply<'_> {
    pub fn into_reply(self) -> Reply {
        Reply { code: self.code, enhanced: self.enhanced, text: self.text.into_owned() }
    }
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
        let (consumed, reply) = self.parse(input)?;
        Ok((consumed, reply.map(ParsedReply::into_reply)))
    }

    /// As [`ReplyParser::next`], without copying the text of a reply of one line.
    pub(crate) fn parse<'a>(
        &mut self,
        input: &'a [u8],
    ) -> Result<(usize, Option<ParsedReply<'a>>), ReplyError> {
        let mut consumed = 0;
        while let Some(length) = line_length(&input[consumed..])? {
            let line = Line::parse(&input[consumed..consumed + length - 2])?;
            consumed += length;
            match self.begun.as_mut() {
                None if line.is_last => {
                    let (enhanced, text) = split_enhanced(line.code, line.text);
                    let text =
                        str::from_utf8(text).map_or_else(|_| String::from_utf8_lossy(text), Cow::Borrowed);
                    return Ok((consumed, Some(ParsedReply { code: line.code, enhanced, text })));
                }
                None => self.begun = Some(Begun::new(&line, length)),
                Some(begun) => begun.add(&line, length)?,
            }
            if line.is_last
                && let Some(begun) = self.begun.take()
            {
                return Ok((consumed, Some(begun.finish())));
            }
        }
        Ok((consumed, None))
    }
}

impl Begun {
    fn new(line: &Line<'_>, length: usize) -> Begun {
        let (enhanced, text) = split_enhanced(line.code, line.text);
        let mut all = Vec::with_capacity(USUAL_TEXT_BYTES.max(text.len()));
        all.extend_from_slice(text);
        Begun { code: line.code, enhanced, lines: 1, bytes: length as u32, text: all }
    }

    fn add(&mut self, line: &Line<'_>, length: usize) -> Result<(), ReplyError> {
        if line.code != self.code {
            return Err(ReplyError::MixedCodes);
        }
        self.lines += 1;
        self.bytes += length as u32;
        if usize::from(self.lines) > MAX_REPLY_LINES {
            return Err(ReplyError::TooManyLines);
        }
        if self.bytes as usize > MAX_REPLY_BYTES {
            return Err(ReplyError::TooLong);
        }
        self.text.push(b'\n');
        let text = match split_enhanced(line.code, line.text) {
            (enhanced, text) if enhanced.is_some() && enhanced == self.enhanced => text,
            _ => line.text,
        };
        self.text.extend_from_slice(text);
        Ok(())
    }

    fn finish(mut self) -> ParsedReply<'static> {
        let text = String::from_utf8(mem::take(&mut self.text))
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        ParsedReply { code: self.code, enhanced: self.enhanced, text: Cow::Owned(text) }
    }
}

/// Length of the first line with its CR LF, `None` if its end has not come.
fn line_length(input: &[u8]) -> Result<Option<usize>, ReplyError> {
    let window = &input[..input.len().min(MAX_REPLY_LINE)];
    match memchr(b'\n', window) {
        // RFC 5321 §2.3.8: lines end in CR LF and nothing else
        Some(at) if at > 0 && window[at - 1] == b'\r' => Ok(Some(at + 1)),
        Some(_) => Err(ReplyError::BareNewline),
        None if input.len() >= MAX_REPLY_LINE => Err(ReplyError::LineTooLong),
        None => Ok(None),
    }
}

/// One line without its CR LF.
struct Line<'a> {
    code: ReplyCode,
    is_last: bool,
    text: &'a [u8],
}

impl Line<'_> {
    /// RFC 5321 §4.2 Reply-line. §4.2.1: a code without text, or even without the space, is accepted.
    fn parse(line: &[u8]) -> Result<Line<'_>, ReplyError> {
        let (code, rest) = line.split_first_chunk::<3>().ok_or(ReplyError::BadCode)?;
        if !code.iter().all(u8::is_ascii_digit) {
            return Err(ReplyError::BadCode);
        }
        let number = code.iter().fold(0, |sum, &digit| sum * 10 + u16::from(digit - b'0'));
        let code = ReplyCode::new(number).ok_or(ReplyError::BadCode)?;
        let (is_last, text) = match rest {
            [] => (true, rest),
            [b' ', text @ ..] => (true, text),
            [b'-', text @ ..] => (false, text),
            _ => return Err(ReplyError::BadSeparator),
        };
        match memchr::memchr2(b'\r', 0, text) {
            None => Ok(Line { code, is_last, text }),
            Some(at) if text[at] == 0 => Err(ReplyError::Nul),
            Some(_) => Err(ReplyError::BareNewline),
        }
    }
}

/// Takes the enhanced status off the text if there is one and its class is the code's: RFC 2034 §4.
fn split_enhanced(code: ReplyCode, text: &[u8]) -> (Option<EnhancedStatus>, &[u8]) {
    if text.first() != code.digits().first() {
        return (None, text);
    }
    let window = &text[..text.len().min(ENHANCED_BYTES_MAX + 1)];
    let end = memchr(b' ', window).unwrap_or(window.len());
    match EnhancedStatus::parse(&window[..end]) {
        Some(enhanced) if u16::from(enhanced.class()) == code.get() / 100 => {
            (Some(enhanced), &text[text.len().min(end + 1)..])
        }
        _ => (None, text),
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
/// The text of a usual reply to EHLO, so that it grows once.
const USUAL_TEXT_BYTES: usize = 256;
/// `5.999.999`
const ENHANCED_BYTES_MAX: usize = 9;
