//! What happened so far: latency histograms by stage, messages by outcome, and errors by stage and code.
//!
//! A histogram holds positive replies only, so that a server that refuses fast does not look fast; what was refused or
//! lost is counted in the errors. Every message ends in exactly one of the four outcomes. Knows neither clock nor socket.

use hdrhistogram::Histogram;
use smtp::client::{Disposition, Outcome, RecipientStatus};
use smtp::{ReplyCode, Stage};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Everything that is counted in a run.
pub struct Statistics {
    stages: Vec<Histogram<u64>>,
    message: Histogram<u64>,
    /// Messages by how they ended.
    pub outcomes: Outcomes,
    /// Recipients that were turned away or lost, also those of messages that were accepted for others.
    pub recipients_failed: u64,
    /// Connections that were established.
    pub connections_opened: u64,
    /// Messages between their MAIL and their last reply.
    pub in_flight: u64,
    errors: BTreeMap<ErrorKey, ErrorCount>,
    errors_total: u64,
    /// Start of the first message and end of the last.
    pub span: Option<(Instant, Instant)>,
}

/// Messages by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// The server took the message, for one recipient at least.
    pub accepted: u64,
    /// Turned away for now (4xx).
    pub deferred: u64,
    /// Turned away for good (5xx).
    pub refused: u64,
    /// No answer: the connection was lost, the time was up, or the answer was not SMTP.
    pub failed: u64,
}

impl Outcomes {
    /// Messages that have ended.
    pub fn ended(&self) -> u64 {
        self.accepted + self.deferred + self.refused + self.failed
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ErrorKey {
    stage: &'static str,
    code: Option<u16>,
    /// Empty where there is a code: replies to one command differ in their text by queue ids and the like.
    reason: String,
}

struct ErrorCount {
    text: String,
    count: u64,
}

/// One kind of error and how often it happened.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ErrorRow {
    /// Where in the dialogue, by the name of the stage.
    pub stage: &'static str,
    /// The server's reply code; none where there was no reply.
    pub code: Option<u16>,
    /// The first reply of this kind, or what happened instead of one.
    pub text: String,
    /// How often.
    pub count: u64,
}

impl Default for Statistics {
    fn default() -> Statistics {
        Statistics {
            stages: Stage::ALL.iter().map(|_| histogram()).collect(),
            message: histogram(),
            outcomes: Outcomes::default(),
            recipients_failed: 0,
            connections_opened: 0,
            in_flight: 0,
            errors: BTreeMap::new(),
            errors_total: 0,
            span: None,
        }
    }
}

impl Statistics {
    /// A reply came `elapsed` after its command was written; refusals are counted with the message they end.
    pub fn reply(&mut self, stage: Stage, code: ReplyCode, elapsed: Duration) {
        if code.get() < 400 {
            self.stage(stage, elapsed);
        }
    }

    /// A stage was passed in `elapsed`.
    pub fn stage(&mut self, stage: Stage, elapsed: Duration) {
        self.stages[stage as usize].saturating_record(elapsed.as_nanos() as u64);
    }

    /// A message that was meant to start at `intended` ended at `now`.
    pub fn message_ended(&mut self, outcome: &Outcome, intended: Instant, now: Instant) {
        let (first, last) = self.span.unwrap_or((intended, now));
        self.span = Some((first.min(intended), last.max(now)));
        let mut counted = None;
        for status in outcome.recipients.iter().filter(|status| status.disposition != Disposition::Delivered)
        {
            self.recipients_failed += 1;
            // Only RCPT is answered for each recipient; any other refusal is one event, whoever it concerned.
            let event = (status.stage, status.code);
            if status.stage == Stage::Rcpt || counted != Some(event) {
                self.error(status.stage, status.code, &status.text);
            }
            counted = Some(event);
        }
        match message_outcome(&outcome.recipients) {
            MessageOutcome::Accepted => {
                self.outcomes.accepted += 1;
                self.message.saturating_record(now.saturating_duration_since(intended).as_nanos() as u64);
            }
            MessageOutcome::Deferred => self.outcomes.deferred += 1,
            MessageOutcome::Refused => self.outcomes.refused += 1,
            MessageOutcome::Failed => self.outcomes.failed += 1,
        }
    }

    /// `messages` that were under way have no end: the run was stopped at `now`.
    pub fn abandon(&mut self, messages: u64, now: Instant) {
        self.outcomes.failed += messages;
        self.in_flight = 0;
        if let Some((first, _)) = self.span.filter(|_| messages > 0) {
            self.span = Some((first, now));
        }
    }

    /// Something went wrong, with the server's reply code if it gave one.
    pub fn error(&mut self, stage: Stage, code: Option<ReplyCode>, text: &str) {
        self.errors_total += 1;
        let code = code.map(ReplyCode::get);
        let reason = match code {
            Some(_) => String::new(),
            None => text.to_owned(),
        };
        let mut key = ErrorKey { stage: stage.as_str(), code, reason };
        if self.errors.len() >= ERROR_KINDS_MAX && !self.errors.contains_key(&key) {
            key.reason = "other errors".to_owned();
            key.code = None;
        }
        let first = if key.reason.is_empty() { text } else { &key.reason }.to_owned();
        self.errors.entry(key).or_insert(ErrorCount { text: first, count: 0 }).count += 1;
    }

    /// Errors so far, of all kinds.
    pub fn errors_total(&self) -> u64 {
        self.errors_total
    }

    /// The kinds of errors, the most frequent first.
    pub fn errors(&self) -> Vec<ErrorRow> {
        let mut rows: Vec<ErrorRow> = self
            .errors
            .iter()
            .map(|(key, error)| ErrorRow {
                stage: key.stage,
                code: key.code,
                text: error.text.clone(),
                count: error.count,
            })
            .collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.count));
        rows
    }

    /// Time taken by positive replies at `stage`, in nanoseconds.
    pub fn stage_histogram(&self, stage: Stage) -> &Histogram<u64> {
        &self.stages[stage as usize]
    }

    /// Time from an accepted message's intended start to the reply to its dot, in nanoseconds.
    pub fn message_histogram(&self) -> &Histogram<u64> {
        &self.message
    }
}

#[derive(Debug, PartialEq, Eq)]
enum MessageOutcome {
    Accepted,
    Deferred,
    Refused,
    Failed,
}

fn message_outcome(recipients: &[RecipientStatus]) -> MessageOutcome {
    let any = |wanted: fn(&RecipientStatus) -> bool| recipients.iter().any(wanted);
    if any(|status| status.disposition == Disposition::Delivered) {
        MessageOutcome::Accepted
    } else if any(|status| status.disposition == Disposition::Deferred && status.code.is_none()) {
        MessageOutcome::Failed
    } else if any(|status| status.disposition == Disposition::Deferred) {
        MessageOutcome::Deferred
    } else {
        MessageOutcome::Refused
    }
}

/// Three digits from 1 ns to an hour; what takes longer counts as an hour. About 260 KiB.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX_NS, 3).expect("the bounds and the digits are valid")
}

const LATENCY_MAX_NS: u64 = 3_600_000_000_000;
/// Kinds of errors that are told apart; a server that invents a new code or text each time can't fill the memory.
const ERROR_KINDS_MAX: usize = 200;
