//! The time series: a row of CSV for each second of a run.

use crate::statistics::histograms::Series;
use crate::statistics::outcome::Ending;
use crate::statistics::summary::Interval;
use hdrhistogram::Histogram;
use std::fmt::Write as _;
use std::io::{self, Write};

/// Columns in their order. Counts are those of the row's second; times are of messages that were accepted in it.
pub const COLUMNS: [&str; 20] = [
    "from_s",
    "to_s",
    "offered",
    "started",
    "accepted",
    "deferred",
    "refused",
    "failed",
    "errors",
    "in_flight",
    "connections",
    "rate_msg_per_s",
    "message_p50_us",
    "message_p90_us",
    "message_p99_us",
    "message_max_us",
    "service_p50_us",
    "service_p99_us",
    "start_lag_p99_us",
    "generator_lag_p99_us",
];

/// Writes the row of names.
pub fn write_head(out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{}", COLUMNS.join(","))?;
    out.flush()
}

/// Writes the row of one second; cells are empty where nothing was measured.
pub fn write_row(interval: &Interval, out: &mut impl Write) -> io::Result<()> {
    let counts = &interval.figures.counts.messages;
    let rate = counts.accepted as f64 / (interval.to_s - interval.from_s).max(0.001);
    let mut row =
        format!("{:.3},{:.3},{},{}", interval.from_s, interval.to_s, interval.offered, interval.started);
    const TEXT: &str = "a String accepts every write";
    write!(
        row,
        ",{},{},{},{},{},{},{},{rate:.1}",
        counts.accepted,
        counts.deferred,
        counts.refused,
        counts.failed,
        interval.figures.errors.total(),
        interval.in_flight,
        interval.connections
    )
    .expect(TEXT);
    let quantile = |q: f64| move |histogram: &Histogram<u64>| histogram.value_at_quantile(q);
    for (series, figures) in [
        (Series::Message, &[quantile(0.5), quantile(0.9), quantile(0.99), quantile(1.0)][..]),
        (Series::Service, &[quantile(0.5), quantile(0.99)]),
        (Series::StartLag, &[quantile(0.99)]),
        (Series::GeneratorLag, &[quantile(0.99)]),
    ] {
        for figure in figures {
            row.push(',');
            if let Some(histogram) = interval.figures.histograms.get(series, Ending::Ok) {
                write!(row, "{:.1}", figure(histogram) as f64 / 1000.0).expect(TEXT);
            }
        }
    }
    writeln!(out, "{row}")?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::figures::Figures;
    use std::time::Duration;

    #[test]
    fn each_row_has_a_cell_for_each_column() {
        let mut out = Vec::new();
        write_head(&mut out).expect("a Vec");
        let mut figures = Figures::default();
        for _ in 0..2 {
            let interval = Interval {
                from_s: 0.0,
                to_s: 1.0,
                offered: 3,
                started: 2,
                in_flight: 1,
                connections: 5,
                figures: std::mem::take(&mut figures),
            };
            write_row(&interval, &mut out).expect("a Vec");
            figures.histograms.record(Series::Message, Ending::Ok, Duration::from_millis(2));
            figures.counts.messages.count(Ending::Ok);
        }
        let text = String::from_utf8(out).expect("ASCII");
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
        assert!(rows.iter().all(|row| row.len() == COLUMNS.len()), "{text}");
        let cell =
            |row: usize, name: &str| rows[row][COLUMNS.iter().position(|it| *it == name).expect("a name")];
        assert_eq!((cell(1, "offered"), cell(1, "accepted"), cell(1, "message_p50_us")), ("3", "0", ""));
        assert_eq!((cell(2, "accepted"), cell(2, "rate_msg_per_s")), ("1", "1.0"));
        assert!(cell(2, "message_p50_us").starts_with("200"), "{text}");
    }
}
