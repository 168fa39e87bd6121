//! One connection's socket around its conversation: reading, waiting, writing.
//!
//! A held connection is one task. It owns no buffer: bytes are read into one that all connections of the thread
//! share, only when there are some, and what cannot be used yet is all that is kept. While a reply is delayed
//! nothing is read, so that the kernel holds the client back. What few connections do is boxed, so that a held one
//! need not have the room for it.

mod encrypt;
mod ending;
mod write;

use crate::clock;
use crate::conversation::{Conversation, Pause};
use crate::shared::{Buffers, Shared, Welcome};
use crate::tls::Server;
use crate::wire::Wire;
use behaviour::Then;
use smtp::Stage;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

/// A connection from the moment it was accepted; dropping it ends it in the books.
pub struct Connection {
    shared: Rc<Shared>,
    wire: Wire,
    conversation: Conversation,
    tls: Option<Arc<Server>>,
    implicit_tls: bool,
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
    /// The handshake failed, or its site wanted it to: nothing can be said any more.
    Handshake(Then),
}

impl Connection {
    /// A connection that was accepted at `accepted_ns`.
    pub fn new(shared: Rc<Shared>, stream: TcpStream, welcome: Welcome, accepted_ns: u64) -> Connection {
        let Welcome { conversation, tls, implicit_tls, window_bytes } = welcome;
        if let Some(bytes) = window_bytes {
            // The kernel has a least size of its own; a socket that can't be set keeps the usual one.
            let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&stream, bytes);
        }
        Connection {
            shared,
            wire: Wire::Plain(stream),
            conversation,
            tls,
            implicit_tls,
            input: Vec::new(),
            output: Vec::new(),
            active_ns: accepted_ns,
        }
    }

    /// Serves the connection to its end.
    pub async fn serve(mut self) {
        let mut limit = pin!(sleep(self.shared.silence));
        let end = self.converse(limit.as_mut()).await;
        if let Err(Lost::Silent) = end {
            self.shared.books.borrow_mut().ledger.connection_timed_out();
            if self.output.is_empty() {
                Box::pin(self.last_words()).await;
            }
        }
        // A client that is left waiting has its delivery in flight until it gives up.
        if !matches!(end, Ok(Then::Silence | Then::Stall)) {
            self.conversation.give_up(&mut self.shared.books.borrow_mut(), clock::now_ns());
        }
        match end {
            Ok(Then::Close) if self.conversation.said_quit() && !matches!(self.wire, Wire::Tls(_)) => {}
            Ok(then) | Err(Lost::Handshake(then)) => Box::pin(self.end(then)).await,
            Err(Lost::Closed | Lost::Silent) => {}
        }
    }

    /// Talks until one side is done.
    async fn converse(&mut self, mut limit: Pin<&mut Sleep>) -> Result<Then, Lost> {
        let before = self.conversation.before(&self.shared.sites);
        self.shared.delay(before.delay).await;
        if let Some(act) = before.act {
            self.conversation.ends_at(Stage::Connect, act.then, &mut self.shared.books.borrow_mut());
            return Ok(act.then);
        }
        if self.implicit_tls {
            Box::pin(self.encrypt()).await?;
        }
        let mut pause = self.go_on();
        loop {
            let next = pause?;
            if !self.output.is_empty() {
                self.write_rest(&next, limit.as_mut()).await?;
            }
            pause = match next {
                Pause::Input => poll_fn(|context| self.poll_input(context, limit.as_mut())).await,
                Pause::Wait(delay) => {
                    self.shared.delay(delay).await;
                    self.go_on()
                }
                Pause::Drip { pace, .. } => {
                    Box::pin(self.drip(pace)).await?;
                    self.go_on()
                }
                Pause::Guard(delay) => match Box::pin(self.guard(delay)).await {
                    true => self.spring_trap(),
                    false => self.go_on(),
                },
                Pause::Endless(act) => Box::pin(self.say_endlessly(&act)).await,
                Pause::StartTls => {
                    Box::pin(self.encrypt()).await?;
                    self.go_on()
                }
                Pause::Store => {
                    if let Some(letter) = self.conversation.letter() {
                        Box::pin(letter.hand_over()).await;
                    }
                    self.go_on()
                }
                Pause::End(then) => return Ok(then),
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
    fn poll_input(&mut self, context: &mut Context<'_>, limit: Pin<&mut Sleep>) -> Poll<Result<Pause, Lost>> {
        if let Poll::Ready(pause) = self.poll_read(context) {
            return Poll::Ready(pause);
        }
        self.poll_silence(context, limit).map(Err)
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Result<Pause, Lost>> {
        let shared = Rc::clone(&self.shared);
        let mut buffers = shared.buffers.borrow_mut();
        let kept = self.bring_back(&mut buffers);
        let room = buffers.input.len() - kept;
        let wanted = self.conversation.chunk_bytes(&self.shared.sites).map_or(room, |chunk| chunk.min(room));
        let mut read = ReadBuf::new(&mut buffers.input[kept..kept + wanted]);
        let end = ready!(self.wire.poll_read(context, &mut read));
        let bytes = read.filled().len();
        if end.is_err() || bytes == 0 {
            return Poll::Ready(Err(Lost::Closed));
        }
        Poll::Ready(self.talk(&mut buffers, kept + bytes))
    }

    /// Ready when the client has been silent for too long. The limit is set anew only when it runs out, not at each
    /// byte.
    fn poll_silence(&mut self, context: &mut Context<'_>, mut limit: Pin<&mut Sleep>) -> Poll<Lost> {
        while limit.as_mut().poll(context).is_ready() {
            match self.silence_left() {
                Some(left) => limit.as_mut().reset(Instant::now() + left),
                None => return Poll::Ready(Lost::Silent),
            }
        }
        Poll::Pending
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
        let shared = Rc::clone(&self.shared);
        shared.polling.stir();
        let books = &mut *shared.books.borrow_mut();
        self.active_ns = clock::now_ns();
        output.clear();
        let (consumed, pause) =
            self.conversation.advance(&shared.sites, books, self.active_ns, input, output);
        let rest = &input[consumed..];
        if rest.is_empty() {
            self.input = Vec::new();
        } else {
            self.input.clear();
            self.input.extend_from_slice(rest);
        }
        // What is to be dripped is left for later.
        let at_once = match pause {
            Pause::Drip { from, .. } => from,
            _ => output.len(),
        };
        let last = matches!(pause, Pause::End(Then::Close)) && self.conversation.said_quit();
        let written = match output[..at_once].is_empty() {
            true => 0,
            false => self.wire.write_now(&output[..at_once], last).map_err(|_| Lost::Closed)?,
        };
        if written == output.len() {
            if self.conversation.is_answered() {
                self.conversation.written(books, clock::now_ns());
            }
        } else {
            self.output = output[written..].to_vec();
        }
        Ok(match pause {
            Pause::Drip { from, pace } => Pause::Drip { from: from - written, pace },
            pause => pause,
        })
    }

    /// How much longer the client may be silent; `None` when it has been for too long.
    fn silence_left(&self) -> Option<Duration> {
        let silent = Duration::from_nanos(clock::now_ns().saturating_sub(self.active_ns));
        self.shared.silence.checked_sub(silent).filter(|left| !left.is_zero())
    }

    /// Says what is said to a client that talked too early.
    fn spring_trap(&mut self) -> Result<Pause, Lost> {
        let mut words = Vec::new();
        self.conversation.spring_trap(&self.shared.sites, &mut self.shared.books.borrow_mut(), &mut words);
        self.output = words;
        Ok(Pause::End(Then::Close))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.conversation.ended(&mut self.shared.books.borrow_mut(), clock::now_ns());
    }
}
