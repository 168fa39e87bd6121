//! The trace of a run: each delivery with its times, and how many were in flight at each moment.
//!
//! The two are kept apart on purpose: the samples come from a counter that knows no durations, so that Little's law
//! is a check of one by the other. A delivery takes 88 bytes until it is written: at the end, or while the sink
//! runs, by a thread of its own, when it is told to spill. It must not know sockets or sessions.

mod merge;
mod row;
mod spill;

pub use merge::{merge_deliveries, merge_in_flight};

use crate::conversation::TlsVersion;
use crate::delivery::Delivery;
use crate::message_id::Ids;
use crate::sampler::Sample;
use ring::digest::Digest;
use row::{HEADER, Row, write_row};
use spill::Spill;
use std::fs::File;
use std::io::{self, Write};

/// Everything that `--trace` writes.
#[derive(Default)]
pub struct Trace {
    rows: Vec<Row>,
    /// Of the rows, by place, where content is hashed.
    digests: Vec<(usize, [u8; 32])>,
    in_flight: Vec<Sample>,
    spill: Option<Spill>,
    scope: Scope,
}

/// Whose trace it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scope {
    /// The whole sink's: it knows whether a message came again.
    #[default]
    Sink,
    /// One shard's, to be read by [`merge_deliveries`], which knows what the others took.
    Shard,
}

/// Whether a delivery brought a message that is ours now, and for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    No,
    First,
    /// It had been taken before.
    Again,
}

/// A delivery that ended, in the words of who saw it.
pub struct Ended<'a> {
    pub connection: u64,
    pub delivery: &'a Delivery,
    pub end_ns: u64,
    /// Of the reply to the dot; 0 if there was none.
    pub code: u16,
    pub tls: TlsVersion,
    pub taken: Taken,
    pub digest: Option<Digest>,
}

impl Trace {
    /// A trace whose deliveries go to `spill`, if there is one, while the sink runs.
    ///
    /// # Errors
    /// The thread that writes cannot be started.
    pub fn new(scope: Scope, spill: Option<File>) -> io::Result<Trace> {
        let spill = spill.map(|file| Spill::start(file, scope)).transpose()?;
        Ok(Trace { spill, scope, ..Trace::default() })
    }

    /// A delivery ended.
    pub fn ended(&mut self, ended: &Ended<'_>, ids: &Ids) {
        if let Some(digest) = &ended.digest {
            let bytes = digest.as_ref().try_into().expect("SHA-256 has 32 bytes");
            self.digests.push((self.rows.len(), bytes));
        }
        self.rows.push(Row::new(ended));
        if self.rows.len() >= SPILL_ROWS
            && let Some(spill) = &mut self.spill
        {
            spill.take(std::mem::take(&mut self.rows), std::mem::take(&mut self.digests), ids);
        }
    }

    /// What was in flight all along.
    pub fn sampled(&mut self, samples: Vec<Sample>) {
        self.in_flight = samples;
    }

    /// One row for each delivery attempt in the order in which they ended; `out` is not used by a trace that spills.
    ///
    /// # Errors
    /// What `out`, or the file that it spilled to, says.
    pub fn write_deliveries(&mut self, ids: &Ids, out: &mut impl Write) -> io::Result<()> {
        if let Some(mut spill) = self.spill.take() {
            spill.take(std::mem::take(&mut self.rows), std::mem::take(&mut self.digests), ids);
            return spill.finish();
        }
        out.write_all(HEADER.as_bytes())?;
        let mut digests = self.digests.iter().peekable();
        for (place, row) in self.rows.iter().enumerate() {
            let digest = digests.next_if(|(at, _)| *at == place).map(|(_, digest)| digest);
            write_row(row, digest, ids.texts(), self.scope, out)?;
        }
        out.flush()
    }

    /// One row for each sample.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write_in_flight(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(IN_FLIGHT_HEADER)?;
        for sample in &self.in_flight {
            writeln!(out, "{},{}", sample.at_ns, sample.in_flight)?;
        }
        out.flush()
    }
}

const IN_FLIGHT_HEADER: &[u8] = b"at_ns,in_flight\n";
/// Deliveries that are handed over at once: a few milliseconds of work for the thread that writes.
const SPILL_ROWS: usize = 16 * 1024;
