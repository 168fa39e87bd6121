//! Busy polling: the loop looks for more for a while before it sleeps.
//!
//! Whoever writes to a sink that sleeps has to wake it, which on one machine is the client's processor time: an
//! interrupt of another core, in a virtual machine several microseconds. No remote site costs that. A sink with a core
//! of its own stays awake instead while something has come lately, and counts what that took.

use crate::clock;
use std::cell::Cell;
use std::time::Duration;
use tokio::sync::Notify;

/// A look without result that took longer was interrupted by somebody else's work.
const LOOK_MAX_NS: u64 = 20_000;

/// What the loop's tasks tell the one that keeps it awake.
#[derive(Default)]
pub struct Polling {
    stirs: Cell<u64>,
    is_asleep: Cell<bool>,
    woken: Notify,
    looking_ns: Cell<u64>,
}

impl Polling {
    /// A connection or bytes came, or a delay is over.
    pub fn stir(&self) {
        self.stirs.set(self.stirs.get() + 1);
        if self.is_asleep.get() {
            self.woken.notify_one();
        }
    }

    /// Processor time of looks at which nothing had come, in seconds.
    pub fn looking_s(&self) -> f64 {
        self.looking_ns.get() as f64 / 1e9
    }

    /// Keeps the loop awake until nothing has come for `bound`, each time that something comes; never ends.
    pub async fn keep_awake(&self, bound: Duration) {
        let bound_ns = bound.as_nanos() as u64;
        loop {
            self.is_asleep.set(true);
            self.woken.notified().await;
            self.is_asleep.set(false);
            self.look(bound_ns).await;
        }
    }

    async fn look(&self, bound_ns: u64) {
        let mut stirs = self.stirs.get();
        let mut before_ns = clock::now_ns();
        let mut stirred_ns = before_ns;
        while before_ns - stirred_ns < bound_ns {
            // the loop asks the kernel for events before it comes back to a task that yielded
            tokio::task::yield_now().await;
            let now_ns = clock::now_ns();
            if self.stirs.get() != stirs {
                stirs = self.stirs.get();
                stirred_ns = now_ns;
            } else if now_ns - before_ns < LOOK_MAX_NS {
                self.looking_ns.set(self.looking_ns.get() + now_ns - before_ns);
            }
            before_ns = now_ns;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;
    use tokio::time::sleep;

    #[tokio::test(flavor = "local")]
    async fn it_looks_while_something_comes_and_for_the_bound_after_that() {
        let polling = Rc::new(Polling::default());
        let looking = Rc::clone(&polling);
        tokio::task::spawn_local(async move { looking.keep_awake(Duration::from_millis(20)).await });
        sleep(Duration::from_millis(5)).await;
        assert_eq!(polling.looking_s(), 0.0, "nothing came");
        polling.stir();
        sleep(Duration::from_millis(60)).await;
        let looked_s = polling.looking_s();
        assert!(looked_s > 0.001 && looked_s < 0.025, "{looked_s}");
        sleep(Duration::from_millis(20)).await;
        assert_eq!(polling.looking_s(), looked_s, "it sleeps again");
        polling.stir();
        sleep(Duration::from_millis(40)).await;
        assert!(polling.looking_s() > looked_s, "it can be woken again");
    }
}
