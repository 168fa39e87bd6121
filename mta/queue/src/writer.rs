//! The threads that wait for the disk, so that the queue manager's loop never does.
//!
//! Everything that changes the spool goes through here. Jobs of one message stay in order, since one thread has them
//! all. A thread takes whatever waits at once, so that a store which can syncs once for all of it, and nobody waits
//! for company. Only marks of what became of a delivery do: one that is lost costs a second delivery, never mail, and
//! taken one by one they would cost more than the deliveries' own work. What is final is on stable storage within
//! [`MARKS_WITHIN`] and [`SYNC_WITHIN`], also when nothing else is written.

mod perform;

use delivery::{Envelope, QueueId};
use perform::perform;
use rustix::event::{EventfdFlags, eventfd};
use spool::{Incoming, Spool, SpoolError, Status, Stored};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use supervisor::link::AgentNumber;

/// Marks are handed over together: those of so many messages, or of this time.
const MARKS_MAX: usize = 32;
const MARKS_WITHIN: Duration = Duration::from_millis(5);

/// Marks of what is final are on stable storage within 100 ms: this long they wait for others, the rest is the sync's.
const SYNC_WITHIN: Duration = Duration::from_millis(50);

/// Jobs taken at once.
const BATCH_MAX: usize = 4096;

/// Large messages have files, and so syncs, of their own: they go past where one thread does all the rest.
const LARGE_THREADS: usize = 2;

/// Upkeep looks no more often than this.
const UPKEEP_PAUSE: Duration = Duration::from_millis(20);

/// Upkeep that failed is tried again after this.
const UPKEEP_RETRY: Duration = Duration::from_secs(5);

pub enum Job {
    /// Makes a received message durable.
    Commit {
        message: u64,
        incoming: Incoming,
        envelope: Envelope,
        size_bytes: u64,
    },
    /// Makes a bounce durable. The recipients that it tells of are marked by who is told that it is.
    Bounce {
        original: QueueId,
        envelope: Envelope,
        content: Vec<u8>,
        recipients: Vec<u16>,
    },
    /// A message that was exported elsewhere.
    Import {
        client: u64,
        incoming: Incoming,
        stored: Stored,
    },
    /// A message that was imported is not held any more: on stable storage before the answer. Without a status only what
    /// was asked for before is synced.
    Release {
        client: u64,
        id: QueueId,
        status: Option<Status>,
    },
    Update {
        id: QueueId,
        status: Status,
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
    /// Without what is stored: its release is.
    Imported {
        client: u64,
        begun: QueueId,
        stored: Option<Stored>,
        result: Result<QueueId, SpoolError>,
    },
    /// A message that an agent asked for again.
    ReadAgain {
        agent: AgentNumber,
        request: u64,
        content: Result<Vec<u8>, (QueueId, SpoolError)>,
    },
    /// The operator is to look after the disk.
    Alarm {
        error: SpoolError,
    },
}

/// What the threads and the loop share.
pub struct Results {
    done: Mutex<Vec<Done>>,
    wake: OwnedFd,
}

impl Results {
    pub fn add(&self, done: Vec<Done>) {
        if done.is_empty() {
            return;
        }
        let mut waiting = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let was_empty = waiting.is_empty();
        waiting.extend(done);
        if was_empty {
            let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
        }
    }
}

pub struct Writer {
    marks: Vec<Job>,
    /// When the first of `marks` came.
    marked: Option<Instant>,
    lanes: Vec<Sender<Job>>,
    /// Those for large messages alone; none where every lane takes every job.
    large: Vec<Sender<Job>>,
    upkeep: Sender<()>,
    threads: Vec<JoinHandle<()>>,
    results: Arc<Results>,
}

impl Writer {
    pub fn new(spool: Arc<dyn Spool>) -> io::Result<Writer> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let results = Arc::new(Results { done: Mutex::default(), wake });
        let mut threads = Vec::new();
        let (upkeep, wanted) = channel();
        let mut lanes = |count: usize| -> io::Result<Vec<Sender<Job>>> {
            let lane = |_| {
                let (sender, receiver) = channel();
                let (spool, results, upkeep) = (spool.clone(), results.clone(), upkeep.clone());
                let thread = std::thread::Builder::new().name("spool writer".into());
                threads.push(thread.spawn(move || work(&*spool, &receiver, &results, &upkeep))?);
                Ok(sender)
            };
            (0..count).map(lane).collect()
        };
        let (all, large) =
            (lanes(spool.writers())?, lanes(if spool.writers() == 1 { LARGE_THREADS } else { 0 })?);
        let (keeper, alarms) = (spool, results.clone());
        let thread = std::thread::Builder::new().name("spool upkeep".into());
        threads.push(thread.spawn(move || keep_up(&*keeper, &wanted, &alarms))?);
        Ok(Writer { marks: Vec::new(), marked: None, lanes: all, large, upkeep, threads, results })
    }

    /// Readable when [`Writer::take_done`] has something.
    pub fn wake(&self) -> &OwnedFd {
        &self.results.wake
    }

    /// Where other threads put what they have done for the loop.
    pub fn results(&self) -> Arc<Results> {
        self.results.clone()
    }

    /// Marks wait for others; whatever else comes takes along those that wait.
    pub fn submit(&mut self, job: Job) {
        if let Job::Update { .. } | Job::Remove { .. } = job {
            self.marks.push(job);
            self.marked.get_or_insert_with(Instant::now);
            if self.marks.len() == MARKS_MAX {
                self.hand_over_marks();
            }
        } else {
            self.hand_over_marks();
            self.hand_over(job);
        }
    }

    /// Marks that wait are handed over by then.
    pub fn deadline(&self) -> Option<Instant> {
        self.marked.map(|marked| marked + MARKS_WITHIN)
    }

    pub fn pass_time(&mut self, now: Instant) {
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            self.hand_over_marks();
        }
    }

    fn hand_over_marks(&mut self) {
        self.marked = None;
        for job in std::mem::take(&mut self.marks) {
            self.hand_over(job);
        }
    }

    fn hand_over(&self, job: Job) {
        let (key, lanes) = match &job {
            Job::Commit { message, incoming, .. } if incoming.is_large() && !self.large.is_empty() => {
                (*message, &self.large)
            }
            Job::Commit { message, .. } => (*message, &self.lanes),
            // its later changes come after its answer
            Job::Import { client, .. } => (*client, &self.lanes),
            Job::Bounce { original, .. } => (original.0, &self.lanes),
            Job::Release { id, .. } | Job::Update { id, .. } | Job::Remove { id } => (id.0, &self.lanes),
        };
        // ids are not evenly spread in their low bits: mix before choosing
        let lane = (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize % lanes.len();
        lanes[lane].send(job).expect("writer threads live as long as the writer");
    }

    /// Has the spool look after its space, whether anything was written or not.
    pub fn tend(&self) {
        let _ = self.upkeep.send(());
    }

    pub fn take_done(&self) -> Vec<Done> {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.results.wake, &mut count);
        std::mem::take(&mut *self.results.done.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until every job is done: at the end of an orderly stop.
    pub fn finish(mut self) {
        self.hand_over_marks();
        drop((self.lanes, self.large, self.upkeep));
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

fn work(spool: &dyn Spool, jobs: &Receiver<Job>, results: &Results, upkeep: &Sender<()>) {
    let mut sync_at: Option<Instant> = None;
    loop {
        let next = match sync_at {
            None => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(at) => jobs.recv_timeout(at.saturating_duration_since(Instant::now())),
        };
        match next {
            Ok(first) => {
                let batch: Vec<Job> = std::iter::once(first).chain(jobs.try_iter()).take(BATCH_MAX).collect();
                results.add(perform(spool, batch));
                let _ = upkeep.send(());
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if sync_at.is_some_and(|at| at <= Instant::now()) {
            sync_at = None;
            sync(spool, results);
        }
        sync_at = if spool.awaits_sync() { sync_at.or(Some(Instant::now() + SYNC_WITHIN)) } else { None };
    }
    sync(spool, results);
}

fn sync(spool: &dyn Spool, results: &Results) {
    if let Err(error) = spool.sync() {
        results.add(vec![Done::Alarm { error }]);
    }
}

/// Gives space back, beside everything else.
fn keep_up(spool: &dyn Spool, wanted: &Receiver<()>, results: &Results) {
    while wanted.recv().is_ok() {
        // what is asked for meanwhile is answered by this turn; a busy writer is not to wake it each time
        std::thread::sleep(UPKEEP_PAUSE);
        while wanted.try_recv().is_ok() {}
        let mut did_much = false;
        loop {
            match spool.tend() {
                // an orderly stop waits for one step, not for all
                Ok(true) if wanted.try_recv() == Err(TryRecvError::Disconnected) => return,
                Ok(true) => did_much = true,
                Ok(false) => break,
                Err(error) => {
                    results.add(vec![Done::Alarm { error }]);
                    let end = Instant::now() + UPKEEP_RETRY;
                    while let Some(left) = end.checked_duration_since(Instant::now()) {
                        if let Err(RecvTimeoutError::Disconnected) = wanted.recv_timeout(left) {
                            return;
                        }
                    }
                }
            }
        }
        if did_much {
            sys::memory::trim_heap();
        }
    }
}

#[cfg(test)]
mod tests;
