//! The highest rate that a server holds: which rates are tried, how each is judged, and the curve that comes of it.
//!
//! Each rate is a run of its own: ramp to it, hold it, stop, wait until all that was sent is answered, and only then read.
//! Reading while messages are under way would count those as lost that are merely late, and jumping to a rate would judge
//! the jump.
//!
//! | module | for |
//! |---|---|
//! | [`search`] | which rate is tried next |
//! | `curve` | what the rates gave, as a table |

mod curve;
pub mod search;

use crate::options::Error;
use crate::report::condition::{Condition, Judgement};
use crate::report::latency::Latency;
use crate::schedule::rate::{Course, Piece, Spacing};
use crate::schedule::{Model, Plan, Shard, Stop};
use crate::signals::Signals;
use crate::statistics::histograms::Series;
use crate::statistics::outcome::Ending;
use crate::statistics::summary::Summary;
use search::{Found, Limit, Next, Purpose, Range, Search, Verdict};
use serde::Serialize;
use std::thread::sleep;
use std::time::Duration;

/// How a capacity is searched.
#[derive(Clone, Debug)]
pub struct Climb {
    pub range: Range,
    /// How long the way up to a rate takes; left out of the figures.
    pub ramp: Duration,
    /// How long a rate is held.
    pub hold: Duration,
    /// Between two rates, for what the server has still to do.
    pub settle: Duration,
    pub spacing: Spacing,
    /// What must be true of a rate that holds; besides, no message may be missed.
    pub wanted: Vec<Condition>,
    /// The generator's own lag, in one case of a hundred, from which on a failure is not the server's.
    pub lag_max: Duration,
}

/// What was found; the JSON has the same names.
#[derive(Debug, Serialize)]
pub struct Curve {
    /// The highest rate that held, in messages a second; none if none did.
    pub capacity_msg_per_s: Option<f64>,
    /// What kept it from being higher; none if the search was interrupted.
    pub limited_by: Option<Limit>,
    /// Every rate that was tried, in that order.
    pub steps: Vec<Step>,
}

/// One rate that was tried.
#[derive(Debug, Serialize)]
pub struct Step {
    pub rate_msg_per_s: f64,
    pub purpose: Purpose,
    pub verdict: Verdict,
    /// Messages that were meant to start while the rate was held, that were accepted, and that never started.
    pub offered: u64,
    pub accepted: u64,
    pub missed: u64,
    pub message: Latency,
    pub service: Latency,
    pub generator_lag: Latency,
    pub conditions: Vec<Judgement>,
    /// Why the step was given up.
    pub stopped: Option<String>,
}

/// Searches. `measure` sends one load, the `u32`th from 1; `tell` hears of each rate that was tried.
///
/// # Errors
/// Those of `measure`.
pub fn find(
    climb: &Climb,
    mut measure: impl FnMut(&Plan, u32) -> Result<Summary, Error>,
    mut tell: impl FnMut(&Step),
) -> Result<Curve, Error> {
    let signals = Signals::watch().map_err(Error::Runtime)?;
    let mut search = Search::new(climb.range);
    let mut steps: Vec<Step> = Vec::new();
    loop {
        let (rate, purpose) = match search.next() {
            Next::Done(Found { rate, limit }) => {
                return Ok(Curve { capacity_msg_per_s: rate, limited_by: Some(limit), steps });
            }
            Next::Try { rate, purpose } => (rate, purpose),
        };
        if !steps.is_empty() {
            sleep(climb.settle);
        }
        let before = steps.last().map_or(0.0, |step| step.rate_msg_per_s.min(rate));
        let summary = measure(&climb.plan(before, rate), steps.len() as u32 + 1)?;
        if signals.take() {
            return Ok(Curve { capacity_msg_per_s: None, limited_by: None, steps });
        }
        let step = climb.judge(rate, purpose, &summary);
        tell(&step);
        search.tell(step.verdict);
        steps.push(step);
        // A server that was never there has no capacity, and searching it would take minutes.
        if steps.iter().all(|step| step.accepted == 0 && step.stopped.is_some()) {
            return Ok(Curve { capacity_msg_per_s: None, limited_by: Some(Limit::Server), steps });
        }
    }
}

impl Climb {
    fn plan(&self, before: f64, rate: f64) -> Plan {
        let ramp = Piece { from: before, to: rate, length: self.ramp };
        let hold = Piece { from: rate, to: rate, length: self.hold };
        let pieces = [ramp, hold].into_iter().filter(|piece| !piece.length.is_zero());
        Plan {
            model: Model::Open { course: Course::new(pieces.collect()), spacing: self.spacing },
            stop: Stop::default(),
            warm_up: self.ramp,
            shard: Shard::WHOLE,
        }
    }

    fn judge(&self, rate: f64, purpose: Purpose, summary: &Summary) -> Step {
        let latency = |series| Latency::new(summary.figures.histograms.get(series, Ending::Ok));
        let generator_lag = latency(Series::GeneratorLag);
        let conditions: Vec<Judgement> = self.wanted.iter().map(|wanted| wanted.judge(summary)).collect();
        let ended = summary.figures.counts.messages.ended();
        let missed = summary.tally.offered.saturating_sub(ended);
        let all_true = conditions.iter().all(|judgement| judgement.is_true == Some(true));
        let lag_max_us = self.lag_max.as_secs_f64() * 1e6;
        let verdict = match all_true && missed == 0 && summary.stopped.is_none() {
            // A generator that was late makes latencies longer: what holds even so, holds.
            true => Verdict::Holds,
            false if generator_lag.p99_us > Some(lag_max_us) => Verdict::Lagged,
            false => Verdict::Breaks,
        };
        Step {
            rate_msg_per_s: rate,
            purpose,
            verdict,
            offered: summary.tally.offered,
            accepted: summary.figures.counts.messages.accepted,
            missed,
            message: latency(Series::Message),
            service: latency(Series::Service),
            generator_lag,
            conditions,
            stopped: summary.stopped.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::condition::parse_all;
    use crate::schedule::Tally;
    use crate::statistics::figures::Figures;

    fn climb() -> Climb {
        Climb {
            range: Range { first: 100.0, ceiling: 20_000.0 },
            ramp: Duration::from_secs(2),
            hold: Duration::from_secs(10),
            settle: Duration::ZERO,
            spacing: Spacing::Even,
            wanted: parse_all("p99 < 200ms, errors < 1%").expect("good"),
            lag_max: Duration::from_millis(10),
        }
    }

    /// A server of one queue: what comes beyond its capacity waits, and what waits for longer than a second is missed.
    fn server(capacity: f64, lag: Duration, plan: &Plan) -> Summary {
        let Model::Open { course, .. } = &plan.model else { panic!("an open loop") };
        let [ramp, hold] = course.pieces() else { panic!("a ramp and a level") };
        assert_eq!((ramp.to, hold.from, hold.to, plan.warm_up), (hold.from, hold.to, hold.from, ramp.length));
        let mut figures = Figures::default();
        let offered = (hold.from * hold.length.as_secs_f64()) as u64;
        for number in 0..offered {
            let late_s = (number as f64 / hold.from) * (hold.from / capacity - 1.0);
            if late_s < 1.0 {
                let latency = Duration::from_secs_f64(0.005 + late_s.max(0.0));
                figures.histograms.record(Series::Message, Ending::Ok, latency);
                figures.counts.messages.count(Ending::Ok);
            }
        }
        figures.histograms.record(Series::GeneratorLag, Ending::Ok, lag);
        let tally = Tally { offered, started: offered, warm_up: 0 };
        Summary { open: true, asked: None, tally, figures, span_ns: None, cpu_s: 0.0, stopped: None }
    }

    #[test]
    fn a_queue_that_grows_is_found_out() {
        let mut told = 0;
        let curve = find(
            &climb(),
            |plan, number| {
                told += 1;
                assert_eq!(number, told, "each load has a number of its own");
                Ok(server(1_500.0, Duration::ZERO, plan))
            },
            |_| {},
        );
        let curve = curve.expect("a curve");
        let capacity = curve.capacity_msg_per_s.expect("a capacity");
        // 200 ms in ten seconds is two per cent more than the queue drains.
        assert!((1_425.0..1_540.0).contains(&capacity), "{capacity}");
        assert_eq!(curve.limited_by, Some(Limit::Server));
        let table = curve.table();
        assert!(table.contains("held") && table.contains("broke") && table.contains("capacity: "), "{table}");
    }

    #[test]
    fn a_generator_that_lags_is_named() {
        let curve = find(
            &climb(),
            |plan, _| {
                let Model::Open { course, .. } = &plan.model else { panic!("an open loop") };
                let lag = if course.highest() > 1_000.0 { Duration::from_secs(1) } else { Duration::ZERO };
                Ok(server(if lag.is_zero() { 1e9 } else { 900.0 }, lag, plan))
            },
            |_| {},
        );
        let curve = curve.expect("a curve");
        assert_eq!(curve.limited_by, Some(Limit::Generator));
        assert!(curve.table().contains("the generator, not the server"), "{}", curve.table());
    }
}
