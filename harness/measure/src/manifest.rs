//! `manifest.json`: the conditions under which a run was made, without which its figures are no result.

use crate::file::{Error, write_text};
use crate::row::SCHEMA_VERSION;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// What one file of a run's folder needs the others to know. Absent is `null`; a reason stands in `not_measured`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub schema_version: u32,
    pub run_id: String,
    pub started_utc: String,
    pub ended_utc: Option<String>,
    /// The command line, as it was given.
    pub command: Vec<String>,
    pub profile: String,
    pub profile_file: String,
    /// The profile, byte for byte.
    pub profile_text: String,
    pub seed: u64,
    pub repeats: u32,
    /// In the profile's order; ratios refer to the first.
    pub subjects: Vec<String>,
    pub machine: Machine,
    /// Program to version: mailrig itself, and each mail transfer agent that was measured.
    pub versions: BTreeMap<String, String>,
    /// How roles were kept apart, in words, for instance which kind of control group.
    pub grouping: String,
    pub sampling: Sampling,
    /// Column to the reason why its cells are empty.
    pub not_measured: BTreeMap<String, String>,
    /// What a reader should know before believing a figure.
    pub warnings: Vec<String>,
    /// Whether every trial was run.
    pub complete: bool,
}

/// The machine and what the kernel allows on it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    pub cpu_model: Option<String>,
    pub cores: u32,
    pub memory_bytes: Option<u64>,
    /// Name and release, as of uname(2).
    pub kernel: String,
    /// Files that a process may hold: the limit that the trials ran with.
    pub descriptors_max: u64,
    pub processes_max: Option<u64>,
    /// Other settings that bound a trial, by their names under /proc/sys.
    pub kernel_settings: BTreeMap<String, String>,
    /// File system and device of the spool.
    pub spool_file_system: Option<String>,
}

/// What looking costs and how it was done.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// Between two samples of memory and CPU, as wished.
    pub interval_s: f64,
    /// Between two samples of deliveries in flight at the sink.
    pub in_flight_interval_s: f64,
    /// Mean time that one sample took.
    pub sample_mean_s: Option<f64>,
    /// CPU of the harness while it sampled, by the time that it sampled.
    pub cpu_share: Option<f64>,
    /// Processes of a role whose memory is read in one sample; the rest is extrapolated from them.
    pub processes_read_max: Option<u64>,
}

impl Manifest {
    /// Nothing known yet but which run it is.
    pub fn new(run_id: impl Into<String>) -> Manifest {
        Manifest {
            schema_version: SCHEMA_VERSION,
            run_id: run_id.into(),
            started_utc: String::new(),
            ended_utc: None,
            command: Vec::new(),
            profile: String::new(),
            profile_file: String::new(),
            profile_text: String::new(),
            seed: 0,
            repeats: 0,
            subjects: Vec::new(),
            machine: Machine::default(),
            versions: BTreeMap::new(),
            grouping: String::new(),
            sampling: Sampling::default(),
            not_measured: BTreeMap::new(),
            warnings: Vec::new(),
            complete: false,
        }
    }

    /// Writes the file as a whole or not at all; an older one is replaced.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let mut text = serde_json::to_string_pretty(self).expect("a manifest has only text keys");
        text.push('\n');
        write_text(path, &text)
    }

    /// # Errors
    /// The file cannot be read or is not a manifest.
    pub fn read(path: &Path) -> Result<Manifest, Error> {
        let text =
            std::fs::read_to_string(path).map_err(|error| Error::new(path, None, error.to_string()))?;
        serde_json::from_str(&text)
            .map_err(|error| Error::new(path, Some(error.line() as u64), format!("not a manifest: {error}")))
    }
}
