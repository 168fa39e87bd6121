//! What a run found, as JSON for programs and as a table for people.
//!
//! | module | for |
//! |---|---|
//! | [`condition`] | what a run may be held against |
//! | [`latency`] | a histogram in figures |
//! | `table` | the table for people |
//! | [`plot`] | the percentiles as a picture |

pub mod condition;
pub mod latency;
pub mod plot;
mod table;

use crate::schedule::Tally;
use crate::statistics::errors::ErrorRow;
use crate::statistics::figures::Figures;
use crate::statistics::histograms::{Histograms, Series};
use crate::statistics::outcome::Ending;
use crate::statistics::summary::Summary;
use condition::{Condition, Judgement};
use latency::{Latency, LatencyRow};
use serde::{Serialize, Serializer, ser::SerializeMap};
use smtp::Stage;
use std::time::Duration;

/// The results of one run; the JSON has the same names.
#[derive(Debug, Serialize)]
pub struct Report {
    /// `closed` (connections decide when a message starts) or `open` (the clock does).
    pub model: &'static str,
    /// Messages that were asked for, the warm-up left out; each is in exactly one of the next five counts.
    pub messages: u64,
    /// Messages the server took, for one recipient at least.
    pub accepted: u64,
    /// Messages turned away for now (4xx).
    pub deferred: u64,
    /// Messages turned away for good (5xx).
    pub refused: u64,
    /// Messages without an answer: connection lost, time up, or no SMTP.
    pub failed: u64,
    /// Messages that were never put to the server.
    pub not_started: u64,
    /// Messages that were meant to start within the run.
    pub offered: u64,
    /// Messages of `offered` whose transaction began.
    pub started: u64,
    /// Messages of `offered` that never began, because the run was over before a connection was free.
    pub missed: u64,
    /// Messages of the warm-up that ended; in no other count.
    pub warm_up: u64,
    /// Recipients turned away or lost, those of messages accepted for others included.
    pub recipients_failed: u64,
    /// From the start of the first message to the end of the last; none if none ended.
    pub elapsed_s: Option<f64>,
    /// Accepted messages a second within `elapsed_s`.
    pub throughput_msg_per_s: Option<f64>,
    /// CPU time of this process, user and system.
    pub cpu_s: f64,
    /// Connections that were established.
    pub connections_opened: u64,
    /// TLS handshakes that took up an earlier session; their times are in the stage `handshake`.
    pub tls_resumed: u64,
    /// Latency of positive replies by stage; `message`: an accepted message from its intended start to the reply to the
    /// dot; `service`: the same from its MAIL on.
    #[serde(serialize_with = "as_map")]
    pub stages: Vec<(&'static str, Latency)>,
    /// Latency by stage and outcome, of everything that happened.
    pub latencies: Vec<LatencyRow>,
    /// From intended start until a connection took the message upon itself; open loop only.
    pub start_lag: Latency,
    /// How late the generator's own loop was, whatever the server did; open loop only.
    pub generator_lag: Latency,
    /// Whether the generator itself was on time, so that the latencies are the server's.
    pub valid: bool,
    /// Why not.
    pub invalid_because: Option<String>,
    /// Errors by stage and code, the most frequent first.
    pub errors: Vec<ErrorRow>,
    /// Start of the first message, CLOCK_MONOTONIC.
    pub first_ns: Option<u64>,
    /// End of the last message, CLOCK_MONOTONIC.
    pub last_ns: Option<u64>,
    /// Why the run was given up or stopped before its end.
    pub stopped: Option<String>,
    /// What makes the run a failure, and whether it came true.
    pub fail_if: Vec<Judgement>,
}

impl Report {
    /// Reads the figures at the end of a run, whose generator may be late by `lag_max` in one case of a hundred.
    pub fn new(summary: &Summary, lag_max: Duration) -> Report {
        let Figures { histograms, counts, errors } = &summary.figures;
        let started = counts.messages.ended();
        let Tally { warm_up, .. } = summary.tally;
        // In the closed loop a message is meant when it starts.
        let offered = if summary.open { summary.tally.offered } else { started };
        let asked = summary.asked.map_or(offered, |messages| messages.saturating_sub(warm_up));
        let elapsed_s = summary.span_ns.map(|(first, last)| (last - first) as f64 / 1e9);
        let accepted = counts.messages.accepted;
        let generator_lag = of(histograms, Series::GeneratorLag);
        let invalid_because = invalid(&generator_lag, lag_max);
        Report {
            model: if summary.open { "open" } else { "closed" },
            messages: asked,
            accepted,
            deferred: counts.messages.deferred,
            refused: counts.messages.refused,
            failed: counts.messages.failed,
            not_started: asked.saturating_sub(started),
            offered,
            started,
            missed: offered.saturating_sub(started),
            warm_up: counts.warm_up_ended,
            recipients_failed: counts.recipients_failed,
            elapsed_s,
            throughput_msg_per_s: elapsed_s.filter(|&s| s > 0.0).map(|elapsed_s| accepted as f64 / elapsed_s),
            cpu_s: summary.cpu_s,
            connections_opened: counts.connections_opened,
            tls_resumed: counts.tls_resumed,
            stages: stages(histograms),
            latencies: LatencyRow::all(histograms),
            start_lag: of(histograms, Series::StartLag),
            generator_lag,
            valid: invalid_because.is_none(),
            invalid_because,
            errors: errors.rows(),
            first_ns: summary.span_ns.map(|(first, _)| first),
            last_ns: summary.span_ns.map(|(_, last)| last),
            stopped: summary.stopped.clone(),
            fail_if: Vec::new(),
        }
    }

    /// Holds the run against what would make it a failure.
    pub fn judge(&mut self, summary: &Summary, fail_if: &[Condition]) {
        self.fail_if = fail_if.iter().map(|condition| condition.judge(summary)).collect();
    }

    /// Whether the run did what was wanted: conditions decide where there are any, else every message must have been
    /// accepted. A run that was stopped or is invalid did not, nor does a condition hold that could not be measured.
    pub fn is_success(&self) -> bool {
        let as_wanted = match self.fail_if[..] {
            [] => self.all_accepted(),
            ref judgements => judgements.iter().all(|judgement| judgement.is_true == Some(false)),
        };
        as_wanted && self.valid && self.stopped.is_none()
    }

    /// Whether every message was accepted for every recipient.
    pub fn all_accepted(&self) -> bool {
        self.accepted == self.messages && self.recipients_failed == 0
    }
}

fn of(histograms: &Histograms, series: Series) -> Latency {
    Latency::new(histograms.get(series, Ending::Ok))
}

fn stages(histograms: &Histograms) -> Vec<(&'static str, Latency)> {
    let messages = [Series::Message, Series::Service];
    Stage::ALL
        .map(Series::Stage)
        .into_iter()
        .chain(messages)
        .map(|series| (series.as_str(), of(histograms, series)))
        .filter(|(name, latency)| latency.count > 0 || ALWAYS_SHOWN.contains(name))
        .collect()
}

fn invalid(generator_lag: &Latency, lag_max: Duration) -> Option<String> {
    let p99 = Duration::from_nanos((generator_lag.p99_us? * 1000.0) as u64);
    (p99 > lag_max).then(|| {
        format!(
            "the generator itself was late: by {:.3} ms in one case of a hundred ({} allowed)",
            p99.as_secs_f64() * 1000.0,
            settings::duration::format(lag_max)
        )
    })
}

fn as_map<S: Serializer>(stages: &[(&'static str, Latency)], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(stages.len()))?;
    for (name, latency) in stages {
        map.serialize_entry(name, latency)?;
    }
    map.end()
}

/// Stages that each message passes: their names are in every JSON.
const ALWAYS_SHOWN: &[&str] =
    &["connect", "banner", "ehlo", "mail", "rcpt", "data", "dot", "message", "service"];
