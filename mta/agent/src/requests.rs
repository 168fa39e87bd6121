//! Requests in, reports out: the agent's side of its socket to the queue manager.

use delivery::wire::split_frame;
use delivery::{AgentFrame, Received};
use rustix::event::{PollFd, PollFlags, Timespec};
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
    received: Vec<u8>,
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
        Requests { socket, received: Vec::new(), descriptors: VecDeque::new() }
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
            let filled = self.received.len();
            self.received.resize(filled + READ_BYTES, 0);
            let result = sys::descriptor::receive(self.socket.as_fd(), &mut self.received[filled..]);
            let (count, descriptor) = result.inspect_err(|_| self.received.truncate(filled))?;
            self.received.truncate(filled + count);
            self.descriptors.extend(descriptor);
            if count == 0 {
                return Ok(Next::Closed);
            }
        }
    }

    fn take_request(&mut self) -> io::Result<Option<Received>> {
        let Some((kind, payload, length)) = split_frame(&self.received).map_err(io::Error::other)? else {
            return Ok(None);
        };
        let received = Received::decode(kind, payload, &mut self.descriptors).map_err(io::Error::other)?;
        self.received.drain(..length);
        if self.received.is_empty() && self.received.capacity() > KEEP_BYTES {
            self.received = Vec::new();
        }
        Ok(Some(received))
    }
}

/// Waits until there is something to read; false when `patience` is over first.
pub fn readable(socket: &impl AsFd, patience: Duration) -> io::Result<bool> {
    ready(socket, PollFlags::IN, patience)
}

/// Waits until there is room to write; false when `patience` is over first.
pub fn writable(socket: &impl AsFd, patience: Duration) -> io::Result<bool> {
    ready(socket, PollFlags::OUT, patience)
}

fn ready(socket: &impl AsFd, what: PollFlags, patience: Duration) -> io::Result<bool> {
    let wait =
        Timespec { tv_sec: patience.as_secs().min(86_400) as i64, tv_nsec: patience.subsec_nanos().into() };
    loop {
        match rustix::event::poll(&mut [PollFd::new(socket, what)], Some(&wait)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
    }
}
