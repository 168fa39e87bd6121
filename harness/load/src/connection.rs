//! One connection: moves bytes between the socket and the client session, and keeps its deadline.
//!
//! What a reply means is the session's to know, and what to do next the slot's. While a connection waits it holds no
//! buffers: it reads into and writes from the run's scratch, and keeps only what the socket would not take.

use crate::deadline::Deadline;
use crate::run::{Output, Run, Scratch};
use crate::schedule::Claim;
use smtp::client::{Cause, Event, Outcome, Session};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

/// A connection and its session.
pub struct Connection<'a> {
    run: &'a Run,
    deadline: &'a mut Deadline,
    stream: TcpStream,
    session: Session,
    /// Read, and not yet understood.
    unread: Vec<u8>,
    /// To be written, and not yet taken by the socket.
    unsent: Vec<u8>,
    /// The message under way.
    claim: Option<Claim>,
    /// How much of the body was given to the session, while the message is being sent.
    body_sent: Option<usize>,
    /// Nothing more can be written; what the server said before may still be there to be read.
    write_failed: bool,
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
    pub fn new(run: &'a Run, deadline: &'a mut Deadline, stream: TcpStream) -> Connection<'a> {
        let session = Session::new(run.client.clone(), Instant::now());
        Connection {
            run,
            deadline,
            stream,
            session,
            unread: Vec::new(),
            unsent: Vec::new(),
            claim: None,
            body_sent: None,
            write_failed: false,
        }
    }

    /// Waits until the server has greeted us and a transaction can begin.
    pub async fn ready(&mut self) -> Result<(), Cause> {
        match self.signal(Wait::Ready).await {
            Signal::Ready => Ok(()),
            Signal::Closed(cause) => Err(cause),
            Signal::Done(_) => unreachable!("no transaction was begun"),
        }
    }

    /// Sends one message and waits for its end.
    pub async fn send(&mut self, claim: Claim) -> Outcome {
        self.claim = Some(claim);
        let transaction = self.run.transaction.clone();
        self.write(|session, out| session.begin(transaction, Instant::now(), out));
        match self.signal(Wait::End).await {
            Signal::Done(outcome) => outcome,
            Signal::Closed(_) | Signal::Ready => unreachable!("a transaction ends before its session does"),
        }
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
        self.flush(&mut output.bytes);
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
        let Scratch { input, output } = &mut *self.run.scratch.borrow_mut();
        loop {
            self.write_unsent(context, output);
            let mut buffer = ReadBuf::new(input);
            let signal = match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.take_input(buffer.filled(), wait, output)
                }
                Poll::Ready(end) => {
                    let reason =
                        end.map_or_else(|error| error.kind().to_string(), |()| "end of file".to_owned());
                    self.session.closed(Instant::now(), &reason);
                    self.pump(&[], wait, output)
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
        if self.unread.is_empty() {
            return self.pump(read, wait, output);
        }
        let mut input = std::mem::take(&mut self.unread);
        input.extend_from_slice(read);
        self.pump(&input, wait, output)
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
                    self.run.statistics.borrow_mut().reply(stage, code, elapsed)
                }
                Some(Event::StartTls) => self.session.tls_failed("there is no TLS here", now),
                Some(Event::SendBody) => self.start_body(now, output),
                Some(Event::Done(outcome)) => break Some(Signal::Done(outcome)),
                Some(Event::Closed(cause)) => break Some(Signal::Closed(cause)),
            }
        };
        if signal.is_some() {
            self.body_sent = None;
        }
        self.unread.extend_from_slice(&input[taken..]);
        self.flush(&mut output.bytes);
        signal
    }

    fn start_body(&mut self, now: Instant, output: &mut Output) {
        let claim = self.claim.expect("the session asks for the body of a message that was begun");
        let clock = &mut *self.run.clock.borrow_mut();
        output.header.clear();
        let intended_ns = clock.monotonic_ns(claim.intended);
        self.run.template.write_header(claim.number, intended_ns, clock.date(now), &mut output.header);
        self.session.send_body(&output.header, &mut output.bytes);
        self.body_sent = Some(0);
        self.continue_body(now, &mut output.bytes);
    }

    /// Gives the session the next piece of the body, and the end with the last piece.
    fn continue_body(&mut self, now: Instant, out: &mut Vec<u8>) {
        let Some(sent) = self.body_sent else { return };
        let body = self.run.template.body();
        let end = body.len().min(sent + BODY_PIECE_BYTES);
        self.session.send_body(&body[sent..end], out);
        self.body_sent = Some(end).filter(|&end| end < body.len());
        if self.body_sent.is_none() {
            self.session.finish_body(now, out);
        }
    }

    /// Writes as much of `out` as the socket takes now and keeps the rest.
    fn flush(&mut self, out: &mut Vec<u8>) {
        let mut written = 0;
        while self.unsent.is_empty() && written < out.len() && !self.write_failed {
            match self.stream.try_write(&out[written..]) {
                Ok(length) => written += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.write_failed = true,
            }
        }
        if !self.write_failed {
            self.unsent.extend_from_slice(&out[written..]);
        }
        out.clear();
    }

    /// Goes on with what the socket did not take at once. An error is left to be found by reading: what the server said
    /// before it closed is worth more than how the connection broke.
    fn write_unsent(&mut self, context: &mut Context<'_>, output: &mut Output) {
        while !self.write_failed && (!self.unsent.is_empty() || self.body_sent.is_some()) {
            if self.unsent.is_empty() {
                self.unsent = Vec::new();
                self.continue_body(Instant::now(), &mut output.bytes);
                self.flush(&mut output.bytes);
                continue;
            }
            if self.stream.poll_write_ready(context).is_pending() {
                return;
            }
            match self.stream.try_write(&self.unsent) {
                Ok(length) => {
                    self.unsent.drain(..length);
                    self.session.wrote(Instant::now());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => self.write_failed = true,
            }
        }
    }
}

/// A message up to this size is written at once; of a longer one no more than this waits in a connection's memory.
const BODY_PIECE_BYTES: usize = 64 * 1024;
