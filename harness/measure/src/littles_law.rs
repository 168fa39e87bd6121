//! Little's law as a check on the measurement: what a counter saw in flight against what the delivery times say.
//!
//! Little (1961): mean number in flight = throughput x mean time. The two sides come from different places, a timer
//! that reads a counter and the first and last moment of each delivery, so each catches the other's faults.

use crate::trace::{Delivery, InFlightSample};

/// Both sides of the law over the steady window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LittlesLaw {
    /// Time average of the samples.
    pub observed: f64,
    /// Throughput x mean time, deliveries that reach beyond the window counted by the part inside.
    pub expected: f64,
    pub start_ns: u64,
    pub end_ns: u64,
}

impl LittlesLaw {
    /// Compares the two over the steady window: from the end of the first 15 % of the deliveries to that of the first
    /// 85 %. `interval_ns` is the time between two samples as wished for.
    ///
    /// `None` when there is too little for a steady window: under [`DELIVERIES_MIN`] deliveries, or a window shorter
    /// than [`SAMPLES_MIN`] intervals.
    pub fn of(deliveries: &[Delivery], samples: &[InFlightSample], interval_ns: u64) -> Option<LittlesLaw> {
        let mut ends: Vec<u64> = deliveries.iter().map(|delivery| delivery.end_ns).collect();
        ends.sort_unstable();
        if ends.len() < DELIVERIES_MIN {
            return None;
        }
        let start_ns = ends[ends.len() * 15 / 100];
        let end_ns = ends[ends.len() * 85 / 100];
        let window_ns = end_ns - start_ns;
        if window_ns < SAMPLES_MIN * interval_ns || window_ns == 0 {
            return None;
        }
        let overlap = |from: u64, to: u64| to.min(end_ns).saturating_sub(from.max(start_ns)) as f64;
        let in_window: f64 =
            deliveries.iter().map(|delivery| overlap(delivery.start_ns, delivery.end_ns)).sum();
        let mut samples: Vec<InFlightSample> = samples.to_vec();
        samples.sort_unstable_by_key(|sample| sample.at_ns);
        // A sample stands for the time until the next one, but not for a gap in which nobody looked.
        let longest_ns = SAMPLE_HOLDS_INTERVALS * interval_ns;
        let next = samples.iter().skip(1).map(|sample| sample.at_ns).chain([u64::MAX]);
        let seen: f64 = samples
            .iter()
            .zip(next)
            .map(|(sample, next_ns)| {
                let until = next_ns.min(sample.at_ns.saturating_add(longest_ns));
                sample.in_flight as f64 * overlap(sample.at_ns, until)
            })
            .sum();
        let window = window_ns as f64;
        Some(LittlesLaw { observed: seen / window, expected: in_window / window, start_ns, end_ns })
    }

    /// Observed by expected: 1 if both tell the truth.
    pub fn ratio(&self) -> f64 {
        self.observed / self.expected
    }
}

/// Whether a ratio is within the 10 % that sampling may cost.
pub fn holds(ratio: f64) -> bool {
    (0.9..=1.1).contains(&ratio)
}

/// Fewer say nothing about a steady state.
pub const DELIVERIES_MIN: usize = 20;
/// Of a window, in sampling intervals: each sample is then worth a tenth at most.
pub const SAMPLES_MIN: u64 = 10;
const SAMPLE_HOLDS_INTERVALS: u64 = 25;
