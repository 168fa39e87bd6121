//! Requests in, reports out: the agent's side of its socket to the queue manager.

use crate::socket::readable;
use delivery::wire::split_frame;
use delivery::{AgentFrame, Received};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// A usual request (4 KiB of message) fits in one read.
const READ_BYTES: usize = 16 * 1024;

/// A request that needed more than this gives its memory back afterwards.
const KEEP_BYTES: usize = 64 * 1024;

pub struct Requests<'a> {
    socket: &'a UnixStream,
    /// Its first `filled` bytes came in; the rest was made once and is written over.
    buffer: Vec<u8>,
    filled: usize,
    descriptors: VecDeque<OwnedFd>,
}

/// What waiting for a request brought.
pub enum Next {
    Request(Box<Received>),
    /// Nothing within the time given.
    Quiet,
    /// The queue manager wants no more of this agent.
    Closed,
}

/// Writes one frame, whole.
pub fn send(mut socket: &UnixStream, frame: &AgentFrame) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(256);
    frame.encode(&mut bytes);
    socket.write_all(&bytes)
}

impl Requests<'_> {
    pub fn new(socket: &UnixStream) -> Requests<'_> {
        Requests { socket, buffer: Vec::new(), filled: 0, descriptors: VecDeque::new() }
    }

    /// Waits for the next request: for ever, since the queue manager's end says when to go, or for `patience`.
    pub fn next(&mut self, patience: Option<Duration>) -> io::Result<Next> {
        loop {
            if let Some(received) = self.take_request()? {
                return Ok(Next::Request(Box::new(received)));
            }
            if let Some(patience) = patience
                && !readable(self.socket, patience)?
            {
                return Ok(Next::Quiet);
            }
            if self.buffer.len() == self.filled {
                self.buffer.resize(self.filled + READ_BYTES, 0);
            }
            let room = &mut self.buffer[self.filled..];
            let (count, descriptor) = sys::descriptor::receive(self.socket.as_fd(), room)?;
            self.filled += count;
            self.descriptors.extend(descriptor);
            if count == 0 {
                return Ok(Next::Closed);
            }
        }
    }

    fn take_request(&mut self) -> io::Result<Option<Received>> {
        let whole = split_frame(&self.buffer[..self.filled]).map_err(io::Error::other)?;
        let Some((kind, payload, length)) = whole else {
            return Ok(None);
        };
        let received = Received::decode(kind, payload, &mut self.descriptors).map_err(io::Error::other)?;
        self.buffer.copy_within(length..self.filled, 0);
        self.filled -= length;
        if self.filled == 0 && self.buffer.len() > KEEP_BYTES {
            self.buffer = Vec::new();
        }
        Ok(Some(received))
    }
}
