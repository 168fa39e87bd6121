//! Rows of what `mailrig simulate` writes. The order of the fields is the order of the columns.

use crate::cell::figure;
use crate::file::Record;
use serde::{Deserialize, Serialize};

/// A row of `simulation.csv`: the queue at one moment of virtual time. Counts are since the beginning.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SimulationRow {
    pub point: String,
    #[serde(serialize_with = "figure")]
    pub time_s: Option<f64>,
    /// All messages that are queued.
    pub queue_depth: u64,
    /// Of these, with an agent or due.
    pub active: u64,
    /// Of these, waiting for a later time.
    pub deferred: u64,
    /// Deliveries under way.
    pub agents_busy: u64,
    pub arrivals: u64,
    pub attempts: u64,
    pub delivered: u64,
    /// Attempts that ended with a deferral.
    pub deferred_attempts: u64,
    pub bounced: u64,
    /// From arrival to delivery, of good mail delivered since the row before.
    #[serde(serialize_with = "figure")]
    pub good_mail_p50_s: Option<f64>,
    #[serde(serialize_with = "figure")]
    pub good_mail_p99_s: Option<f64>,
}

/// A row of `age.csv`, the table that qshape(1) prints: how many queued messages are how old, in minutes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct AgeRow {
    pub point: String,
    /// Name of a kind of sites; `TOTAL` for all.
    pub domain: String,
    #[serde(rename = "T")]
    pub total: u64,
    #[serde(rename = "5")]
    pub to_5: u64,
    #[serde(rename = "10")]
    pub to_10: u64,
    #[serde(rename = "20")]
    pub to_20: u64,
    #[serde(rename = "40")]
    pub to_40: u64,
    #[serde(rename = "80")]
    pub to_80: u64,
    #[serde(rename = "160")]
    pub to_160: u64,
    #[serde(rename = "320")]
    pub to_320: u64,
    #[serde(rename = "640")]
    pub to_640: u64,
    #[serde(rename = "1280")]
    pub to_1280: u64,
    #[serde(rename = "1280+")]
    pub older: u64,
}

/// A row of `points.csv`: what a point came to. `None` is an empty cell: it was not asked for, or not found.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PointRow {
    pub point: String,
    pub schedule: String,
    pub concurrency: u32,
    #[serde(serialize_with = "figure")]
    pub failure_latency_s: Option<f64>,
    #[serde(serialize_with = "figure")]
    pub success_latency_s: Option<f64>,
    /// Share of the slots that retries may have.
    #[serde(serialize_with = "figure")]
    pub retry_share: Option<f64>,
    /// Messages that can be deferred before retries come late or good mail suffers, at full scale.
    #[serde(serialize_with = "figure")]
    pub limit_messages: Option<f64>,
    /// The same by the throughput that the slots left for good mail have in a day.
    #[serde(serialize_with = "figure")]
    pub limit_days_of_throughput: Option<f64>,
    /// What the closed form says of it.
    #[serde(serialize_with = "figure")]
    pub formula_days: Option<f64>,
    /// Of a message that is never delivered.
    #[serde(serialize_with = "figure")]
    pub attempts_per_message: Option<f64>,
    /// From arrival to delivery, of good mail: at the limit, or over the whole time.
    #[serde(serialize_with = "figure")]
    pub good_mail_p50_s: Option<f64>,
    #[serde(serialize_with = "figure")]
    pub good_mail_p99_s: Option<f64>,
    /// Slots, messages and arrivals of the point by those that were simulated.
    #[serde(serialize_with = "figure")]
    pub scale: Option<f64>,
}

impl Record for SimulationRow {
    fn empty() -> SimulationRow {
        SimulationRow::default()
    }
}

impl Record for AgeRow {
    fn empty() -> AgeRow {
        AgeRow::default()
    }
}

impl Record for PointRow {
    fn empty() -> PointRow {
        PointRow::default()
    }
}

impl AgeRow {
    /// Counts one message of this age.
    pub fn count(&mut self, minutes: f64) {
        self.total += 1;
        let bins = [
            (5.0, &mut self.to_5),
            (10.0, &mut self.to_10),
            (20.0, &mut self.to_20),
            (40.0, &mut self.to_40),
            (80.0, &mut self.to_80),
            (160.0, &mut self.to_160),
            (320.0, &mut self.to_320),
            (640.0, &mut self.to_640),
            (1280.0, &mut self.to_1280),
            (f64::INFINITY, &mut self.older),
        ];
        if let Some((_, bin)) = bins.into_iter().find(|(end, _)| minutes < *end) {
            *bin += 1;
        }
    }
}
