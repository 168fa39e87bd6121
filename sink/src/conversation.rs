//! One connection's conversation with its site, without the socket: bytes in, replies out, and in between the waits.
//!
//! It joins the three that must not know each other: the SMTP session (what is allowed), the site (what is said, and
//! when) and the ledger (what came of it). It must not know how waiting or writing is done.

use crate::delivery::{Answered, Delivery};
use crate::header::HeaderScan;
use crate::ledger::Ledger;
use crate::trace::Trace;
use behaviour::{Answer, Dialogue, Occasion, Site};
use smtp::server::{Event, Session};
use smtp::{Reply, Stage};
use std::time::Duration;

/// The accounts of the sink, which every connection writes into.
#[derive(Default)]
pub struct Books {
    pub ledger: Ledger,
    /// `None` if nobody asked for one.
    pub trace: Option<Trace>,
}

/// A connection's conversation.
pub struct Conversation {
    /// From 1, in the order of acceptance.
    connection: u64,
    session: Session,
    dialogue: Dialogue,
    /// The answer to the session's pending event, while its delay runs.
    due: Option<Answer>,
    /// The delivery in flight.
    delivery: Option<Delivery>,
    /// The delivery whose dot is answered by a reply that may not have been written yet.
    answered: Option<Answered>,
    header: HeaderScan,
    /// Content of the message under way.
    size_bytes: u64,
    bare_newline: bool,
    said_quit: bool,
}

/// Why a conversation goes no further for now. What has been said so far is to be written first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// More bytes from the client are needed.
    Input,
    /// Go on after this long; zero: as soon as the replies are written.
    Wait(Duration),
    /// Nothing more will be said.
    Close,
}

impl Conversation {
    /// A connection that was accepted at `accepted_ns`: its first delivery is in flight from then on.
    pub fn new(
        connection: u64,
        session: Session,
        dialogue: Dialogue,
        accepted_ns: u64,
        books: &mut Books,
    ) -> Self {
        books.ledger.connection_opened(accepted_ns);
        books.ledger.delivery_started();
        Conversation {
            connection,
            session,
            dialogue,
            due: None,
            delivery: Some(Delivery::new(accepted_ns)),
            answered: None,
            header: HeaderScan::default(),
            size_bytes: 0,
            bare_newline: false,
            said_quit: false,
        }
    }

    /// How long the site leaves the connection alone before it serves it.
    pub fn delay_before(&mut self, site: &Site) -> Duration {
        site.step(&mut self.dialogue, Occasion { stage: Stage::Connect, recipient: None }).delay
    }

    /// Goes on until something is missing. Returns how much of `input` is done with; the rest is to be given again,
    /// with what came after it. Replies are appended to `out`.
    pub fn advance(
        &mut self,
        site: &Site,
        books: &mut Books,
        now_ns: u64,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> (usize, Pause) {
        let mut consumed = 0;
        loop {
            if let Some(answer) = self.due.take() {
                self.answer(&answer, books, out);
            }
            if self.session.is_closed() {
                return (consumed, Pause::Close);
            }
            if out.len() >= MAX_BATCH_BYTES {
                return (consumed, Pause::Wait(Duration::ZERO));
            }
            let (bytes, event) = self.session.next(&input[consumed..]);
            consumed += bytes;
            let Some(event) = event else {
                return (consumed, Pause::Input);
            };
            if let Event::Body(piece) = event {
                self.size_bytes += piece.len() as u64;
                self.header.feed(piece, &mut books.ledger.ids);
                continue;
            }
            let delay = self.consider(&event, site, books, now_ns);
            // A batch holds the end of one delivery at most, so that each ends when its own reply is written.
            let one_too_many = self.answered.is_some() && self.session.stage() == Stage::Dot;
            if !delay.is_zero() || one_too_many {
                return (consumed, Pause::Wait(delay));
            }
        }
    }

    /// Everything in `out` so far has been taken by the kernel.
    pub fn written(&mut self, books: &mut Books, now_ns: u64) {
        if let Some(answered) = self.answered.take() {
            books.ledger.delivery_ended();
            if answered.accepted() {
                books.ledger.accepted(&answered, now_ns);
            }
            if let Some(trace) = &mut books.trace {
                trace.ended(self.connection, &answered.delivery, now_ns, Some(answered.code));
            }
        }
    }

    /// The last words to a client that was silent for too long; nothing while it is being answered.
    pub fn time_out(&mut self, books: &mut Books, out: &mut Vec<u8>) {
        // RFC 5321 §3.8: 421 before the server closes of its own accord; RFC 3463 §3.5: X.4.2
        let reply = Reply::new(421, Some((4, 4, 2)), "Idle for too long, closing transmission channel");
        let before = out.len();
        self.session.reply(&reply, out);
        if out.len() > before {
            books.ledger.replied(reply.code.get());
        }
    }

    /// Nothing more will be said or heard: what was in flight ends without a reply to its dot.
    pub fn give_up(&mut self, books: &mut Books, now_ns: u64) {
        self.end_delivery(books, now_ns);
        // Answered, but the answer was not taken.
        self.delivery = self.answered.take().map(|answered| answered.delivery);
        self.end_delivery(books, now_ns);
    }

    /// The connection is gone.
    pub fn ended(&mut self, books: &mut Books, now_ns: u64) {
        self.give_up(books, now_ns);
        books.ledger.connection_closed();
    }

    /// The client said QUIT and will close too: nothing of what was said can be lost.
    pub fn said_quit(&self) -> bool {
        self.said_quit
    }

    /// Asks the site about an event and keeps its answer; returns the delay before it.
    fn consider(&mut self, event: &Event<'_>, site: &Site, books: &mut Books, now_ns: u64) -> Duration {
        let mut recipient = None;
        let mut refused_by_protocol = false;
        match event {
            Event::Mail { .. } => {
                self.end_transaction(books, now_ns);
                if self.delivery.is_none() {
                    self.delivery = Some(Delivery::new(now_ns));
                    books.ledger.delivery_started();
                }
                if let Some(delivery) = &mut self.delivery {
                    delivery.mail_seen = true;
                }
            }
            Event::Hello { .. } | Event::Rset => self.end_transaction(books, now_ns),
            Event::Rcpt { forward_path, .. } => recipient = Some(forward_path),
            Event::EndOfData { bare_newline, too_big: _ } => {
                self.bare_newline = *bare_newline;
                let id = self.header.finish(&mut books.ledger.ids);
                if let Some(delivery) = &mut self.delivery {
                    delivery.id = id;
                }
            }
            Event::Data => self.size_bytes = 0,
            Event::Quit => self.said_quit = true,
            Event::Invalid { .. } => refused_by_protocol = true,
            Event::StartTls
            | Event::AuthChallenge
            | Event::Auth(_)
            | Event::Bdat { .. }
            | Event::EndOfChunk { .. }
            | Event::NextRecipient { .. } => {
                unreachable!("none of them is offered")
            }
            Event::Connect | Event::Noop | Event::Vrfy | Event::Help | Event::Body(_) => {}
        }
        let step = site.step(&mut self.dialogue, Occasion { stage: self.session.stage(), recipient });
        self.due = Some(if refused_by_protocol { Answer::Accept } else { step.answer });
        step.delay
    }

    /// Gives the answer that is due to the session's pending event.
    fn answer(&mut self, answer: &Answer, books: &mut Books, out: &mut Vec<u8>) {
        let stage = self.session.stage();
        let start = out.len();
        match answer {
            Answer::Accept => self.session.accept(out),
            Answer::Reply(reply) => self.session.reply(reply, out),
        }
        let code = code(&out[start..]);
        books.ledger.replied(code);
        if stage == Stage::Dot
            && let Some(delivery) = self.delivery.take()
        {
            let (size_bytes, bare_newline) = (self.size_bytes, self.bare_newline);
            self.answered = Some(Answered { delivery, code, size_bytes, bare_newline });
        }
    }

    /// A transaction that had begun is given up by the client: its delivery ends without a reply to a dot.
    fn end_transaction(&mut self, books: &mut Books, now_ns: u64) {
        if self.delivery.is_some_and(|delivery| delivery.mail_seen) {
            self.end_delivery(books, now_ns);
        }
    }

    fn end_delivery(&mut self, books: &mut Books, now_ns: u64) {
        if let Some(delivery) = self.delivery.take() {
            books.ledger.delivery_ended();
            if let Some(trace) = &mut books.trace {
                trace.ended(self.connection, &delivery, now_ns, None);
            }
        }
    }
}

/// The code of a reply as it was written.
fn code(reply: &[u8]) -> u16 {
    reply.iter().take(3).fold(0, |code, digit| code * 10 + u16::from(digit.wrapping_sub(b'0')))
}

/// Replies are written at the latest when this much of them has come together.
pub const MAX_BATCH_BYTES: usize = 16 * 1024;
