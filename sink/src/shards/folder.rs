//! A folder for the time that shards run: what they are told, and their accounts.

use crate::clock;
use crate::error::Error;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Removed when dropped.
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Below the system's folder for temporary files, for nobody else to look into.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn make() -> Result<Folder, Error> {
        let name = format!("mailrig-sink-{}-{}", std::process::id(), clock::now_ns());
        let path = std::env::temp_dir().join(name);
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => Ok(Folder { path }),
            Err(source) => Err(Error::File { path, source }),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the files that end in `.json`: what shards are told, not what they tell.
    pub fn clear(&self) {
        let files = fs::read_dir(&self.path).into_iter().flatten().flatten().map(|entry| entry.path());
        for file in files.filter(|path| path.extension().is_some_and(|extension| extension == "json")) {
            // Removed with the folder otherwise.
            let _ = fs::remove_file(file);
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is small, and of no use to anyone.
        let _ = fs::remove_dir_all(&self.path);
    }
}
