//! One connection to a remote site, and the transactions on it, with blocking I/O.

use crate::socket::{Input, Socket};
use delivery::{
    AgentOptions, BODY_PIECE_BYTES, Content, DeliveryReport, DeliveryRequest, Received, StageTimes, Step,
    advance,
};
use smtp::client::{Outcome, Session};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// A buffer larger than this is given back while the peer thinks.
const KEEP_BYTES: usize = 512;

/// So much of what a peer said before its connection broke is listened to.
const LAST_WORDS_BYTES: usize = 64 * 1024;

pub struct Connection {
    socket: Socket,
    session: Session,
    write_timeout: Duration,
    input: Vec<u8>,
    out: Vec<u8>,
    transactions: u32,
    remote: SocketAddr,
}

/// Connects to the first address of the next hop that answers.
pub fn connect(request: &DeliveryRequest, options: &AgentOptions) -> io::Result<Box<Connection>> {
    let timeouts = &options.session.timeouts;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the next hop has no address");
    for address in request.next_hop.as_str().to_socket_addrs()? {
        match Socket::connect(address, options.connect_timeout) {
            Ok(socket) => {
                return Ok(Box::new(Connection {
                    socket,
                    session: Session::new(options.session.clone(), Instant::now()),
                    // a peer that does not read must not hold the agent: a write is bounded as the block of data it is
                    write_timeout: timeouts.data_block,
                    input: Vec::new(),
                    out: Vec::new(),
                    transactions: 0,
                    remote: address,
                }));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl Connection {
    /// Runs one transaction. Afterwards [`Connection::reusable`] says whether there may be another.
    pub fn deliver(&mut self, received: &mut Received, started_ns: u64) -> DeliveryReport {
        let (id, transaction) = (received.request.id, received.request.take_transaction());
        let fresh = self.transactions == 0;
        self.transactions += 1;
        let mut ready_ns = if fresh { 0 } else { started_ns };
        self.session.begin(transaction, Instant::now(), &mut self.out);
        let outcome = self.converse(received, &mut ready_ns);
        DeliveryReport {
            id,
            outcome,
            remote: Some(self.remote),
            times: StageTimes { started_ns, ready_ns, done_ns: sys::clock::monotonic_ns() },
        }
    }

    fn converse(&mut self, received: &mut Received, ready_ns: &mut u64) -> Outcome {
        let mut broken: Option<io::Error> = None;
        loop {
            let on_ready = || *ready_ns = sys::clock::monotonic_ns();
            let (taken, step) =
                advance(&mut self.session, &self.input, Instant::now(), &mut self.out, on_ready);
            self.input.drain(..taken);
            let moved = match (step, broken.take()) {
                (Step::Done(outcome), _) => return outcome,
                (Step::Closed, _) => {
                    unreachable!("a session with a transaction says how that ended before it closes")
                }
                (Step::SendBody | Step::NeedInput, Some(error)) => {
                    self.session.closed(Instant::now(), &error.to_string());
                    Ok(())
                }
                (Step::SendBody, None) => self.send_body(received),
                (Step::NeedInput, None) => self.flush().and_then(|()| self.fill()),
            };
            if let Err(error) = moved {
                self.hear_last_words();
                broken = Some(error);
            }
        }
    }

    /// Takes in what the peer said before it went or stopped reading: a refusal there says more than a lost connection.
    #[cold]
    fn hear_last_words(&mut self) {
        let end = self.input.len() + LAST_WORDS_BYTES;
        while self.input.len() < end
            && matches!(self.socket.receive_at_once(&mut self.input), Ok(Input::Some))
        {}
    }

    fn send_body(&mut self, received: &mut Received) -> io::Result<()> {
        match (&mut received.request.content, &received.file) {
            // its memory is not needed while the peer thinks about it
            (Content::Inline(bytes), _) => {
                self.session.send_body(std::mem::take(bytes), &mut self.out);
            }
            (Content::Descriptor { offset, length }, Some(file)) => self.send_file(file, *offset, *length)?,
            (Content::Descriptor { .. }, None) => {
                unreachable!("a request without its file is refused on arrival")
            }
        }
        self.session.finish_body(Instant::now(), &mut self.out);
        Ok(())
    }

    fn send_file(&mut self, file: &OwnedFd, mut offset: u64, length: u64) -> io::Result<()> {
        let end = offset + length;
        self.socket.send_at_once()?;
        let mut piece = vec![0; BODY_PIECE_BYTES];
        while offset < end {
            let want = (end - offset).min(BODY_PIECE_BYTES as u64) as usize;
            let count = rustix::io::pread(file, &mut piece[..want], offset)?;
            if count == 0 {
                return Err(io::Error::other("the queue file ends before the message does"));
            }
            offset += count as u64;
            self.session.send_body(&piece[..count], &mut self.out);
            self.flush()?;
            self.session.wrote(Instant::now());
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.send(&self.out, self.write_timeout)?;
        // what was written is not needed while the peer thinks about it
        if self.out.capacity() > KEEP_BYTES {
            self.out = Vec::new();
        }
        self.out.clear();
        Ok(())
    }

    /// Waits for bytes from the peer, no longer than the session allows.
    fn fill(&mut self) -> io::Result<()> {
        let patience = match self.session.deadline() {
            Some(deadline) => deadline.saturating_duration_since(Instant::now()),
            None => Duration::ZERO,
        };
        // a peer that never stops talking must not keep the deadline from being seen
        if patience.is_zero() {
            self.session.expire(Instant::now());
            return Ok(());
        }
        match self.socket.receive(&mut self.input, patience)? {
            Input::Some | Input::Nothing => Ok(()),
            Input::Closed => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "peer closed the connection")),
        }
    }

    /// Whether another transaction may follow here.
    pub fn reusable(&self, options: &AgentOptions) -> bool {
        self.session.is_idle() && options.allows_another(self.transactions)
    }

    /// Nothing came while it was idle: a peer that hung up or said 421 gets no further transaction.
    pub fn quiet(&self) -> bool {
        self.socket.is_quiet()
    }

    /// Says QUIT and goes without waiting for the answer.
    pub fn quit(mut self: Box<Self>) {
        if self.session.is_idle() {
            self.session.quit(Instant::now(), &mut self.out);
            self.socket.close_after(&self.out);
        }
    }
}
