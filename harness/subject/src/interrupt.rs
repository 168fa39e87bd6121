//! The operator's wish to stop (Ctrl-C, SIGTERM), as a flag that every wait of a trial looks at.

use crate::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a wait sleeps between two looks at what it waits for.
const LOOK_EVERY: Duration = Duration::from_millis(5);

#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// The flag itself, for a signal handler to set.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }

    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub fn check(&self) -> Result<(), Error> {
        if self.is_set() { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// Sleeps, but not past an interrupt.
    pub fn sleep(&self, time: Duration) -> Result<(), Error> {
        self.wait_until(time, || Ok(None::<()>)).map(|_| ())
    }

    /// Asks `look` again and again until it has something; `None` when `bound` has passed.
    pub fn wait_until<T>(
        &self,
        bound: Duration,
        mut look: impl FnMut() -> Result<Option<T>, Error>,
    ) -> Result<Option<T>, Error> {
        let end = Instant::now() + bound;
        loop {
            self.check()?;
            if let Some(found) = look()? {
                return Ok(Some(found));
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            std::thread::sleep(left.min(LOOK_EVERY));
        }
    }
}
