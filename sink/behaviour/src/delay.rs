//! How long a site waits before it answers.

use distribution::{Distribution, Error, Kind, Problem};
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
    /// Drawn anew each time, in nanoseconds.
    Drawn(Distribution),
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
            Delay::Drawn(distribution) => cut(distribution.draw(random)),
            Delay::Measured { latencies, .. } => latencies[random.usize(..latencies.len())],
        }
    }

    /// The mean of many waits, the cut at [`LONGEST_DELAY`] left out of account.
    pub fn mean(&self) -> Duration {
        match self {
            Delay::None => Duration::ZERO,
            Delay::Fixed(duration) => *duration,
            Delay::Drawn(distribution) => cut(distribution.mean()),
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
        let refused = |problem| Err(worded(&Error { text: text.to_owned(), problem }));
        if let Some((name, rest)) = text.split_once('(')
            && let Some(inside) = rest.strip_suffix(')')
        {
            match name.trim() {
                "file" => return measured(inside.trim(), read),
                // A delay is not counted.
                "geometric" => return refused(Problem::Unknown("geometric".to_owned())),
                _ => {}
            }
        }
        let parsed = Distribution::parse(text, |text| duration(text).map(|length| length.as_nanos() as f64));
        let distribution = parsed.map_err(|error| worded(&error))?;
        match distribution {
            Distribution::Fixed(0.0) => Ok(Delay::None),
            Distribution::Fixed(length_ns) => Ok(Delay::Fixed(cut(length_ns))),
            // LONGEST_DELAY is the bound of all.
            Distribution::LogNormal { max, .. } if max < f64::MAX => refused(Problem::Form(Kind::LogNormal)),
            Distribution::Pareto { max, .. } if max < f64::MAX => refused(Problem::Form(Kind::Pareto)),
            drawn => Ok(Delay::Drawn(drawn)),
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
            Delay::Drawn(distribution) => f.write_str(&distribution.format(|length_ns| text(cut(length_ns)))),
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

/// What is wrong, in the words of durations.
fn worded(error: &Error) -> String {
    let text = &error.text;
    match &error.problem {
        Problem::Unknown(name) => format!(
            "`{name}` is not a kind of delay; write 20ms, uniform(10ms,30ms), exponential(20ms), \
             lognormal(p50=20ms,p99=2s), pareto(min=10ms,alpha=1.5) or file(NAME)"
        ),
        Problem::Form(kind) | Problem::Part(kind, _) => {
            let (needed, example) = match kind {
                Kind::Uniform => ("two durations", "uniform(10ms,30ms)"),
                Kind::LogNormal => ("p50 and p99", "lognormal(p50=20ms,p99=2s)"),
                Kind::Pareto => ("min and alpha", "pareto(min=10ms,alpha=1.5)"),
                Kind::Exponential | Kind::Geometric => ("one duration", "exponential(20ms)"),
            };
            format!("`{text}` needs {needed}, such as {example}")
        }
        Problem::Reversed(_) => {
            format!("`{text}` ends before it begins; write the shorter duration first")
        }
        Problem::Median => format!("`{text}`: the median must be above 0"),
        Problem::Unclosed | Problem::Number(_) | Problem::Mean | Problem::Alpha => error.to_string(),
    }
}

fn cut(length_ns: f64) -> Duration {
    // What is too large for the type becomes its largest.
    Duration::from_nanos(length_ns.round() as u64).min(LONGEST_DELAY)
}

/// Longer than any client waits (RFC 5321 §4.5.3.2.6 asks for 10 minutes), short enough that every wait ends.
pub const LONGEST_DELAY: Duration = Duration::from_secs(6 * 3600);

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
            ("geometric(3)", "`geometric` is not a kind of delay"),
            ("lognormal(p50=20ms,p99=2s,max=3s)", "needs p50 and p99"),
            ("exponential(1s,2s)", "one duration"),
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
