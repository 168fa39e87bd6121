//! A message as bytes in a file, format 1. All numbers are little-endian; checksums are CRC-32 (IEEE).
//!
//! ```text
//! offset  bytes
//!      0      8  "mailrigQ"
//!      8      2  format: 1
//!     10      2  zero
//!     12      4  r: number of recipients, 1 to 65535
//!     16      8  queue id, the same as in the file's name
//!     24      8  c: bytes of content
//!     32      4  e: bytes of envelope
//!     36      4  checksum of the envelope
//!     40      4  checksum of the content
//!     44     16  zero
//!     60      4  checksum of bytes 0 to 59
//!     64      8  due: milliseconds since 1970-01-01 UTC        | overwritten in place
//!     72      2  attempts                                      | by a deferral, all 16
//!     74      2  flags: 1 = held                               | bytes at once
//!     76      4  checksum of the queue id and bytes 64 to 75   |
//!     80      r  state of each recipient, overwritten in place: 0x2d pending, 0x44 delivered, 0x62 bounced
//!   80+r      e  envelope
//! 80+r+e      c  content, to the end of the file
//! ```
//!
//! Envelope: received (u64, milliseconds since 1970-01-01 UTC), reverse-path (u32 length, text; empty = null),
//! eight-bit (u8, 0 or 1), number of recipients (u32), each as length and text (empty = postmaster).
//!
//! The states differ from each other in three bits or more, so that a flipped bit never turns a pending
//! recipient into a delivered one. A wrong checksum of the schedule costs no quarantine: the message is due.
//! This module knows bytes, not files.

use crate::error::Damage;
use crate::{MAX_RECIPIENTS, SpoolError, Status, Stored};
use delivery::wire::{Decoder, Encoder};
use delivery::{Envelope, EpochMs, QueueId, RecipientState};

pub(crate) const HEADER_BYTES: usize = 64;
pub(crate) const SCHEDULE_OFFSET: u64 = 64;
pub(crate) const SCHEDULE_BYTES: usize = 16;
pub(crate) const STATES_OFFSET: u64 = 80;

const FLAG_HELD: u16 = 1;

const MAGIC: &[u8; 8] = b"mailrigQ";
const VERSION: u16 = 1;

const PENDING: u8 = b'-';
const DELIVERED: u8 = b'D';
const BOUNCED: u8 = b'b';

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    pub(crate) id: QueueId,
    pub(crate) recipients: u32,
    pub(crate) envelope_bytes: u32,
    pub(crate) envelope_checksum: u32,
    pub(crate) content_bytes: u64,
    pub(crate) content_checksum: u32,
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(MAGIC);
        let mut fields = Encoder::bare(&mut bytes);
        fields.u16(VERSION);
        fields.u16(0);
        fields.u32(self.recipients);
        fields.u64(self.id.0);
        fields.u64(self.content_bytes);
        fields.u32(self.envelope_bytes);
        fields.u32(self.envelope_checksum);
        fields.u32(self.content_checksum);
        drop(fields);
        bytes.resize(HEADER_BYTES - 4, 0);
        let checksum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes.try_into().expect("the fields fill the header")
    }

    /// Checks everything that a header can tell of itself, its file's name and its file's length.
    pub(crate) fn decode(bytes: &[u8], id: QueueId, file_bytes: u64) -> Result<Header, Damage> {
        let short = Damage::Length { expected_bytes: HEADER_BYTES as u64, found_bytes: file_bytes };
        let (fixed, checksum) = bytes.get(..HEADER_BYTES).ok_or(short)?.split_at(HEADER_BYTES - 4);
        if !fixed.starts_with(MAGIC) {
            return Err(Damage::Magic);
        }
        if crc32fast::hash(fixed).to_le_bytes() != checksum {
            return Err(Damage::HeaderChecksum);
        }
        let mut fields = Decoder::new(&fixed[MAGIC.len()..]);
        let version = fields.u16().map_err(Damage::Envelope)?;
        if version != VERSION {
            return Err(Damage::Version(version));
        }
        let header = Header::decode_fields(&mut fields).map_err(Damage::Envelope)?;
        if header.id != id {
            return Err(Damage::OtherId(header.id));
        }
        let expected_bytes = header.content_offset().saturating_add(header.content_bytes);
        if expected_bytes != file_bytes {
            return Err(Damage::Length { expected_bytes, found_bytes: file_bytes });
        }
        Ok(header)
    }

    fn decode_fields(fields: &mut Decoder<'_>) -> Result<Header, delivery::wire::WireError> {
        fields.u16()?;
        let recipients = fields.u32()?;
        let id = QueueId(fields.u64()?);
        let content_bytes = fields.u64()?;
        let envelope_bytes = fields.u32()?;
        let envelope_checksum = fields.u32()?;
        let content_checksum = fields.u32()?;
        Ok(Header { id, recipients, envelope_bytes, envelope_checksum, content_bytes, content_checksum })
    }

    pub(crate) fn content_offset(&self) -> u64 {
        STATES_OFFSET + u64::from(self.recipients) + u64::from(self.envelope_bytes)
    }
}

/// The file up to its content: the header still empty, due when received, every recipient pending.
pub(crate) fn start(id: QueueId, envelope: &Envelope) -> Result<(Vec<u8>, Header), SpoolError> {
    let recipients = envelope.recipients.len();
    if recipients == 0 || recipients > MAX_RECIPIENTS {
        return Err(SpoolError::Recipients(recipients));
    }
    let mut bytes = vec![0; HEADER_BYTES];
    bytes.extend_from_slice(&encode_schedule(id, 0, envelope.received, false));
    bytes.resize(bytes.len() + recipients, PENDING);
    let envelope_start = bytes.len();
    envelope.encode(&mut Encoder::bare(&mut bytes));
    let header = Header {
        id,
        recipients: recipients as u32,
        envelope_bytes: (bytes.len() - envelope_start) as u32,
        envelope_checksum: crc32fast::hash(&bytes[envelope_start..]),
        content_bytes: 0,
        content_checksum: 0,
    };
    Ok((bytes, header))
}

/// What stands from [`SCHEDULE_OFFSET`] on: schedule and states.
pub(crate) fn encode_status(id: QueueId, status: &Status) -> Vec<u8> {
    let mut bytes = encode_schedule(id, status.attempts, status.due, status.held).to_vec();
    bytes.extend(status.states.iter().map(|state| encode_state(*state)));
    bytes
}

fn encode_schedule(id: QueueId, attempts: u16, due: EpochMs, held: bool) -> [u8; SCHEDULE_BYTES] {
    let mut bytes = [0; SCHEDULE_BYTES];
    bytes[..8].copy_from_slice(&due.0.to_le_bytes());
    bytes[8..10].copy_from_slice(&attempts.to_le_bytes());
    bytes[10..12].copy_from_slice(&(if held { FLAG_HELD } else { 0 }).to_le_bytes());
    let checksum = schedule_checksum(id, &bytes[..12]);
    bytes[12..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// The flags in a schedule, as they stand there.
pub(crate) fn flags_of(schedule: &[u8]) -> &[u8] {
    &schedule[10..12]
}

pub(crate) fn encode_state(state: RecipientState) -> u8 {
    match state {
        RecipientState::Pending => PENDING,
        RecipientState::Delivered => DELIVERED,
        RecipientState::Bounced => BOUNCED,
    }
}

pub(crate) fn decode_state(recipient: usize, found: u8) -> Result<RecipientState, Damage> {
    match found {
        PENDING => Ok(RecipientState::Pending),
        DELIVERED => Ok(RecipientState::Delivered),
        BOUNCED => Ok(RecipientState::Bounced),
        found => Err(Damage::RecipientState { recipient, found }),
    }
}

/// Decodes the part before the content. The flag says whether the schedule was good; if not, it is due since
/// it was received.
pub(crate) fn decode(header: &Header, bytes: &[u8]) -> Result<(Stored, bool), Damage> {
    let short = Damage::Length { expected_bytes: header.content_offset(), found_bytes: bytes.len() as u64 };
    let part = bytes.get(SCHEDULE_OFFSET as usize..header.content_offset() as usize).ok_or(short)?;
    let (schedule, part) = part.split_at(SCHEDULE_BYTES);
    let (states, envelope) = part.split_at(header.recipients as usize);
    if crc32fast::hash(envelope) != header.envelope_checksum {
        return Err(Damage::EnvelopeChecksum);
    }
    let mut fields = Decoder::new(envelope);
    let envelope = Envelope::decode(&mut fields).map_err(Damage::Envelope)?;
    fields.finish().map_err(Damage::Envelope)?;
    if envelope.recipients.len() != states.len() {
        return Err(Damage::EnvelopeRecipients);
    }
    let states = states.iter().enumerate().map(|(recipient, found)| decode_state(recipient, *found));
    let states = states.collect::<Result<Vec<_>, _>>()?;
    let schedule = decode_schedule(header.id, schedule);
    let (attempts, due, held) = schedule.unwrap_or((0, envelope.received, false));
    let status = Status { states, attempts, due, held };
    let stored = Stored { envelope, status, content_bytes: header.content_bytes };
    Ok((stored, schedule.is_some()))
}

fn decode_schedule(id: QueueId, bytes: &[u8]) -> Option<(u16, EpochMs, bool)> {
    let (fixed, checksum) = bytes.split_at(SCHEDULE_BYTES - 4);
    if schedule_checksum(id, fixed).to_le_bytes() != checksum {
        return None;
    }
    let mut fields = Decoder::new(fixed);
    let due = EpochMs(fields.u64().ok()?);
    Some((fields.u16().ok()?, due, fields.u16().ok()? & FLAG_HELD != 0))
}

fn schedule_checksum(id: QueueId, fixed: &[u8]) -> u32 {
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&id.0.to_le_bytes());
    checksum.update(fixed);
    checksum.finalize()
}
