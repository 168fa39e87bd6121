//! The spool that keeps one file a message.
//!
//! ```text
//! DIR/format         "mailrig spool 1"; written last when a spool is made
//! DIR/epoch          how often the spool was opened; the upper part of every queue id, so that an id is never
//!                    given twice, whatever the clock does
//! DIR/lock           held by the queue manager that has the spool open
//! DIR/queue/0..f/    messages, by the last digit of their id: ID, and ID.new while it is received
//! DIR/corrupt/       damaged files, put aside
//! ```
//!
//! A message's life, and what is found after a stop (of the process or, with full durability, of the power):
//!
//! | after the step | on disk | recovery |
//! |---|---|---|
//! | create, write, fsync `ID.new` | `ID.new`, any part of it | removed: its 250 was not sent |
//! | rename to `ID` | `ID` or `ID.new` | queued or removed: its 250 was not sent |
//! | fsync of the folder | `ID` | queued; only now the 250 is sent |
//! | update: states (one byte a recipient) | old or new state | a lost mark is delivered twice |
//! | update: schedule (16 bytes in one sector) | old or new; torn: found by checksum | an early retry |
//! | every recipient marked | `ID`, all final | removed |
//! | remove | no `ID` | (if the power fails: as the row above) |
//!
//! The folder is synced because only then is the name durable on every file system. The half-received file is
//! in the same folder as the message: a rename across folders costs more, as it changes two of them.

mod draft;
mod folder;
mod layout;
mod recovery;

pub(crate) use draft::Draft;
pub(crate) use layout::Format;

use crate::message::{self, HEADER_BYTES, Header, SCHEDULE_OFFSET};
use crate::{
    Change, Content, Damage, Durability, INLINE_CONTENT_BYTES, Incoming, Recovery, Spool, SpoolError, Status,
    Stored,
};
use delivery::{Envelope, QueueId};
use folder::Folder;
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Queue folders; their number is part of the format. Sixteen keep a million messages at 62 500 a folder.
const FOLDERS: u64 = 16;

/// The lower part of a queue id counts the messages since the spool was opened: four months at 100 000 a second.
const SEQUENCE_BITS: u32 = 40;

/// Syncs overlap: while one thread waits for the disk, the others prepare theirs.
const WRITERS: usize = 4;

/// Enough for the envelope of a message with a few recipients in one read.
const LOAD_READ_BYTES: usize = 4 * 1024;

#[derive(Debug)]
pub struct FilesSpool {
    shared: Arc<Shared>,
    ids: Mutex<BTreeSet<QueueId>>,
}

/// What the spool and the messages that are being received have in common.
#[derive(Debug)]
struct Shared {
    root: Folder,
    queue: Vec<Folder>,
    corrupt: Folder,
    durability: Durability,
    next_id: AtomicU64,
    /// Locked as long as it is open.
    _lock: File,
}

impl FilesSpool {
    /// Opens the spool in this folder, and makes both if need be. Errors say which of these it is: not a folder,
    /// not a spool, in use, of another version, not writable, full.
    pub fn open(dir: &Path, durability: Durability) -> Result<FilesSpool, SpoolError> {
        FilesSpool::open_as(dir, durability, Format::Files)
    }

    pub(crate) fn open_as(
        dir: &Path,
        durability: Durability,
        format: Format,
    ) -> Result<FilesSpool, SpoolError> {
        let shared = Arc::new(layout::open(dir, durability, format)?);
        Ok(FilesSpool { shared, ids: Mutex::default() })
    }

    /// After a crash of the system, what was removed before this stays removed.
    pub(crate) fn sync_removals(&self) -> Result<(), SpoolError> {
        self.shared.queue.iter().try_for_each(Folder::sync)
    }

    fn ids(&self) -> MutexGuard<'_, BTreeSet<QueueId>> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file in which a message is kept, for operators' messages.
    pub fn path(&self, id: QueueId) -> PathBuf {
        self.shared.folder(id).path_of(id.to_string())
    }
}

impl Spool for FilesSpool {
    fn begin(&self, envelope: Envelope) -> Result<Incoming, SpoolError> {
        let id = QueueId(self.shared.next_id.fetch_add(1, Ordering::Relaxed));
        Incoming::begin(id, &envelope, Draft::new(self.shared.clone(), id))
    }

    fn apply(&self, changes: Vec<Change>) -> Vec<Result<QueueId, SpoolError>> {
        let apply = |change| match change {
            Change::Commit(incoming) => self.keep(incoming),
            Change::Update { id, status } => self.overwrite(id, &status),
            Change::Remove { id } => self.unlink(id),
        };
        changes.into_iter().map(apply).collect()
    }

    fn writers(&self) -> usize {
        WRITERS
    }

    fn awaits_sync(&self) -> bool {
        false
    }

    fn sync(&self) -> Result<(), SpoolError> {
        Ok(())
    }

    fn tend(&self) -> Result<bool, SpoolError> {
        Ok(false)
    }

    fn load(&self, id: QueueId) -> Result<Stored, SpoolError> {
        let file = self.shared.open_message(id, OFlags::RDONLY)?;
        let mut buffer = vec![0; LOAD_READ_BYTES];
        match read_message(&file, id, &mut buffer) {
            Ok((_, stored, _)) => Ok(stored),
            Err(error) => Err(self.shared.damaged(id, error)),
        }
    }

    fn content(&self, id: QueueId) -> Result<Content, SpoolError> {
        let file = self.shared.open_message(id, OFlags::RDONLY)?;
        read_content(file, id).map_err(|error| self.shared.damaged(id, error))
    }

    fn ids_after(&self, after: Option<QueueId>, count: usize) -> Vec<QueueId> {
        let first = after.map_or(QueueId(0), |id| QueueId(id.0.saturating_add(1)));
        self.ids().range(first..).take(count).copied().collect()
    }

    fn recover(&self, each: &mut dyn FnMut(QueueId, Stored)) -> Result<Recovery, SpoolError> {
        recovery::run(&self.shared, &mut |id, stored| {
            self.ids().insert(id);
            each(id, stored);
        })
    }

    fn free_bytes(&self) -> Result<u64, SpoolError> {
        let root = &self.shared.root;
        let found = rustix::fs::fstatvfs(root.descriptor());
        let found = found.map_err(|error| SpoolError::io("ask for the free space of", root.path(), error))?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }
}

impl FilesSpool {
    fn keep(&self, incoming: Incoming) -> Result<QueueId, SpoolError> {
        let id = incoming.id();
        incoming.finish()?.publish()?;
        self.ids().insert(id);
        Ok(id)
    }

    fn overwrite(&self, id: QueueId, status: &Status) -> Result<QueueId, SpoolError> {
        let file = self.shared.open_message(id, OFlags::RDWR)?;
        let failed = |error| SpoolError::io("write the status of", &self.path(id), error);
        let bytes = message::encode_status(id, status);
        let mut before = [0; message::SCHEDULE_BYTES];
        file.read_exact_at(&mut before, SCHEDULE_OFFSET).map_err(failed)?;
        file.write_all_at(&bytes, SCHEDULE_OFFSET).map_err(failed)?;
        if message::flags_of(&before) != message::flags_of(&bytes)
            && self.shared.durability == Durability::Full
        {
            // rare, and not made up for by a retry as a schedule is
            file.sync_data().map_err(|error| SpoolError::io("sync the status of", &self.path(id), error))?;
        }
        Ok(id)
    }

    fn unlink(&self, id: QueueId) -> Result<QueueId, SpoolError> {
        self.ids().remove(&id);
        match self.shared.folder(id).remove(id.to_string()) {
            Err(Errno::NOENT) => Err(SpoolError::Missing(id)),
            Err(error) => Err(SpoolError::io("remove", &self.path(id), error)),
            Ok(()) => Ok(id),
        }
    }
}

impl Shared {
    fn folder(&self, id: QueueId) -> &Folder {
        &self.queue[(id.0 % FOLDERS) as usize]
    }

    fn open_message(&self, id: QueueId, access: OFlags) -> Result<File, SpoolError> {
        let name = id.to_string();
        match self.folder(id).open(&name, access) {
            Ok(file) => Ok(file),
            Err(Errno::NOENT) => Err(SpoolError::Missing(id)),
            Err(error) => Err(SpoolError::io("open", &self.folder(id).path_of(&name), error)),
        }
    }

    /// Puts a message aside that turned out to be damaged; passes other errors on.
    fn damaged(&self, id: QueueId, error: ReadError) -> SpoolError {
        let name = id.to_string();
        match error {
            ReadError::Io(error) => SpoolError::io("read", &self.folder(id).path_of(&name), error),
            ReadError::Damage(damage) => match self.put_aside(self.folder(id), name.as_ref()) {
                Ok(moved_to) => SpoolError::Corrupt { id, moved_to, damage },
                Err(error) => error,
            },
        }
    }

    /// Moves a file to `corrupt/`, under its own name or, where that is taken, a numbered one.
    fn put_aside(&self, from: &Folder, name: &OsStr) -> Result<PathBuf, SpoolError> {
        let mut new_name = name.to_owned();
        for number in 1.. {
            match from.rename(name, &self.corrupt, &new_name) {
                Err(Errno::EXIST) => {
                    new_name = name.to_owned();
                    new_name.push(format!(".{number}"));
                }
                Err(error) => {
                    return Err(SpoolError::io("move to corrupt/ the file", &from.path_of(name), error));
                }
                Ok(()) => break,
            }
        }
        Ok(self.corrupt.path_of(&new_name))
    }
}

/// Why a message could not be read: it is damaged, or the system has no answer now.
enum ReadError {
    Damage(Damage),
    Io(io::Error),
}

impl From<Damage> for ReadError {
    fn from(damage: Damage) -> ReadError {
        ReadError::Damage(damage)
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> ReadError {
        match error.kind() {
            // it became shorter while it was read
            io::ErrorKind::UnexpectedEof => ReadError::Damage(Damage::Unreadable(error.to_string())),
            // the disk has lost a part of this file; others may be well
            _ if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => {
                ReadError::Damage(Damage::Unreadable(error.to_string()))
            }
            _ => ReadError::Io(error),
        }
    }
}

fn read_header(file: &File, id: QueueId) -> Result<Header, ReadError> {
    let file_bytes = regular_file_bytes(file)?;
    let mut bytes = [0; HEADER_BYTES];
    let length = HEADER_BYTES.min(usize::try_from(file_bytes).unwrap_or(HEADER_BYTES));
    file.read_exact_at(&mut bytes[..length], 0)?;
    Ok(Header::decode(&bytes[..length], id, file_bytes)?)
}

/// Reads all but the content; `buffer` holds the file's start afterwards, as much as its length at the call
/// (and at least everything before the content). The flag says whether the schedule was good.
fn read_message(file: &File, id: QueueId, buffer: &mut Vec<u8>) -> Result<(Header, Stored, bool), ReadError> {
    let file_bytes = regular_file_bytes(file)?;
    buffer.truncate(usize::try_from(file_bytes).unwrap_or(usize::MAX));
    file.read_exact_at(buffer, 0)?;
    let header = Header::decode(buffer, id, file_bytes)?;
    // no more than the file has: the header's lengths agree with it
    let before_content = header.content_offset() as usize;
    read_up_to(file, buffer, before_content)?;
    let (stored, schedule_good) = message::decode(&header, buffer)?;
    Ok((header, stored, schedule_good))
}

fn read_content(file: File, id: QueueId) -> Result<Content, ReadError> {
    let header = read_header(&file, id)?;
    let (offset, length) = (header.content_offset(), header.content_bytes);
    if length <= INLINE_CONTENT_BYTES as u64 {
        let mut bytes = vec![0; length as usize];
        file.read_exact_at(&mut bytes, offset)?;
        check_content(&header, crc32fast::hash(&bytes))?;
        return Ok(Content::Inline(bytes));
    }
    let mut checksum = crc32fast::Hasher::new();
    let mut piece = vec![0; INLINE_CONTENT_BYTES];
    let mut at = 0;
    while at < length {
        let piece_bytes = (length - at).min(piece.len() as u64) as usize;
        file.read_exact_at(&mut piece[..piece_bytes], offset + at)?;
        checksum.update(&piece[..piece_bytes]);
        at += piece_bytes as u64;
    }
    check_content(&header, checksum.finalize())?;
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(offset)).map_err(io::Error::from)?;
    Ok(Content::File { file, offset, length })
}

fn check_content(header: &Header, checksum: u32) -> Result<(), Damage> {
    if checksum == header.content_checksum { Ok(()) } else { Err(Damage::ContentChecksum) }
}

fn read_up_to(file: &File, buffer: &mut Vec<u8>, length: usize) -> io::Result<()> {
    let had = buffer.len();
    if had < length {
        buffer.resize(length, 0);
        file.read_exact_at(&mut buffer[had..], had as u64)?;
    }
    Ok(())
}

fn regular_file_bytes(file: &File) -> Result<u64, ReadError> {
    let found = file.metadata()?;
    if found.is_file() { Ok(found.len()) } else { Err(ReadError::Damage(Damage::NotAFile)) }
}
