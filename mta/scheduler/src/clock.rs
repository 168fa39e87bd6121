//! The scheduler's own time, which never goes back.
//!
//! The wall clock that callers pass in can be set back. A wait must not grow by that, nor end early, so waits
//! are kept on a time of our own that stands still while the wall clock repeats itself. Reads no clock.

use crate::entry::END_OF_TIME_MS;
use delivery::EpochMs;

#[derive(Default)]
pub(crate) struct Clock {
    wall_ms: u64,
    /// How far the wall clock was set back in all.
    set_back_ms: u64,
}

impl Clock {
    /// Takes in the wall clock and gives the scheduler's time.
    pub(crate) fn read(&mut self, wall: EpochMs) -> u64 {
        let wall_ms = wall.0.min(END_OF_TIME_MS);
        self.set_back_ms = self.set_back_ms.saturating_add(self.wall_ms.saturating_sub(wall_ms));
        self.wall_ms = wall_ms;
        self.now_ms()
    }

    /// The scheduler's time at the last [`read`](Clock::read).
    pub(crate) fn now_ms(&self) -> u64 {
        self.own_ms(EpochMs(self.wall_ms))
    }

    pub(crate) fn own_ms(&self, wall: EpochMs) -> u64 {
        wall.0.saturating_add(self.set_back_ms).min(END_OF_TIME_MS)
    }

    pub(crate) fn wall(&self, own_ms: u64) -> EpochMs {
        EpochMs(own_ms.saturating_sub(self.set_back_ms))
    }
}
