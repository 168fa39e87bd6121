//! The state machine of a server session.
//!
//! ```text
//! Start -> Connected -> Ready -> Transaction -> Body -> Ready -> ..
//! ```
//! The bytes of a chunk (BDAT) may come in any state that takes commands.
//!
//! EHLO, RSET and the end of data lead back to Ready, AUTH by way of AwaitingResponse too, STARTTLS by way of
//! StartingTls to Connected, a refused greeting to Refused, QUIT and 421 to Closed.

use super::auth::Exchange;
use super::chunk::Chunk;
use super::refusal::Refusal;
use super::transaction::Transaction;
use super::{Event, Options};
use crate::command::{self, Command};
use crate::stage::Stage;
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
    /// The client said EHLO, so that it knows of the extensions.
    pub(super) extended: bool,
    pub(super) is_tls: bool,
    pub(super) is_authenticated: bool,
    /// Of AUTH, from its first challenge on.
    pub(super) exchange: Option<Box<Exchange>>,
    pub(super) errors: u32,
    pub(super) transaction: Transaction,
    /// Of BDAT, whatever the state. In a box as the exchange is, because most sessions that are held have
    /// neither.
    pub(super) chunk: Option<Box<Chunk>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The greeting is due.
    Start,
    /// The greeting was a refusal: RFC 5321 §3.1, everything but QUIT is 503.
    Refused,
    /// Greeted, no EHLO or HELO yet.
    Connected,
    /// STARTTLS was accepted: the next bytes are not SMTP.
    StartingTls,
    /// No transaction under way.
    Ready,
    /// A challenge of AUTH was sent: the next line is no command.
    AwaitingResponse,
    /// MAIL was accepted.
    Transaction,
    /// After 354.
    Body,
    /// LMTP: the next recipient's reply to the end of data is due.
    EachRecipient,
    Closed,
}

/// What waits for the driver's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pending {
    Connect,
    Hello { extended: bool },
    StartTls,
    AuthChallenge,
    Auth,
    Mail { smtp_utf8: bool },
    Rcpt,
    Data,
    Rset,
    Noop,
    Vrfy,
    Help,
    Quit,
    Invalid(Refusal),
    EndOfChunk,
    EndOfData,
    NextRecipient,
}

/// How a line begins, if there is one.
pub(super) enum Line<'a> {
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
            extended: false,
            is_tls: false,
            is_authenticated: false,
            exchange: None,
            errors: 0,
            transaction: Transaction::default(),
            chunk: None,
        }
    }

    /// Takes bytes from the client; returns how many are done with (also when there is no event) and what
    /// happened. `None` asks for more input, for the answer that the last event still waits for, or for the
    /// end of the TLS handshake ([`Session::is_starting_tls`]).
    pub fn next<'a>(&mut self, input: &'a [u8]) -> (usize, Option<Event<'a>>) {
        if self.pending.is_some() {
            return (0, None);
        }
        match self.state {
            State::Start => {
                self.pending = Some(Pending::Connect);
                (0, Some(Event::Connect))
            }
            State::Body => self.next_content(input),
            State::StartingTls => (0, None),
            State::AwaitingResponse => self.next_response(input),
            State::EachRecipient => {
                self.pending = Some(Pending::NextRecipient);
                (0, Some(Event::NextRecipient { index: self.transaction.replied }))
            }
            State::Closed => (input.len(), None),
            State::Refused | State::Connected | State::Ready | State::Transaction => match self.chunk {
                Some(_) => self.next_of_chunk(input),
                None => self.next_command(input),
            },
        }
    }

    /// The stage of the pending event: [`Stage::Banner`] for `Connect`, [`Stage::Body`] for `EndOfChunk` and
    /// a refused BDAT, [`Stage::Dot`] for `EndOfData` and `NextRecipient`, [`Stage::Noop`] for what has no
    /// stage of its own, and for none.
    pub fn stage(&self) -> Stage {
        match self.pending {
            Some(Pending::Connect) => Stage::Banner,
            Some(Pending::Hello { .. }) => Stage::Ehlo,
            Some(Pending::StartTls) => Stage::StartTls,
            Some(Pending::AuthChallenge | Pending::Auth) => Stage::Auth,
            Some(Pending::Mail { .. }) => Stage::Mail,
            Some(Pending::Rcpt) => Stage::Rcpt,
            Some(Pending::Data) => Stage::Data,
            Some(Pending::EndOfChunk) => Stage::Body,
            Some(Pending::EndOfData | Pending::NextRecipient) => Stage::Dot,
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

    /// AUTH has succeeded.
    pub fn is_authenticated(&self) -> bool {
        self.is_authenticated
    }

    /// LMTP: the end of the content has been answered for some of the accepted recipients, and not yet for all.
    pub fn is_answering_each(&self) -> bool {
        self.state == State::EachRecipient
    }

    /// STARTTLS was accepted: flush, do the handshake, then call [`Session::tls_established`]. Until then
    /// nothing is taken. Input that is left over at this moment was sent in the clear, perhaps by somebody in
    /// between, and must never be heard later as if it had come under TLS: close the connection (RFC 3207
    /// §4.2).
    pub fn is_starting_tls(&self) -> bool {
        self.state == State::StartingTls
    }

    /// All that follows is under TLS. After STARTTLS everything that was said before is forgotten, and the
    /// client begins again with EHLO (RFC 3207 §4.2). Before the greeting: TLS from the start, RFC 8314 §3.3.
    pub fn tls_established(&mut self) {
        self.is_tls = true;
        if !matches!(self.state, State::Start | State::Closed) {
            self.forget_client();
        }
    }

    /// Other settings from now on, as for AUTH that is offered under TLS only. What is under way goes on.
    pub fn set_options(&mut self, options: Arc<Options>) {
        self.options = options;
    }

    /// Forgets the transaction; the only place that does.
    pub(super) fn reset_transaction(&mut self) {
        self.transaction = Transaction::default();
        if matches!(self.state, State::Transaction | State::Body | State::EachRecipient) {
            self.state = State::Ready;
        }
    }

    /// As after the greeting.
    fn forget_client(&mut self) {
        self.reset_transaction();
        self.state = State::Connected;
        self.pending = None;
        self.discarding = false;
        self.extended = false;
        self.is_authenticated = false;
        self.exchange = None;
        self.chunk = None;
        self.errors = 0;
    }

    fn next_command<'a>(&mut self, input: &'a [u8]) -> (usize, Option<Event<'a>>) {
        let (consumed, line) = self.take_line(input, self.options.limits.max_line);
        let event = match line {
            Line::More => return (consumed, None),
            Line::TooLong => Err(Refusal::LineTooLong),
            Line::Whole(line) => match command::parse(line, self.grammar()) {
                Ok(Command::Bdat { size, last }) => {
                    let (bytes, event) = self.begin_chunk(size, last, &input[consumed..]);
                    return (consumed + bytes, event);
                }
                Ok(command) => self.command(command),
                Err(error) => Err(Refusal::Malformed(error)),
            },
        };
        (consumed, Some(event.unwrap_or_else(|refusal| self.refuse(refusal))))
    }

    /// RFC 5321 §2.3.8: a line ends in CR LF and nothing else. One that is too long is thrown away as it
    /// comes, up to its end, so that the driver's buffer stays small.
    pub(super) fn take_line<'a>(&mut self, input: &'a [u8], max_line: usize) -> (usize, Line<'a>) {
        let end = memchr_iter(b'\n', input).find(|&at| at > 0 && input[at - 1] == b'\r');
        match end {
            Some(end) if mem::take(&mut self.discarding) || end + 1 > max_line => (end + 1, Line::TooLong),
            Some(end) => (end + 1, Line::Whole(&input[..end - 1])),
            None if self.discarding || input.len() >= max_line => {
                self.discarding = true;
                let half_end = usize::from(input.last() == Some(&b'\r'));
                (input.len() - half_end, Line::More)
            }
            None => (0, Line::More),
        }
    }

    /// Makes a refusal the pending event.
    pub(super) fn refuse(&mut self, refusal: Refusal) -> Event<'static> {
        let stage = refusal.stage();
        let mut refusal = refusal;
        if refusal.is_error() {
            self.errors = self.errors.saturating_add(1);
            if self.errors > self.options.limits.max_errors {
                refusal = Refusal::TooManyErrors(stage);
            }
        }
        self.pending = Some(Pending::Invalid(refusal));
        Event::Invalid { stage }
    }
}
