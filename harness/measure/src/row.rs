//! A row of `runs.csv`: one trial. The order of the fields is the order of the columns.

use crate::cell::figure;
use crate::file::Record;
use crate::word::{Grouping, InvalidReason, LimitedBy, Placement};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Of all CSV files; grows only if a column is added, and no published column ever changes its meaning.
pub const SCHEMA_VERSION: u32 = 1;

/// One subject at one point in one block. `None` is an empty cell: it was not measured.
///
/// A column added in a later version is `#[serde(default)]`, so that older files can still be read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRow {
    pub schema_version: u32,
    /// Of the whole run; rows of one run may be compared with each other.
    pub run_id: String,
    /// When the trial began, RFC 3339 in UTC.
    pub started_utc: String,
    pub profile: String,
    pub subject: String,
    pub mta: String,
    pub driver: String,
    pub spawn: String,
    pub agents_max: Option<u32>,
    pub connections_per_agent: Option<u32>,
    pub load_model: String,
    pub placement: Option<Placement>,
    pub grouping: Option<Grouping>,
    pub durability: String,
    pub tls: String,
    pub messages_per_connection: Option<u32>,
    pub message_size_bytes: u64,
    /// In the words of `mailrig sink --delay`; empty for none.
    pub sink_delay: String,
    /// In the words of `mailrig sink --reply`; empty for none.
    pub sink_reply: String,
    pub concurrency: u32,
    /// Block, from 1.
    pub repeat: u32,
    /// Place in the run, from 1.
    pub order: u32,
    /// Accepted from the load generator.
    pub messages_offered: Option<u64>,
    /// Accepted by the sink, each counted once.
    pub messages_delivered: Option<u64>,
    /// Still in the queue at the end.
    pub messages_deferred: Option<u64>,
    pub messages_bounced: Option<u64>,
    pub messages_lost: Option<u64>,
    /// Acceptances by the sink beyond the first of each message.
    pub messages_duplicated: Option<u64>,
    /// From the release of the queue (`concurrent`: from the first message) to the sink's last acceptance.
    #[serde(serialize_with = "figure")]
    pub elapsed_s: Option<f64>,
    /// Time to start the agents, before the release.
    #[serde(serialize_with = "figure")]
    pub ramp_s: Option<f64>,
    /// Delivered messages by `elapsed_s`.
    #[serde(serialize_with = "figure")]
    pub throughput_msg_per_s: Option<f64>,
    #[serde(serialize_with = "figure")]
    pub delivery_p50_ms: Option<f64>,
    #[serde(serialize_with = "figure")]
    pub delivery_p90_ms: Option<f64>,
    #[serde(serialize_with = "figure")]
    pub delivery_p99_ms: Option<f64>,
    #[serde(serialize_with = "figure")]
    pub delivery_max_ms: Option<f64>,
    /// Over the steady window, by the sink's own counter.
    #[serde(serialize_with = "figure")]
    pub in_flight_mean: Option<f64>,
    pub in_flight_peak: Option<u64>,
    /// Of the subject, all roles.
    pub processes_peak: Option<u64>,
    /// Between the release and the end of the drain, as are the next six.
    #[serde(serialize_with = "figure")]
    pub cpu_agents_s: Option<f64>,
    #[serde(serialize_with = "figure")]
    pub cpu_queue_s: Option<f64>,
    #[serde(serialize_with = "figure")]
    pub cpu_reception_s: Option<f64>,
    #[serde(serialize_with = "figure")]
    pub cpu_starter_s: Option<f64>,
    #[serde(serialize_with = "figure")]
    pub cpu_sink_s: Option<f64>,
    #[serde(serialize_with = "figure")]
    pub cpu_load_s: Option<f64>,
    #[serde(serialize_with = "figure")]
    pub cpu_harness_s: Option<f64>,
    pub pss_agents_peak_bytes: Option<u64>,
    pub uss_agents_peak_bytes: Option<u64>,
    pub pss_queue_peak_bytes: Option<u64>,
    pub kernel_agents_peak_bytes: Option<u64>,
    /// Deliveries in flight as counted, by those that the delivery times account for; 1 is right.
    #[serde(serialize_with = "figure")]
    pub littles_law_ratio: Option<f64>,
    /// Whose rules decided what was delivered next.
    #[serde(default)]
    pub scheduler: String,
    /// How the queue was kept on disk; empty where it was not said, as in older files.
    #[serde(default)]
    pub store: String,
    /// Where some destinations drip, as are the next five: good mail delivered, by that which came in.
    #[serde(default, serialize_with = "figure")]
    pub good_kept: Option<f64>,
    #[serde(default, serialize_with = "figure")]
    pub good_throughput_msg_per_s: Option<f64>,
    /// From the intended start of a good message to the reply to its dot.
    #[serde(default, serialize_with = "figure")]
    pub good_delay_p50_s: Option<f64>,
    #[serde(default, serialize_with = "figure")]
    pub good_delay_p99_s: Option<f64>,
    /// Deliveries in flight to destinations that drip.
    #[serde(default, serialize_with = "figure")]
    pub tarpit_in_flight_mean: Option<f64>,
    pub limited_by: Option<LimitedBy>,
    pub valid: bool,
    pub invalid_reason: Option<InvalidReason>,
}

impl Record for RunRow {
    fn empty() -> RunRow {
        RunRow::new("")
    }
}

/// What may vary within a profile beside the subject; rows of one subject at one point are repeats.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Point {
    pub sink_delay: String,
    pub sink_reply: String,
    pub message_size_bytes: u64,
    pub concurrency: u32,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "concurrency {}, {} B", self.concurrency, self.message_size_bytes)?;
        for words in [&self.sink_delay, &self.sink_reply].into_iter().filter(|words| !words.is_empty()) {
            write!(f, ", {words}")?;
        }
        Ok(())
    }
}

impl RunRow {
    /// A row of which nothing is measured yet: not valid until [`RunRow::judge`] finds it so.
    pub fn new(run_id: impl Into<String>) -> RunRow {
        RunRow {
            schema_version: SCHEMA_VERSION,
            run_id: run_id.into(),
            started_utc: String::new(),
            profile: String::new(),
            subject: String::new(),
            mta: String::new(),
            driver: String::new(),
            spawn: String::new(),
            agents_max: None,
            connections_per_agent: None,
            load_model: String::new(),
            placement: None,
            grouping: None,
            durability: String::new(),
            tls: String::new(),
            messages_per_connection: None,
            message_size_bytes: 0,
            sink_delay: String::new(),
            sink_reply: String::new(),
            concurrency: 0,
            repeat: 0,
            order: 0,
            messages_offered: None,
            messages_delivered: None,
            messages_deferred: None,
            messages_bounced: None,
            messages_lost: None,
            messages_duplicated: None,
            elapsed_s: None,
            ramp_s: None,
            throughput_msg_per_s: None,
            delivery_p50_ms: None,
            delivery_p90_ms: None,
            delivery_p99_ms: None,
            delivery_max_ms: None,
            in_flight_mean: None,
            in_flight_peak: None,
            processes_peak: None,
            cpu_agents_s: None,
            cpu_queue_s: None,
            cpu_reception_s: None,
            cpu_starter_s: None,
            cpu_sink_s: None,
            cpu_load_s: None,
            cpu_harness_s: None,
            pss_agents_peak_bytes: None,
            uss_agents_peak_bytes: None,
            pss_queue_peak_bytes: None,
            kernel_agents_peak_bytes: None,
            littles_law_ratio: None,
            scheduler: String::new(),
            store: String::new(),
            good_kept: None,
            good_throughput_msg_per_s: None,
            good_delay_p50_s: None,
            good_delay_p99_s: None,
            tarpit_in_flight_mean: None,
            limited_by: None,
            valid: false,
            invalid_reason: Some(InvalidReason::NotMeasured),
        }
    }

    /// Where the trial stands on the swept axes.
    pub fn point(&self) -> Point {
        Point {
            sink_delay: self.sink_delay.clone(),
            sink_reply: self.sink_reply.clone(),
            message_size_bytes: self.message_size_bytes,
            concurrency: self.concurrency,
        }
    }

    /// CPU seconds of the whole mail transfer agent; `None` if a role's are missing.
    pub fn cpu_mta_s(&self) -> Option<f64> {
        Some(self.cpu_agents_s? + self.cpu_queue_s? + self.cpu_reception_s? + self.cpu_starter_s?)
    }
}
