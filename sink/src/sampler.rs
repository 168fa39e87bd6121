//! How many deliveries are in flight, looked at from outside the loop that serves them.
//!
//! A loop that counts them and also takes the samples would look only between two of its turns, when a burst has just
//! come or just gone; a thread of its own looks at any moment. It looks at random intervals, so that nothing that has
//! a period of its own stays hidden. The counter knows no durations.

use crate::clock;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// Counts the deliveries in flight: one loop writes, others look.
#[derive(Clone, Debug, Default)]
pub struct InFlight(Arc<AtomicU64>);

impl InFlight {
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// One more, and how many that makes.
    pub fn begin(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub fn end(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What was in flight at a moment of CLOCK_MONOTONIC.
pub struct Sample {
    pub at_ns: u64,
    pub in_flight: u64,
}

/// The thread that looks.
pub struct Sampler {
    stop: Sender<()>,
    thread: JoinHandle<Vec<Sample>>,
}

impl Sampler {
    /// # Errors
    /// The thread cannot be started.
    pub fn start(in_flight: InFlight) -> io::Result<Sampler> {
        let (stop, stopped) = channel();
        let mut random = fastrand::Rng::new();
        let work = move || {
            // or it would look only when the loop has nothing to do; the samples are worth having nevertheless
            let _ = sys::schedule::promptly();
            let mut samples = Vec::new();
            loop {
                samples.push(Sample { at_ns: clock::now_ns(), in_flight: in_flight.get() });
                let wait = random.u64(..2 * INTERVAL_MEAN.as_micros() as u64);
                if stopped.recv_timeout(Duration::from_micros(wait)) == Err(RecvTimeoutError::Disconnected) {
                    samples.push(Sample { at_ns: clock::now_ns(), in_flight: in_flight.get() });
                    return samples;
                }
            }
        };
        let thread = Builder::new().name("sampler".to_owned()).spawn(work)?;
        Ok(Sampler { stop, thread })
    }

    /// All samples, in order.
    pub fn finish(self) -> Vec<Sample> {
        drop(self.stop);
        self.thread.join().expect("the sampler only counts")
    }
}

/// From 0 to twice this, every length as likely.
const INTERVAL_MEAN: Duration = Duration::from_millis(2);
