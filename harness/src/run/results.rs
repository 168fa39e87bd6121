//! What the load generator and the sink leave behind at the end of a trial: their JSON files.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::Path;

/// Of the report of `mailrig send`.
#[derive(Clone, Debug, Deserialize)]
pub struct Sent {
    pub messages: u64,
    pub accepted: u64,
    pub cpu_s: f64,
    /// Start of the first message, CLOCK_MONOTONIC.
    pub first_ns: Option<u64>,
    #[serde(default)]
    pub errors: Vec<SendError>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct SendError {
    pub stage: String,
    pub code: Option<u16>,
    pub text: String,
    pub count: u64,
}

/// Of the ledger of `mailrig sink`.
#[derive(Clone, Debug, Deserialize)]
pub struct Ledger {
    /// Different ids.
    pub unique: u64,
    pub duplicates: u64,
    pub in_flight_peak: Option<u64>,
    /// What it spent looking for more when nothing had come.
    pub busy_poll_s: f64,
    /// When the last message was accepted, CLOCK_MONOTONIC.
    pub last_accepted_ns: Option<u64>,
}

/// Reads one of the two.
///
/// # Errors
/// The file is missing or is not what it should be, with its path.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, String> {
    let text = std::fs::read(path).map_err(|error| format!("reading {}: {error}", path.display()))?;
    serde_json::from_slice(&text).map_err(|error| format!("{} is not a report: {error}", path.display()))
}

impl Sent {
    /// What the server said to messages that it did not take, in a line.
    pub fn errors_text(&self) -> String {
        let words = self.errors.iter().take(ERRORS_SHOWN).map(|error| {
            let code = error.code.map_or(String::new(), |code| format!("{code} "));
            format!("{} x at {}: {code}{}", error.count, error.stage, error.text)
        });
        words.collect::<Vec<_>>().join("; ")
    }
}

const ERRORS_SHOWN: usize = 3;
