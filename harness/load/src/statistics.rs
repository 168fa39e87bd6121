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
//! | [`figures`] | all of these, which add up |
//! | [`summary`] | what is known at the end of a run, and of a part of it |

pub mod errors;
pub mod figures;
pub mod histograms;
pub mod outcome;
pub mod summary;

use crate::schedule::Claim;
use figures::Figures;
use histograms::Series;
use outcome::Ending;
use smtp::client::{Disposition, Outcome};
use smtp::{ReplyCode, Stage};
use std::time::{Duration, Instant};

/// Everything that is counted in a run.
#[derive(Default)]
pub struct Statistics {
    total: Figures,
    /// Since the last [`Statistics::take_recent`]; none where nobody asks.
    recent: Option<Figures>,
    /// Messages between their MAIL and their last reply.
    pub in_flight: u64,
    /// Connections that are open.
    pub connections: u64,
    /// Start of the first message and end of the last.
    pub span: Option<(Instant, Instant)>,
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
    /// Counts for [`Statistics::take_recent`], too.
    pub fn with_recent() -> Statistics {
        Statistics { recent: Some(Figures::default()), ..Statistics::default() }
    }

    /// What was counted since the last call.
    pub fn take_recent(&mut self) -> Figures {
        self.recent.replace(Figures::default()).unwrap_or_default()
    }

    pub fn total(&self) -> &Figures {
        &self.total
    }

    /// All figures, at the end.
    pub fn take_total(&mut self) -> Figures {
        std::mem::take(&mut self.total)
    }

    /// A reply came `elapsed` after its command was written.
    pub fn reply(&mut self, stage: Stage, code: ReplyCode, elapsed: Duration) {
        self.stage(stage, Ending::of_code(code), elapsed);
    }

    /// A stage was passed, or not, in `elapsed`.
    pub fn stage(&mut self, stage: Stage, ending: Ending, elapsed: Duration) {
        self.record(Series::Stage(stage), ending, elapsed);
    }

    /// A connection was established in `elapsed`; outside the warm-up that counts as a latency, too.
    pub fn connected(&mut self, measured: bool, elapsed: Duration) {
        self.count(|figures| figures.counts.connections_opened += 1);
        if measured {
            self.stage(Stage::Connect, Ending::Ok, elapsed);
        }
    }

    /// A TLS handshake was done in `elapsed`.
    pub fn handshake(&mut self, resumed: bool, elapsed: Duration) {
        self.count(|figures| figures.counts.tls_resumed += u64::from(resumed));
        self.stage(Stage::Handshake, Ending::Ok, elapsed);
    }

    /// A connection took a message upon itself at `now`.
    pub fn started(&mut self, claim: &Claim, now: Instant) {
        if claim.measured {
            self.record(Series::StartLag, Ending::Ok, now.saturating_duration_since(claim.intended));
        }
    }

    /// The generator itself came `lag` late to something that was due.
    pub fn generator_lagged(&mut self, lag: Duration) {
        self.record(Series::GeneratorLag, Ending::Ok, lag);
    }

    /// A message ended.
    pub fn message_ended(&mut self, claim: &Claim, outcome: &Outcome, times: Times) {
        let ending = Ending::of_message(&outcome.recipients);
        let mut counted = None;
        for status in outcome.recipients.iter().filter(|status| status.disposition != Disposition::Delivered)
        {
            self.count(|figures| figures.counts.recipients_failed += u64::from(claim.measured));
            // Only RCPT is answered for each recipient; any other refusal is one event, whoever it concerned.
            let event = (status.stage, status.code);
            if status.stage == Stage::Rcpt || counted != Some(event) {
                self.error(status.stage, status.code, &status.text);
            }
            counted = Some(event);
        }
        if !claim.measured {
            return self.count(|figures| figures.counts.warm_up_ended += 1);
        }
        let Times { intended, began, ended } = times;
        self.stretch_span(intended, ended);
        self.count(|figures| figures.counts.messages.count(ending));
        self.record(Series::Message, ending, ended.saturating_duration_since(intended));
        self.record(Series::Service, ending, ended.saturating_duration_since(began));
    }

    /// A message has no end, because the run was stopped at `now`.
    pub fn abandon(&mut self, claim: &Claim, now: Instant) {
        if claim.measured {
            self.stretch_span(claim.intended, now);
            self.count(|figures| figures.counts.messages.failed += 1);
        } else {
            self.count(|figures| figures.counts.warm_up_ended += 1);
        }
    }

    /// Something went wrong, with the server's reply code if it gave one.
    pub fn error(&mut self, stage: Stage, code: Option<ReplyCode>, text: &str) {
        self.count(|figures| figures.errors.count(stage, code, text));
    }

    fn record(&mut self, series: Series, ending: Ending, elapsed: Duration) {
        self.count(|figures| figures.histograms.record(series, ending, elapsed));
    }

    fn count(&mut self, add: impl Fn(&mut Figures)) {
        add(&mut self.total);
        if let Some(recent) = &mut self.recent {
            add(recent);
        }
    }

    fn stretch_span(&mut self, from: Instant, to: Instant) {
        let (first, last) = self.span.unwrap_or((from, to));
        self.span = Some((first.min(from), last.max(to)));
    }
}
