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
use delivery::{Envelope, QueueId, RecipientState};
use index::{Place, RECORD_BYTES_MAX};
use log::{Failure, Item, Log, Note, fitting};
use quarantine::Quarantine;
use record::{HEADER_BYTES, Kind, OWN_FILE};
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

/// What one call of `apply` has to write.
#[derive(Default)]
struct Batch {
    /// Record, message image, and the place among the results.
    commits: Vec<(QueueId, Vec<u8>, usize)>,
    notes: Vec<Note>,
    results: Vec<Result<QueueId, SpoolError>>,
}

impl SegmentSpool {
    /// Keeps a large message at once; gives any other change back.
    fn keep_large(&self, change: Change) -> Result<Change, Result<QueueId, SpoolError>> {
        match change {
            Change::Commit(incoming) if incoming.is_large() => Err(self.keep_file(incoming)),
            change => Ok(change),
        }
    }

    fn keep_file(&self, incoming: Incoming) -> Result<QueueId, SpoolError> {
        self.files.commit(incoming).inspect(|id| lock(&self.table).insert(*id, Place::own_file()))
    }

    /// Takes a change in, as far as that is possible without writing.
    fn plan(&self, log: &mut Log, batch: &mut Batch, change: Change) {
        let result = match change {
            Change::Commit(incoming) => {
                let id = incoming.id();
                match incoming.into_image(self.options.image_bytes_max()) {
                    Ok(image) => {
                        batch.commits.push((id, image, batch.results.len()));
                        Ok(id)
                    }
                    Err(incoming) => self.keep_file(incoming),
                }
            }
            Change::Update { id, status } => {
                let mut table = lock(&self.table);
                if table.index.get(id).is_some() {
                    let is_final = status.states.iter().any(|state| *state != RecipientState::Pending);
                    table.set_states(id, &status);
                    batch.notes.push(log.note(Kind::State, id, record::encode_status(&status), is_final));
                    Ok(id)
                } else {
                    Err(SpoolError::Missing(id))
                }
            }
            Change::Remove { id } => {
                let removed = lock(&self.table).remove(id);
                let Some(slot) = removed else {
                    batch.results.push(Err(SpoolError::Missing(id)));
                    return;
                };
                batch.notes.push(log.note(Kind::Removed(slot.place.segment), id, Vec::new(), true));
                if slot.place.segment == OWN_FILE { self.files.remove(id) } else { Ok(id) }
            }
        };
        batch.results.push(result);
    }

    /// Writes small changes of queued messages. What can't be written waits in memory.
    fn write_notes(&self, log: &mut Log) -> Result<(), SpoolError> {
        while !log.backlog.is_empty() {
            let count = {
                let table = lock(&self.table);
                // what became of a message that is gone with its segment interests nobody
                log.backlog.retain(|note| match note.header.kind {
                    Kind::Removed(target) => target == OWN_FILE || table.segments.contains_key(&target),
                    Kind::State | Kind::Message => table.index.get(note.header.id).is_some(),
                });
                fitting(log.backlog.iter().map(|note| note.body.len()), self.options.group_bytes())
            };
            let count = count.min(log.backlog.len());
            let rest = log.backlog.split_off(count);
            let notes = std::mem::replace(&mut log.backlog, rest);
            let items: Vec<_> =
                notes.iter().map(|note| Item { header: note.header, body: &note.body }).collect();
            match log.append(&self.table, &items) {
                Ok(places) => {
                    self.note_places(&notes, &places);
                    log.remember(notes);
                }
                Err(failure) => {
                    let rest = std::mem::replace(&mut log.backlog, notes);
                    log.backlog.extend(rest);
                    return match failure {
                        Failure::Full => Ok(()),
                        Failure::Lost { error, .. } => Err(error),
                    };
                }
            }
        }
        Ok(())
    }

    fn note_places(&self, notes: &[Note], places: &[Place]) {
        let mut table = lock(&self.table);
        for (note, place) in notes.iter().zip(places) {
            match note.header.kind {
                Kind::State => table.note_state(note.header.id, place.segment),
                Kind::Removed(target) => table.note_removal(place.segment, target),
                Kind::Message => {}
            }
        }
    }

    /// Writes messages, as many in one go as a group holds, each go with its sync.
    fn write_commits(&self, log: &mut Log, batch: &mut Batch) {
        let mut commits = std::mem::take(&mut batch.commits);
        while !commits.is_empty() {
            let count = fitting(commits.iter().map(|(_, image, _)| image.len()), self.options.group_bytes());
            let rest = commits.split_off(count);
            let group = std::mem::replace(&mut commits, rest);
            let items: Vec<_> = group
                .iter()
                .map(|(id, image, _)| Item { header: log.header(Kind::Message, *id, image), body: image })
                .collect();
            match log.append_large(&self.table, &items) {
                Ok(places) => {
                    let mut table = lock(&self.table);
                    group.iter().zip(places).for_each(|((id, ..), place)| table.insert(*id, place));
                }
                Err(failure) => self.refuse(log, batch, &group, failure),
            }
        }
    }

    fn refuse(
        &self,
        log: &mut Log,
        batch: &mut Batch,
        group: &[(QueueId, Vec<u8>, usize)],
        failure: Failure,
    ) {
        let path = || self.options.path.join("segments");
        for (id, _, at) in group {
            batch.results[*at] = Err(match &failure {
                Failure::Full => SpoolError::Full { doing: "write a message to", path: path() },
                Failure::Lost { number, wrote, error } => {
                    if *wrote {
                        // part of it may be there, whole and good: it must not come back
                        let note = log.note(Kind::Removed(*number), *id, Vec::new(), false);
                        log.backlog.push(note);
                    }
                    error.again()
                }
            });
        }
    }
}

impl Spool for SegmentSpool {
    fn begin(&self, envelope: Envelope) -> Result<Incoming, SpoolError> {
        self.files.begin(envelope)
    }

    fn apply(&self, changes: Vec<Change>) -> Vec<Result<QueueId, SpoolError>> {
        let mut batch = Batch::default();
        // these have syncs of their own, for which the others are not to wait
        let changes: Vec<_> = changes.into_iter().map(|change| self.keep_large(change)).collect();
        let mut log = lock(&self.log);
        for change in changes {
            match change {
                Ok(change) => self.plan(&mut log, &mut batch, change),
                Err(result) => batch.results.push(result),
            }
        }
        log.backlog.append(&mut batch.notes);
        // a lost segment is told of by whoever waits, or else by the next sync
        let _ = self.write_notes(&mut log);
        self.write_commits(&mut log, &mut batch);
        let _ = self.write_notes(&mut log);
        batch.results
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
