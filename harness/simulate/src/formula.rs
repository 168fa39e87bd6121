//! The closed form that the simulation stands beside.

use delivery::EpochMs;
use fastrand::Rng;
use scheduler::Limits;
use std::time::Duration;

/// Messages whose attempts are counted; schedules without chance need one for each moment of arrival.
const SAMPLE: u32 = 200;

/// Attempts that a message makes which is never delivered, each taking `latency`, on average.
pub fn attempts_per_message(limits: &Limits, latency: Duration, seed: u64) -> f64 {
    let mut random = Rng::with_seed(seed);
    let mut total = 0u64;
    for _ in 0..SAMPLE {
        let born = EpochMs(1_800_000_000_000 + random.u64(0..3_600_000));
        let mut now = born;
        for attempt in 1u16.. {
            now = now.plus(latency);
            total += 1;
            match limits.next_attempt_ms(now.0, now.since(born), attempt, random.f64()) {
                Some(due_ms) => now = EpochMs(due_ms),
                None => break,
            }
        }
    }
    total as f64 / f64::from(SAMPLE)
}

/// How deep a deferred queue can be when nothing but the slots bounds it. With a mean time T between two attempts of a
/// message, N deferred messages need N × L / T slots; they may have u × C of all C; the rest delivers good mail, of
/// which each takes a slot for l.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Formula {
    /// T: lifetime by attempts.
    pub interval_s: f64,
    /// L
    pub failure_latency_s: f64,
    /// l
    pub success_latency_s: f64,
    /// C
    pub slots: f64,
    /// u
    pub retry_share: f64,
}

impl Formula {
    /// N = u × C × T / L
    pub fn messages(&self) -> f64 {
        self.retry_share * self.slots * self.interval_s / self.failure_latency_s
    }

    /// X = (1 - u) × C / l, in messages a second.
    pub fn throughput(&self) -> f64 {
        (1.0 - self.retry_share) * self.slots / self.success_latency_s
    }

    /// D = N / X = T × (l / L) × u / (1 - u): the slots have dropped out.
    pub fn days(&self) -> f64 {
        self.messages() / self.throughput() / 86_400.0
    }
}
