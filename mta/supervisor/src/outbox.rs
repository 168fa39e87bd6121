//! What the starter has to say to a queue manager that does not read at the moment: the starter never waits for it.
//!
//! It holds at most a few frames for each agent, since nothing is asked for by one who does not read.

use crate::link::FromStarter;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

struct Frame {
    bytes: Vec<u8>,
    sent: usize,
    descriptor: Option<OwnedFd>,
}

#[derive(Default)]
pub(crate) struct Outbox {
    frames: VecDeque<Frame>,
}

impl Outbox {
    /// Puts a frame behind the others; a descriptor goes with its first byte.
    pub(crate) fn push(&mut self, message: &FromStarter, descriptor: Option<OwnedFd>) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        self.frames.push_back(Frame { bytes, sent: 0, descriptor });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Sends what the non-blocking `socket` takes. After an error nobody is there any more.
    pub(crate) fn flush(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        while let Some(frame) = self.frames.front_mut() {
            let descriptor = frame.descriptor.as_ref().map(AsFd::as_fd);
            match sys::descriptor::send(socket, &frame.bytes[frame.sent..], descriptor) {
                Ok(count) => {
                    frame.descriptor = None;
                    frame.sent += count;
                    if frame.sent == frame.bytes.len() {
                        self.frames.pop_front();
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => {
                    self.frames.clear();
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}
