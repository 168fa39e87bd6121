//! The spool that keeps many messages in a file, and syncs once for all that wait.
//!
//! ```text
//! DIR/format              "mailrig spool 2"; else as `files` has it, whose folders are all there
//! DIR/segments/N          records, one behind the other; N in eight hexadecimal digits
//! DIR/segments/N.summary  what a start has to know of N
//! DIR/segments/N.spare    the file of a dead segment, to be used again
//! DIR/queue/              messages above 64 KiB in files of their own, and what was here before segments were
//! ```
//!
//! A message with its envelope is one record; so are each later status of it and its removal. All are appended to the
//! newest segment. The queue manager's writer hands over whatever waits at once: one write and one fdatasync, however
//! many messages there are, and at once when there is one. A deferral is a record without a sync. Marks of final
//! recipients and removals ride on the next commit's sync; the writer asks for one of their own after a moment.
//!
//! A message's life, and what is found after a stop (of the process or, with full durability, of the power):
//!
//! | after the step | on disk | recovery |
//! |---|---|---|
//! | record written | any part of it | queued if whole, else put aside: its 250 was not sent |
//! | fdatasync | the record | queued; only now the 250 is sent |
//! | deferral | old or new status | an early retry |
//! | mark, before its sync | old or new status | a lost mark is delivered twice |
//! | mark, after its sync | the new status | never delivered again |
//! | removal, before its sync | the message or none | may be delivered twice |
//! | removal, after its sync | no message | never delivered again |
//! | copy to the newest segment, synced | the message twice | the older copy is taken, its segment given back first |
//! | old segment given back | the copy | queued |
//! | summary written | any part of it | the segment is read unless it is whole |
//!
//! A large message is a file of its own with Postfix's rules (see [`crate::files`]), so that an agent can be given a
//! descriptor that reaches this one message; its statuses and its removal are records as everybody's.

mod apply;
mod compaction;
mod index;
mod log;
mod quarantine;
mod read;
mod record;
mod recovery;
mod scan;
mod summary;
mod table;

use crate::disk::{Disk, Local};
use crate::files::{FilesSpool, Format};
use crate::message;
use crate::{Change, Content, Durability, Incoming, Recovery, Spool, SpoolError, Stored};
use compaction::Compaction;
use delivery::{Envelope, QueueId};
use index::RECORD_BYTES_MAX;
use log::Log;
use quarantine::Quarantine;
use record::HEADER_BYTES;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use table::Table;

/// Enough for a record with the envelope of a message with a few recipients in one read.
const LOAD_READ_BYTES: usize = 1024;

/// Measures of the store. All are multiples of 64 bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    pub durability: Durability,
    /// A segment's size.
    pub segment_bytes: u32,
    /// A file grows by so much at a time.
    pub grow_bytes: u32,
    /// Where the spool is, for messages to the operator.
    pub path: PathBuf,
}

impl Options {
    /// What is measured best: a segment of 64 MiB, written with zeros a MiB ahead.
    pub fn new(path: &Path, durability: Durability) -> Options {
        Options { durability, segment_bytes: 64 << 20, grow_bytes: 1 << 20, path: path.to_owned() }
    }

    /// Records are appended in groups of at most this, so that the end of a segment wastes no more.
    fn group_bytes(&self) -> u32 {
        (self.segment_bytes / 16).clamp(self.segment_bytes.min(RECORD_BYTES_MAX), 4 << 20)
    }

    fn grown(&self, to: u32) -> u32 {
        to.next_multiple_of(self.grow_bytes).min(self.segment_bytes)
    }

    /// A larger message has a file of its own.
    fn image_bytes_max(&self) -> usize {
        RECORD_BYTES_MAX.min(self.group_bytes()) as usize - HEADER_BYTES
    }
}

pub struct SegmentSpool {
    options: Options,
    files: Arc<FilesSpool>,
    disk: Arc<dyn Disk>,
    quarantine: Quarantine,
    table: Mutex<Table>,
    /// Held while something is written, also through a sync. Taken before `table`.
    log: Mutex<Log>,
    compaction: Mutex<Option<Compaction>>,
    /// To be kept free on the file system.
    min_free_bytes: AtomicU64,
    /// In spare files; nobody who asks waits for the log.
    spare_bytes: Arc<AtomicU64>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_full(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(error), Some(Errno::NOSPC | Errno::DQUOT))
}

impl SegmentSpool {
    /// Opens the spool in this folder, and makes both if need be. A spool of one file a message is taken over: its
    /// mail stays in its files until it is delivered.
    pub fn open(dir: &Path, durability: Durability) -> Result<SegmentSpool, SpoolError> {
        let files = FilesSpool::open_as(dir, durability, Format::Segments)?;
        let folder = |name: &str| -> Result<Arc<dyn Disk>, SpoolError> {
            let path = dir.join(name);
            let local = Local::open(&path);
            Ok(Arc::new(local.map_err(|error| SpoolError::io("open the folder", &path, error))?))
        };
        let options = Options::new(dir, durability);
        Ok(SegmentSpool::over(folder("segments")?, folder("corrupt")?, Arc::new(files), options))
    }

    /// A spool over any disk. `files` keeps the large messages and gives the ids; `corrupt` is where damaged records
    /// are put aside.
    pub fn over(
        disk: Arc<dyn Disk>,
        corrupt: Arc<dyn Disk>,
        files: Arc<FilesSpool>,
        options: Options,
    ) -> SegmentSpool {
        let log = Log::new(disk.clone(), options.clone());
        SegmentSpool {
            quarantine: Quarantine::new(corrupt, options.path.join("corrupt")),
            spare_bytes: log.spare_bytes(),
            log: Mutex::new(log),
            options,
            files,
            disk,
            table: Mutex::default(),
            compaction: Mutex::default(),
            min_free_bytes: AtomicU64::new(0),
        }
    }

    /// The numbers of its segments, oldest first, each with the share of its space that is of use in percent.
    pub fn segments(&self) -> Vec<(u32, u32)> {
        let share = |live: u64| (live * 100 / u64::from(self.options.segment_bytes)) as u32;
        lock(&self.table).segments.iter().map(|(number, one)| (*number, share(one.live_bytes))).collect()
    }
}

impl Spool for SegmentSpool {
    fn begin(&self, envelope: Envelope) -> Result<Incoming, SpoolError> {
        self.files.begin(envelope)
    }

    fn apply(&self, changes: Vec<Change>) -> Vec<Result<QueueId, SpoolError>> {
        apply::apply(self, changes)
    }

    fn writers(&self) -> usize {
        1
    }

    fn awaits_sync(&self) -> bool {
        let log = lock(&self.log);
        log.awaits_sync() || log.has_alarm() || !log.backlog.is_empty()
    }

    fn sync(&self) -> Result<(), SpoolError> {
        let mut log = lock(&self.log);
        let written = self.write_notes(&mut log);
        if written.is_err() || log.sync(&self.table).is_err() {
            // once more in a new segment; if that fails, too, it waits in memory
            let _ = self.write_notes(&mut log).map(|()| log.sync(&self.table));
        }
        log.take_alarm().or(written.err()).map_or(Ok(()), Err)
    }

    fn tend(&self) -> Result<bool, SpoolError> {
        compaction::step(self)
    }

    fn load(&self, id: QueueId) -> Result<Stored, SpoolError> {
        match self.head(id, LOAD_READ_BYTES)? {
            None => {
                let mut stored = self.files.load(id)?;
                self.with_states(id, &mut stored.status);
                Ok(stored)
            }
            Some(mut stored) => {
                self.with_states(id, &mut stored.status);
                Ok(stored)
            }
        }
    }

    fn content(&self, id: QueueId) -> Result<Content, SpoolError> {
        let Some(mut image) = self.image(id)? else { return self.files.content(id) };
        let header = message::Header::decode(&image, id, image.len() as u64);
        let header = header.map_err(|damage| {
            let place = lock(&self.table).index.get(id).map(|slot| slot.place);
            place.map_or(SpoolError::Missing(id), |place| self.damaged(id, place, damage))
        })?;
        image.drain(..header.content_offset() as usize);
        Ok(Content::Inline(image))
    }

    fn ids_after(&self, after: Option<QueueId>, count: usize) -> Vec<QueueId> {
        lock(&self.table).index.ids_after(after, count)
    }

    fn recover(&self, each: &mut dyn FnMut(QueueId, Stored)) -> Result<Recovery, SpoolError> {
        recovery::run(self, each)
    }

    fn free_bytes(&self) -> Result<u64, SpoolError> {
        // first: a file that goes meanwhile is counted twice for a moment, and not missed
        let spare_bytes = self.spare_bytes.load(Ordering::Relaxed);
        Ok(self.files.free_bytes()?.saturating_add(spare_bytes))
    }

    fn keep_free(&self, min_bytes: u64) {
        self.min_free_bytes.store(min_bytes, Ordering::Relaxed);
    }
}
