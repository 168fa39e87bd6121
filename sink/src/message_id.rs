//! The identity of a message, as the load generator's header `X-Mailrig-Id: RUN/NUMBER/INTENDED_NS` gives it.
//!
//! Kept in 24 bytes whatever its length, so that millions of them fit in memory. It must not know how the header
//! is found.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU32;

/// One id. It has its text only together with the [`Ids`] that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId {
    /// Place of the text in the table, from 1: RUN, or the whole value if it is not of the usual form.
    text: NonZeroU32,
    number: u64,
    intended_ns: u64,
}

/// What an id is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whole {
    /// Of the usual form; `run` is the place of the run's name among the texts, from 0.
    Numbered { run: u32, number: u64, intended_ns: u64 },
    /// Any other text.
    Text,
}

impl MessageId {
    pub fn whole(self) -> Whole {
        match self.number {
            WHOLE => Whole::Text,
            number => Whole::Numbered { run: self.text.get() - 1, number, intended_ns: self.intended_ns },
        }
    }

    /// The whole value, as it came; `texts` are those of the [`Ids`] that made it.
    pub fn text(self, texts: &[Box<str>]) -> impl fmt::Display + use<'_> {
        Text { id: self, text: &texts[self.text.get() as usize - 1] }
    }

    /// What it is told apart by: the place of its text (from 0) and two numbers, for whoever writes it down.
    pub fn parts(self) -> (u32, u64, u64) {
        (self.text.get() - 1, self.number, self.intended_ns)
    }

    /// The id with these [`MessageId::parts`].
    pub fn of_parts(text: u32, number: u64, intended_ns: u64) -> MessageId {
        MessageId { text: NonZeroU32::MIN.saturating_add(text), number, intended_ns }
    }

    /// When the message was meant to be sent, CLOCK_MONOTONIC of its sender.
    pub fn intended_ns(self) -> u64 {
        self.intended_ns
    }
}

/// The texts that ids are made of, each kept once.
#[derive(Default)]
pub struct Ids {
    texts: Vec<Box<str>>,
    places: HashMap<Box<str>, u32>,
}

impl Ids {
    /// The id with this value (without white space around it). `None`: empty, longer than [`MAX_ID_BYTES`], or with
    /// something that is not printable ASCII in it, or [`MAX_TEXTS`] different ones are known already.
    pub fn id(&mut self, value: &[u8]) -> Option<MessageId> {
        if value.is_empty()
            || value.len() > MAX_ID_BYTES
            || !value.iter().all(|byte| matches!(byte, b' '..=b'~'))
        {
            return None;
        }
        let value = std::str::from_utf8(value).ok()?;
        Some(match usual_form(value) {
            Some((run, number, intended_ns)) => MessageId::of_parts(self.place(run)?, number, intended_ns),
            None => MessageId::of_parts(self.place(value)?, WHOLE, WHOLE),
        })
    }

    /// The whole value of an id, as it came.
    pub fn text(&self, id: MessageId) -> impl fmt::Display + use<'_> {
        id.text(&self.texts)
    }

    /// What ids are made of, in the order in which it came.
    pub fn texts(&self) -> &[Box<str>] {
        &self.texts
    }

    /// The place of a text, from 0; it gets one if it is new. `None`: [`MAX_TEXTS`] are known already.
    pub fn place(&mut self, text: &str) -> Option<u32> {
        // Nearly all messages are of the run of the one before.
        if let Some(last) = self.texts.last()
            && **last == *text
        {
            return Some(self.texts.len() as u32 - 1);
        }
        if let Some(&place) = self.places.get(text) {
            return Some(place);
        }
        if self.texts.len() >= MAX_TEXTS {
            return None;
        }
        let place = self.texts.len() as u32;
        self.texts.push(text.into());
        self.places.insert(text.into(), place);
        Some(place)
    }
}

struct Text<'a> {
    id: MessageId,
    text: &'a str,
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)?;
        if self.id.number != WHOLE {
            write!(f, "/{}/{}", self.id.number, self.id.intended_ns)?;
        }
        Ok(())
    }
}

/// RUN, NUMBER, INTENDED_NS, if writing them again gives the same text.
fn usual_form(value: &str) -> Option<(&str, u64, u64)> {
    let (rest, intended_ns) = value.rsplit_once('/')?;
    let (run, number) = rest.rsplit_once('/')?;
    Some((run, plain_number(number)?, plain_number(intended_ns)?))
}

fn plain_number(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    text.parse().ok().filter(|&number| plain && number != WHOLE)
}

/// Longer values are not ours.
pub const MAX_ID_BYTES: usize = 256;
/// Different runs, and ids that are not of the usual form.
pub const MAX_TEXTS: usize = 1 << 24;
/// In `number`: the text is the whole value.
const WHOLE: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_what_its_whole_value_says_and_small() {
        assert_eq!(size_of::<Option<MessageId>>(), 24);
        let mut ids = Ids::default();
        let mut seen = Vec::new();
        for value in [
            "run/1/1000",
            "run/2/1000",
            "run/1/2000",
            "other/1/1000",
            "run/01/1000",
            "run/1/1000 ",
            "run/+1/1000",
            "a/b/1/1000",
            "/1/1000",
            "run/18446744073709551615/18446744073709551615",
            "run//",
            "run",
            "1",
            "//",
        ] {
            let id = ids.id(value.as_bytes()).unwrap();
            assert_eq!(ids.text(id).to_string(), value);
            assert_eq!(ids.id(value.as_bytes()), Some(id));
            assert!(!seen.contains(&id), "{value}");
            seen.push(id);
        }
    }

    #[test]
    fn what_cannot_be_an_id_is_none() {
        let mut ids = Ids::default();
        assert_eq!(ids.id(b""), None);
        assert_eq!(ids.id(b"run/1\x00/1"), None);
        assert_eq!(ids.id("r\u{fc}n/1/1".as_bytes()), None);
        assert!(ids.id(&[b'x'; MAX_ID_BYTES]).is_some());
        assert_eq!(ids.id(&[b'x'; MAX_ID_BYTES + 1]), None);
    }
}
