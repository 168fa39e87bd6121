//! The state machine of a server session.
//!
//! ```text
//! Start -> Connected -> Ready -> Transaction -> Body -> Ready -> ..
//! ```
//! EHLO, RSET and the end of data lead back to Ready, a refused greeting to Refused, QUIT and 421 to Closed.

use super::refusal::Refusal;
use super::{Event, Options};
use crate::command::{self, BodyType, Command};
use crate::stage::Stage;
use crate::stuff::{Chunk, DotUnstuffer};
use memchr::memchr_iter;
use std::mem;
use std::sync::Arc;

/// One connection from a client, seen from the taking side.
#[derive(Debug)]
pub struct Session {
    pub(super) options: Arc<Options>,
    pub(super) state: State,
    pub(super) pending: Option<Pending>,
    /// The line under way is over the limit and its rest is thrown away.
    discarding: bool,
    pub(super) errors: u32,
    // of the transaction under way
    pub(super) recipients: u32,
    body_bytes: u64,
    pub(super) too_big: bool,
    unstuffer: DotUnstuffer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
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
pub(super) enum Pending {
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
    /// A connection that was just accepted.
    pub fn new(options: Arc<Options>) -> Session {
        Session {
            options,
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

    /// Forgets the transaction; the only place that does.
    pub(super) fn reset_transaction(&mut self) {
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

    /// The part of `content` that is within the limit. RFC 1870 §5: the size counts line ends, and neither the
    /// doubled dots nor the final one.
    fn count_body<'a>(&mut self, content: &'a [u8]) -> &'a [u8] {
        let before = self.body_bytes;
        self.body_bytes = before.saturating_add(content.len() as u64);
        match self.options.limits.max_message_bytes {
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
            Some(end) if mem::take(&mut self.discarding) || end + 1 > self.options.limits.max_line => {
                (end + 1, Line::TooLong)
            }
            Some(end) => (end + 1, Line::Whole(&input[..end - 1])),
            None if self.discarding || input.len() >= self.options.limits.max_line => {
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
            Command::Rcpt { .. } if self.recipients >= self.options.limits.max_recipients => {
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
        if (size.is_some() && !self.options.extensions.size)
            || (body.is_some() && !self.options.extensions.eight_bit_mime)
        {
            return Err(unknown);
        }
        match (size, self.options.limits.max_message_bytes) {
            (Some(size), Some(limit)) if size > limit => Err(Refusal::TooBig), // RFC 1870 §6.1
            _ => Ok(()),
        }
    }

    fn count_error(&mut self, refusal: Refusal) -> Refusal {
        if !refusal.is_error() {
            return refusal;
        }
        self.errors = self.errors.saturating_add(1);
        if self.errors > self.options.limits.max_errors {
            Refusal::TooManyErrors(refusal.stage())
        } else {
            refusal
        }
    }
}
