//! Latency histograms by series and outcome, each made when its first value comes.
//!
//! A histogram takes about 260 KiB, whatever the number of values, and most pairs of stage and outcome never happen.

use super::outcome::Ending;
use hdrhistogram::Histogram;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use smtp::Stage;
use std::time::Duration;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Series {
    /// One stage of a session: from its command to its reply.
    Stage(Stage),
    /// A message from its intended start to its last reply: what a sender who does not wait for the server sees.
    Message,
    /// A message from MAIL to its last reply: how long the server worked on it.
    Service,
    /// From a message's intended start until a connection took it upon itself.
    StartLag,
    /// How late the generator's own loop came to what was due.
    GeneratorLag,
}

impl Series {
    /// Every series, in the order of tables.
    pub fn all() -> impl Iterator<Item = Series> {
        let rest = [Series::Message, Series::Service, Series::StartLag, Series::GeneratorLag];
        Stage::ALL.into_iter().map(Series::Stage).chain(rest)
    }

    /// The name in tables and files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Series::Stage(stage) => stage.as_str(),
            Series::Message => "message",
            Series::Service => "service",
            Series::StartLag => "start_lag",
            Series::GeneratorLag => "generator_lag",
        }
    }

    const fn index(self) -> usize {
        match self {
            Series::Stage(stage) => stage as usize,
            Series::Message => Stage::ALL.len(),
            Series::Service => Stage::ALL.len() + 1,
            Series::StartLag => Stage::ALL.len() + 2,
            Series::GeneratorLag => Stage::ALL.len() + 3,
        }
    }
}

const SERIES: usize = Stage::ALL.len() + 4;
const ENDINGS: usize = Ending::ALL.len();

/// All histograms of a run, of a part of it, or of one of its processes. Values are nanoseconds.
pub struct Histograms(Box<[Option<Histogram<u64>>; SERIES * ENDINGS]>);

impl Default for Histograms {
    fn default() -> Histograms {
        Histograms(Box::new([const { None }; SERIES * ENDINGS]))
    }
}

impl Histograms {
    /// Counts one value.
    pub fn record(&mut self, series: Series, ending: Ending, elapsed: Duration) {
        let ns = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        self.entry(series, ending).saturating_record(ns);
    }

    /// None where nothing was recorded.
    pub fn get(&self, series: Series, ending: Ending) -> Option<&Histogram<u64>> {
        self.0[place(series, ending)].as_ref()
    }

    /// Those that hold something, in the order of tables.
    pub fn iter(&self) -> impl Iterator<Item = (Series, Ending, &Histogram<u64>)> {
        Series::all()
            .flat_map(|series| Ending::ALL.into_iter().map(move |ending| (series, ending)))
            .filter_map(|(series, ending)| Some((series, ending, self.get(series, ending)?)))
    }

    /// Adds the values of `other`, exactly.
    pub fn add(&mut self, series: Series, ending: Ending, other: &Histogram<u64>) {
        self.entry(series, ending).add(other).expect("all histograms have the same bounds");
    }

    fn entry(&mut self, series: Series, ending: Ending) -> &mut Histogram<u64> {
        self.0[place(series, ending)].get_or_insert_with(histogram)
    }
}

/// As lists of series, outcome, and what was recorded how often: exact, because both sides have the same buckets.
impl Serialize for Histograms {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(|(series, ending, histogram)| {
            let values = histogram.iter_recorded();
            let counts: Vec<(u64, u64)> =
                values.map(|value| (value.value_iterated_to(), value.count_at_value())).collect();
            (series.index(), ending as usize, counts)
        }))
    }
}

impl<'de> Deserialize<'de> for Histograms {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Histograms, D::Error> {
        let rows = Vec::<(usize, usize, Vec<(u64, u64)>)>::deserialize(deserializer)?;
        let mut histograms = Histograms::default();
        for (series, ending, counts) in rows {
            let series = Series::all().nth(series).ok_or_else(|| D::Error::custom("no such series"))?;
            let ending = Ending::ALL.get(ending).ok_or_else(|| D::Error::custom("no such outcome"))?;
            let histogram = histograms.entry(series, *ending);
            for (value, count) in counts {
                histogram.record_n(value, count).map_err(D::Error::custom)?;
            }
        }
        Ok(histograms)
    }
}

const fn place(series: Series, ending: Ending) -> usize {
    series.index() * ENDINGS + ending as usize
}

/// Three digits from 1 ns to an hour; what takes longer counts as an hour.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX_NS, 3).expect("the bounds and the digits are valid")
}

const LATENCY_MAX_NS: u64 = 3_600_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_series_and_outcome_has_a_place_of_its_own() {
        let mut histograms = Histograms::default();
        let pairs: Vec<_> =
            Series::all().flat_map(|series| Ending::ALL.map(|ending| (series, ending))).collect();
        for (index, &(series, ending)) in pairs.iter().enumerate() {
            assert!(histograms.get(series, ending).is_none(), "nothing is made before it is needed");
            histograms.record(series, ending, Duration::from_micros(index as u64 + 1));
        }
        let found: Vec<_> = histograms.iter().map(|(series, ending, _)| (series, ending)).collect();
        assert_eq!(found, pairs);
        for (index, (.., histogram)) in histograms.iter().enumerate() {
            assert_eq!(histogram.len(), 1);
            assert!(histogram.equivalent(histogram.max(), 1000 * (index as u64 + 1)));
        }
        histograms.record(Series::Message, Ending::Ok, Duration::from_secs(99_999));
        assert_eq!(
            histograms.get(Series::Message, Ending::Ok).expect("one").len(),
            2,
            "too long still counts"
        );
    }
}
