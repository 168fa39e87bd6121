//! One connection's socket around its conversation: reading, waiting, writing.
//!
//! A held connection is one task. It owns no buffer: bytes are read into one that all connections of the thread
//! share, only when there are some, and what cannot be used yet is all that is kept. While a reply is delayed
//! nothing is read, so that the kernel holds the client back.

use crate::clock;
use crate::conversation::{Conversation, Pause};
use crate::shared::{Buffers, Shared};
use rustix::net::{SendFlags, send};
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep, timeout};

/// A connection from the moment it was accepted; dropping it ends it in the books.
pub struct Connection {
    shared: Rc<Shared>,
    stream: TcpStream,
    conversation: Conversation,
    /// What was read and is not done with.
    input: Vec<u8>,
    /// What the kernel has not taken yet.
    output: Vec<u8>,
    /// When the client last moved a byte.
    active_ns: u64,
}

/// Why a connection is over before its conversation is.
enum Lost {
    /// The client closed, or the socket failed.
    Closed,
    /// The client neither wrote nor read for too long.
    Silent,
}

impl Connection {
    /// Takes a connection that was accepted at `accepted_ns` into the books.
    pub fn new(shared: Rc<Shared>, stream: TcpStream, number: u64, accepted_ns: u64) -> Connection {
        let conversation = shared.converse(number, accepted_ns);
        Connection {
            shared,
            stream,
            conversation,
            input: Vec::new(),
            output: Vec::new(),
            active_ns: accepted_ns,
        }
    }

    /// Serves the connection to its end.
    pub async fn serve(mut self) {
        let delay = self.conversation.delay_before(&self.shared.site);
        if !delay.is_zero() {
            self.shared.timer.sleep(delay).await;
        }
        let mut limit = pin!(sleep(self.shared.silence));
        let end = self.converse(limit.as_mut()).await;
        if let Err(Lost::Silent) = end {
            self.shared.books.borrow_mut().ledger.connection_timed_out();
            if self.output.is_empty() {
                self.last_words();
            }
        }
        self.conversation.give_up(&mut self.shared.books.borrow_mut(), clock::now_ns());
        if end.is_ok() && !self.conversation.said_quit() {
            self.let_read().await;
        }
    }

    /// Talks until one side is done.
    async fn converse(&mut self, mut limit: Pin<&mut Sleep>) -> Result<(), Lost> {
        let mut pause = self.go_on();
        loop {
            if !self.output.is_empty() {
                self.write_rest(limit.as_mut()).await?;
            }
            pause = match pause? {
                Pause::Input => poll_fn(|context| self.poll_input(context, limit.as_mut())).await,
                Pause::Wait(delay) => {
                    if !delay.is_zero() {
                        self.shared.timer.sleep(delay).await;
                    }
                    self.go_on()
                }
                Pause::Close => return Ok(()),
            };
        }
    }

    /// Goes on with what was read before.
    fn go_on(&mut self) -> Result<Pause, Lost> {
        let shared = Rc::clone(&self.shared);
        let mut buffers = shared.buffers.borrow_mut();
        let kept = self.bring_back(&mut buffers);
        self.talk(&mut buffers, kept)
    }

    /// Waits for bytes, then goes on with them.
    fn poll_input(
        &mut self,
        context: &mut Context<'_>,
        mut limit: Pin<&mut Sleep>,
    ) -> Poll<Result<Pause, Lost>> {
        if let Poll::Ready(pause) = self.poll_read(context) {
            return Poll::Ready(pause);
        }
        // The limit is set anew only when it runs out, not at each byte.
        while limit.as_mut().poll(context).is_ready() {
            match self.silence_left() {
                Some(left) => limit.as_mut().reset(Instant::now() + left),
                None => return Poll::Ready(Err(Lost::Silent)),
            }
        }
        Poll::Pending
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Result<Pause, Lost>> {
        let shared = Rc::clone(&self.shared);
        let mut buffers = shared.buffers.borrow_mut();
        let kept = self.bring_back(&mut buffers);
        let mut read = ReadBuf::new(&mut buffers.input[kept..]);
        let end = ready!(Pin::new(&mut self.stream).poll_read(context, &mut read));
        let bytes = read.filled().len();
        if end.is_err() || bytes == 0 {
            return Poll::Ready(Err(Lost::Closed));
        }
        Poll::Ready(self.talk(&mut buffers, kept + bytes))
    }

    /// Puts what was kept where the next bytes follow it. The conversation never leaves more than a cut line, or
    /// what was there when a delay began: there is always room.
    fn bring_back(&self, buffers: &mut Buffers) -> usize {
        buffers.input[..self.input.len()].copy_from_slice(&self.input);
        self.input.len()
    }

    /// Goes on with the first `filled` bytes of the shared input and writes what is said.
    fn talk(&mut self, buffers: &mut Buffers, filled: usize) -> Result<Pause, Lost> {
        let Buffers { input, output } = buffers;
        let input = &input[..filled];
        let books = &mut *self.shared.books.borrow_mut();
        self.active_ns = clock::now_ns();
        output.clear();
        let (consumed, pause) =
            self.conversation.advance(&self.shared.site, books, self.active_ns, input, output);
        let rest = &input[consumed..];
        if rest.is_empty() {
            self.input = Vec::new();
        } else {
            self.input.clear();
            self.input.extend_from_slice(rest);
        }
        if output.is_empty() {
            return Ok(pause);
        }
        // Not through the runtime, which knows of a new socket's readiness only after another turn of its loop.
        let written = match send(&self.stream, output, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(written) => written,
            Err(error) if would_block(error.kind()) => 0,
            Err(_) => return Err(Lost::Closed),
        };
        if written == output.len() {
            self.conversation.written(books, clock::now_ns());
        } else {
            self.output = output[written..].to_vec();
        }
        Ok(pause)
    }

    /// Writes what the kernel did not take at once, as long as the client reads.
    async fn write_rest(&mut self, mut limit: Pin<&mut Sleep>) -> Result<(), Lost> {
        while !self.output.is_empty() {
            poll_fn(|context| {
                match self.stream.poll_write_ready(context) {
                    Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Lost::Closed)),
                    Poll::Pending => {}
                }
                while limit.as_mut().poll(context).is_ready() {
                    match self.silence_left() {
                        Some(left) => limit.as_mut().reset(Instant::now() + left),
                        None => return Poll::Ready(Err(Lost::Silent)),
                    }
                }
                Poll::Pending
            })
            .await?;
            match self.stream.try_write(&self.output) {
                Ok(written) => {
                    self.output.drain(..written);
                    self.active_ns = clock::now_ns();
                }
                Err(error) if would_block(error.kind()) => {}
                Err(_) => return Err(Lost::Closed),
            }
        }
        self.output = Vec::new();
        self.conversation.written(&mut self.shared.books.borrow_mut(), clock::now_ns());
        Ok(())
    }

    /// How much longer the client may be silent; `None` when it has been for too long.
    fn silence_left(&self) -> Option<Duration> {
        let silent = Duration::from_nanos(clock::now_ns().saturating_sub(self.active_ns));
        self.shared.silence.checked_sub(silent).filter(|left| !left.is_zero())
    }

    /// Tells a silent client why it is dropped, if the kernel takes the words at once.
    fn last_words(&mut self) {
        let mut words = Vec::new();
        self.conversation.time_out(&mut self.shared.books.borrow_mut(), &mut words);
        // Nothing is lost with them: the connection closes either way.
        let _ = send(&self.stream, &words, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    }

    /// Leaves a client that may still be writing the time to read our last reply: to close with bytes unread
    /// would reset the connection and take the reply back.
    async fn let_read(&mut self) {
        if rustix::net::shutdown(&self.stream, rustix::net::Shutdown::Write).is_err() {
            return;
        }
        let shared = Rc::clone(&self.shared);
        let mut left_bytes = LINGER_BYTES;
        let end = poll_fn(|context| {
            loop {
                let mut buffers = shared.buffers.borrow_mut();
                let mut read = ReadBuf::new(&mut buffers.input);
                let end = ready!(Pin::new(&mut self.stream).poll_read(context, &mut read));
                let bytes = read.filled().len();
                left_bytes = left_bytes.saturating_sub(bytes);
                if end.is_err() || bytes == 0 || left_bytes == 0 {
                    return Poll::Ready(());
                }
            }
        });
        // Either way the connection is closed next.
        let _ = timeout(LINGER, end).await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.conversation.ended(&mut self.shared.books.borrow_mut(), clock::now_ns());
    }
}

fn would_block(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// How long a client may take to read a last reply that it did not ask for, and how much more it may send.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 1 << 20;
