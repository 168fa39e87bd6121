//! Opens a spool folder: makes what is missing, refuses what is not ours, takes the lock, starts a new epoch.

use super::folder::Folder;
use super::{FOLDERS, SEQUENCE_BITS, Shared};
use crate::{Durability, SpoolError};
use rustix::fs::{FlockOperation, Mode};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

/// Who keeps the mail of the folder, as its file `format` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Format {
    /// One file a message.
    Files,
    /// Segments; messages that came while it was the other are still in their files.
    Segments,
}

impl Format {
    fn text(self) -> &'static str {
        match self {
            Format::Files => "mailrig spool 1\n",
            Format::Segments => "mailrig spool 2\n",
        }
    }
}

/// What may be in a folder that is not (or not completely) a spool yet.
const EXPECTED_NAMES: [&str; 8] =
    ["lock", "epoch", "epoch.new", "format.new", "queue", "corrupt", "segments", "lost+found"];

/// The files of a spool's root are a few bytes; more is not ours.
const SMALL_FILE_BYTES: u64 = 1024;

pub(super) fn open(dir: &Path, durability: Durability, format: Format) -> Result<Shared, SpoolError> {
    make_folder(dir)?;
    let root = Folder::open_at(dir.to_owned())?;
    let is_new = !dir.join("format").exists();
    if is_new
        && let Some(found) =
            root.names()?.into_iter().find(|name| !EXPECTED_NAMES.iter().any(|expected| name == expected))
    {
        return Err(SpoolError::NotASpool {
            path: dir.to_owned(),
            found: found.to_string_lossy().into_owned(),
        });
    }
    let lock = lock(dir)?;
    let mut is_other = is_new;
    if !is_new {
        let found = read_small(&dir.join("format"))?;
        is_other = found != format.text();
        if is_other && found == Format::Segments.text() {
            return Err(SpoolError::OtherStore { path: dir.to_owned() });
        }
        if is_other && found != Format::Files.text() {
            return Err(SpoolError::Version { path: dir.join("format"), found: found.trim_end().to_owned() });
        }
    }
    let queue = dir.join("queue");
    make_folder(&queue)?;
    let names = (0..FOLDERS).map(|number| queue.join(format!("{number:x}")));
    let queue_folders = names.map(make_and_open).collect::<Result<Vec<_>, _>>()?;
    let corrupt = make_and_open(dir.join("corrupt"))?;
    if format == Format::Segments {
        make_folder(&dir.join("segments"))?;
    }
    Folder::open_at(queue)?.sync()?;
    root.sync()?;
    let epoch = next_epoch(dir, is_new)?;
    replace(&root, "epoch", &format!("{epoch}\n"))?;
    if is_other {
        replace(&root, "format", format.text())?;
    }
    let next_id = AtomicU64::new(epoch << SEQUENCE_BITS);
    Ok(Shared { root, queue: queue_folders, corrupt, durability, next_id, _lock: lock })
}

fn make_folder(path: &Path) -> Result<(), SpoolError> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(Mode::RWXU.as_raw_mode()).create(path);
    match made {
        Ok(()) => Ok(()),
        Err(error) if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory) => {
            Err(SpoolError::NotAFolder { path: path.to_owned() })
        }
        Err(error) => Err(SpoolError::io("make the folder", path, error)),
    }
}

fn make_and_open(path: PathBuf) -> Result<Folder, SpoolError> {
    make_folder(&path)?;
    Folder::open_at(path)
}

fn lock(dir: &Path) -> Result<File, SpoolError> {
    let path = dir.join("lock");
    let mut options = File::options();
    let opened = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    let mut file = opened.map_err(|error| SpoolError::io("open", &path, error))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let pid = read_small(&path).ok().and_then(|text| text.trim().parse().ok());
            return Err(SpoolError::Locked { path: dir.to_owned(), pid });
        }
        Err(error) => return Err(SpoolError::io("lock", &path, error)),
    }
    // for the message above, in the other process
    let told = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    told.map_err(|error| SpoolError::io("write", &path, error))?;
    Ok(file)
}

/// One more than ever before in this spool.
fn next_epoch(dir: &Path, is_new: bool) -> Result<u64, SpoolError> {
    let path = dir.join("epoch");
    if is_new && !path.exists() {
        return Ok(1);
    }
    let text = read_small(&path)?;
    match text.trim_end().parse::<u64>() {
        Ok(epoch) if epoch + 1 < 1 << (u64::BITS - SEQUENCE_BITS) => Ok(epoch + 1),
        _ => Err(SpoolError::Version { path, found: text.trim_end().to_owned() }),
    }
}

/// Writes a small file as a whole: after a stop at any moment it has its old or its new text.
fn replace(root: &Folder, name: &str, text: &str) -> Result<(), SpoolError> {
    let new = root.path_of(format!("{name}.new"));
    let write = || -> io::Result<()> {
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, root.path_of(name))
    };
    write().map_err(|error| SpoolError::io("write", &new, error))?;
    root.sync()
}

fn read_small(path: &Path) -> Result<String, SpoolError> {
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(SMALL_FILE_BYTES).read_to_end(&mut text));
    read.map_err(|error| SpoolError::io("read", path, error))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
