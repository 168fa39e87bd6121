//! Writes deliveries to their file while the sink runs, so that a long run needs no memory for them.

use super::Scope;
use super::row::{HEADER, Row, write_row};
use crate::message_id::Ids;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

/// The thread that writes, and the way to it.
pub struct Spill {
    batches: SyncSender<Batch>,
    thread: JoinHandle<io::Result<()>>,
    /// Texts of ids that it has been told.
    texts: usize,
}

struct Batch {
    rows: Vec<Row>,
    digests: Vec<(usize, [u8; 32])>,
    new_texts: Vec<Box<str>>,
}

impl Spill {
    /// # Errors
    /// No thread can be had.
    pub fn start(file: File, scope: Scope) -> io::Result<Spill> {
        let (batches, due) = sync_channel::<Batch>(BATCHES_MAX);
        let write = move || {
            let mut out = BufWriter::new(file);
            let mut texts = Vec::new();
            out.write_all(HEADER.as_bytes())?;
            for batch in due {
                texts.extend(batch.new_texts);
                let mut digests = batch.digests.iter().peekable();
                for (place, row) in batch.rows.iter().enumerate() {
                    let digest = digests.next_if(|(at, _)| *at == place).map(|(_, digest)| digest);
                    write_row(row, digest, &texts, scope, &mut out)?;
                }
            }
            out.flush()
        };
        let thread = thread::Builder::new().name("spill".to_owned()).spawn(write)?;
        Ok(Spill { batches, thread, texts: 0 })
    }

    /// Hands rows over. Waits when the disk is behind by [`BATCHES_MAX`] batches: then the sink is slower than it
    /// should be, and its timer's error says so.
    pub fn take(&mut self, rows: Vec<Row>, digests: Vec<(usize, [u8; 32])>, ids: &Ids) {
        let new_texts = ids.texts()[self.texts..].to_vec();
        self.texts = ids.texts().len();
        // An error ends the thread, which `finish` tells of.
        let _ = self.batches.send(Batch { rows, digests, new_texts });
    }

    /// Waits until all is written.
    ///
    /// # Errors
    /// The first one of writing.
    pub fn finish(self) -> io::Result<()> {
        drop(self.batches);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// About a second of mail at full speed.
const BATCHES_MAX: usize = 8;
