//! What is sent, and what became of it: per recipient, per next hop, per session.

use crate::path::{ForwardPath, ReversePath};
use crate::reply::{ParsedReply, Reply, one_line};
use crate::stage::Stage;
use crate::status::{EnhancedStatus, ReplyCode, Severity};

/// One message for its recipients at one next hop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Argument of MAIL.
    pub reverse_path: ReversePath,
    /// Arguments of RCPT, in this order.
    pub recipients: Vec<ForwardPath>,
    /// Size of the content in bytes with CR LF line ends, before dot-stuffing, where known: declared by SIZE=
    /// and checked against the server's limit (RFC 1870 §4, §6). Exact: after BDAT the message is held to it.
    pub size_bytes: Option<u64>,
    /// The content may have bytes over 127: BODY=8BITMIME (RFC 6152).
    pub eight_bit: bool,
    /// A header field is beyond ASCII: SMTPUTF8 (RFC 6531). An address that is needs no telling.
    pub smtp_utf8: bool,
}

/// What became of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// One for each recipient of the transaction, in the same order.
    pub recipients: Vec<RecipientStatus>,
    /// What this says about the next hop as a whole.
    pub hop: HopStatus,
}

/// What became of one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipientStatus {
    /// Delivered, to be tried again, or given up.
    pub disposition: Disposition,
    /// The reply code that decided, if a reply did.
    pub code: Option<ReplyCode>,
    /// From that reply, or made from its code, or ours where no reply came.
    pub enhanced: EnhancedStatus,
    /// The reply's text or the reason, on one line, bounded.
    pub text: String,
    /// Where it was decided.
    pub stage: Stage,
}

/// What to do with a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Disposition {
    /// 2xx after the message.
    Delivered,
    /// 4xx, lost connection, timeout, protocol error: try again later.
    Deferred,
    /// 5xx: give up and tell the sender.
    Bounced,
}

/// What an outcome says about the host, as opposed to a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HopStatus {
    /// It talked to us; refusals were about the message or a recipient.
    Up,
    /// It could not be reached, refused the session, said 421, spoke nonsense, or was lost.
    Throttle,
}

/// Why a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// We said QUIT.
    Quit,
    /// The connection ended while this stage's reply was awaited; [`Stage::Mail`] when idle.
    PeerClosed { stage: Stage },
    /// The connection ended after the final dot and before its reply: the message may have been taken, and a
    /// retry may duplicate it.
    LostAfterFinalDot,
    /// No reply in time.
    Timeout { stage: Stage },
    /// The server broke the protocol.
    Protocol { stage: Stage, error: String },
    /// The server refused the session: greeting, EHLO and HELO, STARTTLS where it is required, AUTH, a 421 anywhere, or
    /// a refusal while the body was being sent.
    Refused { stage: Stage, reply: Reply },
    /// What the options require cannot be had from this server: an extension is not offered, or the TLS handshake
    /// failed.
    Unusable { stage: Stage, reason: String },
    /// The driver gave up the body.
    Abandoned { stage: Stage, reason: String },
}

impl RecipientStatus {
    /// What a reply says about a recipient; a 3xx where there can be none says nothing, and defers.
    pub(super) fn from_reply(stage: Stage, reply: &ParsedReply<'_>) -> RecipientStatus {
        RecipientStatus {
            disposition: match reply.code.severity() {
                Severity::Completion => Disposition::Delivered,
                Severity::Intermediate | Severity::Transient => Disposition::Deferred,
                Severity::Permanent => Disposition::Bounced,
            },
            code: Some(reply.code),
            enhanced: reply.enhanced.unwrap_or(EnhancedStatus::from_code(reply.code)),
            text: one_line(&reply.text),
            stage,
        }
    }

    /// A status of our own, without a reply.
    pub(super) fn ours(stage: Stage, enhanced: EnhancedStatus, text: &str) -> RecipientStatus {
        let disposition = if enhanced.class() == 5 { Disposition::Bounced } else { Disposition::Deferred };
        RecipientStatus { disposition, code: None, enhanced, text: one_line(text), stage }
    }
}

/// The outcome where no connection could be made: all deferred, the hop throttled.
pub fn connect_failed(transaction: &Transaction, reason: &str) -> Outcome {
    let status = RecipientStatus::ours(Stage::Connect, NO_ANSWER, reason);
    Outcome { recipients: vec![status; transaction.recipients.len()], hop: HopStatus::Throttle }
}

/// RFC 3463 §3.5, X.4.1: no answer from host.
const NO_ANSWER: EnhancedStatus = EnhancedStatus::new(4, 4, 1);
