//! Answers: the default one to each event, the driver's own, and what either does to the session.

use super::auth::Exchange;
use super::refusal::Refusal;
use super::session::{Pending, Session, State};
use super::transaction::Form;
use crate::Protocol;
use crate::base64;
use crate::reply::Reply;
use crate::status::Severity;
use std::io::Write;

impl Session {
    /// Answers the pending event with its default reply, and does what it says. Without one, does nothing.
    pub fn accept(&mut self, out: &mut Vec<u8>) {
        let Some(pending) = self.pending.take() else { return };
        match pending {
            Pending::Connect => self.write_greeting(out),
            Pending::Hello { extended } => self.write_hello(extended, out),
            Pending::StartTls => self.write(b"220 2.0.0 Ready to start TLS\r\n", out), // RFC 3207 §4
            Pending::AuthChallenge => self.write_challenge(out),
            Pending::Auth => self.write(b"235 2.7.0 Authentication succeeded\r\n", out), // RFC 4954 §6
            Pending::Mail { .. } => self.write(b"250 2.1.0 Ok\r\n", out), // RFC 3463 §3.2: X.1.0
            Pending::Rcpt => self.write(b"250 2.1.5 Ok\r\n", out),
            // RFC 2034 §4: 3xx has no enhanced status
            Pending::Data => out.extend_from_slice(b"354 End data with <CR><LF>.<CR><LF>\r\n"),
            Pending::Rset | Pending::Noop => self.write(b"250 2.0.0 Ok\r\n", out),
            // RFC 5321 §3.5.3: 252 when an address is not checked before RCPT
            Pending::Vrfy => self.write(b"252 2.5.0 Cannot verify, send some mail\r\n", out),
            Pending::Help => self.write(b"214 2.0.0 RFC 5321\r\n", out),
            Pending::Quit => self.write(b"221 2.0.0 Bye\r\n", out),
            Pending::Invalid(refusal) => self.write(refusal.line(), out),
            // RFC 1870 §6.3: more than was declared, or nothing was
            Pending::EndOfChunk | Pending::EndOfData | Pending::NextRecipient if self.transaction.too_big => {
                self.write(Refusal::TooBig.line(), out);
            }
            Pending::EndOfChunk => self.write_chunk_taken(out),
            Pending::EndOfData | Pending::NextRecipient => self.write(b"250 2.0.0 Ok\r\n", out),
        }
        let is_content = matches!(pending, Pending::EndOfChunk | Pending::EndOfData | Pending::NextRecipient);
        self.answered(pending, !(is_content && self.transaction.too_big));
    }

    /// Answers the pending event with `reply`; the event takes effect only if that is positive (2xx, for DATA
    /// and a challenge 3xx). A 3xx at the end of AUTH asks for one response more. A 421 closes the session, and so
    /// does any answer to QUIT. Without a pending event, a 421 may be sent at any time (RFC 5321 §3.8), and nothing
    /// else is.
    pub fn reply(&mut self, reply: &Reply, out: &mut Vec<u8>) {
        if self.pending.is_none() && (!reply.code.is_shutdown() || self.state == State::Closed) {
            return;
        }
        // RFC 2034 §4: all replies carry one except the greeting and those to EHLO and HELO
        let carries = self.options.extensions.enhanced_status_codes
            && !matches!(self.pending, Some(Pending::Connect | Pending::Hello { .. }));
        reply.write_with(reply.enhanced.filter(|_| carries), out);
        if let Some(pending) = self.pending.take() {
            let severity = reply.code.severity();
            let good = match pending {
                Pending::Data | Pending::AuthChallenge => Severity::Intermediate,
                _ => Severity::Completion,
            };
            self.answered(pending, severity == good);
            if pending == Pending::Auth && severity == Severity::Intermediate {
                self.ask_more();
            }
        }
        if reply.code.is_shutdown() {
            self.state = State::Closed;
        }
    }

    /// What an answer does to the session.
    fn answered(&mut self, pending: Pending, positive: bool) {
        match pending {
            Pending::Connect => self.state = if positive { State::Connected } else { State::Refused },
            Pending::Hello { extended } if positive => {
                // RFC 5321 §4.1.4: EHLO in the middle of a session is also a RSET
                self.reset_transaction();
                self.state = State::Ready;
                self.extended = extended;
            }
            Pending::StartTls if positive => self.state = State::StartingTls,
            Pending::AuthChallenge if positive => self.state = State::AwaitingResponse,
            Pending::AuthChallenge => self.exchange = None,
            Pending::Auth => self.is_authenticated = positive,
            Pending::Mail { smtp_utf8 } if positive => {
                self.state = State::Transaction;
                self.transaction.smtp_utf8 = smtp_utf8;
            }
            Pending::Rcpt if positive => self.transaction.recipients += 1,
            Pending::Data => {
                self.transaction.form = Form::Dots;
                if positive {
                    self.state = State::Body;
                }
            }
            Pending::Rset if positive => self.reset_transaction(),
            Pending::EndOfChunk => {
                self.chunk = None;
                // RFC 3030 §2: the transaction has failed; what is in the pipeline is refused chunk by chunk
                if !positive {
                    self.reset_transaction();
                }
            }
            Pending::EndOfData | Pending::NextRecipient => {
                if positive {
                    self.errors = 0;
                }
                self.transaction.replied += 1;
                // RFC 2033 §4.2: a reply for each; RFC 5321 §4.1.1.4: taken or not, the transaction has ended
                let all_have_theirs = self.transaction.replied >= self.transaction.recipients;
                if self.options.protocol == Protocol::Lmtp && !all_have_theirs {
                    self.state = State::EachRecipient;
                } else {
                    self.reset_transaction();
                }
            }
            Pending::Quit | Pending::Invalid(Refusal::TooManyErrors(_)) => self.state = State::Closed,
            Pending::Hello { .. } | Pending::StartTls => {}
            Pending::Mail { .. } | Pending::Rcpt | Pending::Rset => {}
            Pending::Noop | Pending::Vrfy | Pending::Help | Pending::Invalid(_) => {}
        }
    }

    /// RFC 4954 §4.
    fn write_challenge(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"334 ");
        base64::encode(self.exchange.as_deref().map_or(b"", Exchange::prompt), out);
        out.extend_from_slice(b"\r\n");
    }

    /// RFC 3030 §4.2 has such a text.
    fn write_chunk_taken(&self, out: &mut Vec<u8>) {
        let size = self.chunk.as_ref().map_or(0, |chunk| chunk.size);
        let enhanced = if self.options.extensions.enhanced_status_codes { "2.0.0 " } else { "" };
        write!(out, "250 {enhanced}{size} octets received\r\n").expect("a Vec takes what it is given");
    }

    /// Writes a line whose enhanced status stands at a fixed place, which is left out where none were
    /// offered.
    fn write(&self, line: &'static [u8], out: &mut Vec<u8>) {
        if self.options.extensions.enhanced_status_codes {
            out.extend_from_slice(line);
        } else {
            out.extend_from_slice(&line[..CODE_BYTES]);
            out.extend_from_slice(&line[CODE_BYTES + ENHANCED_BYTES..]);
        }
    }
}

/// `250 `
const CODE_BYTES: usize = 4;
/// `2.0.0 `
const ENHANCED_BYTES: usize = 6;
