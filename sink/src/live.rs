//! Where a sink stands, ten times a second.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The line that `--json` prints: where the sink stands.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Live {
    /// Deliveries in flight.
    pub in_flight: u64,
    /// Messages accepted so far.
    pub accepted: u64,
    /// Messages among them that had been accepted before; of several shards only what each of them knows.
    pub duplicates: u64,
    /// Connections served so far, open ones among them.
    pub connections: u64,
    /// Connections open now.
    pub connections_open: u64,
    /// Connections among them that wait out a delay.
    pub connections_delayed: u64,
    /// Replies of 4xx and 5xx so far, by code.
    pub refused: BTreeMap<u16, u64>,
    /// When the last message was accepted, CLOCK_MONOTONIC.
    pub last_accepted_ns: Option<u64>,
    /// How much later than intended 99 in 100 delays ended so far at most; of several shards the worst.
    pub timer_error_p99_us: Option<f64>,
    /// CPU of all its processes so far, user and system.
    pub cpu_s: f64,
}

impl Live {
    /// Adds where another shard of the same sink stands.
    pub fn merge(&mut self, other: &Live) {
        self.in_flight += other.in_flight;
        self.accepted += other.accepted;
        self.duplicates += other.duplicates;
        self.connections += other.connections;
        self.connections_open += other.connections_open;
        self.connections_delayed += other.connections_delayed;
        for (code, count) in &other.refused {
            *self.refused.entry(*code).or_insert(0) += count;
        }
        self.last_accepted_ns = self.last_accepted_ns.max(other.last_accepted_ns);
        self.timer_error_p99_us =
            [self.timer_error_p99_us, other.timer_error_p99_us].into_iter().flatten().reduce(f64::max);
        self.cpu_s += other.cpu_s;
    }
}
