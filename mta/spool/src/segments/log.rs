//! The end of the log: where records are appended, synced, and begun anew after a failure.
//!
//! A segment is filled up to its size and then sealed. Space is written with zeros in steps before it is used, and
//! files of dead segments are used again, so that a sync has no length and no block to record, only data.

use super::index::{Place, SEGMENT_BYTES_MAX};
use super::record::{HEADER_BYTES, Header, Kind, UNIT, space};
use super::table::{Segment, Summarized, Table};
use super::{Options, is_full, lock, summary};
use crate::disk::{Disk, DiskFile};
use crate::{Durability, SpoolError};
use delivery::QueueId;
use std::io::{self, ErrorKind, IoSlice};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

const ZEROS: [u8; 16 * 1024] = [0; 16 * 1024];

/// Files of dead segments that are kept for new ones; more are removed.
const SPARE_MAX: usize = 2;

/// The last part of the space that was made is kept for what happens to queued messages, in case there is no more.
const RESERVE_SHARE: u32 = 4;

const SPARE_SUFFIX: &str = ".spare";

/// A change of a message that is queued. It is small, so it waits in memory when it can't be written.
#[derive(Debug)]
pub(super) struct Note {
    pub(super) header: Header,
    pub(super) body: Vec<u8>,
    /// A recipient or the message is final: it is to be on stable storage soon.
    pub(super) is_final: bool,
}

/// A record to be written.
pub(super) struct Item<'a> {
    pub(super) header: Header,
    pub(super) body: &'a [u8],
}

#[derive(Debug)]
struct Active {
    number: u32,
    file: Arc<dyn DiskFile>,
    offset: u32,
    /// The file was written up to here.
    written: u32,
}

/// The file of a dead segment.
#[derive(Debug)]
struct Spare {
    name: String,
    bytes: u64,
}

/// Why nothing was appended.
#[derive(Debug)]
pub(super) enum Failure {
    /// No room; the segment goes on.
    Full,
    /// The segment is given up. `wrote` = what was to be appended may be in it.
    Lost { number: u32, wrote: bool, error: SpoolError },
}

#[derive(Debug)]
pub(super) struct Log {
    disk: Arc<dyn Disk>,
    options: Options,
    active: Option<Active>,
    pub(super) next_number: u32,
    pub(super) next_order: u64,
    /// Written since the last sync: written again elsewhere if the next one fails.
    unsynced: Vec<Note>,
    /// Some of `unsynced` make something final.
    awaits_sync: bool,
    /// Could not be written yet.
    pub(super) backlog: Vec<Note>,
    spare: Vec<Spare>,
    spare_bytes: Arc<AtomicU64>,
    /// A file was given up, and nobody was told yet.
    alarm: Option<SpoolError>,
    /// The newest segment could not grow.
    is_short: bool,
}

pub(super) fn file_name(number: u32) -> String {
    format!("{number:08X}")
}

/// The number of a segment by its file's name; `None`: it is no segment's.
pub(super) fn file_number(name: &str) -> Option<u32> {
    let number = u32::from_str_radix(name, 16).ok()?;
    (number != 0 && number != u32::MAX && file_name(number) == name).then_some(number)
}

/// The number of the segment whose file this was; `None`: it is no spare file.
pub(super) fn spare_number(name: &str) -> Option<u32> {
    file_number(name.strip_suffix(SPARE_SUFFIX)?)
}

impl Log {
    pub(super) fn new(disk: Arc<dyn Disk>, options: Options) -> Log {
        assert!(options.segment_bytes <= SEGMENT_BYTES_MAX && options.group_bytes() >= 4 * UNIT as u32);
        Log {
            disk,
            options,
            active: None,
            next_number: 1,
            next_order: 1,
            unsynced: Vec::new(),
            awaits_sync: false,
            backlog: Vec::new(),
            spare: Vec::new(),
            spare_bytes: Arc::default(),
            alarm: None,
            is_short: false,
        }
    }

    /// How much is in spare files, at every moment.
    pub(super) fn spare_bytes(&self) -> Arc<AtomicU64> {
        self.spare_bytes.clone()
    }

    pub(super) fn awaits_sync(&self) -> bool {
        self.awaits_sync && self.options.durability == Durability::Full
    }

    pub(super) fn has_alarm(&self) -> bool {
        self.alarm.is_some()
    }

    /// What the operator is to be told of.
    pub(super) fn take_alarm(&mut self) -> Option<SpoolError> {
        self.alarm.take()
    }

    pub(super) fn header(&mut self, kind: Kind, id: QueueId, body: &[u8]) -> Header {
        self.next_order += 1;
        Header::new(kind, id, self.next_order - 1, body)
    }

    pub(super) fn note(&mut self, kind: Kind, id: QueueId, body: Vec<u8>, is_final: bool) -> Note {
        Note { header: self.header(kind, id, &body), body, is_final }
    }

    /// What `notes` say is on its way to the disk.
    pub(super) fn remember(&mut self, notes: Vec<Note>) {
        if self.options.durability == Durability::Full {
            self.awaits_sync |= notes.iter().any(|note| note.is_final);
            self.unsynced.extend(notes);
        }
    }

    /// Appends messages or copies, which leave the space that is there to changes of queued messages.
    pub(super) fn append_large(
        &mut self,
        table: &Mutex<Table>,
        items: &[Item<'_>],
    ) -> Result<Vec<Place>, Failure> {
        self.append_with(table, items, true, self.options.grow_bytes / RESERVE_SHARE)
    }

    /// Appends all of `items` (not more than a group's bytes) to one segment, and gives the places.
    pub(super) fn append(&mut self, table: &Mutex<Table>, items: &[Item<'_>]) -> Result<Vec<Place>, Failure> {
        self.append_with(table, items, false, 0)
    }

    fn append_with(
        &mut self,
        table: &Mutex<Table>,
        items: &[Item<'_>],
        sync: bool,
        reserve: u32,
    ) -> Result<Vec<Place>, Failure> {
        let total: u32 = items.iter().map(|item| item.header.space()).sum();
        if self.active.as_ref().is_some_and(|active| active.offset + total > self.options.segment_bytes) {
            self.sync(table)?;
            self.seal(table);
        }
        if self.active.is_none() {
            self.begin_segment(table)?;
        }
        let active = self.active.as_mut().expect("begun above");
        let (number, start) = (active.number, active.offset);
        let mut places = Vec::with_capacity(items.len());
        let mut at = start;
        let mut headers: Vec<[u8; HEADER_BYTES]> = Vec::with_capacity(items.len());
        for item in items {
            headers.push(item.header.encode(number, at));
            places.push(Place::new(number, at, item.header.space()));
            at += item.header.space();
        }
        let mut pieces = Vec::with_capacity(items.len() * 3);
        for (header, item) in headers.iter().zip(items) {
            pieces.push(IoSlice::new(header));
            pieces.push(IoSlice::new(item.body));
            let padding = item.header.space() as usize - HEADER_BYTES - item.body.len();
            pieces.push(IoSlice::new(&ZEROS[..padding]));
        }
        let needed = (at + reserve).min(self.options.segment_bytes);
        if needed > active.written {
            // space first: where there is none, no record is begun
            let grown = self.options.grown(needed);
            let zeros = (grown - active.written) as usize;
            let fill = vec![IoSlice::new(&ZEROS); zeros.div_ceil(ZEROS.len())];
            match active.file.write_at(&fill, u64::from(active.written)) {
                Ok(()) => active.written = grown,
                Err(error) if is_full(&error) => {
                    self.is_short = true;
                    return Err(Failure::Full);
                }
                Err(error) => return Err(self.lose(table, false, error)),
            }
        }
        if let Err(error) = active.file.write_at(&pieces, u64::from(start)) {
            return Err(self.lose(table, true, error));
        }
        active.offset = at;
        if sync { self.sync_wrote(table, true) } else { Ok(()) }?;
        Ok(places)
    }

    /// Brings everything that was appended to stable storage.
    pub(super) fn sync(&mut self, table: &Mutex<Table>) -> Result<(), Failure> {
        self.sync_wrote(table, false)
    }

    fn sync_wrote(&mut self, table: &Mutex<Table>, wrote: bool) -> Result<(), Failure> {
        let Some(active) = &self.active else { return Ok(()) };
        if self.options.durability == Durability::Full
            && let Err(error) = active.file.sync()
        {
            return Err(self.lose(table, wrote, error));
        }
        self.unsynced.clear();
        self.awaits_sync = false;
        Ok(())
    }

    /// After a failed sync the kernel may have forgotten what it did not write, and says so only once: this file is
    /// not trusted with anything more, and what it had unsynced of queued messages is written again elsewhere.
    fn lose(&mut self, table: &Mutex<Table>, wrote: bool, source: io::Error) -> Failure {
        let active = self.active.take().expect("it is what failed");
        let mut notes = std::mem::take(&mut self.unsynced);
        notes.append(&mut self.backlog);
        self.backlog = notes;
        self.awaits_sync = false;
        let mut table = lock(table);
        let segment = table.segments.get_mut(&active.number).expect("the active segment is known");
        segment.is_sealed = true;
        (segment.has_shadows, segment.is_lost) = (true, true);
        let error = SpoolError::Sync { path: self.path(active.number), source };
        self.alarm = Some(error.again());
        Failure::Lost { number: active.number, wrote, error }
    }

    /// Where nothing fits any more, or space is short, the newest segment makes room as soon as nothing in it is of use.
    /// Where space is only short it stays while it is as small as the next would be at once: the files would take turns.
    pub(super) fn seal_if_useless(&mut self, table: &Mutex<Table>, has_space: bool) -> Result<(), Failure> {
        let makes_room =
            |active: &&Active| self.is_short || !has_space && active.written > self.options.grow_bytes;
        let Some(active) = self.active.as_ref().filter(makes_room) else { return Ok(()) };
        let number = active.number;
        let is_dead = {
            let table = lock(table);
            table.is_dead(number, &table.segments[&number])
        };
        if is_dead {
            self.is_short = false;
            self.sync(table)?;
            self.seal(table);
        }
        Ok(())
    }

    fn seal(&mut self, table: &Mutex<Table>) {
        if let Some(active) = self.active.take() {
            let mut table = lock(table);
            table.segments.get_mut(&active.number).expect("the active segment is known").is_sealed = true;
        }
    }

    fn begin_segment(&mut self, table: &Mutex<Table>) -> Result<(), Failure> {
        let number = self.next_number;
        let name = file_name(number);
        let begin = || -> io::Result<(Arc<dyn DiskFile>, u32)> {
            let file = match self.spare.last() {
                Some(spare) => {
                    self.disk.rename(&spare.name, &name)?;
                    self.disk.open(&name)?
                }
                None => self.disk.create(&name)?,
            };
            let written = file.bytes()?.min(u64::from(self.options.segment_bytes)) as u32;
            // the name is part of what a record says: it must be there before the first that counts
            if self.options.durability == Durability::Full {
                self.disk.sync_names()?;
            }
            Ok((file, written))
        };
        // a number is never used twice, whatever came of it
        self.next_number += 1;
        let begun = begin();
        self.pop_spare();
        let (file, written) = begun.map_err(|source| {
            if is_full(&source) {
                let _ = self.disk.remove(&name);
                return Failure::Full;
            }
            Failure::Lost {
                number,
                wrote: false,
                error: SpoolError::io("begin the segment", &self.path(number), source),
            }
        })?;
        lock(table).segments.insert(number, Segment::new(file.clone()));
        self.active = Some(Active { number, file, offset: 0, written });
        Ok(())
    }

    /// Gives the file of a dead segment back, or keeps it as a spare one where there is space for that. On return it will
    /// not be found by a recovery.
    pub(super) fn free(
        &mut self,
        table: &Mutex<Table>,
        number: u32,
        has_space: bool,
    ) -> Result<(), SpoolError> {
        let (name, spare) = (file_name(number), file_name(number) + SPARE_SUFFIX);
        // first, so that no summary is ever without its segment but by a loss of power
        let forgotten = match self.disk.remove(&summary::file_name(number)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed,
        };
        let keep = has_space && self.spare.len() < SPARE_MAX && !lock(table).segments[&number].is_lost;
        let freed = forgotten.and_then(|()| {
            lock(table).segments.get_mut(&number).expect("it is given back").summary = Summarized::No;
            if keep { self.disk.rename(&name, &spare) } else { self.disk.remove(&name) }
        });
        freed
            .and_then(|()| self.disk.sync_names())
            .map_err(|error| SpoolError::io("give back the segment", &self.path(number), error))?;
        let segment = lock(table).segments.remove(&number);
        if keep && let Some(segment) = segment {
            self.add_spare(spare, &*segment.file);
        }
        Ok(())
    }

    /// Files that were found at the start.
    pub(super) fn take_spare(&mut self, names: Vec<String>) {
        for name in names {
            match self.disk.open(&name) {
                Ok(file) if self.spare.len() < SPARE_MAX => self.add_spare(name, &*file),
                _ => drop(self.disk.remove(&name)),
            }
        }
    }

    /// Where space is short. False: there is none. A loss of power may bring it back, as a spare file.
    pub(super) fn remove_spare(&mut self) -> Result<bool, SpoolError> {
        let Some(Spare { name, .. }) = self.spare.last() else { return Ok(false) };
        let path = self.options.path.join("segments").join(name);
        let removed = self.disk.remove(name);
        // after it is gone, so that it counts at every moment; one that can't be removed is of no use either
        self.pop_spare();
        removed.map_err(|error| SpoolError::io("remove the spare file", &path, error))?;
        Ok(true)
    }

    fn add_spare(&mut self, name: String, file: &dyn DiskFile) {
        let bytes = file.bytes().unwrap_or(0);
        self.spare.push(Spare { name, bytes });
        self.spare_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn pop_spare(&mut self) -> Option<Spare> {
        let spare = self.spare.pop()?;
        self.spare_bytes.fetch_sub(spare.bytes, Ordering::Relaxed);
        Some(spare)
    }

    fn path(&self, number: u32) -> PathBuf {
        self.options.path.join("segments").join(file_name(number))
    }
}

/// How many of these, from the first on, fit in a group of so many bytes; at least one.
pub(super) fn fitting(body_bytes: impl Iterator<Item = usize>, group_bytes: u32) -> usize {
    let mut total = 0;
    let fit = body_bytes.take_while(|bytes| {
        total += space(*bytes);
        total <= group_bytes as usize
    });
    fit.count().max(1)
}
