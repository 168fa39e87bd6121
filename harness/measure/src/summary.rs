//! `summary.csv` and the table at the end of a run: medians, ranges, and ratios to the first subject.

use crate::cell;
use crate::figure::{FIGURES, Ratio, named, values};
use crate::file::Record;
use crate::row::{Point, RunRow, SCHEMA_VERSION};
use crate::table::{Table, range, short, spread};
use crate::word::{Grouping, Placement};
use serde::{Deserialize, Serialize};

/// One figure of one subject at one point.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SummaryRow {
    pub schema_version: u32,
    pub run_id: String,
    pub profile: String,
    pub subject: String,
    pub load_model: String,
    pub placement: Option<Placement>,
    pub grouping: Option<Grouping>,
    pub messages_per_connection: Option<u32>,
    pub message_size_bytes: u64,
    pub sink_delay: String,
    pub sink_reply: String,
    pub concurrency: u32,
    /// What the numbers behind are of, with its unit.
    pub figure: String,
    pub repeats: u64,
    pub repeats_valid: u64,
    /// Over the valid repeats, as are the next two.
    #[serde(serialize_with = "cell::figure")]
    pub median: Option<f64>,
    #[serde(serialize_with = "cell::figure")]
    pub min: Option<f64>,
    #[serde(serialize_with = "cell::figure")]
    pub max: Option<f64>,
    /// What the ratios refer to.
    pub base_subject: String,
    /// This median by the base's, both over the blocks in which both are valid.
    #[serde(serialize_with = "cell::figure")]
    pub ratio: Option<f64>,
    /// Over the same blocks, as is the next.
    #[serde(serialize_with = "cell::figure")]
    pub ratio_min: Option<f64>,
    #[serde(serialize_with = "cell::figure")]
    pub ratio_max: Option<f64>,
    /// 95 % interval of the median of the blocks' ratios; from six blocks on.
    #[serde(serialize_with = "cell::figure")]
    pub ratio_low: Option<f64>,
    #[serde(serialize_with = "cell::figure")]
    pub ratio_high: Option<f64>,
    pub blocks: Option<u64>,
}

impl SummaryRow {
    /// What a figure's row takes over from any trial of the subject at the point.
    fn new(trial: &RunRow, figure: &str, base: &str) -> SummaryRow {
        SummaryRow {
            schema_version: SCHEMA_VERSION,
            run_id: trial.run_id.clone(),
            profile: trial.profile.clone(),
            subject: trial.subject.clone(),
            load_model: trial.load_model.clone(),
            placement: trial.placement,
            grouping: trial.grouping,
            messages_per_connection: trial.messages_per_connection,
            message_size_bytes: trial.message_size_bytes,
            sink_delay: trial.sink_delay.clone(),
            sink_reply: trial.sink_reply.clone(),
            concurrency: trial.concurrency,
            figure: figure.to_owned(),
            repeats: 0,
            repeats_valid: 0,
            median: None,
            min: None,
            max: None,
            base_subject: base.to_owned(),
            ratio: None,
            ratio_min: None,
            ratio_max: None,
            ratio_low: None,
            ratio_high: None,
            blocks: None,
        }
    }
}

impl Record for SummaryRow {
    fn empty() -> SummaryRow {
        SummaryRow::new(&RunRow::new(""), "", "")
    }
}

/// The summary of one run. `subjects` is their order, the base first; those it does not name follow as they come.
pub fn summarize(rows: &[RunRow], subjects: &[String]) -> Vec<SummaryRow> {
    let grid = Grid::new(rows, subjects);
    let mut summary = Vec::new();
    for point in &grid.points {
        for subject in &grid.subjects {
            let own = grid.rows(subject, point);
            let Some(first) = own.first() else { continue };
            let base = grid.rows(&grid.subjects[0], point);
            for figure in FIGURES {
                let mut row = SummaryRow::new(first, figure.name, &grid.subjects[0]);
                row.repeats = own.len() as u64;
                row.repeats_valid = own.iter().filter(|row| row.valid).count() as u64;
                if let Some(values) = values(&own, *figure) {
                    (row.median, row.min, row.max) =
                        (Some(values.median()), Some(values.min()), Some(values.max()));
                }
                if let Some(ratio) = Ratio::within_run(&own, &base, *figure) {
                    (row.ratio, row.ratio_min, row.ratio_max) =
                        (Some(ratio.ratio), Some(ratio.min), Some(ratio.max));
                    (row.ratio_low, row.ratio_high) = ratio.interval.unzip();
                    row.blocks = Some(ratio.blocks as u64);
                }
                summary.push(row);
            }
        }
    }
    summary
}

/// The same for people: a line a subject and point, medians with the throughput's range and ratio.
pub fn summary_table(rows: &[RunRow], subjects: &[String]) -> String {
    let grid = Grid::new(rows, subjects);
    let mut table = Table::new(&[
        "concurrency",
        "size B",
        "sink",
        "subject",
        "msg/s",
        "range",
        "ratio",
        "p50 ms",
        "p99 ms",
        "in flight",
        "processes",
        "CPU s/1000",
        "agents MiB",
        "valid",
        "limited by",
    ]);
    let throughput = named("throughput_msg_per_s");
    for point in &grid.points {
        table.rule();
        for subject in &grid.subjects {
            let own = grid.rows(subject, point);
            if own.is_empty() {
                continue;
            }
            let median = |name: &str| values(&own, named(name)).map(|values| values.median());
            let rate = values(&own, throughput);
            let ratio = Ratio::within_run(&own, &grid.rows(&grid.subjects[0], point), throughput);
            let only = |differs: bool, text: String| if differs { text } else { String::new() };
            table.row([
                point.concurrency.to_string(),
                only(grid.sizes_differ(), point.message_size_bytes.to_string()),
                only(
                    grid.sinks_differ(),
                    format!("{} {}", point.sink_delay, point.sink_reply).trim().to_owned(),
                ),
                subject.clone(),
                short(rate.as_ref().map(|rate| rate.median())),
                rate.as_ref().map_or(String::new(), |rate| range(rate.min(), rate.max())),
                ratio
                    .filter(|_| *subject != grid.subjects[0])
                    .map_or(String::new(), |ratio| ratio_words(&ratio)),
                short(median("delivery_p50_ms")),
                short(median("delivery_p99_ms")),
                short(median("in_flight_mean")),
                short(median("processes_peak")),
                short(median("cpu_mta_s_per_1000_messages")),
                short(median("pss_agents_peak_bytes").map(|bytes| bytes / MEBIBYTE)),
                format!("{}/{}", own.iter().filter(|row| row.valid).count(), own.len()),
                limits(&own),
            ]);
        }
    }
    table.render()
}

/// `1.2 (1.18..1.25)`: the ratio and its range over the blocks, or its interval where there are enough of them.
pub(crate) fn ratio_words(ratio: &Ratio) -> String {
    match ratio.interval {
        None => spread(ratio.ratio, ratio.min, ratio.max),
        Some((low, high)) => format!("{} ({}, 95 %)", short(Some(ratio.ratio)), range(low, high)),
    }
}

fn limits(rows: &[&RunRow]) -> String {
    let mut words: Vec<&str> =
        rows.iter().filter_map(|row| row.limited_by).map(|word| word.as_str()).collect();
    words.sort_unstable();
    words.dedup();
    words.join("/")
}

/// Rows by subject and point, both in the order of the run.
pub(crate) struct Grid<'a> {
    rows: &'a [RunRow],
    pub subjects: Vec<String>,
    pub points: Vec<Point>,
}

impl<'a> Grid<'a> {
    pub fn new(rows: &'a [RunRow], subjects: &[String]) -> Grid<'a> {
        let mut known: Vec<String> =
            subjects.iter().filter(|name| rows.iter().any(|row| row.subject == **name)).cloned().collect();
        let mut points: Vec<Point> = Vec::new();
        for row in rows {
            if !known.contains(&row.subject) {
                known.push(row.subject.clone());
            }
            if !points.contains(&row.point()) {
                points.push(row.point());
            }
        }
        Grid { rows, subjects: known, points }
    }

    pub fn rows(&self, subject: &str, point: &Point) -> Vec<&'a RunRow> {
        self.rows.iter().filter(|row| row.subject == subject && row.point() == *point).collect()
    }

    pub fn sizes_differ(&self) -> bool {
        self.points.iter().any(|point| point.message_size_bytes != self.points[0].message_size_bytes)
    }

    pub fn sinks_differ(&self) -> bool {
        let sink = |point: &Point| (point.sink_delay.clone(), point.sink_reply.clone());
        self.points.iter().any(|point| sink(point) != sink(&self.points[0]))
    }
}

const MEBIBYTE: f64 = 1_048_576.0;
