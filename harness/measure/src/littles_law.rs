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
    /// Throughput x mean time, deliveries that reach beyond what was looked at counted by the part inside.
    pub expected: f64,
    pub start_ns: u64,
    pub end_ns: u64,
}

impl LittlesLaw {
    /// Compares the two over the steady window: from the end of the first 15 % of the deliveries to that of the first
    /// 85 %. `interval_ns` is the time between two samples as wished for.
    ///
    /// A sample stands for the time until the next one, but not for a gap in which nobody looked. Gaps are left out of both
    /// sides while they are short of [`UNSEEN_MAX`] of the window; what is more is taken as seen empty, which fails.
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
        let mut samples: Vec<InFlightSample> = samples.to_vec();
        samples.sort_unstable_by_key(|sample| sample.at_ns);
        let looks = Looks::of(&samples, (start_ns, end_ns), SAMPLE_HOLDS_INTERVALS * interval_ns);
        let within = |from: u64, to: u64| overlap((from, to), (start_ns, end_ns));
        let mut in_flight_ns: f64 =
            deliveries.iter().map(|delivery| within(delivery.start_ns, delivery.end_ns)).sum();
        let mut looked_ns = window_ns as f64;
        if looks.unseen_ns() <= UNSEEN_MAX * looked_ns {
            looked_ns -= looks.unseen_ns();
            in_flight_ns -= deliveries.iter().map(|delivery| looks.missed_ns(delivery)).sum::<f64>();
        }
        Some(LittlesLaw {
            observed: looks.seen_ns / looked_ns,
            expected: in_flight_ns / looked_ns,
            start_ns,
            end_ns,
        })
    }

    /// Observed by expected: 1 if both tell the truth.
    pub fn ratio(&self) -> f64 {
        self.observed / self.expected
    }
}

/// What the samples say of a window.
struct Looks {
    /// In flight x time.
    seen_ns: f64,
    /// In order; from and to.
    gaps: Vec<(u64, u64)>,
}

impl Looks {
    fn of(samples: &[InFlightSample], window: (u64, u64), longest_ns: u64) -> Looks {
        let mut looks = Looks { seen_ns: 0.0, gaps: Vec::new() };
        let mut looked_until = window.0;
        let next = samples.iter().skip(1).map(|sample| sample.at_ns).chain([u64::MAX]);
        for (sample, next_ns) in samples.iter().zip(next) {
            let until = next_ns.min(sample.at_ns.saturating_add(longest_ns));
            looks.seen_ns += sample.in_flight as f64 * overlap((sample.at_ns, until), window);
            if until > window.0 && sample.at_ns < window.1 {
                looks.note_gap(looked_until, sample.at_ns);
                looked_until = until;
            }
        }
        looks.note_gap(looked_until, window.1);
        looks
    }

    fn note_gap(&mut self, from: u64, to: u64) {
        if from < to {
            self.gaps.push((from, to));
        }
    }

    fn unseen_ns(&self) -> f64 {
        self.gaps.iter().map(|(from, to)| (to - from) as f64).sum()
    }

    /// How much of the delivery's time nobody looked.
    fn missed_ns(&self, delivery: &Delivery) -> f64 {
        self.gaps.iter().map(|gap| overlap((delivery.start_ns, delivery.end_ns), *gap)).sum()
    }
}

/// How long two stretches have in common.
fn overlap(one: (u64, u64), other: (u64, u64)) -> f64 {
    one.1.min(other.1).saturating_sub(one.0.max(other.0)) as f64
}

/// Whether a ratio is within the 10 % that sampling may cost.
pub fn holds(ratio: f64) -> bool {
    (0.9..=1.1).contains(&ratio)
}

/// Fewer say nothing about a steady state.
pub const DELIVERIES_MIN: usize = 20;
/// Of a window, in sampling intervals: each sample is then worth a tenth at most.
pub const SAMPLES_MIN: u64 = 10;
/// A part of the window in which nobody need have looked: on a machine whose cores thousands of processes want, the thread
/// that looks waits for its turn as well, for 200 ms now and then.
pub const UNSEEN_MAX: f64 = 0.1;
const SAMPLE_HOLDS_INTERVALS: u64 = 25;
