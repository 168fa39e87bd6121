//! What all connections of a run share, on the one thread they run on.

use crate::clock::Clock;
use crate::dispatch::Idle;
use crate::message::{Composer, generator};
use crate::schedule::{Claim, Next, Schedule};
use crate::session::source::Sources;
use crate::session::tls::{Connector, Mode};
use crate::statistics::Statistics;
use distribution::Distribution;
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant};
use timer::Timer;
use tokio::sync::Notify;

/// The state of a run.
pub struct Run {
    pub composer: Composer,
    pub client: Arc<smtp::client::Options>,
    pub tls_mode: Mode,
    /// There where anything is encrypted.
    pub connector: Option<Connector>,
    pub connect_timeout: Duration,
    /// Messages after which a connection is closed in an orderly way; none: never.
    pub messages_per_connection: Option<u64>,
    /// How long a connection pauses after each message, in nanoseconds.
    pub think: Option<Distribution>,
    /// What all chance follows from.
    pub seed: u64,
    pub sources: Sources,
    pub schedule: RefCell<Schedule>,
    pub statistics: RefCell<Statistics>,
    pub clock: RefCell<Clock>,
    pub scratch: RefCell<Scratch>,
    pub timer: Timer,
    pub idle: Idle,
    /// Messages that the server answered, well or badly: signs that it is there.
    pub answered: Cell<u64>,
    /// Why the run ended before its end.
    pub stopped: RefCell<Option<String>>,
    /// Told when the run is stopped.
    pub over: Notify,
}

/// Buffers that a connection needs only while it is being served; what it must keep, it copies.
pub struct Scratch {
    /// What was just read.
    pub input: Box<[u8]>,
    /// What TLS made of it.
    pub opened: Vec<u8>,
    pub output: Output,
}

/// Buffers for writing.
#[derive(Default)]
pub struct Output {
    /// What is to be written.
    pub bytes: Vec<u8>,
    /// A header section in the making.
    pub header: Vec<u8>,
}

/// A message under way; one that is dropped before its end was abandoned.
pub struct UnderWay<'a> {
    run: &'a Run,
    claim: Option<Claim>,
}

impl Run {
    /// What a connection that is free is to do.
    pub fn claim(&self) -> Next {
        self.schedule.borrow_mut().claim(Instant::now())
    }

    /// A message that is due now, for who has no connection to wait with.
    pub fn claim_now(&self) -> Option<Claim> {
        match self.claim() {
            Next::Start(claim) => {
                self.started(&claim);
                Some(claim)
            }
            Next::Wait(_) | Next::End => None,
        }
    }

    /// A connection took a message upon itself.
    pub fn started(&self, claim: &Claim) {
        if self.schedule.borrow().is_open() {
            self.statistics.borrow_mut().started(claim, Instant::now());
        }
    }

    /// A message's transaction begins.
    pub fn begin(&self, claim: Claim) -> UnderWay<'_> {
        self.statistics.borrow_mut().in_flight += 1;
        UnderWay { run: self, claim: Some(claim) }
    }

    /// The pause after message `number`, if connections pause.
    pub fn think(&self, number: u64) -> Option<Duration> {
        let think = self.think.as_ref()?;
        Some(Duration::from_nanos(think.draw(&mut generator(self.seed, number)) as u64))
    }

    /// Starts no more messages, because of `reason`; the first reason stays.
    pub fn stop(&self, reason: impl Into<String>) {
        self.schedule.borrow_mut().stop(Instant::now());
        self.stopped.borrow_mut().get_or_insert_with(|| reason.into());
        self.over.notify_one();
    }

    /// Whether a message that was claimed but not started should not be started any more.
    pub fn is_stopped(&self) -> bool {
        self.stopped.borrow().is_some()
    }
}

impl UnderWay<'_> {
    pub fn end(mut self) {
        self.claim = None;
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let statistics = &mut *self.run.statistics.borrow_mut();
        statistics.in_flight -= 1;
        if let Some(claim) = &self.claim {
            statistics.abandon(claim, Instant::now());
        }
    }
}

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch {
            input: vec![0; INPUT_BYTES].into_boxed_slice(),
            opened: Vec::new(),
            output: Output::default(),
        }
    }
}

/// Replies to a whole pipelined transaction fit many times.
const INPUT_BYTES: usize = 16 * 1024;
