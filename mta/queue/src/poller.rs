//! Which descriptor is ready: epoll with our own names for what is watched.

use rustix::event::{Timespec, epoll};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Events taken from the kernel at a time.
const BATCH: usize = 256;

/// What a readiness event is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Token {
    Starter,
    Reception,
    Writer,
    ControlListener,
    Control(u64),
    Agent(u64),
}

impl Token {
    const TAG_SHIFT: u32 = 60;

    fn pack(self) -> u64 {
        let (tag, number) = match self {
            Token::Starter => (0, 0),
            Token::Reception => (1, 0),
            Token::Writer => (2, 0),
            Token::ControlListener => (3, 0),
            Token::Control(number) => (4, number),
            Token::Agent(number) => (5, number),
        };
        tag << Token::TAG_SHIFT | number
    }

    fn unpack(packed: u64) -> Token {
        let number = packed & ((1 << Token::TAG_SHIFT) - 1);
        match packed >> Token::TAG_SHIFT {
            0 => Token::Starter,
            1 => Token::Reception,
            2 => Token::Writer,
            3 => Token::ControlListener,
            4 => Token::Control(number),
            _ => Token::Agent(number),
        }
    }
}

pub struct Poller {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Poller {
    pub fn new() -> io::Result<Poller> {
        Ok(Poller { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?, events: Vec::with_capacity(BATCH) })
    }

    /// Watches for input. The watch ends when the descriptor is closed.
    pub fn watch(&self, descriptor: impl AsFd, token: Token) -> io::Result<()> {
        let data = epoll::EventData::new_u64(token.pack());
        Ok(epoll::add(&self.epoll, descriptor, data, epoll::EventFlags::IN)?)
    }

    /// Watches for room to write as well, or no longer.
    pub fn watch_output(&self, descriptor: impl AsFd, token: Token, output: bool) -> io::Result<()> {
        let flags =
            if output { epoll::EventFlags::IN | epoll::EventFlags::OUT } else { epoll::EventFlags::IN };
        Ok(epoll::modify(&self.epoll, descriptor, epoll::EventData::new_u64(token.pack()), flags)?)
    }

    /// Waits for readiness, no longer than `patience`.
    pub fn wait(&mut self, patience: Option<Duration>, ready: &mut Vec<Token>) -> io::Result<()> {
        let patience = patience.map(|patience| Timespec {
            tv_sec: patience.as_secs().min(3600) as i64,
            tv_nsec: patience.subsec_nanos().into(),
        });
        self.events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), patience.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        ready.clear();
        ready.extend(self.events.iter().map(|event| Token::unpack(event.data.u64())));
        Ok(())
    }
}
