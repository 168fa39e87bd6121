//! A quantity that is drawn anew each time: a delay, a size, a number of recipients, a pause.
//!
//! What a number means (bytes, nanoseconds, a count) is the caller's, who also says how one is written. All chance comes
//! from the generator that is handed in, so that a seed gives the same again. It must not know files or clocks.

mod grammar;

pub use grammar::{Error, Kind, Problem};

use fastrand::Rng;
use serde::{Deserialize, Serialize};
use std::f64::consts::TAU;

/// How a quantity is distributed. Never negative, never more than its `max` where it has one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Distribution {
    /// Always the same.
    Fixed(f64),
    /// Everything between the two alike.
    Uniform { low: f64, high: f64 },
    /// Many small ones, few large ones: what happens at any moment alike.
    Exponential { mean: f64 },
    /// A product of many causes: half of the draws below `p50`, 99 in 100 below `p99`.
    LogNormal { p50: f64, p99: f64, max: f64 },
    /// A heavy tail: more than x in `(min / x)^alpha` of the cases.
    Pareto { min: f64, alpha: f64, max: f64 },
    /// Whole numbers from 1: each further one with the same probability.
    Geometric { mean: f64 },
    /// As counted somewhere: bins with the share of all up to and including each.
    Empirical(Vec<Bin>),
}

/// Everything from `low` to `high` alike, and the share of all that lies up to `high`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    pub low: f64,
    pub high: f64,
    pub share: f64,
}

impl Distribution {
    /// A distribution as counted: `bins` are (low, high, weight).
    ///
    /// # Errors
    /// Bins that overlap, end before they begin or weigh nothing together.
    pub fn empirical(bins: &[(f64, f64, f64)]) -> Result<Distribution, String> {
        let total: f64 = bins.iter().map(|(.., weight)| weight).sum();
        let good = |value: f64| value.is_finite() && value >= 0.0;
        if !good(total) || total == 0.0 || bins.iter().any(|(.., weight)| !good(*weight)) {
            return Err("the weights must be positive numbers".to_owned());
        }
        let mut sum = 0.0;
        let mut made = Vec::with_capacity(bins.len());
        let mut end = 0.0;
        for (low, high, weight) in bins.iter().copied() {
            if !(good(low) && good(high) && end <= low && low <= high) {
                return Err(format!(
                    "the bin from {low} to {high} must begin where the one before ends or later"
                ));
            }
            sum += weight;
            end = high;
            made.push(Bin { low, high, share: sum / total });
        }
        Ok(Distribution::Empirical(made))
    }

    /// One value. What is fixed draws nothing.
    pub fn draw(&self, random: &mut Rng) -> f64 {
        match self {
            Distribution::Fixed(value) => *value,
            Distribution::Uniform { low, high } => low + (high - low) * random.f64(),
            Distribution::Exponential { mean } => mean * unit_exponential(random),
            Distribution::LogNormal { p50, p99, max } => {
                (p50 * (sigma(*p50, *p99) * standard_normal(random)).exp()).min(*max)
            }
            // f64() is below 1, so the power is finite.
            Distribution::Pareto { min, alpha, max } => {
                (min * (1.0 - random.f64()).powf(-1.0 / alpha)).min(*max)
            }
            Distribution::Geometric { mean } => {
                let further = 1.0 - 1.0 / mean;
                1.0 + if further > 0.0 { (unit_exponential(random) / -further.ln()).floor() } else { 0.0 }
            }
            Distribution::Empirical(bins) => {
                let share = random.f64();
                let found = bins.partition_point(|bin| bin.share <= share).min(bins.len() - 1);
                let Bin { low, high, .. } = bins[found];
                low + (high - low) * random.f64()
            }
        }
    }

    /// The mean of many values, the cut at `max` left out of account; infinite for the heaviest tails.
    pub fn mean(&self) -> f64 {
        match self {
            Distribution::Fixed(value) => *value,
            Distribution::Uniform { low, high } => (low + high) / 2.0,
            Distribution::Exponential { mean } | Distribution::Geometric { mean } => *mean,
            Distribution::LogNormal { p50, p99, .. } => p50 * (sigma(*p50, *p99).powi(2) / 2.0).exp(),
            Distribution::Pareto { min, alpha, .. } if *alpha > 1.0 => min * alpha / (alpha - 1.0),
            Distribution::Pareto { .. } => f64::INFINITY,
            Distribution::Empirical(bins) => {
                let mut before = 0.0;
                let weighted = bins.iter().map(|bin| {
                    let share = bin.share - before;
                    before = bin.share;
                    (bin.low + bin.high) / 2.0 * share
                });
                weighted.sum()
            }
        }
    }

    /// The largest value that can come; none where there is no bound.
    pub fn largest(&self) -> Option<f64> {
        match self {
            Distribution::Fixed(value) => Some(*value),
            Distribution::Uniform { high, .. } => Some(*high),
            Distribution::LogNormal { max, .. } | Distribution::Pareto { max, .. } => {
                Some(*max).filter(|&max| max < f64::MAX)
            }
            Distribution::Exponential { .. } | Distribution::Geometric { .. } => None,
            Distribution::Empirical(bins) => bins.last().map(|bin| bin.high),
        }
    }
}

/// One draw of the exponential distribution with mean 1.
pub fn unit_exponential(random: &mut Rng) -> f64 {
    // f64() is below 1, so the logarithm is finite.
    -(1.0 - random.f64()).ln()
}

/// Box and Muller, Annals of Mathematical Statistics 29 (1958).
fn standard_normal(random: &mut Rng) -> f64 {
    let radius = (2.0 * unit_exponential(random)).sqrt();
    radius * (TAU * random.f64()).cos()
}

/// Of the logarithm of a log-normal variable, from two of its quantiles.
fn sigma(p50: f64, p99: f64) -> f64 {
    (p99 / p50).ln() / NORMAL_P99
}

/// The 99th percentile of the standard normal distribution.
const NORMAL_P99: f64 = 2.326_347_874_040_841;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Distribution, String> {
        let size = |text: &str| settings::size::parse(text).map(|bytes| bytes as f64);
        Distribution::parse(text, size).map_err(|error| error.to_string())
    }

    fn draws(text: &str) -> Vec<f64> {
        let (distribution, mut random) = (parse(text).expect("good"), Rng::with_seed(7));
        let mut draws: Vec<f64> = (0..20_000).map(|_| distribution.draw(&mut random)).collect();
        draws.sort_by(f64::total_cmp);
        draws
    }

    fn near(value: f64, wanted: f64) -> bool {
        (value / wanted - 1.0).abs() < 0.05
    }

    #[test]
    fn draws_have_the_moments_that_were_asked_for() {
        let mean = |draws: &[f64]| draws.iter().sum::<f64>() / draws.len() as f64;
        assert_eq!(draws("4KiB"), vec![4096.0; 20_000]);
        let uniform = draws("uniform(1KiB, 3KiB)");
        assert!(near(mean(&uniform), 2048.0) && uniform[0] >= 1024.0 && uniform[19_999] <= 3072.0);
        assert!(near(mean(&draws("exponential(8KiB)")), 8192.0));
        let geometric = draws("geometric(3)");
        assert!(near(mean(&geometric), 3.0) && geometric[0] == 1.0);
        assert!(near(geometric.iter().filter(|&&draw| draw == 1.0).count() as f64, 20_000.0 / 3.0));
        assert_eq!(draws("geometric(1)"), vec![1.0; 20_000]);
        let log_normal = draws("lognormal(p50=8KiB,p99=200KiB,max=1MiB)");
        assert!(near(log_normal[10_000], 8192.0), "{}", log_normal[10_000]);
        assert!((log_normal[19_800] / 204_800.0 - 1.0).abs() < 0.2, "{}", log_normal[19_800]);
        assert!(log_normal[19_999] <= 1_048_576.0);
        let pareto = draws("pareto(min=1KiB, alpha=1.5, max=64KiB)");
        assert!(pareto[0] >= 1024.0 && near(pareto[17_500], 4096.0) && pareto[19_999] == 65_536.0);
    }

    #[test]
    fn the_mean_is_that_of_the_draws() {
        for text in ["3", "uniform(1,3)", "exponential(8)", "geometric(3)", "pareto(min=4,alpha=4)"] {
            let (distribution, draws) = (parse(text).expect("good"), draws(text));
            let mean = draws.iter().sum::<f64>() / draws.len() as f64;
            assert!(near(mean, distribution.mean()), "{text}: {mean}");
        }
        let counted = Distribution::empirical(&[(0.0, 10.0, 1.0), (20.0, 30.0, 3.0)]).expect("good");
        assert_eq!(counted.mean(), 20.0);
        assert_eq!(parse("pareto(min=4,alpha=1)").expect("good").mean(), f64::INFINITY);
    }

    #[test]
    fn counted_bins_come_back_with_their_weights() {
        let distribution =
            Distribution::empirical(&[(0.0, 10.0, 1.0), (10.0, 20.0, 0.0), (20.0, 30.0, 3.0)]).expect("good");
        let mut random = Rng::with_seed(1);
        let draws: Vec<f64> = (0..10_000).map(|_| distribution.draw(&mut random)).collect();
        assert!(near(draws.iter().filter(|&&draw| draw < 10.0).count() as f64, 2500.0));
        assert!(!draws.iter().any(|draw| (10.0..20.0).contains(draw)));
        for bad in [&[(0.0, 1.0, 0.0)][..], &[(1.0, 0.0, 1.0)], &[(0.0, 2.0, 1.0), (1.0, 3.0, 1.0)], &[]] {
            assert!(Distribution::empirical(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, part) in [
            ("uniform(1KiB", "closing parenthesis"),
            ("uniform(2KiB,1KiB)", "smaller one first"),
            ("uniform(2KiB)", "not a distribution; write uniform(A,B)"),
            ("exponential(2KiB,3KiB)", "not a distribution; write exponential(MEAN)"),
            ("normal(1KiB,2KiB)", "not a distribution"),
            ("lognormal(p50=1KiB)", "needs p50 and p99"),
            ("lognormal(p50=2KiB,p99=1KiB)", "needs p50 and p99"),
            ("lognormal(p50=0,p99=1KiB)", "needs p50 and p99"),
            ("lognormal(p50=2KiB,p95=1KiB)", "`p95`"),
            ("lognormal(p50=1KiB,p50=2KiB,p99=4KiB)", "needs p50 and p99"),
            ("pareto(min=2KiB)", "needs min and alpha"),
            ("pareto(min=2KiB,alpha=0)", "alpha is a number from 0.1 to 100"),
            ("geometric(0)", "at least 1"),
            ("exponential(1 stone)", "stone"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
