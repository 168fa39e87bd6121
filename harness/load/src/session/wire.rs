//! The bytes of one connection: written as far as the socket takes them, sealed and opened where there is TLS.
//!
//! It must not know what the bytes mean. TLS is a machine here, as the session is: both are fed with what was read.

use super::stream::Stream;
use rustls::{ClientConnection, HandshakeKind};
use std::io::{self, Read, Write};
use std::task::{Context, Poll, ready};

/// A socket, and what is still to be written to it.
pub struct Wire {
    stream: Stream,
    tls: Option<Box<ClientConnection>>,
    /// To be written, and not yet taken by the socket; sealed where there is TLS.
    unsent: Vec<u8>,
    /// Nothing more can be written; what the server said before may still be there to be read.
    write_failed: bool,
}

impl Wire {
    pub fn new(stream: Stream) -> Wire {
        Wire { stream, tls: None, unsent: Vec::new(), write_failed: false }
    }

    /// From here on everything is encrypted; the first message goes out.
    pub fn start_tls(&mut self, tls: ClientConnection) {
        self.tls = Some(Box::new(tls));
        self.seal(&[]);
        self.write_unsent();
    }

    /// Whether the TLS handshake is under way.
    pub fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_handshaking())
    }

    /// Whether the handshake took up an earlier session.
    pub fn is_resumed(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.handshake_kind() == Some(HandshakeKind::Resumed))
    }

    /// Writes as much of `out` as the socket takes now and keeps the rest. An error is left to be found by reading: what
    /// the server said before it closed is worth more than how the connection broke.
    pub fn write(&mut self, out: &mut Vec<u8>) {
        if self.tls.is_some() {
            if !out.is_empty() {
                self.seal(out);
            }
            self.write_unsent();
        } else {
            let mut written = 0;
            while self.unsent.is_empty() && written < out.len() && !self.write_failed {
                match self.stream.try_write(&out[written..]) {
                    Ok(length) => written += length,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(_) => self.write_failed = true,
                }
            }
            if !self.write_failed {
                self.unsent.extend_from_slice(&out[written..]);
            }
        }
        out.clear();
    }

    /// Whether more may be written: nothing waits, and nothing failed.
    pub fn is_clear(&self) -> bool {
        self.unsent.is_empty() && !self.write_failed
    }

    /// Goes on with what the socket did not take; ready when something was written.
    pub fn poll_write_unsent(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.unsent.is_empty() || self.write_failed {
                return Poll::Pending;
            }
            let _either_way_writing_tells = ready!(self.stream.poll_write_ready(context));
            if self.write_unsent() {
                return Poll::Ready(());
            }
        }
    }

    /// Reads bytes as they come from the socket, for [`Wire::open`]; 0 at the end.
    pub fn poll_read(&mut self, context: &mut Context<'_>, input: &mut [u8]) -> Poll<io::Result<usize>> {
        self.stream.poll_read(context, input)
    }

    /// What the bytes that were `read` say: themselves, or what TLS makes of them, in `opened`.
    ///
    /// # Errors
    /// What is wrong with the server's TLS.
    pub fn open<'a>(&mut self, read: &'a [u8], opened: &'a mut Vec<u8>) -> Result<&'a [u8], String> {
        let Some(tls) = &mut self.tls else { return Ok(read) };
        opened.clear();
        let mut rest = read;
        let problem = loop {
            if rest.is_empty() {
                break None;
            }
            if let Err(error) = tls.read_tls(&mut rest) {
                break Some(error.to_string());
            }
            if let Err(error) = tls.process_new_packets() {
                break Some(error.to_string());
            }
            // It ends with WouldBlock when all is read, and with an end of file after a goodbye.
            let _all_there_is = tls.reader().read_to_end(opened);
        };
        // Answers to a handshake, and an alert that tells the server what is wrong.
        self.seal(&[]);
        self.write_unsent();
        match problem {
            None => Ok(opened),
            Some(problem) => Err(problem),
        }
    }

    fn seal(&mut self, plain: &[u8]) {
        let Some(tls) = &mut self.tls else { return };
        // Neither has a limit that could be met.
        tls.writer().write_all(plain).expect("the buffer of a TLS connection has no limit");
        while tls.wants_write() {
            tls.write_tls(&mut self.unsent).expect("a Vec accepts every write");
        }
    }

    /// Whether something was written.
    fn write_unsent(&mut self) -> bool {
        let mut written = 0;
        while written < self.unsent.len() && !self.write_failed {
            match self.stream.try_write(&self.unsent[written..]) {
                Ok(length) => written += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.write_failed = true,
            }
        }
        if written == self.unsent.len() {
            // A connection that waits holds no buffer.
            self.unsent = Vec::new();
        } else {
            self.unsent.drain(..written);
        }
        written > 0
    }
}
