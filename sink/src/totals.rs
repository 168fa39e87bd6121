//! The account of a sink at its end, and how the accounts of several become one.

use crate::outcomes::{self, OutcomeCount};
use serde::de::{Deserializer, Error as _};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// As it is written to the ledger's file.
///
/// `messages` = `unique` + `duplicates` + `without_id`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Messages accepted: a 2xx to the dot was written, or the message was taken though its reply was lost on purpose.
    pub messages: u64,
    /// Different ids among them.
    pub unique: u64,
    /// Messages whose id had been accepted before.
    pub duplicates: u64,
    /// Messages without an id of ours.
    pub without_id: u64,
    /// Connections served.
    pub connections: u64,
    /// Most connections open at once; of several shards the sum of their peaks.
    pub connections_peak: u64,
    /// Connections refused with 421 because of the limit.
    pub connections_refused: u64,
    /// Connections closed because their client was silent or did not read.
    pub connections_timed_out: u64,
    /// Connections whose client talked before the greeting, and was told so.
    pub connections_trapped: u64,
    /// TLS handshakes that came to their end, and that did not.
    pub handshakes: u64,
    pub handshakes_failed: u64,
    /// Times that accepting a connection failed, for want of descriptors or memory.
    pub accept_errors: u64,
    /// Most deliveries in flight at once; of several shards the sum of their peaks.
    pub in_flight_peak: u64,
    /// Replies of 4xx and 5xx by code, at every stage.
    pub refused: BTreeMap<u16, u64>,
    /// Replies by stage and code, and connections ended on purpose.
    pub outcomes: Vec<OutcomeCount>,
    /// When the first connection was accepted, CLOCK_MONOTONIC.
    pub first_ns: Option<u64>,
    /// When the last message was accepted, CLOCK_MONOTONIC.
    pub last_accepted_ns: Option<u64>,
    /// CPU of all its processes, user and system.
    pub cpu_s: f64,
    /// The part of it that went into looking for more when nothing had come (`--busy-poll`).
    pub busy_poll_s: f64,
    /// How much later than intended delays ended, half and 99 in 100 of them at most; of several shards the worst.
    pub timer_error_p50_us: Option<f64>,
    pub timer_error_p99_us: Option<f64>,
    pub timer_error_max_us: Option<f64>,
    /// Content of the accepted messages, dots removed.
    pub bytes: u64,
    /// Accepted messages with a CR or LF on its own.
    pub bare_newlines: u64,
    /// Shards, by number from 1, whose account could not be had: their part of all else is missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shards_missing: Vec<u32>,
    /// How often each id was accepted, if asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<IdCounts>,
}

/// Each id with the number of times that it was accepted, in the order of runs and numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct IdCounts(pub Vec<(String, u64)>);

impl Totals {
    /// Adds the account of another sink of the same run, but for what is known only from the ids of both: `unique`,
    /// `duplicates` and `ids`.
    pub fn merge(&mut self, other: Totals) {
        self.messages += other.messages;
        self.without_id += other.without_id;
        self.connections += other.connections;
        self.connections_peak += other.connections_peak;
        self.connections_refused += other.connections_refused;
        self.connections_timed_out += other.connections_timed_out;
        self.connections_trapped += other.connections_trapped;
        self.handshakes += other.handshakes;
        self.handshakes_failed += other.handshakes_failed;
        self.accept_errors += other.accept_errors;
        self.in_flight_peak += other.in_flight_peak;
        for (code, count) in other.refused {
            *self.refused.entry(code).or_insert(0) += count;
        }
        outcomes::merge(&mut self.outcomes, other.outcomes);
        self.first_ns = [self.first_ns, other.first_ns].into_iter().flatten().min();
        self.last_accepted_ns = self.last_accepted_ns.max(other.last_accepted_ns);
        self.cpu_s += other.cpu_s;
        self.busy_poll_s += other.busy_poll_s;
        for (ours, theirs) in [
            (&mut self.timer_error_p50_us, other.timer_error_p50_us),
            (&mut self.timer_error_p99_us, other.timer_error_p99_us),
            (&mut self.timer_error_max_us, other.timer_error_max_us),
        ] {
            *ours = [*ours, theirs].into_iter().flatten().reduce(f64::max);
        }
        self.bytes += other.bytes;
        self.bare_newlines += other.bare_newlines;
        self.shards_missing.extend(other.shards_missing);
    }
}

impl Serialize for IdCounts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (id, count) in &self.0 {
            map.serialize_entry(id, count)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for IdCounts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<IdCounts, D::Error> {
        let map = BTreeMap::<String, u64>::deserialize(deserializer).map_err(D::Error::custom)?;
        Ok(IdCounts(map.into_iter().collect()))
    }
}
