//! What happened so far: latency by stage and outcome, messages by outcome, and errors by stage and code.
//!
//! Successes, deferrals, refusals and failures each have histograms of their own, so that a server that refuses fast does
//! not look fast. Every message ends in exactly one of the four outcomes. Knows neither clock nor socket.
//!
//! | module | for |
//! |---|---|
//! | [`outcome`] | the four ways in which something ends |
//! | [`histograms`] | latency, made as it is needed |
//! | [`errors`] | kinds of errors, bounded |

pub mod errors;
pub mod histograms;
pub mod outcome;

use crate::schedule::Claim;
use errors::{ErrorRow, Errors};
use hdrhistogram::Histogram;
use histograms::{Histograms, Series};
use outcome::Ending;
use smtp::client::{Disposition, Outcome};
use smtp::{ReplyCode, Stage};
use std::time::{Duration, Instant};

/// Everything that is counted in a run.
#[derive(Default)]
pub struct Statistics {
    histograms: Histograms,
    counts: Counts,
    errors: Errors,
    /// Messages between their MAIL and their last reply.
    pub in_flight: u64,
    /// Start of the first message and end of the last.
    pub span: Option<(Instant, Instant)>,
}

/// Counters that are added up over time and processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages by how they ended.
    pub messages: Endings,
    /// Recipients that were turned away or lost, also those of messages that were accepted for others.
    pub recipients_failed: u64,
    /// Connections that were established.
    pub connections_opened: u64,
    /// TLS handshakes that took up an earlier session.
    pub tls_resumed: u64,
    /// Messages of the warm-up that ended, and those of them that were accepted.
    pub warm_up_ended: u64,
    pub warm_up_accepted: u64,
}

/// Messages by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

impl Endings {
    /// Messages that have ended.
    pub fn ended(&self) -> u64 {
        self.accepted + self.deferred + self.refused + self.failed
    }

    fn count(&mut self, ending: Ending) {
        *match ending {
            Ending::Ok => &mut self.accepted,
            Ending::Deferred => &mut self.deferred,
            Ending::Refused => &mut self.refused,
            Ending::Failed => &mut self.failed,
        } += 1;
    }
}

/// The times of one message.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// When it was meant to start.
    pub intended: Instant,
    /// When its transaction began: MAIL was written.
    pub began: Instant,
    /// When its last reply came, or it was clear that none would.
    pub ended: Instant,
}

impl Statistics {
    /// A reply came `elapsed` after its command was written.
    pub fn reply(&mut self, stage: Stage, code: ReplyCode, elapsed: Duration) {
        self.stage(stage, Ending::of_code(code), elapsed);
    }

    /// A stage was passed, or not, in `elapsed`.
    pub fn stage(&mut self, stage: Stage, ending: Ending, elapsed: Duration) {
        self.histograms.record(Series::Stage(stage), ending, elapsed);
    }

    /// A connection was established in `elapsed`; outside the warm-up that counts as a latency, too.
    pub fn connected(&mut self, measured: bool, elapsed: Duration) {
        self.counts.connections_opened += 1;
        if measured {
            self.stage(Stage::Connect, Ending::Ok, elapsed);
        }
    }

    /// A TLS handshake was done in `elapsed`.
    pub fn handshake(&mut self, resumed: bool, elapsed: Duration) {
        self.counts.tls_resumed += u64::from(resumed);
        self.stage(Stage::Handshake, Ending::Ok, elapsed);
    }

    /// A connection took a message upon itself at `now`.
    pub fn started(&mut self, claim: &Claim, now: Instant) {
        if claim.measured {
            let lag = now.saturating_duration_since(claim.intended);
            self.histograms.record(Series::StartLag, Ending::Ok, lag);
        }
    }

    /// The generator itself came `lag` late to something that was due.
    pub fn generator_lagged(&mut self, lag: Duration) {
        self.histograms.record(Series::GeneratorLag, Ending::Ok, lag);
    }

    /// A message ended.
    pub fn message_ended(&mut self, claim: &Claim, outcome: &Outcome, times: Times) {
        let ending = Ending::of_message(&outcome.recipients);
        let mut counted = None;
        for status in outcome.recipients.iter().filter(|status| status.disposition != Disposition::Delivered)
        {
            self.counts.recipients_failed += u64::from(claim.measured);
            // Only RCPT is answered for each recipient; any other refusal is one event, whoever it concerned.
            let event = (status.stage, status.code);
            if status.stage == Stage::Rcpt || counted != Some(event) {
                self.error(status.stage, status.code, &status.text);
            }
            counted = Some(event);
        }
        if !claim.measured {
            self.counts.warm_up_ended += 1;
            self.counts.warm_up_accepted += u64::from(ending == Ending::Ok);
            return;
        }
        let Times { intended, began, ended } = times;
        self.stretch_span(intended, ended);
        self.counts.messages.count(ending);
        self.histograms.record(Series::Message, ending, ended.saturating_duration_since(intended));
        self.histograms.record(Series::Service, ending, ended.saturating_duration_since(began));
    }

    /// A message that was meant to start at `intended` has no end, because the run was stopped at `now`.
    pub fn abandon(&mut self, claim: &Claim, now: Instant) {
        if claim.measured {
            self.stretch_span(claim.intended, now);
            self.counts.messages.failed += 1;
        } else {
            self.counts.warm_up_ended += 1;
        }
    }

    /// Something went wrong, with the server's reply code if it gave one.
    pub fn error(&mut self, stage: Stage, code: Option<ReplyCode>, text: &str) {
        self.errors.count(stage, code, text);
    }

    /// Errors so far, of all kinds.
    pub fn errors_total(&self) -> u64 {
        self.errors.total()
    }

    /// The kinds of errors, the most frequent first.
    pub fn errors(&self) -> Vec<ErrorRow> {
        self.errors.rows()
    }

    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Latencies in nanoseconds; none where nothing was recorded.
    pub fn histogram(&self, series: Series, ending: Ending) -> Option<&Histogram<u64>> {
        self.histograms.get(series, ending)
    }

    pub fn histograms(&self) -> &Histograms {
        &self.histograms
    }

    fn stretch_span(&mut self, from: Instant, to: Instant) {
        let (first, last) = self.span.unwrap_or((from, to));
        self.span = Some((first.min(from), last.max(to)));
    }
}
