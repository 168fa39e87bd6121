//! A non-blocking UNIX socket with frames and descriptors in both directions.

use crate::poller::{Poller, Token};
use delivery::wire::{HEADER_BYTES, WireError, split_frame};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

const READ_BYTES: usize = 64 * 1024;

thread_local! {
    /// Lent to every read: a stream keeps only what came in, so that thousands of agents cost little here.
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// Reads at a time from one peer, so that a busy one does not keep the others waiting.
const READS_PER_TURN: usize = 4;

/// An emptied buffer larger than this is given back.
const KEEP_BYTES: usize = 4 * 1024;

struct Piece {
    bytes: Vec<u8>,
    sent: usize,
    descriptor: Option<OwnedFd>,
}

pub struct Stream {
    socket: UnixStream,
    token: Token,
    received: Vec<u8>,
    taken: usize,
    /// Descriptors that came in, in the order of the frames that they belong to.
    pub descriptors: VecDeque<OwnedFd>,
    out: VecDeque<Piece>,
    watching_output: bool,
}

impl Stream {
    pub fn new(socket: UnixStream, token: Token, poller: &Poller) -> io::Result<Stream> {
        socket.set_nonblocking(true)?;
        poller.watch(&socket, token)?;
        Ok(Stream {
            socket,
            token,
            received: Vec::new(),
            taken: 0,
            descriptors: VecDeque::new(),
            out: VecDeque::new(),
            watching_output: false,
        })
    }

    /// Takes in what the socket has, up to a bound. False when the peer has closed it.
    pub fn fill(&mut self) -> io::Result<bool> {
        self.received.drain(..self.taken);
        self.taken = 0;
        for _ in 0..READS_PER_TURN {
            let result = READ.with_borrow_mut(|buffer| {
                let (count, descriptor) = sys::descriptor::receive(self.socket.as_fd(), buffer)?;
                self.received.extend_from_slice(&buffer[..count]);
                io::Result::Ok((count, descriptor))
            });
            let (count, descriptor) = match result {
                Ok(received) => received,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            };
            self.descriptors.extend(descriptor);
            if count == 0 {
                return Ok(false);
            }
            if count < READ_BYTES {
                return Ok(true);
            }
        }
        Ok(true)
    }

    /// The next whole frame that came in: its kind and payload.
    pub fn next_frame(&mut self) -> Result<Option<(u8, &[u8])>, WireError> {
        let Some((kind, _, length)) = split_frame(&self.received[self.taken..])? else {
            self.tidy();
            return Ok(None);
        };
        let end = self.taken + length;
        let payload = &self.received[end - (length - HEADER_BYTES)..end];
        self.taken = end;
        Ok(Some((kind, payload)))
    }

    /// Gives memory back when everything that came in is used up.
    fn tidy(&mut self) {
        if self.taken == self.received.len() {
            self.taken = 0;
            self.received.clear();
            if self.received.capacity() > KEEP_BYTES {
                self.received = Vec::new();
            }
        }
    }

    /// Sends bytes after those that wait already; a descriptor goes with the first of them.
    pub fn send(&mut self, bytes: Vec<u8>, descriptor: Option<OwnedFd>, poller: &Poller) -> io::Result<()> {
        self.out.push_back(Piece { bytes, sent: 0, descriptor });
        if self.watching_output { Ok(()) } else { self.flush(poller) }
    }

    /// Nothing waits for room in the socket.
    pub fn is_written(&self) -> bool {
        self.out.is_empty()
    }

    /// Writes what the socket takes; the rest when the poller says that there is room.
    pub fn flush(&mut self, poller: &Poller) -> io::Result<()> {
        while let Some(piece) = self.out.front_mut() {
            let descriptor = piece.descriptor.as_ref().map(AsFd::as_fd);
            match sys::descriptor::send(self.socket.as_fd(), &piece.bytes[piece.sent..], descriptor) {
                Ok(count) => {
                    piece.descriptor = None;
                    piece.sent += count;
                    if piece.sent == piece.bytes.len() {
                        self.out.pop_front();
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let waiting = !self.out.is_empty();
        if waiting != self.watching_output {
            self.watching_output = waiting;
            poller.watch_output(&self.socket, self.token, waiting)?;
        }
        Ok(())
    }
}
