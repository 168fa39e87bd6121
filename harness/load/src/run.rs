//! What all connections of a run share, on the one thread they run on.

use crate::clock::Clock;
use crate::message::Template;
use crate::schedule::{Claim, Next, Schedule};
use crate::source::Sources;
use crate::statistics::Statistics;
use smtp::client::Transaction;
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The state of a run.
pub struct Run {
    pub template: Template,
    pub transaction: Transaction,
    pub client: Arc<smtp::client::Options>,
    pub connect_timeout: Duration,
    /// Messages after which a connection is closed in an orderly way; none: never.
    pub messages_per_connection: Option<u64>,
    pub sources: Sources,
    pub schedule: RefCell<Schedule>,
    pub statistics: RefCell<Statistics>,
    pub clock: RefCell<Clock>,
    pub scratch: RefCell<Scratch>,
    /// Messages that the server answered, well or badly: signs that it is there.
    pub answered: Cell<u64>,
    /// Why the run ended before its end.
    pub stopped: RefCell<Option<String>>,
}

/// Buffers that a connection needs only while it is being served; what it must keep, it copies.
pub struct Scratch {
    /// What was just read.
    pub input: Box<[u8]>,
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

impl Run {
    /// The next message for a connection that is free, if any is left.
    pub fn claim(&self) -> Option<Claim> {
        match self.schedule.borrow_mut().claim(Instant::now()) {
            Next::Start(claim) => Some(claim),
            Next::Wait(_) | Next::End => None,
        }
    }

    /// Starts no more messages, because of `reason`; the first reason stays.
    pub fn stop(&self, reason: impl Into<String>) {
        self.schedule.borrow_mut().stop(Instant::now());
        self.stopped.borrow_mut().get_or_insert_with(|| reason.into());
    }

    /// Whether a message that was claimed but not started should not be started any more.
    pub fn is_stopped(&self) -> bool {
        self.stopped.borrow().is_some()
    }
}

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch { input: vec![0; INPUT_BYTES].into_boxed_slice(), output: Output::default() }
    }
}

/// Replies to a whole pipelined transaction fit many times.
const INPUT_BYTES: usize = 16 * 1024;
