//! When a deferred message is tried again: the schedules of the field by name.
//!
//! All are pure functions of age, attempts and a random number, so that a simulation has the queue manager's own.

use crate::Limits;
use crate::entry::END_OF_TIME_MS;
use std::time::Duration;

/// A retry of ours is moved by up to this share of its delay, so that mail deferred together does not return together.
pub const RETRY_JITTER: f64 = 0.1;

/// KumoMTA moves a retry by up to 30 s either way, which is this share of its usual first interval of 20 minutes.
const KUMO_JITTER: f64 = 1.0 / 40.0;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Schedule {
    /// The message's age, between minimal and maximal back-off, and up to [`RETRY_JITTER`] more or less.
    Mailrig,
    /// The message's age, between minimal and maximal back-off; looked for every `queue_run_delay` only (qmgr(8)).
    Postfix,
    /// The next of the moments born + k² × minimal back-off (smtpd(8), `BACKOFF_DELIVERY`).
    OpenSmtpd,
    /// Minimal back-off, doubled with every attempt, with its jitter (`retry_interval`, `max_retry_interval`).
    KumoMta,
}

/// What a schedule is used with where nothing else is said; its own documents have these.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Defaults {
    pub minimal_backoff: Duration,
    pub maximal_backoff: Duration,
    pub lifetime: Duration,
}

impl Schedule {
    pub const ALL: [Schedule; 4] =
        [Schedule::Mailrig, Schedule::Postfix, Schedule::OpenSmtpd, Schedule::KumoMta];

    pub fn as_str(self) -> &'static str {
        match self {
            Schedule::Mailrig => "mailrig",
            Schedule::Postfix => "postfix",
            Schedule::OpenSmtpd => "opensmtpd",
            Schedule::KumoMta => "kumomta",
        }
    }

    pub fn from_word(word: &str) -> Option<Schedule> {
        Schedule::ALL.into_iter().find(|schedule| schedule.as_str() == word)
    }

    pub fn defaults(self) -> Defaults {
        let days = |days: u64| Duration::from_secs(days * 24 * 3600);
        match self {
            Schedule::Mailrig | Schedule::Postfix => Defaults {
                minimal_backoff: Duration::from_secs(300),
                maximal_backoff: Duration::from_secs(4000),
                lifetime: days(5),
            },
            Schedule::OpenSmtpd => Defaults {
                minimal_backoff: Duration::from_secs(400),
                maximal_backoff: days(4),
                lifetime: days(4),
            },
            Schedule::KumoMta => Defaults {
                minimal_backoff: Duration::from_secs(20 * 60),
                maximal_backoff: days(7),
                lifetime: days(7),
            },
        }
    }
}

impl Limits {
    /// When a message whose attempt number `attempts` (from 1) has just failed is tried again; `None`: never, it is
    /// given up. `now_ms` is on the scheduler's time, `random` from 0 to 1.
    pub fn next_attempt_ms(&self, now_ms: u64, age: Duration, attempts: u16, random: f64) -> Option<u64> {
        let (minimal_ms, maximal_ms) = (ms(self.minimal_backoff), ms(self.maximal_backoff));
        let (age_ms, lifetime_ms) = (ms(age), ms(self.lifetime));
        if age_ms >= lifetime_ms {
            return None;
        }
        let around = |delay_ms: u64, share: f64| delay_ms as f64 * (1.0 - share + random * 2.0 * share);
        let delay_ms = match self.schedule {
            Schedule::Mailrig => around(age_ms.min(maximal_ms).max(minimal_ms), RETRY_JITTER) as u64,
            Schedule::Postfix => {
                let due_ms = now_ms.saturating_add(age_ms.min(maximal_ms).max(minimal_ms));
                let run_ms = ms(self.queue_run_delay).max(1);
                due_ms.div_ceil(run_ms).saturating_mul(run_ms) - now_ms
            }
            Schedule::OpenSmtpd => {
                let base_ms = minimal_ms.max(1);
                let step = (age_ms as f64 / base_ms as f64).sqrt() as u64 + 1;
                let step = if base_ms * step * step <= age_ms { step + 1 } else { step };
                (base_ms * step * step - age_ms).min(maximal_ms.max(base_ms))
            }
            Schedule::KumoMta => {
                let doublings = u32::from(attempts.saturating_sub(1)).min(40);
                let delay_ms = minimal_ms.saturating_mul(1 << doublings).min(maximal_ms);
                // the jitter is of the first interval, whatever the delay has grown to
                (delay_ms as f64 - minimal_ms as f64 + around(minimal_ms, KUMO_JITTER)) as u64
            }
        };
        // these two give up when the next attempt would come too late, the others when one after that time fails
        let gives_up_before = matches!(self.schedule, Schedule::OpenSmtpd | Schedule::KumoMta);
        if gives_up_before && age_ms + delay_ms > lifetime_ms {
            return None;
        }
        Some(now_ms.saturating_add(delay_ms))
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).min(END_OF_TIME_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attempts of a message that fails each time, at once.
    fn attempts(schedule: Schedule, queue_run_delay: Duration) -> u32 {
        let Defaults { minimal_backoff, maximal_backoff, lifetime } = schedule.defaults();
        let limits = Limits {
            schedule,
            minimal_backoff,
            maximal_backoff,
            lifetime,
            queue_run_delay,
            ..Limits::default()
        };
        // received in the middle between two queue runs
        let born_ms = 150_000;
        let mut now_ms = born_ms;
        for attempt in 1.. {
            let age = Duration::from_millis(now_ms - born_ms);
            match limits.next_attempt_ms(now_ms, age, attempt, 0.5) {
                Some(due_ms) => {
                    assert!(due_ms > now_ms, "{schedule:?} at {now_ms}");
                    now_ms = due_ms;
                }
                None => return u32::from(attempt),
            }
        }
        unreachable!("a lifetime ends")
    }

    #[test]
    fn each_schedule_makes_as_many_attempts_as_the_original() {
        let run = Duration::from_secs(300);
        assert_eq!(attempts(Schedule::Postfix, run), 107, "queue runs every 300 s make retries later");
        assert_eq!(attempts(Schedule::Postfix, Duration::from_millis(1)), 113);
        assert_eq!(attempts(Schedule::Mailrig, run), 113, "as Postfix, without queue runs");
        assert_eq!(attempts(Schedule::OpenSmtpd, run), 30, "k from 0 to the root of 4 days by 400 s");
        assert_eq!(attempts(Schedule::KumoMta, run), 9, "20 minutes x (2^k - 1) within 7 days");
    }
}
