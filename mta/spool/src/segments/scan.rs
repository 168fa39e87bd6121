//! Walks through the records of a segment, over damage and up to the end of its present life.
//!
//! A record is where the one before it ends. Where none is, the search goes on in steps of 64 bytes, since what was
//! written later may be there although something earlier is not: a disk writes in what order it likes until a sync.
//! What no record follows, and has no mark of this life, is what an earlier life of the file left.

use super::record::{HEADER_BYTES, Header, Kind, Seen, UNIT};
use crate::Damage;
use crate::disk::DiskFile;
use delivery::QueueId;
use std::io;

/// Read at a time, or a record if that is larger.
const WINDOW_BYTES: usize = 256 * 1024;

pub(super) enum Found<'a> {
    Record { header: Header, offset: u32, body: &'a [u8] },
    Damaged { offset: u32, bytes: &'a [u8], id: Option<QueueId>, damage: Damage },
}

/// A part of the file.
struct Window<'a> {
    file: &'a dyn DiskFile,
    start: u32,
    bytes: Vec<u8>,
    file_bytes: u32,
}

impl Window<'_> {
    /// `length` bytes at `offset`, or those that the file has.
    fn at(&mut self, offset: u32, length: usize) -> io::Result<&[u8]> {
        let end = (offset as usize + length).min(self.file_bytes as usize);
        let had = self.start as usize + self.bytes.len();
        if offset < self.start || end > had {
            let wanted = (self.file_bytes as usize).saturating_sub(offset as usize);
            self.bytes.resize(wanted.min(WINDOW_BYTES.max(length)), 0);
            self.start = offset;
            self.file.read_exact_at(&mut self.bytes, u64::from(offset))?;
        }
        let from = (offset - self.start) as usize;
        Ok(&self.bytes[from..from.max(end.saturating_sub(self.start as usize))])
    }
}

/// Tells what is found, in its order. An error is the disk's.
pub(super) fn scan(
    file: &dyn DiskFile,
    number: u32,
    segment_bytes: u32,
    each: &mut dyn FnMut(Found<'_>),
) -> io::Result<()> {
    let file_bytes = file.bytes()?.min(u64::from(segment_bytes)) as u32;
    let mut window = Window { file, start: 0, bytes: Vec::new(), file_bytes };
    let mut offset = 0;
    // since where nothing is understood, and whether its first bytes belong to this life
    let mut gap: Option<(u32, bool)> = None;
    while offset + (HEADER_BYTES as u32) <= file_bytes {
        let seen = Header::decode(window.at(offset, HEADER_BYTES)?, number, offset);
        let header = match seen {
            Seen::Record(header) => header,
            Seen::Damaged | Seen::Other => {
                gap.get_or_insert((offset, seen == Seen::Damaged));
                offset += UNIT as u32;
                continue;
            }
        };
        if let Some((start, _)) = gap.take() {
            let bytes = window.at(start, (offset - start) as usize)?;
            each(Found::Damaged { offset: start, bytes, id: None, damage: Damage::RecordHeader });
        }
        let space = header.space().min(file_bytes - offset);
        let record = window.at(offset, space as usize)?;
        let body = record.get(HEADER_BYTES..HEADER_BYTES + header.body_bytes as usize);
        match body.filter(|body| crc32fast::hash(body) == header.body_checksum) {
            Some(body) => each(Found::Record { header, offset, body }),
            None => each(Found::Damaged {
                offset,
                bytes: record,
                id: (header.kind == Kind::Message).then_some(header.id),
                damage: Damage::RecordChecksum,
            }),
        }
        offset += space.max(UNIT as u32);
    }
    if let Some((start, true)) = gap {
        // its length is part of what is damaged: up to the first space that was never used
        let mut end = start + UNIT as u32;
        while end < file_bytes && window.at(end, UNIT)?.iter().any(|byte| *byte != 0) {
            end += UNIT as u32;
            if end - start >= super::index::RECORD_BYTES_MAX {
                break;
            }
        }
        let bytes = window.at(start, (end - start) as usize)?;
        each(Found::Damaged { offset: start, bytes, id: None, damage: Damage::RecordHeader });
    }
    Ok(())
}
