//! Frames over a stream socket: a length (u32, little endian, of what follows), a kind (u8), a payload.
//!
//! Payload fields are fixed-width little-endian numbers and length-prefixed strings, in a fixed order.
//! A frame longer than [`MAX_FRAME_BYTES`] or a field that does not decode ends the conversation: the
//! stream can't be trusted any more.

use std::fmt;

/// Bounds what a peer can make us buffer: a request with 64 KiB of message and its recipients fits.
pub const MAX_FRAME_BYTES: usize = 512 * 1024;

/// Length and kind, before the payload.
pub const HEADER_BYTES: usize = 5;

/// Why bytes from a socket are not what was agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireError {
    TooLong(usize),
    Truncated,
    Trailing,
    Invalid(&'static str),
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WireError::TooLong(n) => write!(f, "frame of {n} bytes is longer than {MAX_FRAME_BYTES}"),
            WireError::Truncated => f.write_str("frame ends in the middle of a field"),
            WireError::Trailing => f.write_str("frame has bytes after its last field"),
            WireError::Invalid(what) => write!(f, "frame has an invalid {what}"),
        }
    }
}

impl std::error::Error for WireError {}

/// Appends one frame to a buffer.
pub struct Encoder<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Encoder<'a> {
    pub fn frame(out: &'a mut Vec<u8>, kind: u8) -> Encoder<'a> {
        let start = out.len();
        out.extend_from_slice(&[0, 0, 0, 0, kind]);
        Encoder { out, start }
    }

    /// Fields without a frame around them, for a caller that has its own framing (the spool).
    pub fn bare(out: &'a mut Vec<u8>) -> Encoder<'a> {
        let start = usize::MAX;
        Encoder { out, start }
    }

    pub fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    pub fn u16(&mut self, value: u16) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    pub fn u32(&mut self, value: u32) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    pub fn u64(&mut self, value: u64) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    pub fn u128(&mut self, value: u128) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    pub fn bytes(&mut self, value: &[u8]) {
        self.u32(u32::try_from(value.len()).expect("a field is shorter than 4 GiB"));
        self.out.extend_from_slice(value);
    }

    pub fn str(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }
}

impl Drop for Encoder<'_> {
    fn drop(&mut self) {
        if self.start != usize::MAX {
            let length = (self.out.len() - self.start - 4) as u32;
            self.out[self.start..self.start + 4].copy_from_slice(&length.to_le_bytes());
        }
    }
}

/// The kind of a frame, its payload, and the bytes that all of it took.
pub type Frame<'a> = (u8, &'a [u8], usize);

/// Splits the first whole frame off `input`. `None` = more needed.
pub fn split_frame(input: &[u8]) -> Result<Option<Frame<'_>>, WireError> {
    if input.len() < HEADER_BYTES {
        return Ok(None);
    }
    let length = u32::from_le_bytes([input[0], input[1], input[2], input[3]]) as usize;
    if length == 0 {
        return Err(WireError::Truncated);
    }
    if length > MAX_FRAME_BYTES {
        return Err(WireError::TooLong(length));
    }
    let total = 4 + length;
    Ok((input.len() >= total).then(|| (input[4], &input[HEADER_BYTES..total], total)))
}

/// Reads the fields of one payload in order.
pub struct Decoder<'a> {
    input: &'a [u8],
}

impl<'a> Decoder<'a> {
    pub fn new(input: &'a [u8]) -> Decoder<'a> {
        Decoder { input }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let (head, tail) = self.input.split_at_checked(count).ok_or(WireError::Truncated)?;
        self.input = tail;
        Ok(head)
    }

    pub fn u8(&mut self) -> Result<u8, WireError> {
        Ok(self.take(1)?[0])
    }

    pub fn bool(&mut self) -> Result<bool, WireError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(WireError::Invalid("boolean")),
        }
    }

    pub fn u16(&mut self) -> Result<u16, WireError> {
        Ok(u16::from_le_bytes(self.take(2)?.try_into().expect("two bytes")))
    }

    pub fn u32(&mut self) -> Result<u32, WireError> {
        Ok(u32::from_le_bytes(self.take(4)?.try_into().expect("four bytes")))
    }

    pub fn u64(&mut self) -> Result<u64, WireError> {
        Ok(u64::from_le_bytes(self.take(8)?.try_into().expect("eight bytes")))
    }

    pub fn u128(&mut self) -> Result<u128, WireError> {
        Ok(u128::from_le_bytes(self.take(16)?.try_into().expect("sixteen bytes")))
    }

    pub fn bytes(&mut self) -> Result<&'a [u8], WireError> {
        let length = self.u32()? as usize;
        self.take(length)
    }

    pub fn str(&mut self) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| WireError::Invalid("text (not UTF-8)"))
    }

    /// How many bytes are left; a caller that embeds the fields in its own record goes on from there.
    pub fn remaining(&self) -> usize {
        self.input.len()
    }

    /// Every field was read: anything left over means that the two sides do not speak the same protocol.
    pub fn finish(self) -> Result<(), WireError> {
        if self.input.is_empty() { Ok(()) } else { Err(WireError::Trailing) }
    }
}
