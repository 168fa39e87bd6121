//! What is said: the protocol's own reply, the site's, or what is no reply at all, and what follows it.

use super::{Conversation, Next, Pause};
use crate::books::Books;
use crate::delivery::Answered;
use behaviour::{Act, Say, Sites, Then};
use smtp::{Reply, Stage};
use std::mem;
use std::sync::{Arc, LazyLock};

impl Conversation {
    /// Does what comes before anything else is heard; `None` when that is all.
    pub(super) fn go_on(
        &mut self,
        sites: &Sites,
        books: &mut Books,
        now_ns: u64,
        out: &mut Vec<u8>,
    ) -> Option<Pause> {
        loop {
            match mem::take(&mut self.next) {
                Next::Hear => return None,
                Next::Answer { act, pace, recipient } => {
                    let stage = self.session.stage();
                    let act = match self.keep_first(stage, act) {
                        Keep::Done(act) => act,
                        Keep::First(act) => {
                            self.next = Next::Answer { act, pace, recipient };
                            return Some(Pause::Store);
                        }
                    };
                    let from = out.len();
                    let positive = self.answer(act.as_deref(), stage, books, now_ns, out);
                    if let Some(recipient) = recipient.filter(|_| positive) {
                        sites.accepted(&mut self.dialogue, &recipient);
                    }
                    if let Some(pause) = self.follow(act, stage, books) {
                        return Some(pause);
                    }
                    if let Some(pace) = pace.filter(|_| out.len() > from) {
                        return Some(Pause::Drip { from, pace });
                    }
                }
                Next::Interrupt(act) => {
                    let from = out.len();
                    say(&act, out);
                    cut(&act, from, out);
                    if out.len() > from {
                        let code = code(&out[from..]);
                        books.ledger.outcomes.replied(Stage::Body, code);
                        self.interrupted(act.is_positive(Stage::Body), code);
                    }
                    if let Some(pause) = self.follow(Some(act), Stage::Body, books) {
                        return Some(pause);
                    }
                }
                Next::Also { act, waited, stage } => {
                    let Some(also) = &act.also else { continue };
                    if !waited && !also.after.is_zero() {
                        let after = also.after;
                        self.next = Next::Also { act, waited: true, stage };
                        return Some(Pause::Wait(after));
                    }
                    out.extend_from_slice(&also.bytes);
                    self.next = end(act.then, stage);
                }
                Next::End { then, stage } => {
                    books.ledger.outcomes.ended(stage, then);
                    tracing::debug!(connection = self.connection, %stage, end = then.as_str(), "ended on purpose");
                    return Some(Pause::End(then));
                }
            }
        }
    }

    /// The last words to a client that was silent for too long; nothing while it is being answered.
    pub fn time_out(&mut self, books: &mut Books, out: &mut Vec<u8>) {
        // RFC 5321 §3.8: 421 before the server closes of its own accord; RFC 3463 §3.5: X.4.2
        let reply = Reply::new(421, Some((4, 4, 2)), "Idle for too long, closing transmission channel");
        let (before, stage) = (out.len(), self.session.stage());
        self.session.reply(&reply, out);
        if out.len() > before {
            books.ledger.outcomes.replied(stage, reply.code.get());
        }
    }

    /// The client talked before it was greeted: tells it so, and the conversation is over.
    pub fn spring_trap(&mut self, sites: &Sites, books: &mut Books, out: &mut Vec<u8>) {
        let Some(trap) = &sites.home(&self.dialogue).offer.trap else { return };
        self.session.reply(trap, out);
        books.ledger.connection_trapped();
        books.ledger.outcomes.replied(Stage::Banner, trap.code.get());
        self.next = Next::End { then: Then::Close, stage: Stage::Banner };
    }

    /// What comes after an act.
    fn follow(&mut self, act: Option<Arc<Act>>, stage: Stage, books: &mut Books) -> Option<Pause> {
        let act = act?;
        if let Say::Endless { .. } = act.say {
            // It has no end, so it is no reply.
            books.ledger.outcomes.replied(stage, 0);
            return Some(Pause::Endless(act));
        }
        self.next = match act.also {
            Some(_) => Next::Also { act, waited: false, stage },
            None => end(act.then, stage),
        };
        None
    }

    /// Gives the answer that is due to the session's pending event; says whether it was a positive one.
    fn answer(
        &mut self,
        act: Option<&Act>,
        stage: Stage,
        books: &mut Books,
        now_ns: u64,
        out: &mut Vec<u8>,
    ) -> bool {
        let from = out.len();
        let positive = match act {
            None => {
                self.session.accept(out);
                is_positive(&out[from..])
            }
            Some(act) => self.perform(act, stage, out),
        };
        let code = code(&out[from..]);
        if out.len() > from {
            books.ledger.outcomes.replied(stage, code);
            tracing::trace!(connection = self.connection, %stage, code, "replied");
        }
        if positive && stage == Stage::Auth && self.session.is_authenticated() {
            self.dialogue.authenticated();
        }
        if stage == Stage::Dot {
            let code = self.early.map_or(code, |early| early.code);
            self.end_of_data(positive, code);
        } else if let Some(delivery) = &mut self.delivery {
            delivery.answered(stage, now_ns);
        }
        positive
    }

    /// Says what the act says, and lets the session go on as the act accepts or not.
    fn perform(&mut self, act: &Act, stage: Stage, out: &mut Vec<u8>) -> bool {
        let from = out.len();
        let mut positive = act.is_positive(stage);
        match &act.say {
            Say::Reply(reply) if act.accepts.is_none() => self.session.reply(reply, out),
            Say::Usual if positive => {
                self.session.accept(out);
                // The protocol may have refused.
                positive = act.accepts.is_some() || is_positive(&out[from..]);
            }
            _ => {
                match positive {
                    true => self.session.accept(out),
                    false => self.session.reply(&REFUSAL, out),
                }
                out.truncate(from);
                say(act, out);
            }
        }
        cut(act, from, out);
        positive
    }

    /// The end of the content was answered, for the last of those who get a reply of their own: the delivery ends once
    /// that is written.
    fn end_of_data(&mut self, positive: bool, code: u16) {
        if positive {
            self.taken_with = Some(code);
        }
        if self.session.is_answering_each() {
            return;
        }
        let taken_with = self.taken_with.take();
        let (accepted, code) = (taken_with.is_some(), taken_with.unwrap_or(code));
        if !accepted {
            self.letter = None;
        }
        let (size_bytes, bare_newline) = (self.size_bytes, self.bare_newline);
        self.answered = self.delivery.take().map(|delivery| Answered {
            delivery,
            accepted,
            code,
            size_bytes,
            bare_newline,
        });
        self.early = None;
        self.dialogue.transaction_ended(true);
    }

    /// A message that is to be kept must be kept before it is accepted.
    fn keep_first(&mut self, stage: Stage, act: Option<Arc<Act>>) -> Keep {
        let positive = act.as_ref().is_none_or(|act| act.is_positive(stage));
        match &mut self.letter {
            Some(letter) if stage == Stage::Dot && positive => {
                if letter.is_lost() {
                    return Keep::Done(Some(Arc::new(Act::reply(NOT_KEPT.clone()))));
                }
                match letter.finish() {
                    true => Keep::Done(act),
                    false => Keep::First(act),
                }
            }
            _ => Keep::Done(act),
        }
    }
}

enum Keep {
    /// Nothing is to be kept, or it is; the answer may have become another one.
    Done(Option<Arc<Act>>),
    /// The store has to do its part first.
    First(Option<Arc<Act>>),
}

fn end(then: Then, stage: Stage) -> Next {
    match then {
        Then::GoOn => Next::Hear,
        then => Next::End { then, stage },
    }
}

/// The act's own words.
fn say(act: &Act, out: &mut Vec<u8>) {
    match &act.say {
        Say::Reply(reply) => reply.write(out),
        Say::Raw(bytes) => out.extend_from_slice(bytes),
        Say::Usual | Say::Nothing | Say::Endless { .. } => {}
    }
}

/// Leaves only the first bytes of what was said, if the act wants that.
fn cut(act: &Act, from: usize, out: &mut Vec<u8>) {
    if let Some(bytes) = act.cut {
        out.truncate(out.len().min(from.saturating_add(bytes)));
    }
}

/// Of a reply of the session's own.
fn is_positive(reply: &[u8]) -> bool {
    matches!(reply.first(), Some(b'2' | b'3'))
}

/// The code of a reply as it was written; 0 for what is none.
fn code(reply: &[u8]) -> u16 {
    match reply {
        [one, two, three, b' ' | b'-' | b'\r', ..]
            if [one, two, three].iter().all(|digit| digit.is_ascii_digit()) =>
        {
            [one, two, three].iter().fold(0, |code, digit| code * 10 + u16::from(**digit - b'0'))
        }
        _ => 0,
    }
}

/// RFC 4954 §6: authentication credentials invalid.
pub fn bad_credentials() -> Arc<Act> {
    let reply = Reply::new(535, Some((5, 7, 8)), "Authentication credentials invalid");
    Arc::new(Act::reply(reply))
}

/// RFC 5321 §4.2.4: a command that is not known, as of a server that is older than EHLO.
pub fn no_ehlo() -> Arc<Act> {
    Arc::new(Act::reply(Reply::new(500, None, "Command not recognized")))
}

/// What the session takes a refusal of any kind for; it is not said.
static REFUSAL: LazyLock<Reply> = LazyLock::new(|| Reply::new(451, None, ""));
/// RFC 3463 §3.4: X.3.1, mail system full.
static NOT_KEPT: LazyLock<Reply> =
    LazyLock::new(|| Reply::new(452, Some((4, 3, 1)), "Cannot keep the message"));
