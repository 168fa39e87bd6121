//! Histograms of each second as an interval log, with histograms of version 2, compressed: what HdrHistogram's own tools
//! read (HistogramLogReader, HistogramLogProcessor and the like).
//!
//! Values, maxima included, are nanoseconds. A tag for each stage and outcome, such as `dot/ok`.

use crate::statistics::summary::Interval;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

/// A log that was begun.
pub struct Log {
    serializer: V2DeflateSerializer,
}

impl Log {
    /// Writes the head of a log whose times count from now.
    pub fn begin(out: &mut impl Write) -> io::Result<Log> {
        let mut serializer = V2DeflateSerializer::new();
        let now = SystemTime::now();
        let mut head = IntervalLogWriterBuilder::new();
        head.add_comment("[Logged by mailrig send, values in nanoseconds]")
            .add_comment("[Histogram log format version 1.3]")
            .with_start_time(now)
            .with_base_time(now)
            .begin_log_with(out, &mut serializer)?;
        writeln!(out, "{LEGEND}")?;
        out.flush()?;
        Ok(Log { serializer })
    }

    /// Writes every histogram of a part.
    pub fn write(&mut self, interval: &Interval, out: &mut impl Write) -> io::Result<()> {
        let seconds = |seconds: f64| Duration::from_secs_f64(seconds.max(0.0));
        let (from, length) = (seconds(interval.from_s), seconds(interval.to_s - interval.from_s));
        // Without settings of its own it writes no head.
        let mut log = IntervalLogWriterBuilder::new().begin_log_with(out, &mut self.serializer)?;
        for (series, ending, histogram) in interval.figures.histograms.iter() {
            let tag = format!("{}/{}", series.as_str(), ending.as_str());
            let tag = Tag::new(&tag).expect("no name has a comma or a space");
            log.write_histogram(histogram, from, length, Some(tag))
                .map_err(|error| io::Error::other(format!("{error:?}")))?;
        }
        out.flush()
    }
}

const LEGEND: &str = r#""StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram""#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::figures::Figures;
    use crate::statistics::histograms::Series;
    use crate::statistics::outcome::Ending;
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
    use smtp::Stage;

    /// The histograms of an interval log are base64 of what the deserializer reads; this is its alphabet turned round.
    fn decode(text: &str) -> Vec<u8> {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let digits = text.bytes().filter_map(|byte| alphabet.iter().position(|&letter| letter == byte));
        let bits: Vec<bool> =
            digits.flat_map(|digit| (0..6).rev().map(move |bit| digit >> bit & 1 == 1)).collect();
        bits.chunks_exact(8).map(|byte| byte.iter().fold(0, |byte, &bit| byte << 1 | u8::from(bit))).collect()
    }

    #[test]
    fn a_log_is_read_back_with_tags_times_and_every_value() {
        let mut out = Vec::new();
        let mut log = Log::begin(&mut out).expect("a Vec");
        let mut figures = Figures::default();
        for value in 1..=1000u64 {
            figures.histograms.record(Series::Message, Ending::Ok, Duration::from_micros(value));
            figures.histograms.record(
                Series::Stage(Stage::Dot),
                Ending::Refused,
                Duration::from_nanos(value),
            );
        }
        let interval = Interval {
            from_s: 1.0,
            to_s: 2.0,
            offered: 0,
            started: 0,
            in_flight: 0,
            connections: 0,
            figures,
        };
        log.write(&interval, &mut out).expect("a Vec");
        let text = String::from_utf8(out).expect("ASCII");
        assert!(text.contains("#[StartTime: ") && text.contains("#[BaseTime: "), "{text}");
        // The crate's reader knows no legend, which others want.
        let text = text.replace(&format!("{LEGEND}\n"), "");
        let mut tags = Vec::new();
        for entry in IntervalLogIterator::new(text.as_bytes()) {
            let LogEntry::Interval(interval) = entry.expect("a good line") else { continue };
            let tag = interval.tag().expect("a tag").as_str().to_owned();
            assert_eq!(
                (interval.start_timestamp(), interval.duration()),
                (Duration::from_secs(1), Duration::from_secs(1))
            );
            let bytes = decode(interval.encoded_histogram());
            let histogram: Histogram<u64> = Deserializer::new().deserialize(&mut &bytes[..]).expect("good");
            assert_eq!(histogram.len(), 1000);
            let unit = if tag == "message/ok" { 1000 } else { 1 };
            assert!(histogram.equivalent(histogram.value_at_quantile(0.5), 500 * unit), "{tag}");
            tags.push(tag);
        }
        assert_eq!(tags, ["dot/refused", "message/ok"]);
    }
}
