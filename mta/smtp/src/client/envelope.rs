//! RSET, MAIL, RCPT and DATA (or BDAT in its place): what is written together, and whom each reply decides about.
//!
//! The commands of a transaction have numbers: RSET 0, MAIL 1, RCPT 2 and up, DATA last. They are written in groups,
//! and the next group when the last one is answered: without PIPELINING a group is one command. All of this holds
//! for both, so there is one path through the replies.

use super::ending::decision;
use super::framing::{Count, Framing};
use super::session::{Session, State};
use super::{Extensions, RecipientStatus, Transaction};
use crate::Protocol;
use crate::reply::ParsedReply;
use crate::stage::Stage;
use crate::status::{EnhancedStatus, Severity};
use crate::stuff::DotStuffer;
use std::iter;
use std::time::Instant;

/// A transaction, and how far it has come.
#[derive(Debug)]
pub(super) struct Envelope {
    transaction: Transaction,
    /// Recipients that the server is asked for, from the first: all, or as many as it takes at a time.
    asked: u32,
    /// Number of the command to be written next.
    written: u32,
    /// Number of the command whose reply comes next.
    answered: u32,
    /// The refusal of MAIL, or of DATA for everybody: no further command makes sense.
    refused: Option<RecipientStatus>,
    /// Refused recipients by their place, ascending.
    refused_recipients: Vec<(u32, RecipientStatus)>,
    accepted: u32,
    /// The message goes by BDAT, and there is no DATA.
    by_chunk: bool,
    /// Of the accepted ones, from the first: those that the server has decided about one by one after the message.
    decided: Vec<RecipientStatus>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Rset,
    Mail,
    /// With the recipient's place.
    Rcpt(u32),
    Data,
}

impl Envelope {
    pub fn new(mut transaction: Transaction) -> Envelope {
        let Transaction { reverse_path, recipients, .. } = &transaction;
        let beyond_ascii = !reverse_path.as_str().is_ascii()
            || recipients.iter().any(|recipient| !recipient.as_str().is_ascii());
        transaction.smtp_utf8 |= beyond_ascii;
        Envelope {
            asked: transaction.recipients.len() as u32,
            transaction,
            written: MAIL,
            answered: MAIL,
            refused: None,
            refused_recipients: Vec::new(),
            accepted: 0,
            by_chunk: false,
            decided: Vec::new(),
        }
    }

    /// Stage of the command whose reply comes next.
    pub fn stage(&self) -> Stage {
        match self.step(self.answered) {
            Step::Rset => Stage::Rset,
            Step::Mail => Stage::Mail,
            Step::Rcpt(_) => Stage::Rcpt,
            Step::Data => Stage::Data,
        }
    }

    /// The next of the accepted recipients has its status; returns whether one is left.
    pub fn decide_next(&mut self, status: RecipientStatus) -> bool {
        self.decided.push(status);
        self.decided.len() < self.accepted as usize
    }

    /// One status for each recipient: its own, else that of the whole transaction, else `rest`. Who was not asked for
    /// is for another transaction, whatever became of this one.
    pub fn statuses(self, rest: &RecipientStatus) -> Vec<RecipientStatus> {
        let rest = self.refused.as_ref().unwrap_or(rest);
        let mut refused = self.refused_recipients.into_iter().peekable();
        let mut decided = self.decided.into_iter();
        let asked = (0..self.asked).map(|place| match refused.next_if(|(at, _)| *at == place) {
            Some((_, status)) => status,
            None => decided.next().unwrap_or_else(|| rest.clone()),
        });
        let not_asked = self.transaction.recipients.len() - self.asked as usize;
        asked.chain(iter::repeat_with(over_the_limit).take(not_asked)).collect()
    }

    fn step(&self, number: u32) -> Step {
        match number {
            RSET => Step::Rset,
            MAIL => Step::Mail,
            _ if number < self.data() => Step::Rcpt(number - MAIL - 1),
            _ => Step::Data,
        }
    }

    /// Number of DATA.
    fn data(&self) -> u32 {
        MAIL + 1 + self.asked
    }

    /// Whether the next command still makes sense.
    fn goes_on(&self) -> bool {
        self.refused.is_none()
            && match self.step(self.written) {
                Step::Rset | Step::Mail | Step::Rcpt(_) => true,
                // Unknown yet while replies to RCPT are awaited: RFC 2920 §3.1 lets DATA end the group.
                Step::Data => {
                    !self.by_chunk
                        && self.written == self.data()
                        && (self.accepted > 0 || self.answered < self.written)
                }
            }
    }

    /// All is answered: the size of the chunk to be sent, if there is one and somebody to send it to. It waits until
    /// that is known: a message for nobody would have to be sent to its end.
    fn chunk_due(&self) -> Option<u64> {
        self.transaction.size_bytes.filter(|_| self.by_chunk && self.accepted > 0)
    }

    fn write(&mut self, extensions: &Extensions, out: &mut Vec<u8>) {
        match self.step(self.written) {
            Step::Rset => out.extend_from_slice(b"RSET\r\n"),
            Step::Mail => self.write_mail(extensions, out),
            Step::Rcpt(place) => {
                out.extend_from_slice(b"RCPT TO:<");
                out.extend_from_slice(self.transaction.recipients[place as usize].as_str().as_bytes());
                out.extend_from_slice(b">\r\n");
            }
            Step::Data => out.extend_from_slice(b"DATA\r\n"),
        }
        self.written += 1;
    }

    fn write_mail(&self, extensions: &Extensions, out: &mut Vec<u8>) {
        out.extend_from_slice(b"MAIL FROM:<");
        out.extend_from_slice(self.transaction.reverse_path.as_str().as_bytes());
        out.extend_from_slice(b">");
        // RFC 5321 §2.2.1: parameters only of what was offered
        if let (Some(size), Some(_)) = (self.transaction.size_bytes, extensions.size) {
            out.extend_from_slice(b" SIZE="); // RFC 1870 §6
            out.extend_from_slice(itoa::Buffer::new().format(size).as_bytes());
        }
        if self.transaction.eight_bit && extensions.eight_bit_mime {
            out.extend_from_slice(b" BODY=8BITMIME"); // RFC 6152 §3
        }
        if self.transaction.smtp_utf8 && extensions.smtp_utf8 {
            out.extend_from_slice(b" SMTPUTF8"); // RFC 6531 §3.4
        }
        out.extend_from_slice(b"\r\n");
    }

    /// What makes the transaction pointless with a server like this.
    fn hindrance(&self, extensions: &Extensions) -> Option<(EnhancedStatus, &'static str)> {
        match (self.transaction.size_bytes, extensions.size) {
            // RFC 1870 §4: it would be refused; §3: a limit of 0 is none
            (Some(size), Some(limit)) if limit > 0 && size > limit => {
                return Some((TOO_BIG, "message is larger than the server takes"));
            }
            _ => {}
        }
        // RFC 6152 §3: 8-bit content must not be sent to a server without 8BITMIME, and is not converted here
        if self.transaction.eight_bit && !extensions.eight_bit_mime {
            return Some((NO_CONVERSION, "message is 8-bit and the server does not take that"));
        }
        // RFC 6531 §3.2: nor must an internationalised one to a server without SMTPUTF8
        if self.transaction.smtp_utf8 && !extensions.smtp_utf8 {
            return Some((NON_ASCII, "message is internationalised and the server does not take that"));
        }
        None
    }
}

/// RFC 5321 §4.5.3.1.10: 552 as the reply to RCPT may be an old way to say "too many recipients", which is for another
/// transaction and no fault of this recipient.
fn is_too_many(reply: &ParsedReply<'_>) -> bool {
    let told = EnhancedStatus::new(5, 5, 3);
    reply.code.get() == 552 && reply.enhanced.is_none_or(|enhanced| enhanced == told)
}

/// RFC 9422: what a recipient gets that the server would not have taken with the others.
fn over_the_limit() -> RecipientStatus {
    RecipientStatus::ours(
        Stage::Rcpt,
        TOO_MANY_RECIPIENTS,
        "not sent: the server takes fewer recipients at a time",
    )
}

impl Session {
    /// Writes the first commands of the transaction that waits, or ends it where there is nothing to ask.
    pub(super) fn start_envelope(&mut self, now: Instant, out: &mut Vec<u8>) {
        let Some(envelope) = &mut self.envelope else { return };
        if envelope.transaction.recipients.is_empty() {
            return self.finish(None);
        }
        if let Some((enhanced, text)) = envelope.hindrance(&self.extensions) {
            return self.finish(Some(RecipientStatus::ours(Stage::Mail, enhanced, text)));
        }
        if let Some(limit) = self.extensions.recipients_max {
            envelope.asked = envelope.asked.min(limit.get());
        }
        // RFC 3030 §2: the size comes before the bytes, so a message of unknown size goes by DATA
        envelope.by_chunk =
            self.options.chunking && self.extensions.chunking && envelope.transaction.size_bytes.is_some();
        if self.needs_reset {
            self.needs_reset = false;
            envelope.written = RSET;
            envelope.answered = RSET;
        }
        self.state = State::Envelope;
        self.write_group(now, out);
    }

    /// RFC 2920 §3.1: RSET, MAIL and RCPT may be anywhere in a group, DATA only at its end. A group is bounded so
    /// that it and its replies fit the buffers of a connection whose sides both write before they read.
    fn write_group(&mut self, now: Instant, out: &mut Vec<u8>) {
        let Some(envelope) = &mut self.envelope else { return };
        let group = if self.options.pipelining && self.extensions.pipelining { PIPELINE_GROUP } else { 1 };
        let end = envelope.written + group;
        while envelope.written < end && envelope.goes_on() {
            envelope.write(&self.extensions, out);
        }
        self.await_step(now);
        self.since = now;
    }

    /// RFC 5321 §4.5.3.2: each reply has a timeout of its own.
    fn await_step(&mut self, now: Instant) {
        let timeouts = &self.options.timeouts;
        let timeout = match self.stage() {
            Stage::Rset => timeouts.rset,
            Stage::Rcpt => timeouts.rcpt,
            Stage::Data => timeouts.data_init,
            _ => timeouts.mail,
        };
        self.deadline = Some(now + timeout);
    }

    pub(super) fn take_envelope(&mut self, reply: ParsedReply<'_>, now: Instant, out: &mut Vec<u8>) {
        let Some(envelope) = &mut self.envelope else { return };
        let step = envelope.step(envelope.answered);
        let severity = reply.code.severity();
        match (step, severity) {
            (Step::Data, Severity::Intermediate) => return self.take_data(now, out),
            (Step::Data, Severity::Completion) => return self.break_off("2xx as the reply to DATA"),
            (_, Severity::Intermediate) => {
                return self.break_off("3xx as the reply to another command than DATA");
            }
            (Step::Rset, Severity::Completion) => {}
            // RFC 5321 §4.1.1.5: the only reply to RSET is 250
            (Step::Rset, _) => return self.break_off("RSET refused"),
            (Step::Mail, Severity::Completion) => self.needs_reset = true,
            (Step::Mail, _) => envelope.refused = decision(Stage::Mail, &reply),
            (Step::Rcpt(_), _) if envelope.refused.is_some() => {}
            (Step::Rcpt(_), Severity::Completion) => envelope.accepted += 1,
            (Step::Rcpt(place), _) if is_too_many(&reply) && envelope.accepted > 0 => {
                let status = RecipientStatus::ours(Stage::Rcpt, TOO_MANY_RECIPIENTS, &reply.text);
                envelope
                    .refused_recipients
                    .push((place, RecipientStatus { code: Some(reply.code), ..status }));
            }
            (Step::Rcpt(place), _) => {
                envelope
                    .refused_recipients
                    .extend(decision(Stage::Rcpt, &reply).map(|status| (place, status)));
            }
            (Step::Data, _) if envelope.refused.is_some() => {}
            (Step::Data, _) => envelope.refused = decision(Stage::Data, &reply),
        }
        envelope.answered += 1;
        if envelope.answered < envelope.written {
            self.await_step(now);
        } else if envelope.goes_on() {
            self.write_group(now, out);
        } else if let Some(size) = envelope.chunk_due() {
            self.start_body(Framing::Counted(Count::new(size)), now);
        } else {
            self.finish(None);
        }
    }

    /// 354: the body, unless nobody is left to take it.
    fn take_data(&mut self, now: Instant, out: &mut Vec<u8>) {
        // Nobody is accepted after a refused MAIL, whatever RCPT says.
        let wanted = self.envelope.as_ref().is_some_and(|envelope| envelope.accepted > 0);
        if wanted {
            self.start_body(Framing::Stuffed(DotStuffer::new()), now);
        } else if self.options.protocol == Protocol::Lmtp {
            // RFC 2033 §4.2: DATA is to fail, and a dot would have no reply to wait for
            self.break_off("354 although every recipient was refused");
        } else {
            // RFC 2920 §3.1: a 354 after nothing but refusals is answered with an empty message
            DotStuffer::new().finish(out);
            self.state = State::LoneDot;
            self.await_until(now, self.options.timeouts.data_end);
        }
    }
}

const RSET: u32 = 0;
const MAIL: u32 = 1;
/// Commands in one group.
const PIPELINE_GROUP: u32 = 100;
/// RFC 3463 §3.4, X.3.4: message too big for system.
const TOO_BIG: EnhancedStatus = EnhancedStatus::new(5, 3, 4);
/// RFC 3463 §3.6, X.5.3: too many recipients.
const TOO_MANY_RECIPIENTS: EnhancedStatus = EnhancedStatus::new(4, 5, 3);
/// RFC 3463 §3.7, X.6.3: conversion required but not supported.
const NO_CONVERSION: EnhancedStatus = EnhancedStatus::new(5, 6, 3);
/// RFC 6531 §4, X.6.7: non-ASCII addresses not permitted.
const NON_ASCII: EnhancedStatus = EnhancedStatus::new(5, 6, 7);
