//! Conditions on what a run found, as people write them: `p99(message) > 200ms`, `errors < 0.1%`.
//!
//! ```text
//! CONDITION = FIGURE OPERATOR VALUE          OPERATOR = ">" | ">=" | "<" | "<="
//! FIGURE = "p" number [ OF ]                 percentile of a latency                 VALUE 200ms
//!        | "mean" [ OF ] | "max" [ OF ]                                              VALUE 200ms
//!        | "count" [ OF ]                    how often it was measured               VALUE 1000
//!        | "rate"                            accepted messages a second              VALUE 500/s
//!        | "errors"                          messages that were not accepted         VALUE 0.1% or 10
//!        | "missed"                          messages that never started             VALUE 0.1% or 10
//! OF = "(" SERIES [ "/" OUTCOME ] ")"        a stage, message, service, start_lag or generator_lag, and ok, deferred,
//!                                            refused or failed; else (message/ok)
//! ```

use crate::schedule::stages::parse_rate;
use crate::statistics::histograms::Series;
use crate::statistics::outcome::Ending;
use crate::statistics::summary::Summary;
use serde::Serialize;
use std::fmt;
use std::str::FromStr;

/// A condition on a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    text: String,
    figure: Figure,
    operator: Operator,
    /// Nanoseconds, messages a second, a count or a share.
    value: f64,
    /// Whether the value is a share of all messages.
    is_share: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Figure {
    Percentile(f64, Series, Ending),
    Mean(Series, Ending),
    Max(Series, Ending),
    Count(Series, Ending),
    Rate,
    Errors,
    Missed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    More,
    MoreOrSame,
    Less,
    LessOrSame,
}

/// What became of a condition.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judgement {
    /// The condition as it was written.
    pub condition: String,
    /// The figure with its unit; none if it could not be measured.
    pub measured: Option<String>,
    /// Whether the condition is true; none if that can't be said.
    pub is_true: Option<bool>,
}

impl Condition {
    /// Holds it against a run.
    pub fn judge(&self, summary: &Summary) -> Judgement {
        let measured = self.measure(summary);
        let is_true = measured.map(|measured| match self.operator {
            Operator::More => measured > self.value,
            Operator::MoreOrSame => measured >= self.value,
            Operator::Less => measured < self.value,
            Operator::LessOrSame => measured <= self.value,
        });
        Judgement { condition: self.text.clone(), measured: measured.map(|it| self.words(it)), is_true }
    }

    fn measure(&self, summary: &Summary) -> Option<f64> {
        let histogram = |series, ending| {
            summary.figures.histograms.get(series, ending).filter(|histogram| !histogram.is_empty())
        };
        let messages = &summary.figures.counts.messages;
        let offered = summary.tally.offered;
        let share = |count: u64| match (self.is_share, offered) {
            (false, _) => Some(count as f64),
            (true, 0) => None,
            (true, offered) => Some(count as f64 / offered as f64),
        };
        match self.figure {
            Figure::Percentile(quantile, series, ending) => {
                histogram(series, ending).map(|histogram| histogram.value_at_quantile(quantile) as f64)
            }
            Figure::Mean(series, ending) => histogram(series, ending).map(|histogram| histogram.mean()),
            Figure::Max(series, ending) => histogram(series, ending).map(|histogram| histogram.max() as f64),
            Figure::Count(series, ending) => {
                Some(histogram(series, ending).map_or(0.0, |histogram| histogram.len() as f64))
            }
            Figure::Rate => {
                let (first, last) = summary.span_ns.filter(|(first, last)| first < last)?;
                Some(messages.accepted as f64 * 1e9 / (last - first) as f64)
            }
            Figure::Errors => share(offered.saturating_sub(messages.accepted)),
            Figure::Missed => share(offered.saturating_sub(messages.ended())),
        }
    }

    fn words(&self, measured: f64) -> String {
        match self.figure {
            Figure::Percentile(..) | Figure::Mean(..) | Figure::Max(..) => format!("{:.3}ms", measured / 1e6),
            Figure::Rate => format!("{measured:.1}/s"),
            Figure::Errors | Figure::Missed if self.is_share => format!("{:.3}%", measured * 100.0),
            Figure::Count(..) | Figure::Errors | Figure::Missed => format!("{measured:.0}"),
        }
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let measured = self.measured.as_deref().unwrap_or("could not be measured");
        write!(f, "{}: {measured}", self.condition)
    }
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Condition, String> {
        let text = text.trim();
        let bad = |problem: String| format!("`{text}`: {problem}");
        let Some(at) = text.find(['<', '>']) else {
            return Err(bad("write a figure, < or >, and a value, such as p99(message) > 200ms".to_owned()));
        };
        let (left, rest) = text.split_at(at);
        let (operator, right) = match rest.as_bytes() {
            [b'<', b'=', ..] => (Operator::LessOrSame, &rest[2..]),
            [b'<', ..] => (Operator::Less, &rest[1..]),
            [b'>', b'=', ..] => (Operator::MoreOrSame, &rest[2..]),
            _ => (Operator::More, &rest[1..]),
        };
        let figure = parse_figure(left.trim()).map_err(bad)?;
        let (value, is_share) = parse_value(figure, right.trim()).map_err(bad)?;
        Ok(Condition { text: text.to_owned(), figure, operator, value, is_share })
    }
}

/// Reads conditions with commas between them.
///
/// # Errors
/// The first one that is none.
pub fn parse_all(text: &str) -> Result<Vec<Condition>, String> {
    text.split(',').map(str::parse).collect()
}

fn parse_figure(text: &str) -> Result<Figure, String> {
    let (name, of) = match text.split_once('(') {
        None => (text, None),
        Some((name, rest)) => match rest.strip_suffix(')') {
            Some(inside) => (name.trim(), Some(inside.trim())),
            None => return Err("a parenthesis is not closed".to_owned()),
        },
    };
    let parse_of = || parse_series(of.unwrap_or("message"));
    match name {
        "rate" | "errors" | "missed" if of.is_some() => Err(format!("`{name}` is of the whole run")),
        "rate" => Ok(Figure::Rate),
        "errors" => Ok(Figure::Errors),
        "missed" => Ok(Figure::Missed),
        "mean" => parse_of().map(|(series, ending)| Figure::Mean(series, ending)),
        "max" => parse_of().map(|(series, ending)| Figure::Max(series, ending)),
        "count" => parse_of().map(|(series, ending)| Figure::Count(series, ending)),
        _ => match name.strip_prefix('p').and_then(|percent| percent.parse::<f64>().ok()) {
            Some(percent) if (0.0..=100.0).contains(&percent) => {
                parse_of().map(|(series, ending)| Figure::Percentile(percent / 100.0, series, ending))
            }
            _ => Err(format!(
                "`{name}` is not a figure; write p50, p99.9, mean, max, count, rate, errors or missed"
            )),
        },
    }
}

fn parse_series(text: &str) -> Result<(Series, Ending), String> {
    let (series, ending) = text.split_once('/').unwrap_or((text, "ok"));
    let names = |names: Vec<&str>| names.join(", ");
    let series = Series::all().find(|it| it.as_str() == series.trim()).ok_or_else(|| {
        let all = names(Series::all().map(Series::as_str).collect());
        format!("`{series}` is none of {all}")
    })?;
    let ending = Ending::ALL.into_iter().find(|it| it.as_str() == ending.trim()).ok_or_else(|| {
        let all = names(Ending::ALL.map(Ending::as_str).to_vec());
        format!("`{ending}` is none of {all}")
    })?;
    Ok((series, ending))
}

/// The value in the figure's unit, and whether it is a share.
fn parse_value(figure: Figure, text: &str) -> Result<(f64, bool), String> {
    let number = |text: &str| match text.trim().parse::<f64>() {
        Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
        _ => Err(format!("`{text}` is not a number")),
    };
    match figure {
        Figure::Percentile(..) | Figure::Mean(..) | Figure::Max(..) => {
            settings::duration::parse(text).map(|value| (value.as_nanos() as f64, false))
        }
        Figure::Rate => parse_rate(text).map(|value| (value, false)),
        Figure::Count(..) => number(text).map(|value| (value, false)),
        Figure::Errors | Figure::Missed => match text.strip_suffix('%') {
            Some(percent) => number(percent).map(|value| (value / 100.0, true)),
            None => number(text).map(|value| (value, false)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Tally;
    use crate::statistics::figures::Figures;
    use std::time::Duration;

    /// 990 accepted within 1 to 990 ms, 8 refused, 2 missed, in ten seconds.
    fn summary() -> Summary {
        let mut figures = Figures::default();
        for ms in 1..=990 {
            figures.histograms.record(Series::Message, Ending::Ok, Duration::from_millis(ms));
            figures.counts.messages.count(Ending::Ok);
        }
        for _ in 0..8 {
            figures.histograms.record(Series::Message, Ending::Refused, Duration::from_millis(3));
            figures.counts.messages.count(Ending::Refused);
        }
        Summary {
            open: true,
            asked: None,
            tally: Tally { offered: 1000, started: 998, warm_up: 0 },
            figures,
            span_ns: Some((5_000_000_000, 15_000_000_000)),
            cpu_s: 0.0,
            stopped: None,
        }
    }

    fn judge(text: &str) -> Judgement {
        text.parse::<Condition>().unwrap_or_else(|error| panic!("{error}")).judge(&summary())
    }

    #[test]
    fn every_figure_is_held_against_its_value() {
        for (text, is_true) in [
            ("p99(message) > 200ms", true),
            ("p99>990ms", false),
            ("p50(message)<=500ms", true),
            ("p50 < 490ms", false),
            ("p99.9(message/ok)>980ms", true),
            ("mean(message) >= 490ms", true),
            ("max > 1s", false),
            ("max(message/refused) < 4ms", true),
            ("count(message) < 991", true),
            ("count(dot) > 0", false),
            ("rate < 99.1/s", true),
            ("rate > 6000/m", false),
            ("errors > 0.9%", true),
            ("errors > 1%", false),
            ("errors >= 10", true),
            ("missed > 0", true),
            ("missed > 0.2%", false),
        ] {
            assert_eq!(judge(text).is_true, Some(is_true), "{}", judge(text));
        }
        assert_eq!(judge("errors>0").to_string(), "errors>0: 10");
    }

    #[test]
    fn what_was_not_measured_is_neither_true_nor_false() {
        let judgement = judge("p99(dot) > 1ms");
        assert_eq!((judgement.is_true, judgement.measured.as_deref()), (None, None));
        assert!(judgement.to_string().contains("could not be measured"));
    }

    #[test]
    fn what_is_no_condition_is_refused_with_what_is_right() {
        for (text, part) in [
            ("", "write a figure"),
            ("p99 = 5ms", "write a figure"),
            ("p101 > 5ms", "not a figure"),
            ("q > 5ms", "p50, p99.9, mean"),
            ("p99(dog) > 5ms", "none of connect, banner"),
            ("p99(dot/fine) > 5ms", "none of ok, deferred"),
            ("p99(dot > 5ms", "not closed"),
            ("p99 > 5", "5ms"),
            ("rate > 5", "500/s"),
            ("rate(dot) > 5/s", "of the whole run"),
            ("errors > many", "not a number"),
            ("errors > -1%", "not a number"),
        ] {
            let error = text.parse::<Condition>().expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
        assert_eq!(parse_all("p99 < 200ms, errors < 0.1%").map(|all| all.len()), Ok(2));
        assert!(parse_all("p99 < 200ms,").is_err());
    }
}
