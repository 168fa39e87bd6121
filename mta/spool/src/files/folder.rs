//! A folder of the spool, held open: names inside it are looked up without walking the path again.

use crate::SpoolError;
use rustix::fs::{AtFlags, Dir, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use rustix::path::Arg;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub(super) struct Folder {
    descriptor: OwnedFd,
    path: PathBuf,
}

impl Folder {
    pub(super) fn open_at(path: PathBuf) -> Result<Folder, SpoolError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptor = rustix::fs::open(&path, flags, Mode::empty());
        let descriptor = descriptor.map_err(|error| SpoolError::io("open the folder", &path, error))?;
        Ok(Folder { descriptor, path })
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn path_of(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Makes a file that was not there, for this user alone.
    pub(super) fn create(&self, name: impl Arg) -> Result<File, Errno> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        rustix::fs::openat(&self.descriptor, name, flags, Mode::RUSR | Mode::WUSR).map(File::from)
    }

    /// Follows no link and waits for nobody, whatever stands there.
    pub(super) fn open(&self, name: impl Arg, access: OFlags) -> Result<File, Errno> {
        let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        rustix::fs::openat(&self.descriptor, name, flags, Mode::empty()).map(File::from)
    }

    /// Never replaces what is there.
    pub(super) fn rename(&self, name: impl Arg, to: &Folder, new_name: impl Arg) -> Result<(), Errno> {
        rustix::fs::renameat_with(&self.descriptor, name, &to.descriptor, new_name, RenameFlags::NOREPLACE)
    }

    pub(super) fn remove(&self, name: impl Arg) -> Result<(), Errno> {
        rustix::fs::unlinkat(&self.descriptor, name, AtFlags::empty())
    }

    pub(super) fn sync(&self) -> Result<(), SpoolError> {
        rustix::fs::fsync(&self.descriptor)
            .map_err(|error| SpoolError::io("sync the folder", &self.path, error))
    }

    /// All names in it. They are read before the first is given, so that files may be moved meanwhile.
    pub(super) fn names(&self) -> Result<Vec<OsString>, SpoolError> {
        let list = || -> Result<Vec<OsString>, Errno> {
            let mut names = Vec::new();
            for entry in Dir::read_from(&self.descriptor)? {
                let entry = entry?;
                let name = entry.file_name().to_bytes();
                if name != b"." && name != b".." {
                    names.push(OsString::from_vec(name.to_vec()));
                }
            }
            Ok(names)
        };
        list().map_err(|error| SpoolError::io("list the folder", &self.path, error))
    }
}
