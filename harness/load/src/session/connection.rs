//! One connection: moves bytes between the socket and the client session, and keeps its deadline.
//!
//! What a reply means is the session's to know, and what to do next the slot's. While a connection waits it holds no
//! buffers: it reads into and writes from the run's scratch, and keeps only what the socket would not take.

use super::deadline::Deadline;
use super::stream::Stream;
use super::tls::Mode;
use super::wire::Wire;
use crate::message::Letter;
use crate::run::{Output, Run, Scratch};
use crate::schedule::Claim;
use crate::statistics::outcome::Ending;
use smtp::Stage;
use smtp::client::{Cause, Event, HopStatus, Outcome, Session};
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

/// A connection and its session.
pub struct Connection<'a> {
    run: &'a Run,
    deadline: &'a mut Deadline,
    wire: Wire,
    session: Session,
    /// When the TLS handshake under way began.
    handshake: Option<Instant>,
    /// Read, and not yet understood.
    unread: Vec<u8>,
    /// The message under way, or the last one.
    claim: Option<Claim>,
    /// When the server last answered.
    answered: Instant,
    /// What the message is, and how much of its body was given to the session.
    letter: Option<Letter>,
    body_sent: u64,
    /// Whether the session wants the rest.
    in_body: bool,
}

/// What a slot waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    Ready,
    End,
}

enum Signal {
    Ready,
    Done(Outcome),
    Closed(Cause),
}

impl<'a> Connection<'a> {
    /// A session on a connection that was just established.
    pub fn new(run: &'a Run, deadline: &'a mut Deadline, stream: Stream) -> Connection<'a> {
        let now = Instant::now();
        let mut connection = Connection {
            run,
            deadline,
            wire: Wire::new(stream),
            session: Session::new(run.client.clone(), now),
            handshake: None,
            unread: Vec::new(),
            claim: None,
            answered: now,
            letter: None,
            body_sent: 0,
            in_body: false,
        };
        run.statistics.borrow_mut().connections += 1;
        if run.tls_mode == Mode::Implicit {
            connection.start_tls(now);
        }
        connection
    }

    /// Waits until the server has greeted us and a transaction can begin.
    pub async fn ready(&mut self) -> Result<(), Cause> {
        match self.signal(Wait::Ready).await {
            Signal::Ready => Ok(()),
            Signal::Closed(cause) => {
                if let (None, Some(stage)) = (self.claim, unanswered(&cause)) {
                    self.note_failure(stage);
                }
                Err(cause)
            }
            Signal::Done(_) => unreachable!("no transaction was begun"),
        }
    }

    /// Sends one message and waits for its end.
    pub async fn send(&mut self, claim: Claim, began: Instant) -> Outcome {
        self.claim = Some(claim);
        self.answered = began;
        let intended_ns = self.run.clock.borrow().monotonic_ns(claim.intended);
        let (transaction, letter) = self.run.composer.compose(claim.number, intended_ns);
        self.letter = Some(letter);
        self.write(|session, out| session.begin(transaction, began, out));
        match self.signal(Wait::End).await {
            Signal::Done(outcome) => {
                let unanswered = outcome.recipients.iter().find(|status| status.code.is_none());
                if let Some(status) = unanswered.filter(|_| outcome.hop == HopStatus::Throttle) {
                    self.note_failure(status.stage);
                }
                outcome
            }
            Signal::Closed(_) | Signal::Ready => unreachable!("a transaction ends before its session does"),
        }
    }

    /// Waits for `other` between two messages; fails if the session ends before.
    pub async fn rest<T>(&mut self, other: impl Future<Output = T>) -> Result<T, Cause> {
        let mut other = pin!(other);
        poll_fn(|context| {
            if let Poll::Ready(signal) = self.poll(context, Wait::End) {
                return match signal {
                    Signal::Closed(cause) => Poll::Ready(Err(cause)),
                    Signal::Ready | Signal::Done(_) => unreachable!("no transaction is under way"),
                };
            }
            other.as_mut().poll(context).map(Ok)
        })
        .await
    }

    /// Says goodbye and waits for the answer: the side that closes first keeps the port for a minute, and a server that
    /// was asked to close does so first.
    pub async fn quit(mut self) {
        self.write(|session, out| session.quit(Instant::now(), out));
        self.signal(Wait::End).await;
    }

    fn write(&mut self, command: impl FnOnce(&mut Session, &mut Vec<u8>)) {
        let output = &mut self.run.scratch.borrow_mut().output;
        command(&mut self.session, &mut output.bytes);
        self.wire.write(&mut output.bytes);
    }

    async fn signal(&mut self, wait: Wait) -> Signal {
        // An event may lie in what was read with the last one, or need no input at all.
        let unread = std::mem::take(&mut self.unread);
        let signal = self.pump(&unread, wait, &mut self.run.scratch.borrow_mut().output);
        match signal {
            Some(signal) => signal,
            None => poll_fn(|context| self.poll(context, wait)).await,
        }
    }

    fn poll(&mut self, context: &mut Context<'_>, wait: Wait) -> Poll<Signal> {
        let Scratch { input, opened, output } = &mut *self.run.scratch.borrow_mut();
        loop {
            self.write_unsent(context, output);
            let signal = match self.wire.poll_read(context, input) {
                Poll::Ready(Ok(read)) if read > 0 => match self.wire.open(&input[..read], opened) {
                    Ok(opened) => self.take_input(opened, wait, output),
                    Err(problem) => self.tls_broke(&problem, &input[..read], wait, output),
                },
                Poll::Ready(end) => {
                    let reason =
                        end.map_or_else(|error| error.kind().to_string(), |_| "end of file".to_owned());
                    self.broken(&reason, wait, output)
                }
                Poll::Pending => {
                    ready!(self.deadline.poll(context, self.session.deadline()));
                    self.session.expire(Instant::now());
                    self.pump(&[], wait, output)
                }
            };
            if let Some(signal) = signal {
                return Poll::Ready(signal);
            }
        }
    }

    fn take_input(&mut self, read: &[u8], wait: Wait, output: &mut Output) -> Option<Signal> {
        if !self.wire.is_handshaking()
            && let Some(began) = self.handshake.take()
        {
            self.established(began, output);
        }
        if self.unread.is_empty() {
            return self.pump(read, wait, output);
        }
        let mut input = std::mem::take(&mut self.unread);
        input.extend_from_slice(read);
        self.pump(&input, wait, output)
    }

    fn start_tls(&mut self, now: Instant) {
        let connector = self.run.connector.as_ref().expect("a session over TLS has been told how");
        self.handshake = Some(now);
        match connector.connect() {
            Ok(tls) => self.wire.start_tls(tls),
            Err(problem) => self.session.tls_failed(&problem, now),
        }
    }

    fn established(&mut self, began: Instant, output: &mut Output) {
        let now = Instant::now();
        if self.is_measured(now) {
            let resumed = self.wire.is_resumed();
            self.run.statistics.borrow_mut().handshake(resumed, now.saturating_duration_since(began));
        }
        self.answered = now;
        match self.run.tls_mode {
            Mode::Implicit => self.session = Session::over_tls(self.run.client.clone(), now),
            Mode::StartTls | Mode::Never => self.session.tls_established(now, &mut output.bytes),
        }
    }

    /// The server's TLS is none, or none that we take.
    fn tls_broke(&mut self, problem: &str, read: &[u8], wait: Wait, output: &mut Output) -> Option<Signal> {
        let problem = match self.run.tls_mode == Mode::Implicit && read.starts_with(b"220") {
            true => "the server greets in plaintext: it wants STARTTLS, or no TLS here",
            false => problem,
        };
        if self.run.tls_mode == Mode::StartTls && self.handshake.take().is_some() {
            self.session.tls_failed(problem, Instant::now());
            return self.pump(&[], wait, output);
        }
        self.broken(problem, wait, output)
    }

    /// The connection is of no more use.
    fn broken(&mut self, reason: &str, wait: Wait, output: &mut Output) -> Option<Signal> {
        if self.run.tls_mode == Mode::Implicit && self.handshake.take().is_some() {
            // The session has not begun, and so can't end.
            let cause = Cause::Unusable { stage: Stage::Handshake, reason: reason.to_owned() };
            return Some(Signal::Closed(cause));
        }
        self.session.closed(Instant::now(), reason);
        self.pump(&[], wait, output)
    }

    /// Gives `input` to the session and acts on its events, up to one that the slot waits for.
    fn pump(&mut self, input: &[u8], wait: Wait, output: &mut Output) -> Option<Signal> {
        let now = Instant::now();
        let mut taken = 0;
        let signal = loop {
            let (consumed, event) = self.session.next(&input[taken..], now, &mut output.bytes);
            taken += consumed;
            match event {
                None => break (wait == Wait::Ready && self.session.is_idle()).then_some(Signal::Ready),
                Some(Event::Reply { stage, code, elapsed }) => {
                    self.answered = now;
                    if self.is_measured(now) {
                        self.run.statistics.borrow_mut().reply(stage, code, elapsed);
                    }
                }
                Some(Event::StartTls) => self.start_tls(now),
                Some(Event::SendBody) => self.start_body(now, output),
                Some(Event::Done(outcome)) => break Some(Signal::Done(outcome)),
                Some(Event::Closed(cause)) => break Some(Signal::Closed(cause)),
            }
        };
        if signal.is_some() {
            self.in_body = false;
        }
        self.unread.extend_from_slice(&input[taken..]);
        self.wire.write(&mut output.bytes);
        signal
    }

    /// Replies belong to the message under way; those before the first belong to the time at which they come.
    fn is_measured(&self, now: Instant) -> bool {
        self.claim.map_or_else(|| self.run.schedule.borrow().is_measured(now), |claim| claim.measured)
    }

    /// A stage that ended without a reply took as long as we waited for one.
    fn note_failure(&self, stage: Stage) {
        let now = Instant::now();
        if self.is_measured(now) {
            let waited = now.saturating_duration_since(self.answered);
            self.run.statistics.borrow_mut().stage(stage, Ending::Failed, waited);
        }
    }

    fn start_body(&mut self, now: Instant, output: &mut Output) {
        let letter = self.letter.as_ref().expect("the session asks for the body of a message that was begun");
        output.header.clear();
        let clock = &mut *self.run.clock.borrow_mut();
        self.run.composer.write_header(letter, clock.date(now), &mut output.header);
        self.session.send_body(&output.header, &mut output.bytes);
        self.body_sent = 0;
        self.in_body = true;
        self.continue_body(now, &mut output.bytes);
    }

    /// Gives the session the next piece of the body, and the end after the last piece.
    fn continue_body(&mut self, now: Instant, out: &mut Vec<u8>) {
        let Some(letter) = self.letter.as_ref().filter(|_| self.in_body) else { return };
        let mut room = BODY_PIECE_BYTES;
        while room > 0 {
            let piece = self.run.composer.body(letter, self.body_sent, room);
            if piece.is_empty() {
                self.in_body = false;
                return self.session.finish_body(now, out);
            }
            self.session.send_body(piece, out);
            self.body_sent += piece.len() as u64;
            room -= piece.len();
        }
    }

    /// Goes on with what the socket did not take at once.
    fn write_unsent(&mut self, context: &mut Context<'_>, output: &mut Output) {
        loop {
            if self.in_body && self.wire.is_clear() {
                self.continue_body(Instant::now(), &mut output.bytes);
                self.wire.write(&mut output.bytes);
            }
            if self.wire.poll_write_unsent(context).is_ready() {
                self.session.wrote(Instant::now());
            } else if !self.in_body || !self.wire.is_clear() {
                return;
            }
        }
    }
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        self.run.statistics.borrow_mut().connections -= 1;
    }
}

/// The stage whose reply never came.
fn unanswered(cause: &Cause) -> Option<Stage> {
    match cause {
        Cause::PeerClosed { stage } | Cause::Timeout { stage } | Cause::Protocol { stage, .. } => {
            Some(*stage)
        }
        Cause::LostAfterFinalDot => Some(Stage::Dot),
        Cause::Quit | Cause::Refused { .. } | Cause::Unusable { .. } | Cause::Abandoned { .. } => None,
    }
}

/// A message up to this size is written at once; of a longer one no more than this waits in a connection's memory.
const BODY_PIECE_BYTES: usize = 64 * 1024;
