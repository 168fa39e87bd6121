//! The files under a segment store, as little of a file system as it needs.
//!
//! [`Local`] is the folder that it runs on. Tests put a disk in its place that forgets, tears, fails and fills up.

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// Pieces that the kernel takes in one call (UIO_MAXIOV).
const PIECES_MAX: usize = 1024;

/// One folder with files in it. What is done to names is durable after [`Disk::sync_names`], what is written to a
/// file after its [`DiskFile::sync`].
pub trait Disk: Debug + Send + Sync {
    /// Makes a file that was not there.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Never replaces what is there.
    fn rename(&self, name: &str, new_name: &str) -> io::Result<()>;
    fn remove(&self, name: &str) -> io::Result<()>;
    fn names(&self) -> io::Result<Vec<String>>;
    fn sync_names(&self) -> io::Result<()>;
}

/// A file that is written at given places.
pub trait DiskFile: Debug + Send + Sync {
    /// Writes all pieces, one behind the other. After an error any part of them may be written.
    fn write_at(&self, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<()>;
    /// Fills the buffer, or fails with `UnexpectedEof`.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    /// Content and length, as fdatasync(2). After an error nothing is known of what was written since the last one.
    fn sync(&self) -> io::Result<()>;
    fn bytes(&self) -> io::Result<u64>;
}

/// A folder of this machine.
#[derive(Debug)]
pub struct Local {
    folder: OwnedFd,
}

impl Local {
    /// Opens a folder that is there.
    pub fn open(path: &Path) -> io::Result<Local> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Local { folder: rustix::fs::open(path, flags, Mode::empty())? })
    }

    fn open_with(&self, name: &str, more: OFlags) -> io::Result<Arc<dyn DiskFile>> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | more;
        let file = rustix::fs::openat(&self.folder, name, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(Arc::new(LocalFile { file: file.into() }))
    }
}

impl Disk for Local {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.open_with(name, OFlags::CREATE | OFlags::EXCL)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.open_with(name, OFlags::empty())
    }

    fn rename(&self, name: &str, new_name: &str) -> io::Result<()> {
        let flags = RenameFlags::NOREPLACE;
        Ok(rustix::fs::renameat_with(&self.folder, name, &self.folder, new_name, flags)?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.folder, name, AtFlags::empty())?)
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn sync_names(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.folder)?)
    }
}

#[derive(Debug)]
struct LocalFile {
    file: std::fs::File,
}

impl DiskFile for LocalFile {
    fn write_at(&self, pieces: &[IoSlice<'_>], mut offset: u64) -> io::Result<()> {
        for pieces in pieces.chunks(PIECES_MAX) {
            let all: usize = pieces.iter().map(|piece| piece.len()).sum();
            let mut written = match rustix::io::pwritev(&self.file, pieces, offset) {
                Ok(written) => written,
                Err(Errno::INTR) => 0,
                Err(error) => return Err(error.into()),
            };
            // a short write is rare: what is left goes piece by piece
            let mut start = 0;
            for piece in pieces {
                if written < start + piece.len() {
                    let from = written.saturating_sub(start);
                    self.file.write_all_at(&piece[from..], offset + (start + from) as u64)?;
                    written = start + piece.len();
                }
                start += piece.len();
            }
            offset += all as u64;
        }
        Ok(())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fdatasync(&self.file)?)
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}
