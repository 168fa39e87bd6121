//! What came in: every accepted message once, and the counts around it.
//!
//! While mail comes in an accepted message costs one push of 24 bytes; what is unique and what came again is found
//! out at the end. It must not know durations of deliveries (those are the trace's), sockets or files.

use crate::delivery::Answered;
use crate::message_id::{Ids, MessageId};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// The running account of one sink.
#[derive(Default)]
pub struct Ledger {
    pub ids: Ids,
    /// One entry each time that a message with an id was accepted.
    accepted: Vec<MessageId>,
    without_id: u64,
    bytes: u64,
    bare_newlines: u64,
    connections: u64,
    connections_open: u64,
    connections_peak: u64,
    connections_refused: u64,
    connections_timed_out: u64,
    accept_errors: u64,
    in_flight: u64,
    in_flight_peak: u64,
    refused: Refused,
    first_ns: Option<u64>,
    last_accepted_ns: Option<u64>,
}

/// How often each 4xx and 5xx was said; from 400.
struct Refused([u64; 200]);

/// The line that `--live` prints: where the sink stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Live {
    /// Deliveries in flight.
    pub in_flight: u64,
    /// Messages accepted so far.
    pub accepted: u64,
    /// Connections served so far, open ones among them.
    pub connections: u64,
    /// Connections open now.
    pub connections_open: u64,
    /// When the last message was accepted, CLOCK_MONOTONIC.
    pub last_accepted_ns: Option<u64>,
    /// CPU of the process so far, user and system.
    pub cpu_s: f64,
}

/// The account at the end, as it is written to the ledger's file.
///
/// `messages` = `unique` + `duplicates` + `without_id`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Totals {
    /// Messages accepted: a 2xx to the dot was written.
    pub messages: u64,
    /// Different ids among them.
    pub unique: u64,
    /// Messages whose id had been accepted before.
    pub duplicates: u64,
    /// Messages without an id of ours.
    pub without_id: u64,
    /// Connections served.
    pub connections: u64,
    /// Most connections open at once.
    pub connections_peak: u64,
    /// Connections refused with 421 because of the limit.
    pub connections_refused: u64,
    /// Connections closed because their client was silent or did not read.
    pub connections_timed_out: u64,
    /// Times that accepting a connection failed, for want of descriptors or memory.
    pub accept_errors: u64,
    /// Most deliveries in flight at once.
    pub in_flight_peak: u64,
    /// Replies of 4xx and 5xx by code, at every stage.
    pub refused: std::collections::BTreeMap<u16, u64>,
    /// When the first connection was accepted, CLOCK_MONOTONIC.
    pub first_ns: Option<u64>,
    /// When the last message was accepted, CLOCK_MONOTONIC.
    pub last_accepted_ns: Option<u64>,
    /// CPU of the process, user and system.
    pub cpu_s: f64,
    /// Content of the accepted messages, dots removed.
    pub bytes: u64,
    /// Accepted messages with a CR or LF on its own.
    pub bare_newlines: u64,
    /// How often each id was accepted, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ids: Option<IdCounts>,
}

/// Each id with the number of times that it was accepted, in the order of runs and numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct IdCounts(pub Vec<(String, u64)>);

impl Ledger {
    pub fn connection_opened(&mut self, now_ns: u64) {
        self.first_ns.get_or_insert(now_ns);
        self.connections += 1;
        self.connections_open += 1;
        self.connections_peak = self.connections_peak.max(self.connections_open);
    }

    pub fn connection_closed(&mut self) {
        self.connections_open -= 1;
    }

    /// A connection over the limit was told so.
    pub fn connection_refused(&mut self) {
        self.connections_refused += 1;
        self.replied(421);
    }

    pub fn connection_timed_out(&mut self) {
        self.connections_timed_out += 1;
    }

    pub fn accept_failed(&mut self) {
        self.accept_errors += 1;
    }

    pub fn connections_open(&self) -> u64 {
        self.connections_open
    }

    pub fn delivery_started(&mut self) {
        self.in_flight += 1;
        self.in_flight_peak = self.in_flight_peak.max(self.in_flight);
    }

    pub fn delivery_ended(&mut self) {
        self.in_flight -= 1;
    }

    pub fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// A reply was given; refusals are counted by code.
    pub fn replied(&mut self, code: u16) {
        if let Some(count) =
            code.checked_sub(400).and_then(|place| self.refused.0.get_mut(usize::from(place)))
        {
            *count += 1;
        }
    }

    /// The 2xx to a message's dot has been written.
    pub fn accepted(&mut self, answered: &Answered, now_ns: u64) {
        match answered.delivery.id {
            Some(id) => self.accepted.push(id),
            None => self.without_id += 1,
        }
        self.bytes += answered.size_bytes;
        self.bare_newlines += u64::from(answered.bare_newline);
        self.last_accepted_ns = Some(now_ns);
    }

    pub fn live(&self, cpu_s: f64) -> Live {
        Live {
            in_flight: self.in_flight,
            accepted: self.accepted.len() as u64 + self.without_id,
            connections: self.connections,
            connections_open: self.connections_open,
            last_accepted_ns: self.last_accepted_ns,
            cpu_s,
        }
    }

    /// The account so far. Sorts what was accepted; with `ids` it writes out every id.
    pub fn totals(&mut self, ids: bool, cpu_s: f64) -> Totals {
        self.accepted.sort_unstable();
        let groups = || self.accepted.chunk_by(|a, b| a == b);
        let with_id = self.accepted.len() as u64;
        let unique = groups().count() as u64;
        let counts = || groups().map(|group| (self.ids.text(group[0]).to_string(), group.len() as u64));
        Totals {
            messages: with_id + self.without_id,
            unique,
            duplicates: with_id - unique,
            without_id: self.without_id,
            connections: self.connections,
            connections_peak: self.connections_peak,
            connections_refused: self.connections_refused,
            connections_timed_out: self.connections_timed_out,
            accept_errors: self.accept_errors,
            in_flight_peak: self.in_flight_peak,
            refused: (400..).zip(self.refused.0).filter(|&(_, count)| count > 0).collect(),
            first_ns: self.first_ns,
            last_accepted_ns: self.last_accepted_ns,
            cpu_s,
            bytes: self.bytes,
            bare_newlines: self.bare_newlines,
            ids: ids.then(|| IdCounts(counts().collect())),
        }
    }
}

impl Default for Refused {
    fn default() -> Refused {
        Refused([0; 200])
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
