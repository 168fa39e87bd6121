//! What a start has to know of a segment, in a file beside it, so that what messages contain need not be read. Version
//! 1; all numbers are little-endian, checksums are CRC-32 (IEEE).
//!
//! ```text
//! offset  bytes
//!      0      8  "mailrigS"
//!      8      2  version: 1
//!     10      2  zero
//!     12      4  number of the segment, the same as in the file's name
//!     16      4  e: number of entries, one for each whole record, in their order
//!     20      4  checksum of the entries
//!     24      8  n: bytes of the entries
//!     32     28  zero
//!     60      4  checksum of bytes 0 to 59
//!     64      n  entries
//! ```
//!
//! An entry is a record's header as it stands in the segment (48 bytes), the number of bytes of the body that follow
//! (u32), and these: of a message what is before its content, of another record all.
//!
//! It is written once, when nothing more is appended to its segment and all that is there is on stable storage; its head
//! last, after what is missing among the entries was put aside, since nobody looks for that where there is a summary. It is
//! trusted if its checksums fit and its first and last header stand in the segment where it says. Without it, or if it
//! is anything else than that, the segment itself is read. So it may be lost, torn or old, at no cost but time.

use super::index::Place;
use super::log;
use super::record::{HEADER_BYTES, Header, Kind, Seen, UNIT};
use super::scan::{Found, scan};
use crate::disk::{Disk, DiskFile};
use crate::message;
use delivery::QueueId;
use delivery::wire::{Decoder, Encoder};
use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"mailrigS";
const VERSION: u16 = 1;
const HEAD_BYTES: usize = 64;
const CHECKED_BYTES: usize = HEAD_BYTES - 4;
const ENTRY_BYTES: usize = HEADER_BYTES + 4;
/// Written at a time.
const CHUNK_BYTES: usize = 128 * 1024;
const SUFFIX: &str = ".summary";

pub(super) fn file_name(number: u32) -> String {
    log::file_name(number) + SUFFIX
}

/// The number of the segment whose summary has this name; `None`: it is no summary's.
pub(super) fn file_number(name: &str) -> Option<u32> {
    log::file_number(name.strip_suffix(SUFFIX)?)
}

struct Head {
    entries: u32,
    checksum: u32,
    bytes: u64,
}

impl Head {
    fn encode(&self, number: u32) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        let mut fields = Encoder::bare(&mut bytes);
        fields.u16(VERSION);
        fields.u16(0);
        fields.u32(number);
        fields.u32(self.entries);
        fields.u32(self.checksum);
        fields.u64(self.bytes);
        drop(fields);
        bytes.resize(CHECKED_BYTES, 0);
        let checksum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8], number: u32) -> Option<Head> {
        let (checked, checksum) = bytes.split_at_checked(CHECKED_BYTES)?;
        if !checked.starts_with(MAGIC) || crc32fast::hash(checked).to_le_bytes() != checksum {
            return None;
        }
        let mut fields = Decoder::new(&checked[MAGIC.len()..]);
        let (version, _) = (fields.u16().ok()?, fields.u16().ok()?);
        let (named, entries) = (fields.u32().ok()?, fields.u32().ok()?);
        let (checksum, bytes) = (fields.u32().ok()?, fields.u64().ok()?);
        (version == VERSION && named == number).then_some(Head { entries, checksum, bytes })
    }
}

/// Writes entries as they come, and the head at the end.
struct Writing<'a> {
    file: &'a dyn DiskFile,
    checksum: crc32fast::Hasher,
    waiting: Vec<u8>,
    written: u64,
    entries: u32,
}

impl Writing<'_> {
    fn add(&mut self, header: &Header, number: u32, offset: u32, body: &[u8]) -> io::Result<()> {
        self.waiting.extend_from_slice(&header.encode(number, offset));
        self.waiting.extend_from_slice(&(body.len() as u32).to_le_bytes());
        self.waiting.extend_from_slice(body);
        self.entries += 1;
        if self.waiting.len() < CHUNK_BYTES { Ok(()) } else { self.put() }
    }

    fn put(&mut self) -> io::Result<()> {
        self.checksum.update(&self.waiting);
        self.file.write_at(&[IoSlice::new(&self.waiting)], HEAD_BYTES as u64 + self.written)?;
        self.written += self.waiting.len() as u64;
        self.waiting.clear();
        Ok(())
    }
}

/// A summary without its head, which nobody believes.
pub(super) struct Draft {
    file: Arc<dyn DiskFile>,
    head: Head,
    /// The messages that it has. What is damaged is left out: it is for the caller to see whether one is missing, before
    /// the summary counts.
    pub(super) messages: Vec<(QueueId, Place)>,
}

impl Draft {
    /// From now on it is believed.
    pub(super) fn finish(self, disk: &dyn Disk, number: u32, sync: bool) -> io::Result<()> {
        self.file.write_at(&[IoSlice::new(&self.head.encode(number))], 0)?;
        if sync {
            self.file.sync()?;
            disk.sync_names()?;
        }
        Ok(())
    }
}

/// Writes the entries of a segment's summary.
pub(super) fn write(
    disk: &dyn Disk,
    segment: &dyn DiskFile,
    number: u32,
    segment_bytes: u32,
) -> io::Result<Draft> {
    let name = file_name(number);
    let file = match disk.create(&name) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            disk.remove(&name)?;
            disk.create(&name)?
        }
        created => created?,
    };
    let mut writing = Writing {
        file: &*file,
        checksum: crc32fast::Hasher::new(),
        waiting: Vec::with_capacity(CHUNK_BYTES + UNIT),
        written: 0,
        entries: 0,
    };
    let mut messages = Vec::new();
    let mut added = Ok(());
    scan(segment, number, segment_bytes, &mut |found| {
        let Found::Record { header, offset, body } = found else { return };
        let kept = match header.kind {
            Kind::Message => {
                messages.push((header.id, Place::new(number, offset, header.space())));
                let head = message::Header::decode(body, header.id, body.len() as u64);
                // what can't be understood is kept whole: the start finds out, and puts it aside
                head.map_or(body, |head| &body[..(head.content_offset() as usize).min(body.len())])
            }
            Kind::State | Kind::Removed(_) => body,
        };
        if added.is_ok() {
            added = writing.add(&header, number, offset, kept);
        }
    })?;
    added?;
    writing.put()?;
    let head =
        Head { entries: writing.entries, checksum: writing.checksum.finalize(), bytes: writing.written };
    Ok(Draft { file, head, messages })
}

/// A record as its segment's summary has it.
pub(super) struct Entry<'a> {
    pub(super) header: Header,
    pub(super) offset: u32,
    /// Of a message up to its content.
    pub(super) body: &'a [u8],
}

/// A summary that can be trusted.
pub(super) struct Summary {
    entries: Vec<u8>,
}

impl Summary {
    /// `None`: there is none, or none to be trusted.
    pub(super) fn read(
        disk: &dyn Disk,
        segment: &dyn DiskFile,
        number: u32,
        segment_bytes: u32,
    ) -> io::Result<Option<Summary>> {
        let file = match disk.open(&file_name(number)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let mut head = vec![0; HEAD_BYTES];
        let file_bytes = file.bytes()?;
        if file_bytes < HEAD_BYTES as u64 {
            return Ok(None);
        }
        file.read_exact_at(&mut head, 0)?;
        let Some(head) = Head::decode(&head, number) else { return Ok(None) };
        // no more than the smallest records could have made
        let most = u64::from(segment_bytes) * 2;
        if head.bytes > most || head.bytes > file_bytes - HEAD_BYTES as u64 {
            return Ok(None);
        }
        let mut entries = vec![0; head.bytes as usize];
        file.read_exact_at(&mut entries, HEAD_BYTES as u64)?;
        if crc32fast::hash(&entries) != head.checksum {
            return Ok(None);
        }
        let summary = Summary { entries };
        let fits = summary.is_of(segment, number, head.entries)?;
        Ok(fits.then_some(summary))
    }

    /// Every entry is a record of this segment, and the first and the last are in it. A segment without any has no
    /// summary: there would be nothing to tell whose it is.
    fn is_of(&self, segment: &dyn DiskFile, number: u32, entries: u32) -> io::Result<bool> {
        let file_bytes = segment.bytes()?;
        let (mut count, mut end) = (0, 0);
        let mut at = 0;
        let (mut first, mut last) = (None, None);
        while at < self.entries.len() {
            let Some((entry, next)) = self.entry(at, number) else { return Ok(false) };
            if entry.offset < end || u64::from(entry.offset) + HEADER_BYTES as u64 > file_bytes {
                return Ok(false);
            }
            end = entry.offset.saturating_add(entry.header.space());
            first.get_or_insert((at, entry.offset));
            last = Some((at, entry.offset));
            (at, count) = (next, count + 1);
        }
        for (at, offset) in first.into_iter().chain(last) {
            let mut there = [0; HEADER_BYTES];
            segment.read_exact_at(&mut there, u64::from(offset))?;
            if there != self.entries[at..at + HEADER_BYTES] {
                return Ok(false);
            }
        }
        Ok(count == entries && count > 0)
    }

    /// The entry at a place of the summary, and where the next one is.
    fn entry(&self, at: usize, number: u32) -> Option<(Entry<'_>, usize)> {
        let fixed = self.entries.get(at..at + ENTRY_BYTES)?;
        let units = u32::from_le_bytes(fixed[12..16].try_into().ok()?);
        let offset = units.checked_mul(UNIT as u32)?;
        let Seen::Record(header) = Header::decode(fixed, number, offset) else { return None };
        let body_bytes = u32::from_le_bytes(fixed[HEADER_BYTES..].try_into().ok()?) as usize;
        let next = at + ENTRY_BYTES + body_bytes;
        let body = self.entries.get(at + ENTRY_BYTES..next)?;
        Some((Entry { header, offset, body }, next))
    }

    /// All records of the segment, in their order.
    pub(super) fn entries(&self, number: u32) -> impl Iterator<Item = Entry<'_>> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let (entry, next) = self.entry(at, number)?;
            at = next;
            Some(entry)
        })
    }
}
