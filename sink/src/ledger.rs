//! What came in: every accepted message once, and the counts around it.
//!
//! It must not know durations of deliveries (those are the trace's), sockets or files.

use crate::delivery::Answered;
use crate::live::Live;
use crate::message_id::{Ids, MessageId};
use crate::outcomes::Outcomes;
use crate::sampler::InFlight;
use crate::seen::Seen;
use crate::totals::{IdCounts, Totals};
use hdrhistogram::Histogram;
use std::time::Duration;

/// The running account of one sink.
pub struct Ledger {
    pub ids: Ids,
    pub outcomes: Outcomes,
    pub seen: Seen,
    without_id: u64,
    bytes: u64,
    bare_newlines: u64,
    connections: u64,
    connections_open: u64,
    connections_peak: u64,
    connections_refused: u64,
    connections_timed_out: u64,
    connections_trapped: u64,
    handshakes_begun: u64,
    handshakes: u64,
    accept_errors: u64,
    in_flight: InFlight,
    in_flight_peak: u64,
    /// Nanoseconds between the end that a delay was to have and the one that it had.
    timer_errors: Histogram<u64>,
    first_ns: Option<u64>,
    last_accepted_ns: Option<u64>,
}

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
        self.outcomes.replied(smtp::Stage::Connect, 421);
    }

    pub fn connection_timed_out(&mut self) {
        self.connections_timed_out += 1;
    }

    /// A client talked before the greeting.
    pub fn connection_trapped(&mut self) {
        self.connections_trapped += 1;
    }

    pub fn handshake_begun(&mut self) {
        self.handshakes_begun += 1;
    }

    pub fn handshake_done(&mut self) {
        self.handshakes += 1;
    }

    pub fn accept_failed(&mut self) {
        self.accept_errors += 1;
    }

    pub fn connections_open(&self) -> u64 {
        self.connections_open
    }

    pub fn delivery_started(&mut self) {
        self.in_flight_peak = self.in_flight_peak.max(self.in_flight.begin());
    }

    pub fn delivery_ended(&mut self) {
        self.in_flight.end();
    }

    /// The counter of deliveries in flight, for others to look at.
    pub fn in_flight(&self) -> InFlight {
        self.in_flight.clone()
    }

    /// A delay ended `late` after its time.
    pub fn delayed(&mut self, late: Duration) {
        self.timer_errors.saturating_record(late.as_nanos() as u64);
    }

    /// A message is ours, and its reply has been written, or lost on purpose. Says whether it came for the first time;
    /// one without an id always does.
    pub fn accepted(&mut self, answered: &Answered, now_ns: u64) -> bool {
        self.bytes += answered.size_bytes;
        self.bare_newlines += u64::from(answered.bare_newline);
        self.last_accepted_ns = Some(now_ns);
        match answered.delivery.id {
            Some(id) => self.seen.accept(id),
            None => {
                self.without_id += 1;
                true
            }
        }
    }

    pub fn live(&self, connections_delayed: u64, cpu_s: f64) -> Live {
        Live {
            in_flight: self.in_flight.get(),
            accepted: self.seen.messages() + self.without_id,
            duplicates: self.seen.messages() - self.seen.unique(),
            connections: self.connections,
            connections_open: self.connections_open,
            connections_delayed,
            refused: self.outcomes.refusals().collect(),
            last_accepted_ns: self.last_accepted_ns,
            timer_error_p99_us: self.timer_error_us(0.99),
            cpu_s,
        }
    }

    /// The account so far; with `ids` it writes out every id.
    pub fn totals(&self, ids: bool, cpu_s: f64, busy_poll_s: f64) -> Totals {
        Totals {
            messages: self.seen.messages() + self.without_id,
            unique: self.seen.unique(),
            duplicates: self.seen.messages() - self.seen.unique(),
            without_id: self.without_id,
            connections: self.connections,
            connections_peak: self.connections_peak,
            connections_refused: self.connections_refused,
            connections_timed_out: self.connections_timed_out,
            connections_trapped: self.connections_trapped,
            handshakes: self.handshakes,
            handshakes_failed: self.handshakes_begun - self.handshakes,
            accept_errors: self.accept_errors,
            in_flight_peak: self.in_flight_peak,
            refused: self.outcomes.refusals().collect(),
            outcomes: self.outcomes.counts(),
            first_ns: self.first_ns,
            last_accepted_ns: self.last_accepted_ns,
            cpu_s,
            busy_poll_s,
            timer_error_p50_us: self.timer_error_us(0.5),
            timer_error_p99_us: self.timer_error_us(0.99),
            timer_error_max_us: self.timer_error_us(1.0),
            bytes: self.bytes,
            bare_newlines: self.bare_newlines,
            shards_missing: Vec::new(),
            ids: ids.then(|| id_counts(&self.seen, &self.ids)),
        }
    }

    fn timer_error_us(&self, quantile: f64) -> Option<f64> {
        let errors = &self.timer_errors;
        (!errors.is_empty()).then(|| errors.value_at_quantile(quantile) as f64 / 1000.0)
    }
}

/// Every id that was accepted, sorted by run and number.
pub fn id_counts(seen: &Seen, ids: &Ids) -> IdCounts {
    let mut counts: Vec<(MessageId, u64)> = seen.iter().collect();
    counts.sort_unstable();
    IdCounts(counts.into_iter().map(|(id, count)| (ids.text(id).to_string(), count)).collect())
}

impl Default for Ledger {
    fn default() -> Ledger {
        Ledger {
            ids: Ids::default(),
            outcomes: Outcomes::default(),
            seen: Seen::default(),
            without_id: 0,
            bytes: 0,
            bare_newlines: 0,
            connections: 0,
            connections_open: 0,
            connections_peak: 0,
            connections_refused: 0,
            connections_timed_out: 0,
            connections_trapped: 0,
            handshakes_begun: 0,
            handshakes: 0,
            accept_errors: 0,
            in_flight: InFlight::default(),
            in_flight_peak: 0,
            timer_errors: Histogram::new_with_bounds(1, TIMER_ERROR_MAX_NS, 2).expect("the bounds are valid"),
            first_ns: None,
            last_accepted_ns: None,
        }
    }
}

/// A minute; what is later counts as that.
const TIMER_ERROR_MAX_NS: u64 = 60_000_000_000;
