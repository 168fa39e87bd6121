//! How long a site waits before it answers.

use fastrand::Rng;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A wait, fixed or drawn anew each time. Never longer than [`LONGEST_DELAY`]: what a distribution puts beyond is cut.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Delay {
    /// Answer at once.
    #[default]
    None,
    Fixed(Duration),
    /// Each length from `shortest` to `longest` alike.
    Uniform {
        shortest: Duration,
        longest: Duration,
    },
    /// Many short ones, few long ones: what happens at any moment alike.
    Exponential {
        mean: Duration,
    },
    /// A product of many causes: half of the draws below `p50`, 99 in 100 below `p99`.
    LogNormal {
        p50: Duration,
        p99: Duration,
    },
    /// A heavy tail: longer than x in `(min / x)^alpha` of the cases.
    Pareto {
        min: Duration,
        alpha: f64,
    },
    /// One of the latencies that were measured elsewhere, each alike.
    Measured {
        /// Where they were read from, for [`fmt::Display`].
        file: Arc<str>,
        latencies: Arc<[Duration]>,
    },
}

/// Reads the text of a file that a site's author names, as written there; an error names it too.
pub type ReadFile<'a> = &'a dyn Fn(&str) -> Result<String, String>;

impl Delay {
    /// One wait. A fixed delay draws nothing.
    pub fn draw(&self, random: &mut Rng) -> Duration {
        match self {
            Delay::None => Duration::ZERO,
            Delay::Fixed(duration) => *duration,
            Delay::Uniform { shortest, longest } => *shortest + (*longest - *shortest).mul_f64(random.f64()),
            // f64() is below 1, so the logarithms and powers of what is left are finite.
            Delay::Exponential { mean } => cut(mean.as_secs_f64() * -(1.0 - random.f64()).ln()),
            Delay::LogNormal { p50, p99 } => {
                cut(p50.as_secs_f64() * (sigma(*p50, *p99) * standard_normal(random)).exp())
            }
            Delay::Pareto { min, alpha } => cut(min.as_secs_f64() * (1.0 - random.f64()).powf(-1.0 / alpha)),
            Delay::Measured { latencies, .. } => latencies[random.usize(..latencies.len())],
        }
    }

    /// The mean of many waits, the cut at [`LONGEST_DELAY`] left out of account.
    pub fn mean(&self) -> Duration {
        match self {
            Delay::None => Duration::ZERO,
            Delay::Fixed(duration) => *duration,
            Delay::Uniform { shortest, longest } => (*shortest + *longest) / 2,
            Delay::Exponential { mean } => *mean,
            Delay::LogNormal { p50, p99 } => cut(p50.as_secs_f64() * (sigma(*p50, *p99).powi(2) / 2.0).exp()),
            Delay::Pareto { min, alpha } if *alpha > 1.0 => cut(min.as_secs_f64() * alpha / (alpha - 1.0)),
            Delay::Pareto { .. } => LONGEST_DELAY,
            Delay::Measured { latencies, .. } => latencies.iter().sum::<Duration>() / latencies.len() as u32,
        }
    }

    /// Reads `20ms`, `uniform(10ms,30ms)`, `exponential(20ms)`, `lognormal(p50=20ms,p99=2s)`,
    /// `pareto(min=10ms,alpha=1.5)` or `file(NAME)`.
    ///
    /// # Errors
    /// What is wrong and what to write instead.
    pub fn parse(text: &str, read: ReadFile<'_>) -> Result<Delay, String> {
        let text = text.trim();
        let Some((name, rest)) = text.split_once('(') else {
            return Ok(match duration(text)? {
                Duration::ZERO => Delay::None,
                fixed => Delay::Fixed(fixed),
            });
        };
        let Some(inside) = rest.strip_suffix(')') else {
            return Err(format!("`{text}` has no closing parenthesis"));
        };
        match name.trim() {
            "uniform" => {
                let Some((shortest, longest)) = inside.split_once(',') else {
                    return Err(format!("`{text}` needs two durations, such as uniform(10ms,30ms)"));
                };
                let (shortest, longest) = (duration(shortest)?, duration(longest)?);
                in_order(text, shortest, longest)?;
                Ok(Delay::Uniform { shortest, longest })
            }
            "exponential" => Ok(Delay::Exponential { mean: duration(inside)? }),
            "lognormal" => {
                let [p50, p99] = named(text, inside, ["p50", "p99"], "lognormal(p50=20ms,p99=2s)")?;
                let (p50, p99) = (duration(p50)?, duration(p99)?);
                in_order(text, p50, p99)?;
                if p50.is_zero() {
                    return Err(format!("`{text}`: the median must be above 0"));
                }
                Ok(Delay::LogNormal { p50, p99 })
            }
            "pareto" => {
                let [min, alpha] = named(text, inside, ["min", "alpha"], "pareto(min=10ms,alpha=1.5)")?;
                let min = duration(min)?;
                match alpha.parse() {
                    Ok(alpha) if (ALPHA_MIN..=ALPHA_MAX).contains(&alpha) => Ok(Delay::Pareto { min, alpha }),
                    _ => Err(format!("`{text}`: alpha is a number from {ALPHA_MIN} to {ALPHA_MAX}")),
                }
            }
            "file" => measured(inside.trim(), read),
            other => Err(format!(
                "`{other}` is not a kind of delay; write 20ms, uniform(10ms,30ms), exponential(20ms), \
                 lognormal(p50=20ms,p99=2s), pareto(min=10ms,alpha=1.5) or file(NAME)"
            )),
        }
    }
}

impl fmt::Display for Delay {
    /// As [`Delay::parse`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = settings::duration::format;
        match self {
            Delay::None => f.write_str("0"),
            Delay::Fixed(duration) => f.write_str(&text(*duration)),
            Delay::Uniform { shortest, longest } => {
                write!(f, "uniform({},{})", text(*shortest), text(*longest))
            }
            Delay::Exponential { mean } => write!(f, "exponential({})", text(*mean)),
            Delay::LogNormal { p50, p99 } => write!(f, "lognormal(p50={},p99={})", text(*p50), text(*p99)),
            Delay::Pareto { min, alpha } => write!(f, "pareto(min={},alpha={alpha})", text(*min)),
            Delay::Measured { file, .. } => write!(f, "file({file})"),
        }
    }
}

/// A duration that a site may wait for.
///
/// # Errors
/// No duration, or one over [`LONGEST_DELAY`].
pub fn duration(text: &str) -> Result<Duration, String> {
    let duration = settings::duration::parse(text.trim())?;
    if duration > LONGEST_DELAY {
        return Err(format!(
            "`{text}` is too long a delay; the longest is {}",
            settings::duration::format(LONGEST_DELAY)
        ));
    }
    Ok(duration)
}

/// One latency a line, empty lines and `#` comments aside.
fn measured(file: &str, read: ReadFile<'_>) -> Result<Delay, String> {
    let text = read(file)?;
    let mut latencies = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if !line.is_empty() {
            latencies.push(duration(line).map_err(|error| format!("{file}:{}: {error}", number + 1))?);
        }
    }
    if latencies.is_empty() {
        return Err(format!("{file}: no latency in it; write one a line, such as 12.5ms"));
    }
    Ok(Delay::Measured { file: file.into(), latencies: latencies.into() })
}

/// The values of `name=value,name=value`, in the order of `names`.
fn named<'a>(text: &str, inside: &'a str, names: [&str; 2], example: &str) -> Result<[&'a str; 2], String> {
    let value = |wanted: &str| {
        inside.split(',').find_map(|part| {
            let (name, value) = part.split_once('=')?;
            (name.trim() == wanted).then_some(value.trim())
        })
    };
    match (value(names[0]), value(names[1]), inside.split(',').count()) {
        (Some(first), Some(second), 2) => Ok([first, second]),
        _ => Err(format!("`{text}` needs {} and {}, such as {example}", names[0], names[1])),
    }
}

fn in_order(text: &str, shorter: Duration, longer: Duration) -> Result<(), String> {
    match shorter <= longer {
        true => Ok(()),
        false => Err(format!("`{text}` ends before it begins; write the shorter duration first")),
    }
}

fn cut(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST_DELAY).min(LONGEST_DELAY)
}

/// Of the logarithm of a log-normal variable, from two of its quantiles.
fn sigma(p50: Duration, p99: Duration) -> f64 {
    (p99.as_secs_f64() / p50.as_secs_f64()).ln() / NORMAL_P99
}

/// Box and Muller, Annals of Mathematical Statistics 29 (1958).
fn standard_normal(random: &mut Rng) -> f64 {
    let radius = (-2.0 * (1.0 - random.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.f64()).cos()
}

/// Longer than any client waits (RFC 5321 §4.5.3.2.6 asks for 10 minutes), short enough that every wait ends.
pub const LONGEST_DELAY: Duration = Duration::from_secs(6 * 3600);
/// The 99th percentile of the standard normal distribution.
const NORMAL_P99: f64 = 2.326_347_874_040_841;
/// Below, nearly every draw is cut; above, all are the minimum.
const ALPHA_MIN: f64 = 0.1;
const ALPHA_MAX: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn files(name: &str) -> Result<String, String> {
        match name {
            "two.txt" => Ok("# measured\n10ms\n\n30ms # slow\n".to_owned()),
            "bad.txt" => Ok("10ms\nfast\n".to_owned()),
            "empty.txt" => Ok("# nothing\n".to_owned()),
            _ => Err(format!("{name}: no such file")),
        }
    }

    fn parse(text: &str) -> Result<Delay, String> {
        Delay::parse(text, &files)
    }

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn each_kind_is_written_as_it_is_read() {
        assert_eq!(parse("20ms"), Ok(Delay::Fixed(ms(20))));
        assert_eq!(parse("0"), Ok(Delay::None));
        assert_eq!(parse(" 300us "), Ok(Delay::Fixed(Duration::from_micros(300))));
        for text in [
            "20ms",
            "0",
            "uniform(10ms,30ms)",
            "exponential(20ms)",
            "lognormal(p50=20ms,p99=2s)",
            "pareto(min=10ms,alpha=1.5)",
            "file(two.txt)",
        ] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
        assert_eq!(parse("pareto( alpha=2 , min=1ms )").unwrap().to_string(), "pareto(min=1ms,alpha=2)");
    }

    /// The share of draws below a bound has a standard error of 0.16 % here; four of them are allowed.
    #[test]
    fn draws_follow_their_distribution() {
        const DRAWS: usize = 100_000;
        let mut random = Rng::with_seed(1);
        for (text, below_ms, share) in [
            ("uniform(10ms,30ms)", 15.0, 0.25),
            ("exponential(20ms)", 20.0, 1.0 - (-1.0f64).exp()),
            ("exponential(20ms)", 60.0, 1.0 - (-3.0f64).exp()),
            ("lognormal(p50=20ms,p99=2s)", 20.0, 0.5),
            ("lognormal(p50=20ms,p99=2s)", 2000.0, 0.99),
            ("pareto(min=10ms,alpha=1.5)", 40.0, 1.0 - 0.25f64.powf(1.5)),
            ("file(two.txt)", 20.0, 0.5),
        ] {
            let delay = parse(text).unwrap();
            let drawn = (0..DRAWS).map(|_| delay.draw(&mut random).as_secs_f64() * 1000.0);
            let below = drawn.filter(|&drawn| drawn < below_ms).count() as f64 / DRAWS as f64;
            assert!((below - share).abs() < 0.0064, "{text}: {below} below {below_ms} ms, not {share}");
        }
        for (text, mean_ms) in
            [("uniform(10ms,30ms)", 20.0), ("exponential(20ms)", 20.0), ("pareto(min=10ms,alpha=3)", 15.0)]
        {
            let delay = parse(text).unwrap();
            let sum: f64 = (0..DRAWS).map(|_| delay.draw(&mut random).as_secs_f64() * 1000.0).sum();
            assert!((sum / DRAWS as f64 / mean_ms - 1.0).abs() < 0.02, "{text}: {}", sum / DRAWS as f64);
            assert!((delay.mean().as_secs_f64() * 1000.0 - mean_ms).abs() < 1e-6);
        }
        let bounds = |text: &str| {
            let delay = parse(text).unwrap();
            let mut random = Rng::with_seed(2);
            let draws: Vec<Duration> = (0..DRAWS).map(|_| delay.draw(&mut random)).collect();
            (*draws.iter().min().unwrap(), *draws.iter().max().unwrap())
        };
        let (shortest, longest) = bounds("uniform(10ms,30ms)");
        assert!(shortest >= ms(10) && shortest < ms(11) && longest <= ms(30) && longest > ms(29));
        assert!(bounds("pareto(min=10ms,alpha=1.5)").0 >= ms(10));
        assert_eq!(bounds("pareto(min=1h,alpha=0.1)").1, LONGEST_DELAY);
    }

    #[test]
    fn what_is_no_delay_is_refused_with_a_way_out() {
        for (text, part) in [
            ("20", "no unit"),
            ("uniform(10ms)", "two durations"),
            ("uniform(30ms,10ms)", "shorter duration first"),
            ("uniform(10ms,30ms", "closing parenthesis"),
            ("gamma(1s)", "not a kind of delay"),
            ("7h", "longest is 6h"),
            ("exponential()", "not a duration"),
            ("", "not a duration"),
            ("lognormal(20ms,2s)", "needs p50 and p99"),
            ("lognormal(p50=2s,p99=20ms)", "shorter duration first"),
            ("lognormal(p50=0,p99=20ms)", "above 0"),
            ("pareto(min=10ms,alpha=0)", "alpha is a number"),
            ("pareto(min=10ms,alpha=NaN)", "alpha is a number"),
            ("pareto(min=10ms,alpha=2,beta=1)", "needs min and alpha"),
            ("file(none.txt)", "none.txt: no such file"),
            ("file(bad.txt)", "bad.txt:2: `fast` is not a duration"),
            ("file(empty.txt)", "no latency"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
