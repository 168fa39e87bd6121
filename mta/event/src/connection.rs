//! One connection to a remote site, and the transactions on it, on the event loop.

use crate::buffers::{self, with_read_buffer};
use crate::outbox::Outbox;
use crate::parcel::{Message, Parcel};
use crate::patience::{KEEP, wait};
use delivery::{AgentOptions, BODY_PIECE_BYTES, Content, DeliveryReport, NextHop, StageTimes, Step, advance};
use rustix::net::{RecvFlags, SendFlags};
use smtp::client::{Outcome, Session};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// So long the queue manager may take for a message that is asked for: the disk may be cold, and many may ask at once.
const ASK_PATIENCE: Duration = Duration::from_secs(30);

/// So much of what a peer said before its connection broke is listened to.
const LAST_WORDS_BYTES: usize = 16 * 4096;

pub struct Connection {
    stream: TcpStream,
    session: Session,
    /// Bytes that the session could not use yet (the beginning of a line); nearly always empty.
    input: Vec<u8>,
    out: Vec<u8>,
    transactions: u32,
    remote: SocketAddr,
}

/// Connects to the first address of the next hop that answers.
pub async fn connect(
    next_hop: &NextHop,
    options: &AgentOptions,
    message: &mut Option<Message>,
) -> io::Result<Box<Connection>> {
    let addresses: Vec<SocketAddr> = match next_hop.as_str().parse() {
        Ok(address) => vec![address],
        Err(_) => {
            let looked_up =
                wait(options.connect_timeout, message, tokio::net::lookup_host(next_hop.as_str())).await;
            looked_up.ok_or(ErrorKind::TimedOut)??.collect()
        }
    };
    let mut last = io::Error::new(ErrorKind::NotFound, "the next hop has no address");
    for remote in addresses {
        match wait(options.connect_timeout, message, TcpStream::connect(remote)).await {
            Some(Ok(stream)) => {
                let session = Session::new(options.session.clone(), Instant::now());
                return Ok(Box::new(Connection {
                    stream,
                    session,
                    input: Vec::new(),
                    out: Vec::new(),
                    transactions: 0,
                    remote,
                }));
            }
            Some(Err(error)) => last = error,
            None => last = io::Error::new(ErrorKind::TimedOut, "connection timed out"),
        }
    }
    Err(last)
}

impl Connection {
    /// Runs one transaction. Afterwards [`Connection::reusable`] says whether there may be another.
    pub async fn deliver(
        &mut self,
        parcel: &mut Parcel,
        started_ns: u64,
        write_timeout: Duration,
        outbox: &Outbox,
    ) -> DeliveryReport {
        let id = parcel.received.request.id;
        let fresh = self.transactions == 0;
        self.transactions += 1;
        let mut ready_ns = if fresh { 0 } else { started_ns };
        self.out = buffers::take();
        self.session.begin(parcel.transaction(), Instant::now(), &mut self.out);
        let outcome = self.converse(parcel, &mut ready_ns, write_timeout, outbox).await;
        buffers::give_back(std::mem::take(&mut self.out));
        DeliveryReport {
            id,
            outcome,
            remote: Some(self.remote),
            times: StageTimes { started_ns, ready_ns, done_ns: sys::clock::monotonic_ns() },
        }
    }

    async fn converse(
        &mut self,
        parcel: &mut Parcel,
        ready_ns: &mut u64,
        write_timeout: Duration,
        outbox: &Outbox,
    ) -> Outcome {
        let mut step = self.advance_over(&[], ready_ns);
        let mut broken: Option<io::Error> = None;
        loop {
            let moved = match (step, broken.take()) {
                (Step::Done(outcome), _) => return outcome,
                (Step::Closed, _) => {
                    unreachable!("a session with a transaction says how that ended before it closes")
                }
                (Step::SendBody | Step::NeedInput, Some(error)) => {
                    self.session.closed(Instant::now(), &error.to_string());
                    Ok(None)
                }
                (Step::SendBody, None) => self.send_body(parcel, write_timeout, outbox).await.map(|()| None),
                (Step::NeedInput, None) => {
                    self.exchange(&mut parcel.message, ready_ns, write_timeout).await.map(Some)
                }
            };
            step = match moved {
                Ok(Some(step)) => step,
                Ok(None) => self.advance_over(&[], ready_ns),
                Err(error) => {
                    broken = Some(error);
                    let heard = self.last_words();
                    self.advance_over(&heard, ready_ns)
                }
            };
        }
    }

    /// What the peer said before it went or stopped reading: a refusal there says more than a lost connection.
    fn last_words(&self) -> Vec<u8> {
        let mut heard = Vec::new();
        let mut piece = [0; 4096];
        while heard.len() < LAST_WORDS_BYTES {
            // past the runtime, which may not know yet that there is something to read
            match rustix::net::recv(&self.stream, &mut piece, RecvFlags::DONTWAIT) {
                Ok((count, _)) if count > 0 => heard.extend_from_slice(&piece[..count]),
                Ok(_) | Err(_) => break,
            }
        }
        heard
    }

    /// Gives the session what was left over and what came in; keeps what it does not take.
    fn advance_over(&mut self, fresh: &[u8], ready_ns: &mut u64) -> Step {
        let mut on_ready = || *ready_ns = sys::clock::monotonic_ns();
        let now = Instant::now();
        if self.input.is_empty() {
            let (taken, step) = advance(&mut self.session, fresh, now, &mut self.out, &mut on_ready);
            if taken < fresh.len() {
                self.input = fresh[taken..].to_vec();
            }
            return step;
        }
        self.input.extend_from_slice(fresh);
        let (taken, step) = advance(&mut self.session, &self.input, now, &mut self.out, &mut on_ready);
        self.input.drain(..taken);
        if self.input.is_empty() {
            self.input = Vec::new();
        }
        step
    }

    /// Writes what is due, then waits for bytes from the peer, no longer than the session allows.
    async fn exchange(
        &mut self,
        message: &mut Option<Message>,
        ready_ns: &mut u64,
        write_timeout: Duration,
    ) -> io::Result<Step> {
        self.flush(write_timeout).await?;
        buffers::give_back(std::mem::take(&mut self.out));
        let patience = match self.session.deadline() {
            Some(deadline) => deadline.saturating_duration_since(Instant::now()),
            None => Duration::ZERO,
        };
        // a peer that never stops talking must not keep the deadline from being seen
        let ready = async {
            if patience.is_zero() { std::future::pending().await } else { self.stream.readable().await }
        };
        let bound = if message.is_some() { patience.min(KEEP) } else { patience };
        let result = match timeout(bound, ready).await {
            Err(_) if bound < patience => {
                *message = None;
                return Ok(Step::NeedInput);
            }
            Err(_) => {
                self.session.expire(Instant::now());
                self.out = buffers::take();
                return Ok(self.advance_over(&[], ready_ns));
            }
            Ok(ready) => ready,
        };
        self.out = buffers::take();
        result?;
        with_read_buffer(|buffer| match self.stream.try_read(buffer) {
            Ok(0) => Err(io::Error::new(ErrorKind::UnexpectedEof, "peer closed the connection")),
            Ok(count) => Ok(self.advance_over(&buffer[..count], ready_ns)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Step::NeedInput),
            Err(error) => Err(error),
        })
    }

    async fn send_body(
        &mut self,
        parcel: &mut Parcel,
        write_timeout: Duration,
        outbox: &Outbox,
    ) -> io::Result<()> {
        // sent: its memory is not needed while the peer thinks about it
        match (parcel.message.take(), &parcel.received.request.content) {
            (Some(message), _) => message.with(|bytes| self.session.send_body(bytes, &mut self.out)),
            (None, Content::Descriptor { offset, length }) => {
                let file = parcel.received.file.take();
                let file = Arc::new(file.expect("a request without its file is refused on arrival"));
                Box::pin(self.send_file(file, *offset, *length, write_timeout)).await?;
            }
            // given back
            (None, Content::Inline(_)) => {
                let patience = write_timeout.max(ASK_PATIENCE);
                match Box::pin(outbox.ask(parcel.received.request.id, patience)).await {
                    Ok(message) => message.with(|bytes| self.session.send_body(bytes, &mut self.out)),
                    Err(reason) => {
                        self.session.abandon_body(reason, Instant::now());
                        return Ok(());
                    }
                }
            }
        }
        self.session.finish_body(Instant::now(), &mut self.out);
        Ok(())
    }

    async fn send_file(
        &mut self,
        file: Arc<OwnedFd>,
        mut offset: u64,
        length: u64,
        write_timeout: Duration,
    ) -> io::Result<()> {
        let end = offset + length;
        // several writes in a row must not wait for the peer's acknowledgements
        self.stream.set_nodelay(true)?;
        while offset < end {
            let want = (end - offset).min(BODY_PIECE_BYTES as u64) as usize;
            let from = file.clone();
            // off the loop: a cold page would stop every other connection
            let piece = tokio::task::spawn_blocking(move || {
                let mut piece = vec![0; want];
                let count = rustix::io::pread(&*from, &mut piece, offset)?;
                piece.truncate(count);
                io::Result::Ok(piece)
            })
            .await
            .map_err(io::Error::other)??;
            if piece.is_empty() {
                return Err(io::Error::other("the queue file ends before the message does"));
            }
            offset += piece.len() as u64;
            // what is stuffed is rare, so this is enough; without it the buffer would double
            self.out.reserve_exact(piece.len() + piece.len() / 16);
            self.session.send_body(&piece, &mut self.out);
            // a peer that does not read is waited for with one copy, not with two
            drop(piece);
            self.flush(write_timeout).await?;
            self.session.wrote(Instant::now());
        }
        Ok(())
    }

    async fn flush(&mut self, write_timeout: Duration) -> io::Result<()> {
        let mut sent = 0;
        while sent < self.out.len() {
            match self.stream.try_write(&self.out[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let stalled = |_| io::Error::new(ErrorKind::TimedOut, "the peer does not read");
                    timeout(write_timeout, self.stream.writable()).await.map_err(stalled)??;
                }
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        Ok(())
    }

    /// Whether another transaction may follow here.
    pub fn reusable(&self, options: &AgentOptions) -> bool {
        self.session.is_idle() && options.allows_another(self.transactions)
    }

    /// Nothing came while it was idle: a peer that hung up or said 421 gets no further transaction.
    pub fn quiet(&self) -> bool {
        let mut byte = [0];
        matches!(self.stream.try_read(&mut byte), Err(error) if error.kind() == ErrorKind::WouldBlock)
    }

    /// Says QUIT and goes without waiting for the answer.
    pub fn quit(mut self: Box<Self>) {
        if self.session.is_idle() {
            let mut out = buffers::take();
            self.session.quit(Instant::now(), &mut out);
            // nothing hangs on it, the mail is delivered; with MORE it leaves in one segment with the FIN
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL | SendFlags::MORE;
            let _ = rustix::net::send(&self.stream, &out, flags);
            buffers::give_back(out);
        }
    }
}
