//! How long a site waits before it answers.

use fastrand::Rng;
use std::str::FromStr;
use std::time::Duration;

/// A wait, fixed or drawn anew each time. Never longer than [`LONGEST_DELAY`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
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
    /// Many short ones, few long ones; the long end is cut at [`LONGEST_DELAY`].
    Exponential {
        mean: Duration,
    },
}

impl Delay {
    /// One wait. A fixed delay draws nothing.
    pub fn draw(&self, random: &mut Rng) -> Duration {
        match *self {
            Delay::None => Duration::ZERO,
            Delay::Fixed(duration) => duration,
            Delay::Uniform { shortest, longest } => shortest + (longest - shortest).mul_f64(random.f64()),
            Delay::Exponential { mean } => {
                // f64() is below 1, so the logarithm is finite and at most 0.
                let share = -(1.0 - random.f64()).ln();
                Duration::try_from_secs_f64(mean.as_secs_f64() * share)
                    .unwrap_or(LONGEST_DELAY)
                    .min(LONGEST_DELAY)
            }
        }
    }
}

impl FromStr for Delay {
    type Err = String;

    /// Reads `20ms`, `uniform(10ms,30ms)` or `exponential(20ms)`.
    fn from_str(text: &str) -> Result<Delay, String> {
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
                if shortest > longest {
                    return Err(format!("`{text}` ends before it begins; write the shorter duration first"));
                }
                Ok(Delay::Uniform { shortest, longest })
            }
            "exponential" => Ok(Delay::Exponential { mean: duration(inside)? }),
            other => Err(format!(
                "`{other}` is not a kind of delay; write 20ms, uniform(10ms,30ms) or exponential(20ms)"
            )),
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = settings::duration::parse(text.trim())?;
    if duration > LONGEST_DELAY {
        return Err(format!(
            "`{text}` is too long a delay; the longest is {}",
            settings::duration::format(LONGEST_DELAY)
        ));
    }
    Ok(duration)
}

/// Longer than any client waits (RFC 5321 §4.5.3.2.6 asks for 10 minutes), short enough that every wait ends.
pub const LONGEST_DELAY: Duration = Duration::from_secs(6 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_read_and_stays_in_its_bounds() {
        let ms = Duration::from_millis;
        assert_eq!("20ms".parse(), Ok(Delay::Fixed(ms(20))));
        assert_eq!("0".parse(), Ok(Delay::None));
        assert_eq!(" 300us ".parse(), Ok(Delay::Fixed(Duration::from_micros(300))));

        let mut random = Rng::with_seed(1);
        let uniform: Delay = "uniform(10ms, 30ms)".parse().unwrap();
        let draws: Vec<Duration> = (0..10_000).map(|_| uniform.draw(&mut random)).collect();
        assert!(draws.iter().all(|&draw| (ms(10)..=ms(30)).contains(&draw)));
        assert!(draws.iter().min() < Some(&ms(11)) && draws.iter().max() > Some(&ms(29)));

        let exponential: Delay = "exponential(20ms)".parse().unwrap();
        let draws: Vec<f64> = (0..100_000).map(|_| exponential.draw(&mut random).as_secs_f64()).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        assert!((0.0195..0.0205).contains(&mean), "{mean}");
        // 1 - e^-1 of an exponential distribution lies below its mean.
        let below = draws.iter().filter(|&&draw| draw < 0.020).count() as f64 / draws.len() as f64;
        assert!((0.62..0.645).contains(&below), "{below}");

        let long = Delay::Exponential { mean: LONGEST_DELAY };
        assert!((0..1000).all(|_| long.draw(&mut random) <= LONGEST_DELAY));
    }

    #[test]
    fn what_is_no_delay_is_refused_with_a_way_out() {
        for (text, part) in [
            ("20", "no unit"),
            ("uniform(10ms)", "two durations"),
            ("uniform(30ms,10ms)", "shorter duration first"),
            ("uniform(10ms,30ms", "closing parenthesis"),
            ("pareto(1s)", "not a kind of delay"),
            ("7h", "longest is 6h"),
            ("exponential()", "not a duration"),
            ("", "not a duration"),
        ] {
            let error = text.parse::<Delay>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
