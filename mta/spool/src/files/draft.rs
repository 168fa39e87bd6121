//! A message file that has no final name yet. Dropped before that, it is removed.

use super::{Folder, Shared};
use crate::{Durability, SpoolError};
use delivery::QueueId;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// What a file is called while it is not complete, behind its id.
pub(super) const SUFFIX: &str = ".new";

#[derive(Debug)]
pub(crate) struct Draft {
    spool: Arc<Shared>,
    id: QueueId,
    /// Made by the first append, so that a message refused before its content costs no file.
    file: Option<File>,
}

impl Draft {
    pub(super) fn new(spool: Arc<Shared>, id: QueueId) -> Draft {
        Draft { spool, id, file: None }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.file.is_none()
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        if self.file.is_none() {
            let created = self.folder().create(self.name());
            self.file = Some(created.map_err(|error| self.error("create", error))?);
        }
        let file = self.file.as_mut().expect("made above");
        file.write_all(bytes).map_err(|error| self.error("write", error))
    }

    pub(crate) fn overwrite_start(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        let file = self.file.as_ref().expect("something was appended");
        file.write_all_at(bytes, 0).map_err(|error| self.error("write", error))
    }

    /// Makes the content durable, gives the file its name, and makes the name durable.
    pub(super) fn publish(mut self) -> Result<(), SpoolError> {
        let file = self.file.as_ref().expect("something was appended");
        let sync = self.spool.durability == Durability::Full;
        if sync {
            file.sync_all().map_err(|error| self.error("sync", error))?;
        }
        let (name, final_name) = (self.name(), self.id.to_string());
        self.folder()
            .rename(&name, self.folder(), &final_name)
            .map_err(|error| self.error("rename", error))?;
        self.file = None;
        if sync && let Err(error) = self.folder().sync() {
            // its 250 will not be sent; whether the file is back after a power failure, nobody knows
            let _ = self.folder().remove(&final_name);
            return Err(error);
        }
        Ok(())
    }

    fn folder(&self) -> &Folder {
        self.spool.folder(self.id)
    }

    fn name(&self) -> String {
        format!("{}{SUFFIX}", self.id)
    }

    fn error(&self, doing: &'static str, error: impl Into<std::io::Error>) -> SpoolError {
        SpoolError::io(doing, &self.folder().path_of(self.name()), error)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // what cannot be removed now is removed by the next start
            let _ = self.folder().remove(self.name());
        }
    }
}
