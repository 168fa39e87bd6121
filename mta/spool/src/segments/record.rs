//! A record of a segment as bytes, version 1. All numbers are little-endian; checksums are CRC-32 (IEEE).
//!
//! ```text
//! offset  bytes
//!      0      4  "mRec"
//!      4      1  kind: 1 message, 2 state, 3 removed
//!      5      1  version: 1
//!      6      2  zero
//!      8      4  number of the segment, the same as in the file's name
//!     12      4  place in the segment, in units of 64 bytes
//!     16      8  queue id
//!     24      8  order: rises with each record; a copy keeps that of its original
//!     32      4  b: bytes of the body
//!     36      4  removed: the segment that has the message (0xFFFFFFFF: a file of its own); else zero
//!     40      4  checksum of the body
//!     44      4  checksum of bytes 0 to 43
//!     48      b  body
//! then zeros up to a multiple of 64
//! ```
//!
//! | kind | body |
//! |---|---|
//! | message | a message file, as `message` describes it |
//! | state | due (u64, milliseconds since 1970-01-01 UTC), attempts (u16), flags (u16; 1 = held), then a byte for each recipient: `-` pending, `D` delivered, `b` bounced |
//! | removed | empty |
//!
//! Number and place are under the checksum, so what an earlier life of a recycled file left behind, or a write that
//! went astray, is never taken for a record. This module knows bytes, not files.

use crate::message::{decode_state, encode_state};
use crate::{Damage, Status};
use delivery::wire::{Decoder, Encoder};
use delivery::{EpochMs, QueueId};

/// Records begin at multiples of this.
pub(super) const UNIT: usize = 64;
pub(super) const HEADER_BYTES: usize = 48;

const MAGIC: &[u8; 4] = b"mRec";
const VERSION: u8 = 1;
const CHECKED_BYTES: usize = HEADER_BYTES - 4;
const STATE_FIXED_BYTES: usize = 12;
const FLAG_HELD: u16 = 1;

/// In a removal: the message has a file of its own.
pub(super) const OWN_FILE: u32 = u32::MAX;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Message,
    State,
    /// The message that is in this segment, or [`OWN_FILE`].
    Removed(u32),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) id: QueueId,
    pub(super) order: u64,
    pub(super) body_bytes: u32,
    pub(super) body_checksum: u32,
}

/// What stands where a record could begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Seen {
    Record(Header),
    /// A record of this segment whose header is damaged.
    Damaged,
    /// Nothing of this life of the segment.
    Other,
}

/// Bytes that a record takes, from its header to where the next one may begin.
pub(super) fn space(body_bytes: usize) -> usize {
    (HEADER_BYTES + body_bytes).next_multiple_of(UNIT)
}

impl Header {
    pub(super) fn new(kind: Kind, id: QueueId, order: u64, body: &[u8]) -> Header {
        let body_bytes = u32::try_from(body.len()).expect("a record is smaller than its segment");
        Header { kind, id, order, body_bytes, body_checksum: crc32fast::hash(body) }
    }

    pub(super) fn space(&self) -> u32 {
        space(self.body_bytes as usize) as u32
    }

    pub(super) fn encode(&self, segment: u32, offset: u32) -> [u8; HEADER_BYTES] {
        let (kind, target) = match self.kind {
            Kind::Message => (1, 0),
            Kind::State => (2, 0),
            Kind::Removed(target) => (3, target),
        };
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(MAGIC);
        let mut fields = Encoder::bare(&mut bytes);
        fields.u8(kind);
        fields.u8(VERSION);
        fields.u16(0);
        fields.u32(segment);
        fields.u32(offset / UNIT as u32);
        fields.u64(self.id.0);
        fields.u64(self.order);
        fields.u32(self.body_bytes);
        fields.u32(target);
        fields.u32(self.body_checksum);
        drop(fields);
        let checksum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes.try_into().expect("the fields fill the header")
    }

    /// Looks at the first [`HEADER_BYTES`] bytes of `bytes`, which stand at `offset` of the segment.
    pub(super) fn decode(bytes: &[u8], segment: u32, offset: u32) -> Seen {
        let Some((checked, checksum)) =
            bytes.get(..HEADER_BYTES).map(|header| header.split_at(CHECKED_BYTES))
        else {
            return Seen::Other;
        };
        let place = [segment.to_le_bytes(), (offset / UNIT as u32).to_le_bytes()].concat();
        let (magic_fits, place_fits) = (checked.starts_with(MAGIC), checked[8..16] == place);
        if !magic_fits && !place_fits {
            return Seen::Other;
        }
        if crc32fast::hash(checked).to_le_bytes() != checksum {
            return Seen::Damaged;
        }
        match Header::decode_fields(checked) {
            // a whole record of another life
            _ if !place_fits => Seen::Other,
            Some(header) => Seen::Record(header),
            None => Seen::Damaged,
        }
    }

    fn decode_fields(checked: &[u8]) -> Option<Header> {
        let mut fields = Decoder::new(&checked[MAGIC.len()..]);
        let (kind, version) = (fields.u8().ok()?, fields.u8().ok()?);
        fields.u16().ok()?;
        fields.u64().ok()?;
        let (id, order) = (QueueId(fields.u64().ok()?), fields.u64().ok()?);
        let (body_bytes, target) = (fields.u32().ok()?, fields.u32().ok()?);
        let body_checksum = fields.u32().ok()?;
        let kind = match kind {
            1 => Kind::Message,
            2 => Kind::State,
            3 => Kind::Removed(target),
            _ => return None,
        };
        (version == VERSION).then_some(Header { kind, id, order, body_bytes, body_checksum })
    }
}

pub(super) fn encode_status(status: &Status) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(STATE_FIXED_BYTES + status.states.len());
    let mut fields = Encoder::bare(&mut bytes);
    fields.u64(status.due.0);
    fields.u16(status.attempts);
    fields.u16(if status.held { FLAG_HELD } else { 0 });
    drop(fields);
    bytes.extend(status.states.iter().map(|state| encode_state(*state)));
    bytes
}

pub(super) fn decode_status(body: &[u8]) -> Result<Status, Damage> {
    let mut fields = Decoder::new(body);
    let mut fixed = || Ok((fields.u64()?, fields.u16()?, fields.u16()?));
    let (due, attempts, flags) = fixed().map_err(Damage::Envelope)?;
    let states = body[STATE_FIXED_BYTES..].iter().enumerate();
    let states = states.map(|(recipient, found)| decode_state(recipient, *found));
    let states = states.collect::<Result<Vec<_>, _>>()?;
    Ok(Status { states, attempts, due: EpochMs(due), held: flags & FLAG_HELD != 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_a_header_shows_and_another_life_is_not_this_one() {
        let header = Header::new(Kind::Removed(7), QueueId(0xABCD), 99, b"body");
        let bytes = header.encode(3, 640);
        assert_eq!(Header::decode(&bytes, 3, 640), Seen::Record(header));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&flipped, 3, 640), Seen::Damaged, "bit {bit}");
        }
        assert_eq!(Header::decode(&bytes, 4, 640), Seen::Other);
        assert_eq!(Header::decode(&bytes, 3, 704), Seen::Other);
        assert_eq!(Header::decode(&[0; HEADER_BYTES], 3, 640), Seen::Other);
    }
}
