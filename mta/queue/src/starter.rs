//! The queue manager's line to the starter: what is asked of it, and whether it still answers.
//!
//! A starter that is stopped or starved answers nothing and is not gone either. Nobody waits for it without a bound:
//! it is silent when it owes an answer and has said nothing for [`SILENT_AFTER`].

use crate::poller::{Poller, Token};
use crate::stream::Stream;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use supervisor::link::{FromStarter, ToStarter, Usage};

/// A client that asks what only the starter knows waits no longer for it.
pub const SILENT_AFTER: Duration = Duration::from_secs(1);

/// So long agents that were asked for are waited for without a word: a fork on a busy machine takes its time.
pub const STALLED_AFTER: Duration = Duration::from_secs(5);

pub struct Starter {
    stream: Stream,
    owed: Owed,
    /// Clients that wait for the answer to a question.
    asked: Vec<(u64, u64)>,
    next_question: u64,
    /// Its last answer about processes and their time.
    pub known: Option<Usage>,
}

impl Starter {
    pub fn new(socket: UnixStream, poller: &Poller) -> io::Result<Starter> {
        let stream = Stream::new(socket, Token::Starter, poller)?;
        Ok(Starter { stream, owed: Owed::default(), asked: Vec::new(), next_question: 1, known: None })
    }

    pub fn tell(&mut self, message: &ToStarter, poller: &Poller) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(32);
        message.encode(&mut bytes);
        self.owed.told(message, Instant::now());
        self.stream.send(bytes, None, poller)
    }

    /// Asks for [`Usage`] for a client. False: it is silent, and is not asked again before it has said something.
    pub fn ask(&mut self, client: u64, poller: &Poller) -> io::Result<bool> {
        if self.owed.is_late(SILENT_AFTER, Instant::now()) {
            return Ok(false);
        }
        let question = self.next_question;
        self.next_question += 1;
        self.asked.push((question, client));
        self.tell(&ToStarter::Usage { question }, poller).map(|()| true)
    }

    /// The client that asked this, unless it was answered without.
    pub fn answered(&mut self, question: u64, usage: Usage) -> Option<u64> {
        self.known = Some(usage);
        let at = self.asked.iter().position(|(asked, _)| *asked == question)?;
        Some(self.asked.remove(at).1)
    }

    /// Clients that wait for a starter that is silent.
    pub fn unanswered(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.asked).into_iter().map(|(_, client)| client).collect()
    }

    /// When clients that wait are to be answered without it.
    pub fn deadline(&self) -> Option<Instant> {
        self.owed.since.filter(|_| !self.asked.is_empty()).map(|since| since + SILENT_AFTER)
    }

    /// When one who has waited for agents since `began` is answered without it.
    pub fn stall_deadline(&self, began: Instant) -> Option<Instant> {
        self.owed.since.map(|since| since.max(began) + STALLED_AFTER)
    }

    /// Sends what waits, and takes in what has come. False: it is gone.
    pub fn fill(&mut self, poller: &Poller) -> io::Result<bool> {
        self.stream.flush(poller)?;
        self.stream.fill()
    }

    /// The next thing that it said.
    pub fn next(&mut self) -> io::Result<Option<FromStarter>> {
        let Some((kind, payload)) = self.stream.next_frame().map_err(io::Error::other)? else {
            return Ok(None);
        };
        let message = FromStarter::decode(kind, payload).map_err(io::Error::other)?;
        self.owed.heard(&message, Instant::now());
        Ok(Some(message))
    }

    /// The descriptor that came beside what was said.
    pub fn descriptor(&mut self) -> Option<OwnedFd> {
        self.stream.descriptors.pop_front()
    }
}

/// Answers that it owes, and since when it has been silent about them.
#[derive(Default)]
struct Owed {
    answers: usize,
    since: Option<Instant>,
}

impl Owed {
    fn told(&mut self, message: &ToStarter, now: Instant) {
        if matches!(message, ToStarter::Start(_) | ToStarter::Usage { .. }) {
            self.answers += 1;
            self.since.get_or_insert(now);
        }
    }

    fn heard(&mut self, message: &FromStarter, now: Instant) {
        if let FromStarter::Started { .. } | FromStarter::NotStarted { .. } | FromStarter::Usage { .. } =
            message
        {
            self.answers = self.answers.saturating_sub(1);
        }
        self.since = (self.answers > 0).then_some(now);
    }

    fn is_late(&self, bound: Duration, now: Instant) -> bool {
        self.since.is_some_and(|since| now >= since + bound)
    }
}
