//! Figures that add up: of a second and a whole run, of one process and all of them.

use super::errors::Errors;
use super::histograms::Histograms;
use super::outcome::Ending;
use serde::{Deserialize, Serialize};

/// Everything that is counted.
#[derive(Default, Serialize, Deserialize)]
pub struct Figures {
    pub histograms: Histograms,
    pub counts: Counts,
    pub errors: Errors,
}

/// Counters that are added up over time and processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Messages by how they ended.
    pub messages: Endings,
    /// Recipients that were turned away or lost, also those of messages that were accepted for others.
    pub recipients_failed: u64,
    /// Connections that were established.
    pub connections_opened: u64,
    /// TLS handshakes that took up an earlier session.
    pub tls_resumed: u64,
    /// Messages of the warm-up that ended.
    pub warm_up_ended: u64,
}

/// Messages by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endings {
    /// The server took the message, for one recipient at least.
    pub accepted: u64,
    /// Turned away for now (4xx).
    pub deferred: u64,
    /// Turned away for good (5xx).
    pub refused: u64,
    /// No answer: the connection was lost, the time was up, or the answer was not SMTP.
    pub failed: u64,
}

impl Figures {
    /// Adds those of `other`, exactly.
    pub fn add(&mut self, other: &Figures) {
        for (series, ending, histogram) in other.histograms.iter() {
            self.histograms.add(series, ending, histogram);
        }
        self.counts.add(&other.counts);
        self.errors.add_all(&other.errors);
    }
}

impl Counts {
    fn add(&mut self, other: &Counts) {
        let Counts { messages, recipients_failed, connections_opened, tls_resumed, warm_up_ended } = other;
        self.messages.accepted += messages.accepted;
        self.messages.deferred += messages.deferred;
        self.messages.refused += messages.refused;
        self.messages.failed += messages.failed;
        self.recipients_failed += recipients_failed;
        self.connections_opened += connections_opened;
        self.tls_resumed += tls_resumed;
        self.warm_up_ended += warm_up_ended;
    }
}

impl Endings {
    /// Messages that have ended.
    pub fn ended(&self) -> u64 {
        self.accepted + self.deferred + self.refused + self.failed
    }

    pub fn count(&mut self, ending: Ending) {
        *match ending {
            Ending::Ok => &mut self.accepted,
            Ending::Deferred => &mut self.deferred,
            Ending::Refused => &mut self.refused,
            Ending::Failed => &mut self.failed,
        } += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::histograms::Series;
    use smtp::Stage;
    use std::time::Duration;

    fn some(seed: u64) -> Figures {
        let mut figures = Figures::default();
        let mut chance = fastrand::Rng::with_seed(seed);
        for _ in 0..500 {
            let series = [Series::Message, Series::Stage(Stage::Dot), Series::StartLag][chance.usize(..3)];
            let ending = Ending::ALL[chance.usize(..4)];
            figures.histograms.record(series, ending, Duration::from_nanos(chance.u64(..5_000_000_000)));
            figures.counts.messages.count(ending);
            figures.counts.connections_opened += 1;
        }
        figures.errors.add(Stage::Rcpt, Some(550), "no such user", seed);
        figures.errors.add(Stage::Dot, None, "connection lost", 1);
        figures
    }

    fn same(one: &Figures, other: &Figures) {
        assert_eq!((one.counts, one.errors.rows()), (other.counts, other.errors.rows()));
        let pairs = one.histograms.iter().zip(other.histograms.iter());
        assert_eq!(one.histograms.iter().count(), other.histograms.iter().count());
        for ((series, ending, left), (other_series, other_ending, right)) in pairs {
            assert_eq!((series, ending), (other_series, other_ending));
            assert_eq!(left, right, "every bucket");
        }
    }

    #[test]
    fn sums_are_exact_in_any_order_and_after_a_journey() {
        let mut sum = some(1);
        sum.add(&some(2));
        let mut turned = some(2);
        turned.add(&some(1));
        same(&sum, &turned);
        let text = serde_json::to_string(&sum).expect("JSON");
        same(&sum, &serde_json::from_str(&text).expect("the same"));
        assert_eq!(sum.counts.messages.ended(), 1000);
    }

    #[test]
    fn what_did_not_come_from_us_is_refused() {
        for text in [
            r#"{"histograms":[[99,0,[[1,1]]]],"counts":null,"errors":[]}"#,
            r#"{"histograms":[[0,9,[[1,1]]]]}"#,
            r#"{"errors":[{"stage":"nowhere","code":1,"text":"","count":1}]}"#,
        ] {
            assert!(serde_json::from_str::<Figures>(text).is_err(), "{text}");
        }
    }
}
