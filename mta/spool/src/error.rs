//! What can go wrong with a spool, told apart as far as callers act differently.

use delivery::QueueId;
use delivery::wire::WireError;
use rustix::io::Errno;
use std::path::{Path, PathBuf};
use std::{fmt, io};

#[derive(Debug)]
pub enum SpoolError {
    /// No space, inodes or quota. A receiver answers 452 4.3.1; what is queued is untouched (RFC 3463 §3.4).
    Full {
        doing: &'static str,
        path: PathBuf,
    },
    /// Another process has the spool.
    Locked {
        path: PathBuf,
        pid: Option<u32>,
    },
    /// The spool's path is something else than a folder.
    NotAFolder {
        path: PathBuf,
    },
    /// The folder holds something else than a spool.
    NotASpool {
        path: PathBuf,
        found: String,
    },
    /// The spool was made by another version of this program.
    Version {
        path: PathBuf,
        found: String,
    },
    /// The folder's mail is kept by segments, and files were asked for.
    OtherStore {
        path: PathBuf,
    },
    /// Less space is left than is kept free. A receiver answers as to [`SpoolError::Full`].
    LowWater,
    /// A sync failed: what was written to the file since the last one may be lost, and it is not written any more.
    Sync {
        path: PathBuf,
        source: io::Error,
    },
    /// No such message.
    Missing(QueueId),
    /// The message is damaged and was put aside.
    Corrupt {
        id: QueueId,
        moved_to: PathBuf,
        damage: Damage,
    },
    /// A message needs 1 to [`MAX_RECIPIENTS`](crate::MAX_RECIPIENTS) recipients.
    Recipients(usize),
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

/// Why a file is not the message it should be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Damage {
    Unreadable(String),
    NotAFile,
    Name,
    Folder,
    Magic,
    Version(u16),
    HeaderChecksum,
    OtherId(QueueId),
    Length { expected_bytes: u64, found_bytes: u64 },
    RecipientState { recipient: usize, found: u8 },
    EnvelopeChecksum,
    Envelope(WireError),
    EnvelopeRecipients,
    ContentChecksum,
    RecordHeader,
    RecordChecksum,
}

impl SpoolError {
    pub(crate) fn io(doing: &'static str, path: &Path, source: impl Into<io::Error>) -> SpoolError {
        let (path, source) = (path.to_owned(), source.into());
        match source.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOSPC | Errno::DQUOT) => SpoolError::Full { doing, path },
            _ => SpoolError::Io { doing, path, source },
        }
    }
}

impl SpoolError {
    /// The same error, for another who waits for the same sync.
    pub fn again(&self) -> SpoolError {
        let copy = |source: &io::Error| match source.raw_os_error() {
            Some(number) => io::Error::from_raw_os_error(number),
            None => io::Error::new(source.kind(), source.to_string()),
        };
        match self {
            SpoolError::Sync { path, source } => {
                SpoolError::Sync { path: path.clone(), source: copy(source) }
            }
            SpoolError::Io { doing, path, source } => {
                SpoolError::Io { doing, path: path.clone(), source: copy(source) }
            }
            other => SpoolError::Io {
                doing: "write to",
                path: PathBuf::new(),
                source: io::Error::other(other.to_string()),
            },
        }
    }
}

impl fmt::Display for SpoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpoolError::Full { doing, path } => {
                write!(f, "cannot {doing} {}: the file system is full; free some space", path.display())
            }
            SpoolError::Locked { path, pid } => {
                write!(f, "spool {} is in use by ", path.display())?;
                match pid {
                    Some(pid) => write!(f, "process {pid}")?,
                    None => write!(f, "another process")?,
                }
                write!(f, "; stop it, or give each queue manager its own spool")
            }
            SpoolError::NotAFolder { path } => {
                write!(f, "spool {} is not a folder; name a folder, which is made if need be", path.display())
            }
            SpoolError::NotASpool { path, found } => write!(
                f,
                "folder {} is not a spool and not empty (it has `{}`); name an empty or new folder",
                path.display(),
                found.escape_debug()
            ),
            SpoolError::Version { path, found } => write!(
                f,
                "{} says `{}`, which this version cannot read; use the version that made this spool",
                path.display(),
                found.escape_debug()
            ),
            SpoolError::OtherStore { path } => write!(
                f,
                "spool {} has its mail in segments; write store = \"segments\", or carry the mail to a new folder \
                 with `mailrig queue export` and `mailrig queue import`",
                path.display()
            ),
            SpoolError::LowWater => {
                f.write_str("no more is free than is to be kept so (space_min); free some space")
            }
            SpoolError::Sync { path, source } => write!(
                f,
                "ALARM: cannot sync {}: {source}; it is not written any more and another begins; look after the disk",
                path.display()
            ),
            SpoolError::Missing(id) => write!(f, "message {id} is not in the spool"),
            SpoolError::Corrupt { id, moved_to, damage } => {
                write!(f, "message {id} is damaged ({damage}) and was moved to {}", moved_to.display())
            }
            SpoolError::Recipients(count) => {
                write!(f, "a message has 1 to {} recipients, not {count}", crate::MAX_RECIPIENTS)
            }
            SpoolError::Io { doing, path, source } => {
                let hint = match source.kind() {
                    io::ErrorKind::PermissionDenied => "; give this user read and write permission",
                    io::ErrorKind::ReadOnlyFilesystem => "; mount the file system for writing",
                    _ => "",
                };
                write!(f, "cannot {doing} {}: {source}{hint}", path.display())
            }
        }
    }
}

impl std::error::Error for SpoolError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            SpoolError::Io { source, .. } | SpoolError::Sync { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::Unreadable(error) => write!(f, "cannot be read: {error}"),
            Damage::NotAFile => f.write_str("not a regular file"),
            Damage::Name => f.write_str("name is not a queue id"),
            Damage::Folder => f.write_str("stands in another message's folder"),
            Damage::Magic => f.write_str("not a message file"),
            Damage::Version(version) => write!(f, "unknown message format {version}"),
            Damage::HeaderChecksum => f.write_str("wrong checksum of the header"),
            Damage::OtherId(id) => write!(f, "holds message {id}"),
            Damage::Length { expected_bytes, found_bytes } => {
                write!(f, "{found_bytes} bytes long instead of {expected_bytes}")
            }
            Damage::RecipientState { recipient, found } => {
                write!(f, "recipient {recipient} has the unknown state {found:#04x}")
            }
            Damage::EnvelopeChecksum => f.write_str("wrong checksum of the envelope"),
            Damage::Envelope(error) => write!(f, "the envelope cannot be decoded: {error}"),
            Damage::EnvelopeRecipients => f.write_str("the envelope has another number of recipients"),
            Damage::ContentChecksum => f.write_str("wrong checksum of the content"),
            Damage::RecordHeader => f.write_str("wrong checksum of the record's header"),
            Damage::RecordChecksum => f.write_str("wrong checksum of the record"),
        }
    }
}
