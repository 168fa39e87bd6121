//! Waits that end on time: what intended starts and pauses are made of.
//!
//! The runtime's own timers count whole milliseconds, which is longer than a whole transaction on a fast server takes. This
//! is a map of wakers on one timerfd, without a tick of its own: when the loop is busy, waits that are due end together.
//! The sink's timer is of the same kind, but its waits end on a common tick and can't be given up.
//! Time limits of sessions are not its job; they are minutes, and nearly never reached.

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The timer of one thread.
pub struct Timer {
    fd: AsyncFd<OwnedFd>,
    waits: RefCell<Waits>,
}

#[derive(Default)]
struct Waits {
    /// By due time; the number tells waits that end together apart.
    by_due: BTreeMap<(Instant, u64), Waker>,
    number: u64,
    /// When the timerfd will fire; none if it is not set.
    armed: Option<Instant>,
}

/// Ends no earlier than its time. Needs [`Timer::run`] running on the same thread.
pub struct Sleep<'a> {
    timer: &'a Timer,
    until: Instant,
    number: Option<u64>,
}

impl Timer {
    /// # Errors
    /// No descriptor is left for the timerfd.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[expect(
        deprecated,
        reason = "the successor is unsafe for types that may lie about their descriptor; an OwnedFd cannot"
    )]
    pub fn new() -> io::Result<Timer> {
        let fd = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        Ok(Timer { fd: AsyncFd::with_interest(fd, Interest::READABLE)?, waits: RefCell::default() })
    }

    /// A wait that ends at `until`; dropped before, it leaves nothing behind.
    pub fn sleep_until(&self, until: Instant) -> Sleep<'_> {
        Sleep { timer: self, until, number: None }
    }

    /// Wakes who is due; never ends but on an error of the timerfd.
    pub async fn run(&self) -> io::Result<()> {
        loop {
            // Setting the timer anew makes it unreadable again and its next end a new edge: no read is needed.
            self.fd.readable().await?.clear_ready();
            self.fire();
        }
    }

    fn fire(&self) {
        let mut waits = self.waits.borrow_mut();
        waits.armed = None;
        let now = Instant::now();
        while let Some(first) = waits.by_due.first_entry()
            && first.key().0 <= now
        {
            first.remove().wake();
        }
        if let Some((&(due, _), _)) = waits.by_due.first_key_value() {
            self.arm(&mut waits, due);
        }
    }

    fn arm(&self, waits: &mut Waits, due: Instant) {
        waits.armed = Some(due);
        // A time of zero would switch it off.
        let left = due.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let it_value =
            Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: i64::from(left.subsec_nanos()) };
        timerfd_settime(&self.fd, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: never, it_value })
            .expect("a timerfd of ours takes any time from a nanosecond on");
    }
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.until {
            return Poll::Ready(());
        }
        let (timer, until) = (self.timer, self.until);
        let waits = &mut *timer.waits.borrow_mut();
        let number = *self.number.get_or_insert_with(|| {
            waits.number += 1;
            waits.number
        });
        waits.by_due.insert((until, number), context.waker().clone());
        if waits.armed.is_none_or(|armed| until < armed) {
            timer.arm(waits, until);
        }
        Poll::Pending
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            // The timerfd may fire for nobody once; that is cheaper than setting it again each time.
            self.timer.waits.borrow_mut().by_due.remove(&(self.until, number));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;

    fn on_a_runtime<T>(test: impl AsyncFnOnce(&Timer) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let timer = Timer::new().expect("a timerfd");
            tokio::select! {
                value = test(&timer) => value,
                ended = timer.run() => panic!("the timer ended: {ended:?}"),
            }
        })
    }

    #[test]
    fn waits_end_when_they_should_and_far_finer_than_a_millisecond() {
        let earliest = on_a_runtime(async |timer| {
            let mut earliest = Duration::MAX;
            for _ in 0..20 {
                let start = Instant::now();
                let (first, second) =
                    (start + Duration::from_micros(100), start + Duration::from_micros(300));
                // Set in the wrong order, and polled together.
                let late = async {
                    timer.sleep_until(second).await;
                    Instant::now()
                };
                let early = async {
                    timer.sleep_until(first).await;
                    Instant::now()
                };
                let (late, early) = tokio::join!(late, early);
                assert!(early >= first && late >= second);
                earliest = earliest.min(early - first);
            }
            earliest
        });
        assert!(earliest < Duration::from_micros(700), "{earliest:?}");
    }

    #[test]
    fn a_wait_that_is_given_up_leaves_nothing_behind() {
        on_a_runtime(async |timer| {
            let far = Instant::now() + Duration::from_secs(3600);
            for _ in 0..1000 {
                let mut sleep = pin!(timer.sleep_until(far));
                std::future::poll_fn(|context| {
                    assert!(sleep.as_mut().poll(context).is_pending());
                    Poll::Ready(())
                })
                .await;
            }
            assert!(timer.waits.borrow().by_due.is_empty());
            timer.sleep_until(Instant::now() + Duration::from_millis(1)).await;
        });
    }
}
