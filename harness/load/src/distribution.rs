//! A quantity that differs from message to message: a size, a number of recipients, a pause.
//!
//! What a number means (bytes, nanoseconds, a count) is the caller's, who also says how one is written. All chance comes
//! from the generator that is handed in, so that a seed gives the same load again.

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
    /// Many small ones, few large ones.
    Exponential { mean: f64 },
    /// Its logarithm is normal: `p50` is the median, `sigma` the deviation of the natural logarithm.
    LogNormal { p50: f64, sigma: f64, max: f64 },
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
    /// Reads `4KiB`, `uniform(1KiB,8KiB)`, `exponential(8KiB)`, `lognormal(p50=8KiB,p99=200KiB)`, with a `max=` where
    /// wanted, or `geometric(3)`; `number` reads one number with its unit.
    ///
    /// # Errors
    /// What is wrong with the text, without naming where it stood.
    pub fn parse(text: &str, number: impl Fn(&str) -> Result<f64, String>) -> Result<Distribution, String> {
        let text = text.trim();
        let Some((name, rest)) = text.split_once('(') else { return number(text).map(Distribution::Fixed) };
        let Some(inside) = rest.strip_suffix(')') else {
            return Err(format!("`{text}` has no closing parenthesis"));
        };
        let arguments: Vec<&str> = inside.split(',').map(str::trim).collect();
        match (name.trim(), &arguments[..]) {
            ("uniform", [low, high]) => {
                let (low, high) = (number(low)?, number(high)?);
                match low <= high {
                    true => Ok(Distribution::Uniform { low, high }),
                    false => Err(format!("`{text}` ends before it begins; write the smaller one first")),
                }
            }
            ("exponential", [mean]) => Ok(Distribution::Exponential { mean: number(mean)? }),
            ("geometric", [mean]) => match number(mean)? {
                mean if mean >= 1.0 => Ok(Distribution::Geometric { mean }),
                _ => Err(format!("`{text}`: the mean of a geometric distribution is at least 1")),
            },
            ("lognormal", _) => log_normal(text, &arguments, number),
            _ => Err(format!(
                "`{text}` is not a distribution; write a number, uniform(A,B), exponential(MEAN), geometric(MEAN) or \
                 lognormal(p50=A,p99=B)"
            )),
        }
    }

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

    /// One value.
    pub fn draw(&self, random: &mut Rng) -> f64 {
        // f64() is below 1, so the logarithm is finite.
        match self {
            Distribution::Fixed(value) => *value,
            Distribution::Uniform { low, high } => low + (high - low) * random.f64(),
            Distribution::Exponential { mean } => mean * unit_exponential(random),
            Distribution::LogNormal { p50, sigma, max } => {
                let radius = (2.0 * unit_exponential(random)).sqrt();
                let normal = radius * (TAU * random.f64()).cos();
                (p50 * (sigma * normal).exp()).min(*max)
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

    /// The largest value that can come; none where there is no bound.
    pub fn largest(&self) -> Option<f64> {
        match self {
            Distribution::Fixed(value) => Some(*value),
            Distribution::Uniform { high, .. } => Some(*high),
            Distribution::LogNormal { max, .. } => Some(*max).filter(|&max| max < f64::MAX),
            Distribution::Exponential { .. } | Distribution::Geometric { .. } => None,
            Distribution::Empirical(bins) => bins.last().map(|bin| bin.high),
        }
    }

    /// The smallest value that can come.
    pub fn smallest(&self) -> f64 {
        match self {
            Distribution::Fixed(value) => *value,
            Distribution::Uniform { low, .. } => *low,
            Distribution::Exponential { .. } | Distribution::LogNormal { .. } => 0.0,
            Distribution::Geometric { .. } => 1.0,
            Distribution::Empirical(bins) => bins.first().map_or(0.0, |bin| bin.low),
        }
    }
}

/// The chances of message `number` in a run of this seed: the same in whichever process it is sent.
pub fn generator(seed: u64, number: u64) -> Rng {
    // An odd factor spreads neighbours over all 64 bits.
    Rng::with_seed(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// One draw of the exponential distribution with mean 1.
pub fn unit_exponential(random: &mut Rng) -> f64 {
    -(1.0 - random.f64()).ln()
}

fn log_normal(
    text: &str,
    arguments: &[&str],
    number: impl Fn(&str) -> Result<f64, String>,
) -> Result<Distribution, String> {
    let (mut p50, mut p99, mut max) = (None, None, None);
    for argument in arguments {
        let (name, value) = argument.split_once('=').unwrap_or((argument, ""));
        let place = match name.trim() {
            "p50" => &mut p50,
            "p99" => &mut p99,
            "max" => &mut max,
            other => return Err(format!("`{other}` is not part of lognormal(p50=A,p99=B,max=C)")),
        };
        *place = Some(number(value.trim())?);
    }
    match (p50, p99) {
        (Some(p50), Some(p99)) if 0.0 < p50 && p50 <= p99 => Ok(Distribution::LogNormal {
            p50,
            sigma: (p99 / p50).ln() / NORMAL_P99,
            max: max.unwrap_or(f64::MAX),
        }),
        _ => Err(format!("`{text}` needs p50 and p99, the first above 0 and not above the second")),
    }
}

/// The 99th percentile of the standard normal distribution.
const NORMAL_P99: f64 = 2.326_347_874_040_841;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Distribution, String> {
        Distribution::parse(text, |text| settings::size::parse(text).map(|bytes| bytes as f64))
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
            ("uniform(2KiB)", "not a distribution"),
            ("normal(1KiB,2KiB)", "not a distribution"),
            ("lognormal(p50=1KiB)", "needs p50 and p99"),
            ("lognormal(p50=2KiB,p99=1KiB)", "needs p50 and p99"),
            ("lognormal(p50=2KiB,p95=1KiB)", "`p95`"),
            ("geometric(0)", "at least 1"),
            ("exponential(1 stone)", "stone"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
