//! What a run found, as JSON for programs and as a table for people.

use crate::clock::Clock;
use crate::statistics::{ErrorRow, Outcomes, Statistics};
use hdrhistogram::Histogram;
use serde::{Serialize, Serializer, ser::SerializeMap};
use smtp::Stage;

/// The results of one run; the JSON has the same names.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Messages that were asked for; each is in exactly one of the next five counts.
    pub messages: u64,
    /// Messages the server took, for one recipient at least.
    pub accepted: u64,
    /// Messages turned away for now (4xx).
    pub deferred: u64,
    /// Messages turned away for good (5xx).
    pub refused: u64,
    /// Messages without an answer: connection lost, time up, or no SMTP.
    pub failed: u64,
    /// Messages that were never put to the server, because the run was stopped or given up.
    pub not_started: u64,
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
    /// Latency of positive replies by stage, and `message`: from intended start to the reply to the dot.
    #[serde(serialize_with = "as_map")]
    pub stages: Vec<(&'static str, Latency)>,
    /// Errors by stage and code, the most frequent first.
    pub errors: Vec<ErrorRow>,
    /// Start of the first message, CLOCK_MONOTONIC.
    pub first_ns: Option<u64>,
    /// End of the last message, CLOCK_MONOTONIC.
    pub last_ns: Option<u64>,
    /// Why the run was given up or stopped before its end.
    pub stopped: Option<String>,
}

/// One histogram in figures; none where nothing was counted.
#[derive(Debug, Serialize)]
pub struct Latency {
    pub count: u64,
    pub mean_us: Option<f64>,
    pub p50_us: Option<f64>,
    pub p90_us: Option<f64>,
    pub p99_us: Option<f64>,
    pub p999_us: Option<f64>,
    pub max_us: Option<f64>,
}

impl Report {
    /// Reads the figures at the end of a run of `messages`.
    pub fn new(messages: u64, statistics: &Statistics, clock: &Clock, stopped: Option<String>) -> Report {
        let outcomes = &statistics.outcomes;
        let Outcomes { accepted, deferred, refused, failed } = *outcomes;
        let elapsed_s = statistics.span.map(|(first, last)| (last - first).as_secs_f64());
        let mut stages: Vec<(&'static str, Latency)> = Stage::ALL
            .iter()
            .map(|stage| (stage.as_str(), Latency::new(statistics.stage_histogram(*stage))))
            .filter(|(name, latency)| latency.count > 0 || ALWAYS_SHOWN.contains(name))
            .collect();
        stages.push(("message", Latency::new(statistics.message_histogram())));
        Report {
            messages,
            accepted,
            deferred,
            refused,
            failed,
            not_started: messages - outcomes.ended(),
            recipients_failed: statistics.recipients_failed,
            elapsed_s,
            throughput_msg_per_s: elapsed_s.filter(|&s| s > 0.0).map(|elapsed_s| accepted as f64 / elapsed_s),
            cpu_s: clock.cpu_s(),
            connections_opened: statistics.connections_opened,
            stages,
            errors: statistics.errors(),
            first_ns: statistics.span.map(|(first, _)| clock.monotonic_ns(first)),
            last_ns: statistics.span.map(|(_, last)| clock.monotonic_ns(last)),
            stopped,
        }
    }

    /// Whether every message was accepted for every recipient.
    pub fn all_accepted(&self) -> bool {
        self.accepted == self.messages && self.recipients_failed == 0
    }

    /// The table for people, several lines, each ended.
    pub fn table(&self) -> String {
        self.latencies() + &self.totals() + &self.error_lines()
    }

    fn latencies(&self) -> String {
        let mut lines: Vec<String> = Vec::new();
        for (name, latency) in self.stages.iter().filter(|(_, latency)| latency.count > 0) {
            let cells =
                latency.columns().map(|us| us.map_or(String::new(), |us| format!("{:.3}", us / 1000.0)));
            lines.push(row(name, &latency.count.to_string(), &cells));
        }
        if !lines.is_empty() {
            let names = ["mean", "p50", "p90", "p99", "p99.9", "max"].map(str::to_owned);
            lines.insert(0, row("stage (ms)", "count", &names));
            lines.push("\n".to_owned());
        }
        lines.concat()
    }

    fn totals(&self) -> String {
        let mut text = format!(
            "messages: {} asked for, {} accepted, {} deferred, {} refused, {} failed, {} not started\n",
            self.messages, self.accepted, self.deferred, self.refused, self.failed, self.not_started
        );
        if let (Some(elapsed_s), Some(throughput)) = (self.elapsed_s, self.throughput_msg_per_s) {
            let (connections, cpu_s) = (self.connections_opened, self.cpu_s);
            text += &format!(
                "throughput: {throughput:.0} msg/s over {elapsed_s:.3} s, {connections} connections, {cpu_s:.3} s CPU\n"
            );
        }
        text
    }

    fn error_lines(&self) -> String {
        let mut text = String::new();
        if !self.errors.is_empty() {
            text += &format!("\n{:<10}{:>6}{:>10}  first text\n", "error at", "code", "count");
        }
        for row in &self.errors {
            let code = row.code.map_or("-".to_owned(), |code| code.to_string());
            text += &format!("{:<10}{code:>6}{:>10}  {}\n", row.stage, row.count, row.text);
        }
        text
    }
}

impl Latency {
    fn new(histogram: &Histogram<u64>) -> Latency {
        let some = |ns: f64| (!histogram.is_empty()).then(|| ns.round() / 1000.0);
        let quantile = |q: f64| some(histogram.value_at_quantile(q) as f64);
        Latency {
            count: histogram.len(),
            mean_us: some(histogram.mean()),
            p50_us: quantile(0.5),
            p90_us: quantile(0.9),
            p99_us: quantile(0.99),
            p999_us: quantile(0.999),
            max_us: quantile(1.0),
        }
    }

    fn columns(&self) -> [Option<f64>; 6] {
        [self.mean_us, self.p50_us, self.p90_us, self.p99_us, self.p999_us, self.max_us]
    }
}

fn row(name: &str, count: &str, cells: &[String; 6]) -> String {
    let cells: String = cells.iter().map(|cell| format!("{cell:>11}")).collect();
    format!("{name:<10}{count:>10}{cells}\n")
}

fn as_map<S: Serializer>(stages: &[(&'static str, Latency)], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(stages.len()))?;
    for (name, latency) in stages {
        map.serialize_entry(name, latency)?;
    }
    map.end()
}

/// Stages that each message passes: their names are in every JSON.
const ALWAYS_SHOWN: &[&str] = &["connect", "banner", "ehlo", "mail", "rcpt", "data", "dot"];
