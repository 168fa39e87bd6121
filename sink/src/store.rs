//! What becomes of the mail that comes in: nothing, a hash, or files.
//!
//! Content is handed over in pieces of [`PIECE_BYTES`] to one thread that writes, so that a slow disk holds back its
//! own senders and no others. It must not know SMTP.

mod writer;

use ring::digest::{Context, Digest, SHA256};
use std::io;
use std::path::PathBuf;
use tokio::sync::{mpsc, oneshot};
use writer::{Job, Writer};

/// What is done with mail.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Keep {
    /// It is counted and forgotten.
    #[default]
    Discard,
    /// Its SHA-256 is in the trace.
    Hash,
    /// A Maildir: https://cr.yp.to/proto/maildir.html
    Maildir(PathBuf),
    /// A file for each message, `CONNECTION-NUMBER.eml`.
    Files(PathBuf),
}

/// Where letters go.
#[derive(Default)]
pub enum Store {
    #[default]
    Discard,
    Hash,
    Files(mpsc::Sender<Job>),
}

/// The content of one message on its way into the store.
pub struct Letter {
    hash: Option<Context>,
    file: Option<LetterFile>,
}

struct LetterFile {
    name: String,
    piece: Vec<u8>,
    jobs: mpsc::Sender<Job>,
    /// Something was handed over already.
    begun: bool,
    state: FileState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileState {
    Coming,
    /// All has come, and is to be kept.
    Finished,
    Kept,
    /// The store could not keep it.
    Lost,
}

impl Store {
    /// Makes the folders and starts the thread, as far as there is anything to keep.
    ///
    /// # Errors
    /// A folder or the thread cannot be made.
    pub fn open(keep: &Keep) -> io::Result<Store> {
        Ok(match keep {
            Keep::Discard => Store::Discard,
            Keep::Hash => Store::Hash,
            Keep::Maildir(folder) => Store::Files(Writer::maildir(folder)?.start()?),
            Keep::Files(folder) => Store::Files(Writer::files(folder)?.start()?),
        })
    }

    /// A message begins: `envelope` is what its file begins with. `None`: its content is of no interest.
    pub fn begin(
        &self,
        connection: u64,
        message: u64,
        envelope: impl FnOnce() -> Vec<u8>,
    ) -> Option<Box<Letter>> {
        let letter = match self {
            Store::Discard => return None,
            Store::Hash => Letter { hash: Some(Context::new(&SHA256)), file: None },
            Store::Files(jobs) => {
                let (name, jobs) = (format!("{connection}-{message}"), jobs.clone());
                let file =
                    LetterFile { name, piece: envelope(), jobs, begun: false, state: FileState::Coming };
                Letter { hash: None, file: Some(file) }
            }
        };
        Some(Box::new(letter))
    }
}

impl Letter {
    /// Takes a piece of content; says whether [`Letter::hand_over`] is due.
    pub fn write(&mut self, content: &[u8]) -> bool {
        if let Some(hash) = &mut self.hash {
            hash.update(content);
        }
        let Some(file) = &mut self.file else { return false };
        if file.state == FileState::Lost {
            return false;
        }
        file.piece.extend_from_slice(content);
        file.piece.len() >= PIECE_BYTES
    }

    /// All has come; says whether it is kept, or [`Letter::hand_over`] is due for that.
    pub fn finish(&mut self) -> bool {
        let Some(file) = &mut self.file else { return true };
        if file.state == FileState::Coming {
            file.state = FileState::Finished;
        }
        file.state == FileState::Kept
    }

    /// Whether it could not be kept.
    pub fn is_lost(&self) -> bool {
        self.file.as_ref().is_some_and(|file| file.state == FileState::Lost)
    }

    /// The hash of all content, if one was asked for.
    pub fn digest(self) -> Option<Digest> {
        self.hash.map(Context::finish)
    }

    /// Gives what has come to the thread that writes, and waits for it to have room; at the end, to have kept the file.
    pub async fn hand_over(&mut self) {
        let Some(file) = &mut self.file else { return };
        let content = std::mem::take(&mut file.piece);
        let (done, outcome) = oneshot::channel();
        let last = file.state == FileState::Finished;
        let job = Job::Write { name: file.name.clone(), content, first: !file.begun, last, done };
        file.begun = true;
        let kept = match file.jobs.send(job).await {
            Ok(()) => outcome.await.unwrap_or(false),
            // The thread has gone.
            Err(_) => false,
        };
        file.state = match (kept, last) {
            (false, _) => FileState::Lost,
            (true, true) => FileState::Kept,
            (true, false) => FileState::Coming,
        };
    }
}

impl Drop for LetterFile {
    fn drop(&mut self) {
        if self.begun && self.state != FileState::Kept {
            // With no room now the writer sweeps up at its end.
            let _ = self.jobs.try_send(Job::Forget { name: std::mem::take(&mut self.name) });
        }
    }
}

/// What a connection keeps of a message in memory at most, but for one read.
const PIECE_BYTES: usize = 64 * 1024;
