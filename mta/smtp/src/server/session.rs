//! The state machine of a server session.
//!
//! ```text
//! Start -> Connected -> Ready -> Transaction -> Body -> Ready -> ..
//! ```
//! EHLO, RSET and the end of data lead back to Ready, a refused greeting to Refused, QUIT and 421 to Closed.

use super::refusal::Refusal;
use super::{Event, Extensions, Limits};
use crate::command::{self, BodyType, Command};
use crate::reply::Reply;
use crate::stage::Stage;
use crate::status::Severity;
use crate::stuff::{Chunk, DotUnstuffer};
use memchr::memchr_iter;
use std::mem;
use std::sync::Arc;

/// One connection from a client, seen from the taking side.
#[derive(Debug)]
pub struct Session {
    name: Arc<str>,
    limits: Arc<Limits>,
    extensions: Extensions,
    state: State,
    pending: Option<Pending>,
    /// The line under way is over the limit and its rest is thrown away.
    discarding: bool,
    errors: u32,
    // of the transaction under way
    recipients: u32,
    body_bytes: u64,
    too_big: bool,
    unstuffer: DotUnstuffer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The greeting is due.
    Start,
    /// The greeting was a refusal: RFC 5321 §3.1, everything but QUIT is 503.
    Refused,
    /// Greeted, no EHLO or HELO yet.
    Connected,
    /// No transaction under way.
    Ready,
    /// MAIL was accepted.
    Transaction,
    /// After 354.
    Body,
    Closed,
}

/// What waits for the driver's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pending {
    Connect,
    Hello { extended: bool },
    Mail,
    Rcpt,
    Data,
    Rset,
    Noop,
    Vrfy,
    Help,
    Quit,
    Invalid(Refusal),
    EndOfData,
}

/// How a line begins, if there is one.
enum Line<'a> {
    Whole(&'a [u8]),
    TooLong,
    More,
}

impl Session {
    /// A connection that was just accepted; `name` is our host name.
    pub fn new(name: Arc<str>, limits: Arc<Limits>, extensions: Extensions) -> Session {
        Session {
            name,
            limits,
            extensions,
            state: State::Start,
            pending: None,
            discarding: false,
            errors: 0,
            recipients: 0,
            body_bytes: 0,
            too_big: false,
            unstuffer: DotUnstuffer::new(),
        }
    }

    /// Takes bytes from the client; returns how many are done with (also when there is no event) and what
    /// happened. `None` asks for more input, or for the answer that the last event still waits for.
    pub fn next<'a>(&mut self, input: &'a [u8]) -> (usize, Option<Event<'a>>) {
        if self.pending.is_some() {
            return (0, None);
        }
        match self.state {
            State::Start => {
                self.pending = Some(Pending::Connect);
                (0, Some(Event::Connect))
            }
            State::Body => self.next_body(input),
            State::Closed => (input.len(), None),
            State::Refused | State::Connected | State::Ready | State::Transaction => self.next_command(input),
        }
    }

    /// Answers the pending event with its default reply, and does what it says. Without one, does nothing.
    pub fn accept(&mut self, out: &mut Vec<u8>) {
        let Some(pending) = self.pending.take() else { return };
        match pending {
            Pending::Connect => self.write_greeting(out),
            Pending::Hello { extended } => self.write_hello(extended, out),
            Pending::Mail => self.write(b"250 2.1.0 Ok\r\n", out), // RFC 3463 §3.2: X.1.0
            Pending::Rcpt => self.write(b"250 2.1.5 Ok\r\n", out),
            // RFC 2034 §4: no enhanced status on 3xx
            Pending::Data => out.extend_from_slice(b"354 End data with <CR><LF>.<CR><LF>\r\n"),
            Pending::Rset | Pending::Noop => self.write(b"250 2.0.0 Ok\r\n", out),
            // RFC 5321 §3.5.3: 252 when an address is not checked before RCPT
            Pending::Vrfy => self.write(b"252 2.5.0 Cannot verify, send some mail\r\n", out),
            Pending::Help => self.write(b"214 2.0.0 RFC 5321\r\n", out),
            Pending::Quit => self.write(b"221 2.0.0 Bye\r\n", out),
            Pending::Invalid(refusal) => self.write(refusal.line(), out),
            // RFC 1870 §6.3: over the limit although SIZE= was within, or absent
            Pending::EndOfData if self.too_big => self.write(Refusal::TooBig.line(), out),
            Pending::EndOfData => self.write(b"250 2.0.0 Ok\r\n", out),
        }
        self.answered(pending, pending != Pending::EndOfData || !self.too_big);
    }

    /// Answers the pending event with `reply`; the event takes effect only if that is positive (2xx, for DATA
    /// 3xx). A 421 closes the session, and so does any answer to QUIT. Without a pending event, a 421 may be sent
    /// at any time (RFC 5321 §3.8), and nothing else is.
    pub fn reply(&mut self, reply: &Reply, out: &mut Vec<u8>) {
        if self.pending.is_none() && (!reply.code.is_shutdown() || self.state == State::Closed) {
            return;
        }
        // RFC 2034 §4: none before EHLO told of them
        let without = !self.extensions.enhanced_status_codes || self.pending == Some(Pending::Connect);
        reply.write_with(reply.enhanced.filter(|_| !without), out);
        if let Some(pending) = self.pending.take() {
            let good = match pending {
                Pending::Data => Severity::Intermediate,
                _ => Severity::Completion,
            };
            self.answered(pending, reply.code.severity() == good);
        }
        if reply.code.is_shutdown() {
            self.state = State::Closed;
        }
    }

    /// The stage of the pending event: [`Stage::Banner`] for `Connect`, [`Stage::Dot`] for `EndOfData`,
    /// [`Stage::Noop`] for what has no stage of its own, and for none.
    pub fn stage(&self) -> Stage {
        match self.pending {
            Some(Pending::Connect) => Stage::Banner,
            Some(Pending::Hello { .. }) => Stage::Ehlo,
            Some(Pending::Mail) => Stage::Mail,
            Some(Pending::Rcpt) => Stage::Rcpt,
            Some(Pending::Data) => Stage::Data,
            Some(Pending::EndOfData) => Stage::Dot,
            Some(Pending::Rset) => Stage::Rset,
            Some(Pending::Quit) => Stage::Quit,
            Some(Pending::Invalid(refusal)) => refusal.stage().unwrap_or(Stage::Noop),
            Some(Pending::Noop | Pending::Vrfy | Pending::Help) | None => Stage::Noop,
        }
    }

    /// Nothing more will happen: flush and drop the connection.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// What an answer does to the session.
    fn answered(&mut self, pending: Pending, positive: bool) {
        match pending {
            Pending::Connect => self.state = if positive { State::Connected } else { State::Refused },
            Pending::Hello { .. } if positive => {
                // RFC 5321 §4.1.4: EHLO in the middle of a session is also a RSET
                self.reset_transaction();
                self.state = State::Ready;
            }
            Pending::Mail if positive => self.state = State::Transaction,
            Pending::Rcpt if positive => self.recipients += 1,
            Pending::Data if positive => self.state = State::Body,
            Pending::Rset if positive => self.reset_transaction(),
            // RFC 5321 §4.1.1.4: the end of data ends the transaction, whether it was taken or not
            Pending::EndOfData => {
                self.reset_transaction();
                if positive {
                    self.errors = 0;
                }
            }
            Pending::Quit | Pending::Invalid(Refusal::TooManyErrors(_)) => self.state = State::Closed,
            Pending::Hello { .. } | Pending::Mail | Pending::Rcpt | Pending::Data | Pending::Rset => {}
            Pending::Noop | Pending::Vrfy | Pending::Help | Pending::Invalid(_) => {}
        }
    }

    /// Forgets the transaction; the only place that does.
    fn reset_transaction(&mut self) {
        self.recipients = 0;
        self.body_bytes = 0;
        self.too_big = false;
        self.unstuffer = DotUnstuffer::new();
        if matches!(self.state, State::Transaction | State::Body) {
            self.state = State::Ready;
        }
    }

    fn next_body<'a>(&mut self, input: &'a [u8]) -> (usize, Option<Event<'a>>) {
        let mut consumed = 0;
        loop {
            let (bytes, chunk) = self.unstuffer.next(&input[consumed..]);
            consumed += bytes;
            match chunk {
                Chunk::More => return (consumed, None),
                Chunk::Content(content) => {
                    let wanted = self.count_body(content);
                    if !wanted.is_empty() {
                        return (consumed, Some(Event::Body(wanted)));
                    }
                }
                Chunk::End => {
                    self.pending = Some(Pending::EndOfData);
                    let bare_newline = self.unstuffer.bare_newline();
                    return (consumed, Some(Event::EndOfData { bare_newline, too_big: self.too_big }));
                }
            }
        }
    }

    /// The part of `content` that is within the limit. RFC 1870 §3: the size counts line ends, and neither the
    /// doubled dots nor the final one.
    fn count_body<'a>(&mut self, content: &'a [u8]) -> &'a [u8] {
        let before = self.body_bytes;
        self.body_bytes = before.saturating_add(content.len() as u64);
        match self.limits.max_message_bytes {
            Some(limit) if self.body_bytes > limit => {
                self.too_big = true;
                let room = limit.saturating_sub(before);
                &content[..usize::try_from(room).map_or(content.len(), |room| room.min(content.len()))]
            }
            _ => content,
        }
    }

    fn next_command<'a>(&mut self, input: &'a [u8]) -> (usize, Option<Event<'a>>) {
        let (consumed, line) = self.take_line(input);
        let event = match line {
            Line::More => return (consumed, None),
            Line::TooLong => Err(Refusal::LineTooLong),
            Line::Whole(line) => {
                command::parse(line).map_err(Refusal::Malformed).and_then(|command| self.command(command))
            }
        };
        let event = event.unwrap_or_else(|refusal| {
            let refusal = self.count_error(refusal);
            self.pending = Some(Pending::Invalid(refusal));
            Event::Invalid { stage: refusal.stage() }
        });
        (consumed, Some(event))
    }

    /// RFC 5321 §2.3.8: a line ends in CR LF and nothing else. One that is too long is thrown away as it comes,
    /// up to its end, so that the driver's buffer stays small.
    fn take_line<'a>(&mut self, input: &'a [u8]) -> (usize, Line<'a>) {
        let end = memchr_iter(b'\n', input).find(|&at| at > 0 && input[at - 1] == b'\r');
        match end {
            Some(end) if mem::take(&mut self.discarding) || end + 1 > self.limits.max_line => {
                (end + 1, Line::TooLong)
            }
            Some(end) => (end + 1, Line::Whole(&input[..end - 1])),
            None if self.discarding || input.len() >= self.limits.max_line => {
                self.discarding = true;
                let half_end = usize::from(input.last() == Some(&b'\r'));
                (input.len() - half_end, Line::More)
            }
            None => (0, Line::More),
        }
    }

    /// Whether `command` is allowed now: RFC 5321 §4.1.4.
    fn command<'a>(&mut self, command: Command<'a>) -> Result<Event<'a>, Refusal> {
        let greeted = matches!(self.state, State::Ready | State::Transaction);
        let (pending, event) = match command {
            Command::Quit => (Pending::Quit, Event::Quit),
            _ if self.state == State::Refused => return Err(Refusal::Sequence(Stage::Noop)),
            Command::Ehlo(name) => (Pending::Hello { extended: true }, Event::Hello { name, extended: true }),
            Command::Helo(name) => {
                (Pending::Hello { extended: false }, Event::Hello { name, extended: false })
            }
            Command::Mail { .. } if self.state != State::Ready => return Err(Refusal::Sequence(Stage::Mail)),
            Command::Mail { reverse_path, size, body } => {
                self.check_parameters(size, body)?;
                let eight_bit = body == Some(BodyType::EightBitMime);
                (Pending::Mail, Event::Mail { reverse_path, size, eight_bit })
            }
            Command::Rcpt { .. } if self.state != State::Transaction => {
                return Err(Refusal::Sequence(Stage::Rcpt));
            }
            Command::Rcpt { .. } if self.recipients >= self.limits.max_recipients => {
                return Err(Refusal::TooManyRecipients);
            }
            Command::Rcpt { forward_path } => (Pending::Rcpt, Event::Rcpt { forward_path }),
            Command::Data if self.state != State::Transaction => return Err(Refusal::Sequence(Stage::Data)),
            Command::Data if self.recipients == 0 => return Err(Refusal::NoRecipients),
            Command::Data => (Pending::Data, Event::Data),
            // RFC 5321 §4.1.1.5, §4.1.4: these are allowed before EHLO
            Command::Rset => (Pending::Rset, Event::Rset),
            Command::Noop => (Pending::Noop, Event::Noop),
            Command::Vrfy => (Pending::Vrfy, Event::Vrfy),
            Command::Help => (Pending::Help, Event::Help),
        };
        debug_assert!(greeted || !matches!(pending, Pending::Mail | Pending::Rcpt | Pending::Data));
        self.pending = Some(pending);
        Ok(event)
    }

    /// RFC 5321 §4.1.1.11: a parameter that was not offered is 555.
    fn check_parameters(&self, size: Option<u64>, body: Option<BodyType>) -> Result<(), Refusal> {
        let unknown = Refusal::Malformed(command::CommandError::UnknownParameter(Stage::Mail));
        if (size.is_some() && !self.extensions.size) || (body.is_some() && !self.extensions.eight_bit_mime) {
            return Err(unknown);
        }
        match (size, self.limits.max_message_bytes) {
            (Some(size), Some(limit)) if size > limit => Err(Refusal::TooBig), // RFC 1870 §6.1
            _ => Ok(()),
        }
    }

    fn count_error(&mut self, refusal: Refusal) -> Refusal {
        if !refusal.is_error() {
            return refusal;
        }
        self.errors = self.errors.saturating_add(1);
        if self.errors > self.limits.max_errors { Refusal::TooManyErrors(refusal.stage()) } else { refusal }
    }

    /// RFC 5321 §4.2, §4.3.1: the host name comes first.
    fn write_greeting(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"220 ");
        out.extend_from_slice(self.name.as_bytes());
        out.extend_from_slice(b" ESMTP\r\n");
    }

    /// RFC 5321 §4.1.1.1.
    fn write_hello(&self, extended: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(if extended { b"250-" } else { b"250 " });
        out.extend_from_slice(self.name.as_bytes());
        out.extend_from_slice(b"\r\n");
        if !extended {
            return;
        }
        let mut last_line = out.len() - self.name.len() - 6;
        let mut keyword = |out: &mut Vec<u8>, line: &[u8]| {
            last_line = out.len();
            out.extend_from_slice(b"250-");
            out.extend_from_slice(line);
            out.extend_from_slice(b"\r\n");
        };
        if self.extensions.pipelining {
            keyword(out, b"PIPELINING");
        }
        if self.extensions.size {
            match self.limits.max_message_bytes {
                Some(limit) => keyword(out, format!("SIZE {limit}").as_bytes()),
                None => keyword(out, b"SIZE"),
            }
        }
        if self.extensions.eight_bit_mime {
            keyword(out, b"8BITMIME");
        }
        if self.extensions.enhanced_status_codes {
            keyword(out, b"ENHANCEDSTATUSCODES");
        }
        out[last_line + 3] = b' ';
    }

    /// Writes a line whose enhanced status stands at a fixed place, which is left out where none were offered.
    fn write(&self, line: &'static [u8], out: &mut Vec<u8>) {
        if self.extensions.enhanced_status_codes {
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
