//! The threads that wait for the disk, so that the queue manager's loop never does.
//!
//! Everything that changes the spool goes through here. Jobs of one message stay in order, since one thread
//! has them all.

use delivery::{Envelope, EpochMs, QueueId, RecipientState};
use rustix::event::{EventfdFlags, eventfd};
use spool::{Incoming, Spool, SpoolError};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Syncs overlap: while one thread waits for the disk, the others prepare theirs.
const THREADS: usize = 4;

pub enum Job {
    /// Makes a received message durable.
    Commit {
        message: u64,
        incoming: Incoming,
        envelope: Envelope,
        size_bytes: u64,
    },
    /// Makes a bounce durable, and only then marks the recipients that it tells of.
    Bounce {
        original: QueueId,
        envelope: Envelope,
        content: Vec<u8>,
        recipients: Vec<u16>,
    },
    Mark {
        id: QueueId,
        marks: Vec<(u16, RecipientState)>,
    },
    Defer {
        id: QueueId,
        attempts: u16,
        due: EpochMs,
    },
    Remove {
        id: QueueId,
    },
}

pub enum Done {
    Committed {
        message: u64,
        envelope: Envelope,
        size_bytes: u64,
        result: Result<QueueId, SpoolError>,
    },
    Bounced {
        original: QueueId,
        recipients: Vec<u16>,
        envelope: Envelope,
        size_bytes: u64,
        result: Result<QueueId, SpoolError>,
    },
    /// A change of a queued message did not reach the disk. The mail is safe: it may be delivered twice.
    Failed {
        id: QueueId,
        doing: &'static str,
        error: SpoolError,
    },
}

/// What the threads and the loop share.
struct Results {
    done: Mutex<Vec<Done>>,
    wake: OwnedFd,
}

pub struct Writer {
    jobs: Vec<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
    results: Arc<Results>,
}

impl Writer {
    pub fn new(spool: Arc<dyn Spool>) -> io::Result<Writer> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let results = Arc::new(Results { done: Mutex::default(), wake });
        let (mut jobs, mut threads) = (Vec::new(), Vec::new());
        for _ in 0..THREADS {
            let (sender, receiver) = channel();
            jobs.push(sender);
            let (spool, results) = (spool.clone(), results.clone());
            threads.push(std::thread::Builder::new().name("spool writer".into()).spawn(move || {
                work(&*spool, &receiver, &results);
            })?);
        }
        Ok(Writer { jobs, threads, results })
    }

    /// Readable when [`Writer::take_done`] has something.
    pub fn wake(&self) -> &OwnedFd {
        &self.results.wake
    }

    pub fn submit(&self, job: Job) {
        let key = match &job {
            Job::Commit { message, .. } => *message,
            Job::Bounce { original, .. } => original.0,
            Job::Mark { id, .. } | Job::Defer { id, .. } | Job::Remove { id } => id.0,
        };
        // ids are not evenly spread in their low bits: mix before choosing
        let thread = (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize % self.jobs.len();
        self.jobs[thread].send(job).expect("writer threads live as long as the writer");
    }

    pub fn take_done(&self) -> Vec<Done> {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.results.wake, &mut count);
        std::mem::take(&mut *self.results.done.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until every job is done: at the end of an orderly stop.
    pub fn finish(self) {
        drop(self.jobs);
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

fn work(spool: &dyn Spool, jobs: &Receiver<Job>, results: &Results) {
    for job in jobs {
        if let Some(done) = perform(spool, job) {
            let mut waiting = results.done.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.push(done);
            if waiting.len() == 1 {
                let _ = rustix::io::write(&results.wake, &1u64.to_ne_bytes());
            }
        }
    }
}

fn perform(spool: &dyn Spool, job: Job) -> Option<Done> {
    let failed = |id, doing| move |error| Done::Failed { id, doing, error };
    match job {
        Job::Commit { message, incoming, envelope, size_bytes } => {
            let result = spool.commit(incoming);
            Some(Done::Committed { message, envelope, size_bytes, result })
        }
        Job::Bounce { original, envelope, content, recipients } => {
            let size_bytes = content.len() as u64;
            let result = commit_bounce(spool, envelope.clone(), &content).and_then(|id| {
                let marks: Vec<_> =
                    recipients.iter().map(|index| (*index, RecipientState::Bounced)).collect();
                spool.mark(original, &marks).map(|()| id)
            });
            Some(Done::Bounced { original, recipients, envelope, size_bytes, result })
        }
        Job::Mark { id, marks } => spool.mark(id, &marks).map_err(failed(id, "marking recipients")).err(),
        Job::Defer { id, attempts, due } => {
            spool.defer(id, attempts, due).map_err(failed(id, "noting a deferral")).err()
        }
        Job::Remove { id } => spool.remove(id).map_err(failed(id, "removing")).err(),
    }
}

fn commit_bounce(spool: &dyn Spool, envelope: Envelope, content: &[u8]) -> Result<QueueId, SpoolError> {
    let mut incoming = spool.begin(envelope)?;
    incoming.write(content)?;
    spool.commit(incoming)
}
