//! A row of `samples.csv`: one role at one moment of a trial.

use crate::cell::figure;
use serde::{Deserialize, Serialize};

/// `order` says of which trial; the columns behind it are repeated from its row for convenience.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SampleRow {
    pub schema_version: u32,
    pub run_id: String,
    /// The trial's place in the run, as in `runs.csv`.
    pub order: u32,
    pub subject: String,
    pub concurrency: u32,
    pub repeat: u32,
    /// Since the release of the queue; negative before it.
    #[serde(serialize_with = "figure")]
    pub s: Option<f64>,
    pub role: String,
    pub processes: Option<u64>,
    pub pss_bytes: Option<u64>,
    pub uss_bytes: Option<u64>,
    pub kernel_bytes: Option<u64>,
    /// Used by the role since the trial began.
    #[serde(serialize_with = "figure")]
    pub cpu_s: Option<f64>,
    /// At the sink, on the sink's rows.
    pub in_flight: Option<u64>,
    /// Messages accepted by the sink so far, on the sink's rows.
    pub delivered: Option<u64>,
}
