//! What the sink saw of each delivery, and the figures of a trial that follow from it.

use crate::file::{Error, read_rows};
use crate::littles_law::LittlesLaw;
use crate::row::RunRow;
use crate::statistics::Sorted;
use serde::Deserialize;
use std::path::Path;

/// A row of the sink's `deliveries.csv`: one attempt at delivery. Times are of CLOCK_MONOTONIC.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Delivery {
    /// The load generator's, or empty for mail that has none.
    pub id: String,
    pub connection: u64,
    /// The accepted connection, or MAIL of a later transaction on it.
    pub start_ns: u64,
    /// The reply to the dot was written, or the attempt ended without.
    pub end_ns: u64,
    /// The reply to the dot; `None` if it did not come to that.
    pub code: Option<u16>,
}

/// A row of the sink's `in_flight.csv`, taken by a timer from a counter that knows no durations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct InFlightSample {
    pub at_ns: u64,
    pub in_flight: u64,
}

/// Both files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    pub deliveries: Vec<Delivery>,
    pub in_flight: Vec<InFlightSample>,
}

/// What a row takes from a trace. Times are of accepted deliveries only; a refusal is quick and would flatter them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TraceFigures {
    pub delivery_p50_ms: Option<f64>,
    pub delivery_p90_ms: Option<f64>,
    pub delivery_p99_ms: Option<f64>,
    pub delivery_max_ms: Option<f64>,
    pub in_flight_mean: Option<f64>,
    pub in_flight_peak: Option<u64>,
    pub littles_law_ratio: Option<f64>,
}

impl Trace {
    /// Reads `deliveries.csv` and `in_flight.csv` of a trace folder.
    ///
    /// # Errors
    /// A file that is missing or broken, with file, line and column.
    pub fn read(folder: &Path) -> Result<Trace, Error> {
        let deliveries: Vec<Delivery> = read_rows(&folder.join("deliveries.csv"))?;
        let backwards = deliveries.iter().position(|delivery| delivery.end_ns < delivery.start_ns);
        if let Some(at) = backwards {
            let line = at as u64 + 2;
            return Err(Error::new(
                &folder.join("deliveries.csv"),
                Some(line),
                "the delivery ends before it starts",
            ));
        }
        Ok(Trace { deliveries, in_flight: read_rows(&folder.join("in_flight.csv"))? })
    }

    /// The figures; `interval_ns` is the wished time between samples, 2 ms on average for `mailrig sink`.
    pub fn figures(&self, interval_ns: u64) -> TraceFigures {
        let accepted =
            self.deliveries.iter().filter(|delivery| delivery.code.is_some_and(|code| code / 100 == 2));
        let times = Sorted::new(accepted.map(|delivery| (delivery.end_ns - delivery.start_ns) as f64 / 1e6));
        let percentile = |percent| times.as_ref().map(|times| times.percentile(percent));
        let law = LittlesLaw::of(&self.deliveries, &self.in_flight, interval_ns);
        TraceFigures {
            delivery_p50_ms: percentile(50.0),
            delivery_p90_ms: percentile(90.0),
            delivery_p99_ms: percentile(99.0),
            delivery_max_ms: percentile(100.0),
            in_flight_mean: law.map(|law| law.observed),
            in_flight_peak: self.in_flight.iter().map(|sample| sample.in_flight).max(),
            littles_law_ratio: law.map(|law| law.ratio()),
        }
    }
}

impl RunRow {
    /// Takes the trace's figures; `ledger_peak` is the sink's own highest count, which no timer can miss.
    pub fn set_trace(&mut self, figures: &TraceFigures, ledger_peak: Option<u64>) {
        self.delivery_p50_ms = figures.delivery_p50_ms;
        self.delivery_p90_ms = figures.delivery_p90_ms;
        self.delivery_p99_ms = figures.delivery_p99_ms;
        self.delivery_max_ms = figures.delivery_max_ms;
        self.in_flight_mean = figures.in_flight_mean;
        self.in_flight_peak = ledger_peak.max(figures.in_flight_peak);
        self.littles_law_ratio = figures.littles_law_ratio;
    }
}
