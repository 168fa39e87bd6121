//! How much mail the spool's file system has room for, and when to ask again.
//!
//! Reception is told, so that it can refuse before the data. Knows no spool; time is handed in.

use std::time::{Duration, Instant};

/// While mail comes in, or space is short, it is asked so often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub struct Space {
    /// Kept free.
    min_bytes: u64,
    /// Above `min_bytes`.
    room: u64,
    looked: Option<Instant>,
    /// Mail came in since.
    is_asked: bool,
}

impl Space {
    pub fn new() -> Space {
        Space { min_bytes: 0, room: u64::MAX, looked: None, is_asked: true }
    }

    /// So much is to be kept free from now on.
    pub fn keep_free(&mut self, min_bytes: u64) {
        self.min_bytes = min_bytes;
        (self.looked, self.is_asked) = (None, true);
    }

    /// Bytes of mail that may come in.
    pub fn room(&mut self) -> u64 {
        self.is_asked = true;
        self.room
    }

    pub fn has_room(&self) -> bool {
        self.room > 0
    }

    /// When to look, if there is a reason: `now` for the first time.
    pub fn next_look(&self, now: Instant) -> Option<Instant> {
        let due = self.looked.map_or(now, |looked| looked + LOOK_EVERY);
        (self.is_asked || self.room == 0).then_some(due)
    }

    /// Notes what is free. True when reception should know: mail is no longer taken, or again.
    pub fn note(&mut self, free_bytes: u64, now: Instant) -> bool {
        let before = self.room;
        self.room = free_bytes.saturating_sub(self.min_bytes);
        (self.looked, self.is_asked) = (Some(now), false);
        // a message that declares its size is compared with what is told here
        (before == 0) != (self.room == 0) || self.room < before / 2 || self.room / 2 > before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_looked_at_once_at_first_and_then_while_mail_comes_in_or_room_is_short() {
        let now = Instant::now();
        let mut space = Space::new();
        space.keep_free(10);
        assert_eq!(space.next_look(now), Some(now));
        space.note(100, now);
        assert_eq!(space.next_look(now), None, "nothing comes in");
        assert_eq!(space.room(), 90);
        assert_eq!(space.next_look(now), Some(now + LOOK_EVERY));
        assert!(space.note(5, now), "reception is to know");
        assert_eq!(space.next_look(now), Some(now + LOOK_EVERY), "until there is room again");
    }
}
