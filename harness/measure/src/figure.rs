//! The figures of a row that are summed up and compared: one list for summary, table and comparison.

use crate::row::RunRow;
use crate::statistics::Sorted;

/// A figure by its name in `summary.csv`.
#[derive(Clone, Copy)]
pub struct Figure {
    pub name: &'static str,
    pub of: fn(&RunRow) -> Option<f64>,
}

/// Every figure of the summary, in its order.
pub const FIGURES: &[Figure] = &[
    Figure { name: "throughput_msg_per_s", of: |row| row.throughput_msg_per_s },
    Figure { name: "delivery_p50_ms", of: |row| row.delivery_p50_ms },
    Figure { name: "delivery_p99_ms", of: |row| row.delivery_p99_ms },
    Figure { name: "in_flight_mean", of: |row| row.in_flight_mean },
    Figure { name: "cpu_mta_s_per_1000_messages", of: |row| per_thousand(row, row.cpu_mta_s()) },
    Figure { name: "cpu_agents_s_per_1000_messages", of: |row| per_thousand(row, row.cpu_agents_s) },
    Figure { name: "cpu_queue_s_per_1000_messages", of: |row| per_thousand(row, row.cpu_queue_s) },
    Figure { name: "cpu_reception_s_per_1000_messages", of: |row| per_thousand(row, row.cpu_reception_s) },
    Figure { name: "cpu_starter_s_per_1000_messages", of: |row| per_thousand(row, row.cpu_starter_s) },
    Figure { name: "cpu_sink_s_per_1000_messages", of: |row| per_thousand(row, row.cpu_sink_s) },
    Figure { name: "cpu_load_s_per_1000_messages", of: |row| per_thousand(row, row.cpu_load_s) },
    Figure { name: "pss_agents_peak_bytes", of: |row| row.pss_agents_peak_bytes.map(|bytes| bytes as f64) },
    Figure { name: "uss_agents_peak_bytes", of: |row| row.uss_agents_peak_bytes.map(|bytes| bytes as f64) },
    Figure {
        name: "kernel_agents_peak_bytes",
        of: |row| row.kernel_agents_peak_bytes.map(|bytes| bytes as f64),
    },
    Figure { name: "pss_queue_peak_bytes", of: |row| row.pss_queue_peak_bytes.map(|bytes| bytes as f64) },
    Figure { name: "processes_peak", of: |row| row.processes_peak.map(|processes| processes as f64) },
    Figure { name: "ramp_s", of: |row| row.ramp_s },
    Figure { name: "good_kept", of: |row| row.good_kept },
    Figure { name: "good_throughput_msg_per_s", of: |row| row.good_throughput_msg_per_s },
    Figure { name: "good_delay_p50_s", of: |row| row.good_delay_p50_s },
    Figure { name: "good_delay_p99_s", of: |row| row.good_delay_p99_s },
    Figure { name: "tarpit_in_flight_mean", of: |row| row.tarpit_in_flight_mean },
];

/// A figure by its name, for what a table picks out.
pub(crate) fn named(name: &str) -> Figure {
    *FIGURES.iter().find(|figure| figure.name == name).expect("tables name only figures of the list")
}

/// CPU seconds for a thousand delivered messages.
fn per_thousand(row: &RunRow, cpu_s: Option<f64>) -> Option<f64> {
    let delivered = row.messages_delivered.filter(|delivered| *delivered > 0)?;
    Some(cpu_s? * 1000.0 / delivered as f64)
}

/// The values of a figure in the rows that count.
pub(crate) fn values(rows: &[&RunRow], figure: Figure) -> Option<Sorted> {
    Sorted::new(rows.iter().filter(|row| row.valid).filter_map(|row| (figure.of)(row)))
}

/// One subject's figure by another's, at one point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    /// Of the two medians, over the same blocks where there are any.
    pub ratio: f64,
    /// Smallest and largest ratio: within blocks where there are any, else the extremes against each other.
    pub min: f64,
    pub max: f64,
    /// 95 % interval of the median of the blocks' ratios, from six blocks on.
    pub interval: Option<(f64, f64)>,
    /// Blocks in which both are valid; 0 where the two are of different runs.
    pub blocks: usize,
}

impl Ratio {
    /// Within one run: what a block has in common, a slow minute of the machine say, falls out of its ratio.
    ///
    /// The medians are over the blocks in which both are valid, so that their ratio lies within the blocks' range.
    pub fn within_run(rows: &[&RunRow], base: &[&RunRow], figure: Figure) -> Option<Ratio> {
        let in_block = |row: &&RunRow| {
            let base = base.iter().find(|base| base.valid && base.repeat == row.repeat)?;
            Some(((figure.of)(row)?, (figure.of)(base)?))
        };
        let pairs: Vec<(f64, f64)> = rows.iter().filter(|row| row.valid).filter_map(in_block).collect();
        let ratios = Sorted::new(pairs.iter().filter_map(|(value, base)| quotient(*value, *base)))?;
        let value = Sorted::new(pairs.iter().map(|(value, _)| *value))?.median();
        let base = Sorted::new(pairs.iter().map(|(_, base)| *base))?.median();
        let (min, max, interval) = (ratios.min(), ratios.max(), ratios.median_interval());
        Some(Ratio { ratio: quotient(value, base)?, min, max, interval, blocks: ratios.count() })
    }

    /// Between two runs, which share no block: the range is that of the extremes, and there is no interval.
    pub fn between_runs(rows: &[&RunRow], base: &[&RunRow], figure: Figure) -> Option<Ratio> {
        let (values, base) = (values(rows, figure)?, values(base, figure)?);
        Some(Ratio {
            ratio: quotient(values.median(), base.median())?,
            min: quotient(values.min(), base.max())?,
            max: quotient(values.max(), base.min())?,
            interval: None,
            blocks: 0,
        })
    }
}

fn quotient(value: f64, base: f64) -> Option<f64> {
    let quotient = value / base;
    quotient.is_finite().then_some(quotient)
}
