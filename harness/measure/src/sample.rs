//! A row of `samples.csv`: one role at one moment of a trial.

use crate::cell::figure;
use crate::file::Record;
use crate::row::{RunRow, SCHEMA_VERSION};
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
    /// Used by the role since it began; by the harness since the trial's first sample.
    #[serde(serialize_with = "figure")]
    pub cpu_s: Option<f64>,
    /// At the sink, on the sink's rows.
    pub in_flight: Option<u64>,
    /// Messages accepted by the sink so far, on the sink's rows.
    pub delivered: Option<u64>,
}

impl SampleRow {
    /// A sample of a role in the trial of `row`, nothing measured yet.
    pub fn new(role: impl Into<String>, row: &RunRow) -> SampleRow {
        SampleRow {
            schema_version: SCHEMA_VERSION,
            run_id: row.run_id.clone(),
            order: row.order,
            subject: row.subject.clone(),
            concurrency: row.concurrency,
            repeat: row.repeat,
            s: None,
            role: role.into(),
            processes: None,
            pss_bytes: None,
            uss_bytes: None,
            kernel_bytes: None,
            cpu_s: None,
            in_flight: None,
            delivered: None,
        }
    }
}

impl Record for SampleRow {
    fn empty() -> SampleRow {
        SampleRow::new("", &RunRow::new(""))
    }
}
