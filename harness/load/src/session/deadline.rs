//! One timer for a connection slot, whatever it waits for.
//!
//! SMTP's time limits are minutes and nearly never reached, while what is awaited changes with each reply. So the timer is
//! left alone when a deadline moves away, and looks at the clock again when it fires too early.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::time::{Sleep, sleep_until};

/// Wakes its task when a deadline has passed.
pub struct Deadline {
    sleep: Pin<Box<Sleep>>,
    armed: Instant,
}

impl Deadline {
    /// A timer that is not armed for anything yet; made inside a runtime.
    pub fn new() -> Deadline {
        let armed = Instant::now();
        Deadline { sleep: Box::pin(sleep_until(armed.into())), armed }
    }

    /// Ready when `deadline` has passed; with none, never.
    pub fn poll(&mut self, context: &mut Context<'_>, deadline: Option<Instant>) -> Poll<()> {
        let Some(deadline) = deadline else { return Poll::Pending };
        if deadline < self.armed {
            self.arm(deadline);
        }
        while self.sleep.as_mut().poll(context).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            self.arm(deadline);
        }
        Poll::Pending
    }

    fn arm(&mut self, deadline: Instant) {
        self.armed = deadline;
        self.sleep.as_mut().reset(deadline.into());
    }
}
