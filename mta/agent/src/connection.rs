//! One connection to a remote site, and the transactions on it, with blocking I/O.

use crate::requests::{readable, writable};
use delivery::{
    AgentOptions, BODY_PIECE_BYTES, Content, DeliveryReport, DeliveryRequest, Received, StageTimes, Step,
    advance,
};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use smtp::client::{Outcome, Session};
use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// Replies are short; a longer one takes several reads.
const READ_BYTES: usize = 4096;

/// So much of what a peer said before its connection broke is listened to.
const LAST_WORDS_BYTES: usize = 16 * READ_BYTES;

pub struct Connection {
    stream: TcpStream,
    session: Session,
    write_timeout: Duration,
    input: Vec<u8>,
    out: Vec<u8>,
    transactions: u32,
    remote: SocketAddr,
}

/// Connects to the first address of the next hop that answers.
pub fn connect(request: &DeliveryRequest, options: &AgentOptions) -> io::Result<Connection> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the next hop has no address");
    for address in request.next_hop.as_str().to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, options.connect_timeout) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                let session = Session::new(options.session.clone(), Instant::now());
                return Ok(Connection {
                    stream,
                    session,
                    // a peer that does not read must not hold the agent: a write is bounded as the block of data it is
                    write_timeout: options.session.timeouts.data_block,
                    input: Vec::new(),
                    out: Vec::new(),
                    transactions: 0,
                    remote: address,
                });
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl Connection {
    /// Runs one transaction. Afterwards [`Connection::reusable`] says whether there may be another.
    pub fn deliver(&mut self, received: &mut Received, started_ns: u64) -> DeliveryReport {
        let (id, transaction) = (received.request.id, received.request.transaction());
        let fresh = self.transactions == 0;
        self.transactions += 1;
        let mut ready_ns = if fresh { 0 } else { started_ns };
        self.session.begin(transaction, Instant::now(), &mut self.out);
        let outcome = self.converse(received, &mut ready_ns);
        DeliveryReport {
            id,
            outcome,
            remote: self.remote.to_string(),
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
    fn hear_last_words(&mut self) {
        let mut piece = [0; READ_BYTES];
        let end = self.input.len() + LAST_WORDS_BYTES;
        while self.input.len() < end {
            match rustix::net::recv(&self.stream, &mut piece, RecvFlags::DONTWAIT) {
                Ok((count, _)) if count > 0 => self.input.extend_from_slice(&piece[..count]),
                Ok(_) | Err(_) => return,
            }
        }
    }

    fn send_body(&mut self, received: &mut Received) -> io::Result<()> {
        match (&received.request.content, &received.file) {
            (Content::Inline(bytes), _) => self.session.send_body(bytes, &mut self.out),
            (Content::Descriptor { offset, length }, Some(file)) => self.send_file(file, *offset, *length)?,
            (Content::Descriptor { .. }, None) => {
                unreachable!("a request without its file is refused on arrival")
            }
        }
        // sent: its memory is not needed while the peer thinks about it
        received.request.content = Content::Inline(Vec::new());
        self.session.finish_body(Instant::now(), &mut self.out);
        Ok(())
    }

    fn send_file(&mut self, file: &OwnedFd, mut offset: u64, length: u64) -> io::Result<()> {
        let end = offset + length;
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
        let mut sent = 0;
        while sent < self.out.len() {
            // not by SO_SNDTIMEO, which begins anew after each part that went
            match rustix::net::send(
                &self.stream,
                &self.out[sent..],
                SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
            ) {
                Ok(count) => sent += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if writable(&self.stream, self.write_timeout)? => {}
                Err(Errno::AGAIN) => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read"));
                }
                Err(error) => return Err(error.into()),
            }
        }
        // what was written is not needed while the peer thinks about it
        if self.out.capacity() > READ_BYTES {
            self.out = Vec::new();
        }
        self.out.clear();
        Ok(())
    }

    /// Waits for bytes from the peer, no longer than the session allows.
    fn fill(&mut self) -> io::Result<()> {
        let now = Instant::now();
        let patience = match self.session.deadline() {
            Some(deadline) => deadline.saturating_duration_since(now),
            None => Duration::ZERO,
        };
        // a peer that never stops talking must not keep the deadline from being seen
        if patience.is_zero() || !readable(&self.stream, patience)? {
            self.session.expire(Instant::now());
            return Ok(());
        }
        let filled = self.input.len();
        self.input.resize(filled + READ_BYTES, 0);
        let count = match self.stream.read(&mut self.input[filled..]) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.input.truncate(filled);
                return Ok(());
            }
            Err(error) => {
                self.input.truncate(filled);
                return Err(error);
            }
        };
        self.input.truncate(filled + count);
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "peer closed the connection"));
        }
        Ok(())
    }

    /// Whether another transaction may follow here.
    pub fn reusable(&self, options: &AgentOptions) -> bool {
        self.session.is_idle() && options.allows_another(self.transactions)
    }

    /// Nothing came while it was idle: a peer that hung up or said 421 gets no further transaction.
    pub fn quiet(&self) -> bool {
        matches!(readable(&self.stream, Duration::ZERO), Ok(false))
    }

    /// Says QUIT and goes without waiting for the answer.
    pub fn quit(mut self) {
        if self.session.is_idle() {
            self.session.quit(Instant::now(), &mut self.out);
            // nothing hangs on it: the mail is delivered
            let _ = self.flush();
        }
    }
}
