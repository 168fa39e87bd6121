//! A TCP socket of blocking system calls whose every wait has a bound, with as few calls as that takes.
//!
//! The kernel bounds connect(2) and recv(2) itself (SO_SNDTIMEO, SO_RCVTIMEO), so a reply that comes soon costs one
//! system call. Who is not answered within that moment gives back the memory that it does not need meanwhile, and
//! waits for the rest in poll(2): the many that wait long are what a process a connection costs.

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout, set_tcp_nodelay};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Replies are short; a longer one takes several reads.
const READ_BYTES: usize = 4096;

/// Whoever answers within this is waited for with all memory in place.
pub const MOMENT: Duration = Duration::from_millis(20);

pub struct Socket {
    descriptor: OwnedFd,
}

/// What a wait for bytes brought.
pub enum Input {
    Some,
    /// Nothing yet; the caller looks at its deadline.
    Nothing,
    Closed,
}

impl Socket {
    /// Connects within `timeout`.
    pub fn connect(address: SocketAddr, timeout: Duration) -> io::Result<Socket> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let descriptor = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        // zero would mean no bound at all
        let bounded = |timeout: Duration| Some(timeout.max(Duration::from_millis(1)));
        set_socket_timeout(&descriptor, Timeout::Send, bounded(timeout))?;
        match rustix::net::connect(&descriptor, &address) {
            Ok(()) => {}
            // connect(2): in progress = SO_SNDTIMEO is over
            Err(Errno::INPROGRESS | Errno::AGAIN) => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "connection timed out"));
            }
            // it goes on by itself after a signal
            Err(Errno::INTR) => {
                if !writable(&descriptor, timeout)? {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "connection timed out"));
                }
                rustix::net::sockopt::socket_error(&descriptor)??;
            }
            Err(error) => return Err(error.into()),
        }
        set_socket_timeout(&descriptor, Timeout::Recv, Some(MOMENT))?;
        Ok(Socket { descriptor })
    }

    /// Waits for bytes and appends them to `input`, for `patience` at most.
    pub fn receive(&self, input: &mut Vec<u8>, patience: Duration) -> io::Result<Input> {
        let mut rest = patience;
        if patience > MOMENT {
            match self.receive_with(input, RecvFlags::empty())? {
                Input::Nothing => rest -= MOMENT,
                came => return Ok(came),
            }
            input.shrink_to_fit();
            sys::memory::trim_heap();
            sys::memory::trim_stack();
        }
        if !readable(&self.descriptor, rest)? {
            return Ok(Input::Nothing);
        }
        self.receive_at_once(input)
    }

    /// Takes in what is there already.
    pub fn receive_at_once(&self, input: &mut Vec<u8>) -> io::Result<Input> {
        self.receive_with(input, RecvFlags::DONTWAIT)
    }

    fn receive_with(&self, input: &mut Vec<u8>, flags: RecvFlags) -> io::Result<Input> {
        input.reserve(READ_BYTES);
        match rustix::net::recv(&self.descriptor, rustix::buffer::spare_capacity(input), flags) {
            Ok((0, _)) => Ok(Input::Closed),
            Ok(_) => Ok(Input::Some),
            Err(Errno::AGAIN | Errno::INTR) => Ok(Input::Nothing),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes everything; each time that the peer does not read, `patience` bounds the wait.
    pub fn send(&self, bytes: &[u8], patience: Duration) -> io::Result<()> {
        let mut sent = 0;
        while sent < bytes.len() {
            // not by SO_SNDTIMEO, which begins anew after each part that went
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match rustix::net::send(&self.descriptor, &bytes[sent..], flags) {
                Ok(count) => sent += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if writable(&self.descriptor, patience)? => {}
                Err(Errno::AGAIN) => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read"));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Writes without waiting for the answer before more is written: for what takes several writes in a row.
    pub fn send_at_once(&self) -> io::Result<()> {
        Ok(set_tcp_nodelay(&self.descriptor, true)?)
    }

    /// Writes last words, as far as they go without waiting, and closes. They leave in one segment with the FIN.
    pub fn close_after(self, bytes: &[u8]) {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL | SendFlags::MORE;
        // nothing hangs on them
        let _ = rustix::net::send(&self.descriptor, bytes, flags);
    }

    /// Nothing came: neither bytes nor the end.
    pub fn is_quiet(&self) -> bool {
        let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
        matches!(rustix::net::recv(&self.descriptor, &mut [0; 1], flags), Err(Errno::AGAIN))
    }
}

/// Waits until there is something to read; false when `patience` is over first.
pub fn readable(socket: &impl AsFd, patience: Duration) -> io::Result<bool> {
    ready(socket, PollFlags::IN, patience)
}

fn writable(socket: &impl AsFd, patience: Duration) -> io::Result<bool> {
    ready(socket, PollFlags::OUT, patience)
}

fn ready(socket: &impl AsFd, what: PollFlags, patience: Duration) -> io::Result<bool> {
    let wait =
        Timespec { tv_sec: patience.as_secs().min(86_400) as i64, tv_nsec: patience.subsec_nanos().into() };
    loop {
        match rustix::event::poll(&mut [PollFd::new(socket, what)], Some(&wait)) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
    }
}
