//! How distributions are written, and what can be wrong with that. It must not know what a number means.

use crate::Distribution;
use std::fmt;

/// What is written before the parentheses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Uniform,
    Exponential,
    LogNormal,
    Pareto,
    Geometric,
}

/// A text that is no distribution. Its [`fmt::Display`] is for quantities of any sort; who knows better what is
/// drawn may find better words for the problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// As it was written.
    pub text: String,
    pub problem: Problem,
}

/// What is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// No closing parenthesis.
    Unclosed,
    /// Nothing of this name.
    Unknown(String),
    /// Not what stands in the parentheses of such a one: something is missing, too much, or there twice.
    Form(Kind),
    /// A name that is no part of such a one.
    Part(Kind, String),
    /// What the reader of numbers says.
    Number(String),
    /// The first of two is larger than the second.
    Reversed(Kind),
    /// The median of a lognormal is 0.
    Median,
    /// The mean of a geometric one is below 1.
    Mean,
    /// The alpha of a pareto is no number, or so small or large that it makes no sense.
    Alpha,
}

impl Distribution {
    /// Reads `4KiB`, `uniform(1KiB,8KiB)`, `exponential(8KiB)`, `lognormal(p50=8KiB,p99=200KiB)` or
    /// `pareto(min=1KiB,alpha=1.5)`, both with a `max=` where wanted, or `geometric(3)`; `number` reads one number with
    /// its unit, finite and not negative.
    ///
    /// # Errors
    /// What is wrong with the text, without naming where it stood.
    pub fn parse(text: &str, number: impl Fn(&str) -> Result<f64, String>) -> Result<Distribution, Error> {
        let text = text.trim();
        parse(text, |text| number(text).map_err(Problem::Number))
            .map_err(|problem| Error { text: text.to_owned(), problem })
    }

    /// As [`Distribution::parse`] reads it, with the numbers as `number` writes them. No text gives what was counted.
    pub fn format(&self, number: impl Fn(f64) -> String) -> String {
        let with_max =
            |max: f64| if max < f64::MAX { format!(",max={}", number(max)) } else { String::new() };
        match self {
            Distribution::Fixed(value) => number(*value),
            Distribution::Uniform { low, high } => format!("uniform({},{})", number(*low), number(*high)),
            Distribution::Exponential { mean } => format!("exponential({})", number(*mean)),
            Distribution::LogNormal { p50, p99, max } => {
                format!("lognormal(p50={},p99={}{})", number(*p50), number(*p99), with_max(*max))
            }
            Distribution::Pareto { min, alpha, max } => {
                format!("pareto(min={},alpha={alpha}{})", number(*min), with_max(*max))
            }
            Distribution::Geometric { mean } => format!("geometric({})", number(*mean)),
            Distribution::Empirical(bins) => format!("counted in {} bins", bins.len()),
        }
    }
}

fn parse(text: &str, number: impl Fn(&str) -> Result<f64, Problem>) -> Result<Distribution, Problem> {
    let Some((name, rest)) = text.split_once('(') else { return number(text).map(Distribution::Fixed) };
    let inside = rest.strip_suffix(')').ok_or(Problem::Unclosed)?;
    let kind = Kind::named(name.trim()).ok_or_else(|| Problem::Unknown(name.trim().to_owned()))?;
    let arguments: Vec<&str> = inside.split(',').map(str::trim).collect();
    match (kind, &arguments[..]) {
        (Kind::Uniform, [low, high]) => {
            let (low, high) = (number(low)?, number(high)?);
            match low <= high {
                true => Ok(Distribution::Uniform { low, high }),
                false => Err(Problem::Reversed(kind)),
            }
        }
        (Kind::Exponential, [mean]) => Ok(Distribution::Exponential { mean: number(mean)? }),
        (Kind::Geometric, [mean]) => match number(mean)? {
            mean if mean >= 1.0 => Ok(Distribution::Geometric { mean }),
            _ => Err(Problem::Mean),
        },
        (Kind::LogNormal, _) => {
            let [p50, p99, max] = parts(kind, ["p50", "p99", "max"], &arguments)?;
            let (p50, p99) = both(kind, p50, p99)?;
            let (p50, p99, max) = (number(p50)?, number(p99)?, bound(max, number)?);
            match (p50 > 0.0, p50 <= p99) {
                (_, false) => Err(Problem::Reversed(kind)),
                (false, _) => Err(Problem::Median),
                (true, true) => Ok(Distribution::LogNormal { p50, p99, max }),
            }
        }
        (Kind::Pareto, _) => {
            let [min, alpha, max] = parts(kind, ["min", "alpha", "max"], &arguments)?;
            let (min, alpha) = both(kind, min, alpha)?;
            let (min, max) = (number(min)?, bound(max, number)?);
            match alpha.parse() {
                Ok(alpha) if (ALPHA_MIN..=ALPHA_MAX).contains(&alpha) => {
                    Ok(Distribution::Pareto { min, alpha, max })
                }
                _ => Err(Problem::Alpha),
            }
        }
        _ => Err(Problem::Form(kind)),
    }
}

/// The values of `name=value,name=value`, in the order of `names`.
fn parts<'a>(kind: Kind, names: [&str; 3], arguments: &[&'a str]) -> Result<[Option<&'a str>; 3], Problem> {
    let mut values = [None; 3];
    for argument in arguments {
        let (name, value) = argument.split_once('=').unwrap_or((argument, ""));
        let Some(place) = names.iter().position(|wanted| *wanted == name.trim()) else {
            return Err(Problem::Part(kind, name.trim().to_owned()));
        };
        if values[place].replace(value.trim()).is_some() {
            return Err(Problem::Form(kind));
        }
    }
    Ok(values)
}

fn both<'a>(
    kind: Kind,
    first: Option<&'a str>,
    second: Option<&'a str>,
) -> Result<(&'a str, &'a str), Problem> {
    first.zip(second).ok_or(Problem::Form(kind))
}

fn bound(max: Option<&str>, number: impl Fn(&str) -> Result<f64, Problem>) -> Result<f64, Problem> {
    max.map_or(Ok(f64::MAX), number)
}

impl Kind {
    fn named(name: &str) -> Option<Kind> {
        let kind = match name {
            "uniform" => Kind::Uniform,
            "exponential" => Kind::Exponential,
            "lognormal" => Kind::LogNormal,
            "pareto" => Kind::Pareto,
            "geometric" => Kind::Geometric,
            _ => return None,
        };
        Some(kind)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = &self.text;
        match &self.problem {
            Problem::Unclosed => write!(f, "`{text}` has no closing parenthesis"),
            Problem::Unknown(_) => write!(
                f,
                "`{text}` is not a distribution; write a number, uniform(A,B), exponential(MEAN), geometric(MEAN), \
                 lognormal(p50=A,p99=B) or pareto(min=A,alpha=B)"
            ),
            Problem::Form(Kind::Uniform) => write!(f, "`{text}` is not a distribution; write uniform(A,B)"),
            Problem::Form(Kind::Exponential) => {
                write!(f, "`{text}` is not a distribution; write exponential(MEAN)")
            }
            Problem::Form(Kind::Geometric) => {
                write!(f, "`{text}` is not a distribution; write geometric(MEAN)")
            }
            Problem::Form(Kind::LogNormal) | Problem::Reversed(Kind::LogNormal) | Problem::Median => {
                write!(f, "`{text}` needs p50 and p99, the first above 0 and not above the second")
            }
            Problem::Form(Kind::Pareto) => write!(f, "`{text}` needs min and alpha, each once"),
            Problem::Part(Kind::Pareto, part) => {
                write!(f, "`{part}` is not part of pareto(min=A,alpha=B,max=C)")
            }
            Problem::Part(_, part) => write!(f, "`{part}` is not part of lognormal(p50=A,p99=B,max=C)"),
            Problem::Number(problem) => f.write_str(problem),
            Problem::Reversed(_) => write!(f, "`{text}` ends before it begins; write the smaller one first"),
            Problem::Mean => write!(f, "`{text}`: the mean of a geometric distribution is at least 1"),
            Problem::Alpha => write!(f, "`{text}`: alpha is a number from {ALPHA_MIN} to {ALPHA_MAX}"),
        }
    }
}

impl std::error::Error for Error {}

/// Below, nearly every draw is out of all bounds; above, all are the minimum.
const ALPHA_MIN: f64 = 0.1;
const ALPHA_MAX: f64 = 100.0;
