//! What is known at the end of a run, and at the end of each part of it.

use super::figures::Figures;
use crate::schedule::Tally;
use serde::{Deserialize, Serialize};

/// A whole run, of one process or of all.
#[derive(Serialize, Deserialize)]
pub struct Summary {
    /// Whether the clock decided when messages started.
    pub open: bool,
    /// Messages that were asked for by number, the warm-up included; none if the run ended by time alone.
    pub asked: Option<u64>,
    pub tally: Tally,
    pub figures: Figures,
    /// Start of the first message and end of the last, CLOCK_MONOTONIC.
    pub span_ns: Option<(u64, u64)>,
    /// CPU time of the generator, user and system.
    pub cpu_s: f64,
    /// Why the run was given up or stopped before its end.
    pub stopped: Option<String>,
}

/// A part of a run: what happened since the part before.
#[derive(Serialize, Deserialize)]
pub struct Interval {
    /// Seconds since the start of the run.
    pub from_s: f64,
    pub to_s: f64,
    /// Messages that were meant to start, and that did.
    pub offered: u64,
    pub started: u64,
    /// Messages under way and connections open at the end of the part.
    pub in_flight: u64,
    pub connections: u64,
    pub figures: Figures,
}

impl Summary {
    /// Adds what another process did of the same run.
    pub fn add(&mut self, other: Summary) {
        self.asked = self.asked.zip(other.asked).map(|(one, other)| one + other);
        self.tally.offered += other.tally.offered;
        self.tally.started += other.tally.started;
        self.tally.warm_up += other.tally.warm_up;
        self.figures.add(&other.figures);
        self.span_ns = match (self.span_ns, other.span_ns) {
            (Some((first, last)), Some((from, to))) => Some((first.min(from), last.max(to))),
            (one, other) => one.or(other),
        };
        self.cpu_s += other.cpu_s;
        self.stopped = self.stopped.take().or(other.stopped);
    }
}

impl Interval {
    /// Adds what another process did in the same part.
    pub fn add(&mut self, other: &Interval) {
        self.to_s = self.to_s.max(other.to_s);
        self.offered += other.offered;
        self.started += other.started;
        self.in_flight += other.in_flight;
        self.connections += other.connections;
        self.figures.add(&other.figures);
    }
}
