//! The thread that writes letters to files: a letter has its name in `tmp/` until it is whole, then in `new/` or, for
//! plain files, in the folder itself. Nothing is synced: what a sink keeps is for looking at, not a promise.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;
use tokio::sync::{mpsc, oneshot};

/// What there is to be done for a letter.
pub enum Job {
    /// Write a piece of it; `done` learns whether that worked, with the `last` one whether the file is kept.
    Write { name: String, content: Vec<u8>, first: bool, last: bool, done: oneshot::Sender<bool> },
    /// It will not come to its end.
    Forget { name: String },
}

/// Where letters are written.
pub struct Writer {
    tmp: PathBuf,
    kept: PathBuf,
    suffix: String,
    /// Begun and not kept yet.
    begun: HashSet<String>,
    complained: bool,
}

impl Writer {
    /// # Errors
    /// The folders cannot be made.
    pub fn maildir(folder: &Path) -> io::Result<Writer> {
        fs::create_dir_all(folder.join("cur"))?;
        // Unique names, as Maildir wants them: the time and the process beside the message's own number.
        let started = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let suffix = format!(".P{}T{}.sink", std::process::id(), started.as_secs());
        Writer::new(folder.join("tmp"), folder.join("new"), suffix)
    }

    /// # Errors
    /// The folders cannot be made.
    pub fn files(folder: &Path) -> io::Result<Writer> {
        Writer::new(folder.join("tmp"), folder.to_owned(), ".eml".to_owned())
    }

    fn new(tmp: PathBuf, kept: PathBuf, suffix: String) -> io::Result<Writer> {
        fs::create_dir_all(&tmp)?;
        fs::create_dir_all(&kept)?;
        Ok(Writer { tmp, kept, suffix, begun: HashSet::new(), complained: false })
    }

    /// Starts the thread; it ends with the last sender of jobs.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn start(mut self) -> io::Result<mpsc::Sender<Job>> {
        let (jobs, mut due) = mpsc::channel(JOBS_MAX);
        let work = move || {
            while let Some(job) = due.blocking_recv() {
                self.work(job);
            }
            self.sweep();
        };
        thread::Builder::new().name("store".to_owned()).spawn(work)?;
        Ok(jobs)
    }

    fn work(&mut self, job: Job) {
        match job {
            Job::Write { name, content, first, last, done } => {
                let written = self.write(&name, &content, first, last);
                if let Err(error) = &written
                    && !self.complained
                {
                    eprintln!(
                        "mailrig: cannot keep mail in {}: {error}; its senders get 452",
                        self.kept.display()
                    );
                }
                self.complained = written.is_err();
                // The connection may have gone in the meantime.
                let _ = done.send(written.is_ok());
            }
            Job::Forget { name } => self.forget(&name),
        }
    }

    fn write(&mut self, name: &str, content: &[u8], first: bool, last: bool) -> io::Result<()> {
        let file_name = format!("{name}{}", self.suffix);
        let path = self.tmp.join(&file_name);
        let mut file = match first {
            true => File::create(&path)?,
            false => File::options().append(true).open(&path)?,
        };
        if first && !last {
            self.begun.insert(name.to_owned());
        }
        file.write_all(content)?;
        if last {
            fs::rename(&path, self.kept.join(&file_name))?;
            self.begun.remove(name);
        }
        Ok(())
    }

    fn forget(&mut self, name: &str) {
        self.begun.remove(name);
        // It may not be there: the first write may have failed.
        let _ = fs::remove_file(self.tmp.join(format!("{name}{}", self.suffix)));
    }

    fn sweep(&mut self) {
        for name in std::mem::take(&mut self.begun) {
            self.forget(&name);
        }
    }
}

/// Letters that wait to be written; the next one waits to be handed over.
const JOBS_MAX: usize = 64;
