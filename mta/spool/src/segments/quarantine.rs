//! Where damaged records are kept for whoever wants to look at them.

use crate::SpoolError;
use crate::disk::Disk;
use std::io::{self, ErrorKind, IoSlice};
use std::path::PathBuf;
use std::sync::Arc;

pub(super) struct Quarantine {
    folder: Arc<dyn Disk>,
    path: PathBuf,
}

pub(super) struct Aside {
    pub(super) path: PathBuf,
    /// It was not there before.
    pub(super) is_new: bool,
}

impl Quarantine {
    pub(super) fn new(folder: Arc<dyn Disk>, path: PathBuf) -> Quarantine {
        Quarantine { folder, path }
    }

    /// Keeps the bytes as `NAME.record`. What was put aside under this name before is left as it is: a record is
    /// found damaged at each start until its segment is given back.
    pub(super) fn put_aside(&self, name: &str, bytes: &[u8]) -> Result<Aside, SpoolError> {
        let name = format!("{name}.record");
        let path = self.path.join(&name);
        let keep = || -> io::Result<bool> {
            let file = match self.folder.create(&name) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
                created => created?,
            };
            file.write_at(&[IoSlice::new(bytes)], 0)?;
            file.sync()?;
            self.folder.sync_names()?;
            Ok(true)
        };
        match keep() {
            Ok(is_new) => Ok(Aside { path, is_new }),
            Err(error) => {
                // half of it would be taken for all at the next start
                let _ = self.folder.remove(&name);
                Err(SpoolError::io("put aside a damaged record in", &path, error))
            }
        }
    }
}
