//! The message under way: its pieces, and what a site says in the middle of it.

use super::{Conversation, Next, Pause};
use crate::books::Books;
use behaviour::{Act, Dialogue, Grown, Say, Sites, Then};
use smtp::{ReversePath, Stage};
use std::sync::Arc;

/// How the content that is under way comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Content {
    #[default]
    None,
    /// After DATA.
    Dots,
    /// With BDAT.
    Chunks,
}

/// A reply that came in the middle of the content: nothing more is said at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Early {
    pub positive: bool,
    /// 0: none that can be read.
    pub code: u16,
}

impl Early {
    /// What is said at the end of the content.
    pub fn silence(self) -> Arc<Act> {
        let accepts = Some(self.positive);
        Arc::new(Act { say: Say::Nothing, accepts, cut: None, also: None, then: Then::GoOn })
    }
}

impl Conversation {
    /// The content of a message comes.
    pub(super) fn begin_content(&mut self, content: Content, books: &Books) {
        self.size_bytes = 0;
        self.content = content;
        self.early = None;
        let dialogue = &self.dialogue;
        self.letter = books.store.begin(self.connection, dialogue.message(), || envelope(dialogue));
    }

    /// A piece of it.
    pub(super) fn take_body(&mut self, piece: &[u8], sites: &Sites, books: &mut Books) -> Option<Pause> {
        let before = self.size_bytes;
        self.size_bytes += piece.len() as u64;
        self.header.feed(piece, &mut books.ledger.ids);
        let is_full = self.letter.as_mut().is_some_and(|letter| letter.write(piece));
        if sites.of_transaction(&self.dialogue).has_rules(Stage::Body) {
            let in_chunk = self.content == Content::Chunks;
            let grown = Grown { before, now: self.size_bytes, in_chunk };
            let step = sites.step_at_body(&mut self.dialogue, grown);
            if let Some(act) = step.act.filter(|_| self.early.is_none()) {
                self.next = Next::Interrupt(act);
            }
            if !step.delay.is_zero() {
                return Some(Pause::Wait(step.delay));
            }
        }
        is_full.then_some(Pause::Store)
    }

    /// What stands for the reply at `stage`, where one came early: that to a chunk, or those to all of the content.
    pub(super) fn early_at(&mut self, stage: Stage) -> Option<Early> {
        match stage {
            Stage::Dot => self.early,
            Stage::Body => self.early.take(),
            _ => None,
        }
    }

    /// A reply was said in the middle of it.
    pub(super) fn interrupted(&mut self, positive: bool, code: u16) {
        self.early = Some(Early { positive, code });
    }
}

/// What a kept message begins with: the fields that final delivery adds (RFC 5321 §4.4 Return-Path), and one for each
/// recipient.
fn envelope(dialogue: &Dialogue) -> Vec<u8> {
    let Some(words) = dialogue.words() else { return Vec::new() };
    let sender = words.sender.as_ref().map_or("", ReversePath::as_str);
    let mut fields = format!("Return-Path: <{sender}>\r\n");
    for recipient in &words.recipients {
        fields += &format!("Delivered-To: {}\r\n", recipient.as_str());
    }
    fields.into_bytes()
}
