//! One connection's conversation with its site, without the socket: bytes in, replies out, and in between the waits.
//!
//! It joins the three that must not know each other: the SMTP session (what is allowed), the site (what is said, and
//! when) and the books (what came of it). It must not know how waiting or writing is done.

mod answer;
mod content;

use crate::books::Books;
use crate::delivery::{Answered, Delivery};
use crate::header::HeaderScan;
use crate::store::Letter;
use crate::trace::{Ended, Taken};
use behaviour::{Act, Dialogue, Heard, Pace, Sites, Step, Then};
use content::{Content, Early};
use ring::digest::Digest;
use smtp::server::{Event, Session};
use smtp::{ForwardPath, Stage};
use std::sync::Arc;
use std::time::Duration;

/// A connection's conversation.
pub struct Conversation {
    /// From 1, in the order of acceptance.
    connection: u64,
    session: Session,
    dialogue: Dialogue,
    next: Next,
    /// The delivery in flight.
    delivery: Option<Delivery>,
    /// The delivery whose dot is answered by a reply that may not have been written yet.
    answered: Option<Answered>,
    header: HeaderScan,
    /// The content of the message under way, where it is wanted.
    letter: Option<Box<Letter>>,
    /// Content of the message under way.
    size_bytes: u64,
    bare_newline: bool,
    content: Content,
    /// What was said in the middle of the content, in the place of the reply to its end.
    early: Option<Early>,
    /// LMTP: some recipient's reply was positive, its code.
    taken_with: Option<u16>,
    said_quit: bool,
    tls: TlsVersion,
}

/// What is done before anything else is heard.
#[derive(Default)]
enum Next {
    #[default]
    Hear,
    /// The answer to the session's pending event, while its delay runs.
    Answer {
        act: Option<Arc<Act>>,
        pace: Option<Pace>,
        /// Of a RCPT.
        recipient: Option<ForwardPath>,
    },
    /// What is said in the middle of a message.
    Interrupt(Arc<Act>),
    /// What comes after the reply, once its own delay is over.
    Also {
        act: Arc<Act>,
        waited: bool,
        stage: Stage,
    },
    End {
        then: Then,
        stage: Stage,
    },
}

/// What a connection is encrypted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsVersion {
    #[default]
    None,
    V12,
    V13,
}

/// Why a conversation goes no further for now. What has been said so far is to be written first.
#[derive(Debug)]
pub enum Pause {
    /// More bytes from the client are needed.
    Input,
    /// Go on after this long; zero: as soon as the replies are written.
    Wait(Duration),
    /// As `Wait`, but a client that talks in the meantime has walked into a trap: [`Conversation::spring_trap`].
    Guard(Duration),
    /// What was said from this byte on is to be written at this pace; then go on.
    Drip { from: usize, pace: Pace },
    /// What the act says without end is to be written until the client closes.
    Endless(Arc<Act>),
    /// The TLS handshake is next.
    StartTls,
    /// The store is to take what there is of the message; then go on.
    Store,
    /// Nothing more will be said. [`Then::Close`] also where the protocol ends a session.
    End(Then),
}

impl TlsVersion {
    /// `1.2`, `1.3`; empty for none.
    pub const fn as_str(self) -> &'static str {
        match self {
            TlsVersion::None => "",
            TlsVersion::V12 => "1.2",
            TlsVersion::V13 => "1.3",
        }
    }
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
        let delivery = Some(Delivery::new(accepted_ns, books.is_traced()));
        Conversation {
            connection,
            session,
            dialogue,
            next: Next::Hear,
            delivery,
            answered: None,
            header: HeaderScan::default(),
            letter: None,
            size_bytes: 0,
            bare_newline: false,
            content: Content::None,
            early: None,
            taken_with: None,
            said_quit: false,
            tls: TlsVersion::None,
        }
    }

    /// What the site does with the connection before it serves it.
    pub fn before(&mut self, sites: &Sites) -> Step {
        sites.step(&mut self.dialogue, Stage::Connect, Heard::Nothing)
    }

    /// What the site does before, or instead of, the TLS handshake.
    pub fn at_handshake(&mut self, sites: &Sites) -> Step {
        sites.step(&mut self.dialogue, Stage::Handshake, Heard::Nothing)
    }

    /// The site ends the connection at a stage that has no reply.
    pub fn ends_at(&self, stage: Stage, then: Then, books: &mut Books) {
        books.ledger.outcomes.ended(stage, then);
        tracing::debug!(connection = self.connection, %stage, end = then.as_str(), "ended on purpose");
    }

    /// The handshake is done: nothing that was said before it counts (RFC 3207 §4.2).
    pub fn tls_established(&mut self, version: TlsVersion, books: &mut Books, now_ns: u64) {
        books.ledger.handshake_done();
        self.session.tls_established();
        self.dialogue.tls_established();
        self.tls = version;
        if let Some(delivery) = &mut self.delivery {
            delivery.answered(Stage::Handshake, now_ns);
        }
    }

    /// Goes on until something is missing. Returns how much of `input` is done with; the rest is to be given again,
    /// with what came after it. Replies are appended to `out`.
    pub fn advance(
        &mut self,
        sites: &Sites,
        books: &mut Books,
        now_ns: u64,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> (usize, Pause) {
        let mut consumed = 0;
        loop {
            if let Some(pause) = self.go_on(sites, books, now_ns, out) {
                return (consumed, pause);
            }
            if self.session.is_closed() {
                return (consumed, Pause::End(Then::Close));
            }
            if self.session.is_starting_tls() {
                return (consumed, Pause::StartTls);
            }
            if out.len() >= MAX_BATCH_BYTES {
                return (consumed, Pause::Wait(Duration::ZERO));
            }
            let (bytes, event) = self.session.next(&input[consumed..]);
            consumed += bytes;
            let Some(event) = event else {
                return (consumed, Pause::Input);
            };
            let pause = match event {
                Event::Body(piece) => self.take_body(piece, sites, books),
                event => self.consider(event, sites, books, now_ns),
            };
            if let Some(pause) = pause {
                return (consumed, pause);
            }
        }
    }

    /// Everything in `out` so far has been taken by the kernel.
    pub fn written(&mut self, books: &mut Books, now_ns: u64) {
        if let Some(answered) = self.answered.take() {
            books.ledger.delivery_ended();
            let taken = match answered.accepted {
                false => Taken::No,
                true if books.ledger.accepted(&answered, now_ns) => Taken::First,
                true => Taken::Again,
            };
            tracing::debug!(
                connection = self.connection,
                code = answered.code,
                accepted = answered.accepted,
                again = taken == Taken::Again,
                bytes = answered.size_bytes,
                "message"
            );
            let digest = self.letter.take().and_then(|letter| letter.digest());
            self.trace(&answered.delivery, answered.code, taken, digest, books, now_ns);
        }
    }

    /// Whether something waits for [`Conversation::written`].
    pub fn is_answered(&self) -> bool {
        self.answered.is_some()
    }

    /// Nothing more will be said or heard: what was in flight ends without a reply to its dot.
    pub fn give_up(&mut self, books: &mut Books, now_ns: u64) {
        self.end_delivery(books, now_ns);
        // Answered, but the answer was not taken.
        self.delivery = self.answered.take().map(|answered| answered.delivery);
        self.end_delivery(books, now_ns);
        self.letter = None;
    }

    /// The connection is gone.
    pub fn ended(&mut self, books: &mut Books, now_ns: u64) {
        self.give_up(books, now_ns);
        books.ledger.connection_closed();
        tracing::debug!(connection = self.connection, "closed");
    }

    /// The client said QUIT and will close too: nothing of what was said can be lost.
    pub fn said_quit(&self) -> bool {
        self.said_quit
    }

    /// What the store is to take.
    pub fn letter(&mut self) -> Option<&mut Letter> {
        self.letter.as_deref_mut()
    }

    /// Most bytes to be read at once, where the site says so.
    pub fn chunk_bytes(&self, sites: &Sites) -> Option<usize> {
        sites.of_transaction(&self.dialogue).offer.chunk_bytes
    }

    /// Asks the site about an event and keeps its answer; a pause if that is not due at once.
    fn consider(&mut self, event: Event<'_>, sites: &Sites, books: &mut Books, now_ns: u64) -> Option<Pause> {
        let stage = self.session.stage();
        let (mut sender, mut recipient) = (None, None);
        let mut heard = Heard::Nothing;
        // Some: whatever the site's rules say.
        let mut decided = None;
        match event {
            Event::Hello { name, extended } => {
                self.end_transaction(books, now_ns);
                heard = Heard::Hello(name);
                if extended && !sites.home(&self.dialogue).offer.ehlo {
                    decided = Some(Some(answer::no_ehlo()));
                }
            }
            Event::Mail { reverse_path, .. } => {
                self.begin_delivery(books, now_ns);
                heard = Heard::Sender(sender.insert(reverse_path));
            }
            Event::Rcpt { forward_path, .. } => heard = Heard::Recipient(recipient.insert(forward_path)),
            Event::Data => self.begin_content(Content::Dots, books),
            Event::Bdat { .. } => {
                if self.content == Content::None {
                    self.begin_content(Content::Chunks, books);
                }
                // The reply belongs to the end of the chunk.
                return None;
            }
            Event::NextRecipient { index } => heard = Heard::Accepted(index as usize),
            Event::Rset => self.end_transaction(books, now_ns),
            Event::EndOfData { bare_newline, too_big } => {
                self.content = Content::None;
                if too_big {
                    // What is over the limit was never seen: there is nothing whole to keep.
                    self.letter = None;
                }
                if sites.home(&self.dialogue).offer.is_lmtp() {
                    heard = Heard::Accepted(0);
                }
                self.bare_newline = bare_newline;
                let id = self.header.finish(&mut books.ledger.ids);
                if let Some(delivery) = &mut self.delivery {
                    delivery.id = id;
                    delivery.answered(Stage::Body, now_ns);
                }
            }
            Event::Auth(credentials) => {
                let offer = &sites.home(&self.dialogue).offer;
                if !offer.admits(&credentials.user, &credentials.password) {
                    decided = Some(Some(answer::bad_credentials()));
                }
            }
            Event::Quit => self.said_quit = true,
            // The session has the refusal that fits.
            Event::Invalid { .. } => decided = Some(None),
            Event::Connect | Event::StartTls | Event::AuthChallenge => {}
            Event::EndOfChunk { .. } | Event::Noop | Event::Vrfy | Event::Help => {}
            Event::Body(_) => unreachable!("taken before"),
        }
        if let Some(early) = self.early_at(stage) {
            self.next = Next::Answer { act: Some(early.silence()), pace: None, recipient };
            return None;
        }
        let Step { delay, pace, act } = sites.step(&mut self.dialogue, stage, heard);
        self.next = Next::Answer { act: decided.unwrap_or(act), pace, recipient };
        if stage == Stage::Banner && !delay.is_zero() && sites.home(&self.dialogue).offer.trap.is_some() {
            return Some(Pause::Guard(delay));
        }
        // A batch holds the end of one delivery at most, so that each ends when its own reply is written.
        let one_too_many = self.answered.is_some() && stage == Stage::Dot;
        (!delay.is_zero() || one_too_many).then_some(Pause::Wait(delay))
    }

    fn begin_delivery(&mut self, books: &mut Books, now_ns: u64) {
        self.end_transaction(books, now_ns);
        if self.delivery.is_none() {
            self.delivery = Some(Delivery::new(now_ns, books.is_traced()));
            books.ledger.delivery_started();
        }
        if let Some(delivery) = &mut self.delivery {
            delivery.mail_seen = true;
        }
    }

    /// A transaction that had begun is given up by the client: its delivery ends without a reply to a dot.
    fn end_transaction(&mut self, books: &mut Books, now_ns: u64) {
        if self.delivery.as_ref().is_some_and(|delivery| delivery.mail_seen) {
            self.end_delivery(books, now_ns);
            self.content = Content::None;
            self.early = None;
            self.dialogue.transaction_ended(false);
        }
    }

    fn end_delivery(&mut self, books: &mut Books, now_ns: u64) {
        if let Some(delivery) = self.delivery.take() {
            books.ledger.delivery_ended();
            self.trace(&delivery, 0, Taken::No, None, books, now_ns);
        }
    }

    fn trace(
        &self,
        delivery: &Delivery,
        code: u16,
        taken: Taken,
        digest: Option<Digest>,
        books: &mut Books,
        end_ns: u64,
    ) {
        if let Some(trace) = &mut books.trace {
            let (connection, tls) = (self.connection, self.tls);
            let ended = Ended { connection, delivery, end_ns, code, tls, taken, digest };
            trace.ended(&ended, &books.ledger.ids);
        }
    }
}

/// Replies are written at the latest when this much of them has come together.
pub const MAX_BATCH_BYTES: usize = 16 * 1024;
