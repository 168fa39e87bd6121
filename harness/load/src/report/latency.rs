//! A histogram in figures.

use crate::statistics::histograms::Histograms;
use hdrhistogram::Histogram;
use serde::Serialize;

/// One histogram in figures; none where nothing was counted.
#[derive(Clone, Debug, Serialize)]
pub struct Latency {
    pub count: u64,
    pub mean_us: Option<f64>,
    pub p50_us: Option<f64>,
    pub p90_us: Option<f64>,
    pub p95_us: Option<f64>,
    pub p99_us: Option<f64>,
    pub p999_us: Option<f64>,
    pub max_us: Option<f64>,
}

/// The latency of one stage with one outcome.
#[derive(Clone, Debug, Serialize)]
pub struct LatencyRow {
    /// A stage, `message`, `service`, `start_lag` or `generator_lag`.
    pub stage: &'static str,
    /// `ok`, `deferred`, `refused` or `failed`.
    pub outcome: &'static str,
    #[serde(flatten)]
    pub latency: Latency,
}

impl Latency {
    pub fn new(histogram: Option<&Histogram<u64>>) -> Latency {
        let histogram = histogram.filter(|histogram| !histogram.is_empty());
        let some = |figure: fn(&Histogram<u64>) -> f64| {
            histogram.map(|histogram| figure(histogram).round() / 1000.0)
        };
        Latency {
            count: histogram.map_or(0, Histogram::len),
            mean_us: some(Histogram::mean),
            p50_us: some(|histogram| histogram.value_at_quantile(0.5) as f64),
            p90_us: some(|histogram| histogram.value_at_quantile(0.9) as f64),
            p95_us: some(|histogram| histogram.value_at_quantile(0.95) as f64),
            p99_us: some(|histogram| histogram.value_at_quantile(0.99) as f64),
            p999_us: some(|histogram| histogram.value_at_quantile(0.999) as f64),
            max_us: some(|histogram| histogram.max() as f64),
        }
    }

    /// The figures in the order of [`COLUMNS`].
    pub fn columns(&self) -> [Option<f64>; COLUMNS.len()] {
        [self.mean_us, self.p50_us, self.p90_us, self.p95_us, self.p99_us, self.p999_us, self.max_us]
    }
}

impl LatencyRow {
    /// A row for each histogram that holds something.
    pub fn all(histograms: &Histograms) -> Vec<LatencyRow> {
        histograms
            .iter()
            .map(|(series, ending, histogram)| LatencyRow {
                stage: series.as_str(),
                outcome: ending.as_str(),
                latency: Latency::new(Some(histogram)),
            })
            .collect()
    }
}

/// Names of the figures.
pub const COLUMNS: [&str; 7] = ["mean", "p50", "p90", "p95", "p99", "p99.9", "max"];
