//! Requests in, reports out: the agent's side of its socket to the queue manager.

use crate::socket::{MOMENT, readable};
use delivery::wire::split_frame;
use delivery::{AgentFrame, Received};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// A usual request (4 KiB of message) fits in one read.
const READ_BYTES: usize = 8 * 1024;

/// For a wait without an end.
const LONG: Duration = Duration::from_secs(86_400);

pub struct Requests<'a> {
    socket: &'a UnixStream,
    /// What came in; none is kept while a delivery is under way.
    buffer: Vec<u8>,
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
    pub fn new(socket: &UnixStream) -> io::Result<Requests<'_>> {
        socket.set_read_timeout(Some(MOMENT))?;
        Ok(Requests { socket, buffer: Vec::new(), descriptors: VecDeque::new() })
    }

    /// Waits for the next request: for ever, since the queue manager's end says when to go, or for `patience`.
    pub fn next(&mut self, patience: Option<Duration>) -> io::Result<Next> {
        loop {
            if let Some(received) = self.take_request()? {
                return Ok(Next::Request(Box::new(received)));
            }
            let came = sys::descriptor::receive_more(self.socket.as_fd(), &mut self.buffer, READ_BYTES);
            let (count, descriptor) = match came {
                Ok(came) => came,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if !self.wait(patience.map(|patience| patience.saturating_sub(MOMENT)))? {
                        return Ok(Next::Quiet);
                    }
                    continue;
                }
                Err(error) => return Err(error),
            };
            self.descriptors.extend(descriptor);
            if count == 0 {
                return Ok(Next::Closed);
            }
        }
    }

    /// Waits with as little memory as can be; false when `patience` is over first.
    fn wait(&mut self, patience: Option<Duration>) -> io::Result<bool> {
        self.buffer.shrink_to_fit();
        sys::memory::trim_heap();
        sys::memory::trim_stack();
        loop {
            if readable(self.socket, patience.unwrap_or(LONG))? {
                return Ok(true);
            }
            if patience.is_some() {
                return Ok(false);
            }
        }
    }

    fn take_request(&mut self) -> io::Result<Option<Received>> {
        let whole = split_frame(&self.buffer).map_err(io::Error::other)?;
        let Some((kind, payload, length)) = whole else {
            return Ok(None);
        };
        if length == self.buffer.len() {
            // as usual: no more than one came
            let frame = std::mem::take(&mut self.buffer);
            return Received::from_frame(frame, &mut self.descriptors).map(Some).map_err(io::Error::other);
        }
        let received = Received::decode(kind, payload, &mut self.descriptors).map_err(io::Error::other)?;
        self.buffer.drain(..length);
        Ok(Some(received))
    }
}
