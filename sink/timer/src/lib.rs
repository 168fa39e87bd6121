//! Waits that end on time: what a site's delays and a load's intended starts are made of.
//!
//! The runtime's own timers count whole milliseconds and round up, which is a twentieth of a delay of 20 ms and longer
//! than a whole transaction on a fast server. This is a map of wakers on one timerfd; with a tick, the waits of many
//! connections end together. It must not know who waits or for what. Time limits of sessions are not its job: they are
//! minutes, and nearly never reached.

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
    /// From here on all times within are counted.
    start: Instant,
    tick_ns: u64,
    waits: RefCell<Waits>,
}

struct Waits {
    /// By due time; the number tells waits that end together apart.
    by_due: BTreeMap<(u64, u64), Waker>,
    /// Of the newest wait; the first is 1.
    number: u64,
    /// When the timerfd will fire; `u64::MAX` if it is not set.
    armed_ns: u64,
    /// No wait that was due by then is in the map any more.
    fired_ns: u64,
    /// Waits up to this number are over whatever their time.
    ended: u64,
}

/// Ends no earlier than its time, and on a tick. Needs [`Timer::run`] running on the same thread.
#[must_use = "it waits only when awaited"]
pub struct Sleep<'a> {
    timer: &'a Timer,
    due_ns: u64,
    /// 0 until it is in the map for the first time.
    number: u64,
}

impl Timer {
    /// A timer whose waits end on multiples of `tick`, so that there is at most one wake-up a tick however many wait;
    /// with none, each wait ends when it is due.
    ///
    /// # Errors
    /// No descriptor is left for the timerfd.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[expect(
        deprecated,
        reason = "the successor is unsafe for types that may lie about their descriptor; an OwnedFd cannot"
    )]
    pub fn new(tick: Duration) -> io::Result<Timer> {
        let fd = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        let waits = Waits { by_due: BTreeMap::new(), number: 0, armed_ns: u64::MAX, fired_ns: 0, ended: 0 };
        Ok(Timer {
            fd: AsyncFd::with_interest(fd, Interest::READABLE)?,
            start: Instant::now(),
            tick_ns: nanoseconds(tick).max(1),
            waits: RefCell::new(waits),
        })
    }

    /// A wait that ends at `until`, or on the tick after; dropped before, it leaves nothing behind.
    pub fn sleep_until(&self, until: Instant) -> Sleep<'_> {
        let due_ns = nanoseconds(until.saturating_duration_since(self.start));
        let due_ns = due_ns.checked_next_multiple_of(self.tick_ns).unwrap_or(u64::MAX);
        Sleep { timer: self, due_ns, number: 0 }
    }

    /// Wakes who is due; never ends but on an error of the timerfd.
    ///
    /// # Errors
    /// The runtime can't watch the timerfd any longer.
    pub async fn run(&self) -> io::Result<()> {
        loop {
            // Setting the timer anew makes it unreadable again and its next end a new edge: no read is needed.
            self.fd.readable().await?.clear_ready();
            self.fire();
        }
    }

    /// Ends every wait that is under way; those that begin later are as usual.
    pub fn end_all(&self) {
        let waits = &mut *self.waits.borrow_mut();
        waits.ended = waits.number;
        std::mem::take(&mut waits.by_due).into_values().for_each(Waker::wake);
    }

    fn fire(&self) {
        let waits = &mut *self.waits.borrow_mut();
        let now_ns = self.now_ns();
        waits.armed_ns = u64::MAX;
        waits.fired_ns = now_ns;
        while let Some(first) = waits.by_due.first_entry()
            && first.key().0 <= now_ns
        {
            first.remove().wake();
        }
        if let Some((&(due_ns, _), _)) = waits.by_due.first_key_value() {
            self.arm(waits, due_ns, now_ns);
        }
    }

    fn arm(&self, waits: &mut Waits, due_ns: u64, now_ns: u64) {
        waits.armed_ns = due_ns;
        let left = Duration::from_nanos(due_ns - now_ns);
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let it_value =
            Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: i64::from(left.subsec_nanos()) };
        timerfd_settime(&self.fd, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: never, it_value })
            .expect("a timerfd of ours takes any time from a nanosecond on");
    }

    fn now_ns(&self) -> u64 {
        nanoseconds(self.start.elapsed())
    }
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let (timer, due_ns, now_ns) = (self.timer, self.due_ns, self.timer.now_ns());
        if now_ns >= due_ns {
            return Poll::Ready(());
        }
        let waits = &mut *timer.waits.borrow_mut();
        if self.number != 0 && self.number <= waits.ended {
            return Poll::Ready(());
        }
        if self.number == 0 {
            waits.number += 1;
            self.number = waits.number;
        }
        waits.by_due.insert((due_ns, self.number), context.waker().clone());
        if due_ns < waits.armed_ns {
            timer.arm(waits, due_ns, now_ns);
        }
        Poll::Pending
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        if self.number == 0 {
            return;
        }
        let waits = &mut *self.timer.waits.borrow_mut();
        // A wait that ended as it should was taken out then: most have nothing to look for.
        if waits.fired_ns < self.due_ns {
            // The timerfd may fire for nobody once; that is cheaper than setting it again each time.
            waits.by_due.remove(&(self.due_ns, self.number));
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;

    fn on_a_runtime<T>(tick: Duration, test: impl AsyncFnOnce(&Timer) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let timer = Timer::new(tick).expect("a timerfd");
            tokio::select! {
                value = test(&timer) => value,
                ended = timer.run() => panic!("the timer ended: {ended:?}"),
            }
        })
    }

    #[test]
    fn waits_end_when_they_should_and_far_finer_than_a_millisecond() {
        let earliest = on_a_runtime(Duration::ZERO, async |timer| {
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
    fn all_waits_end_when_they_are_told_to_and_later_ones_are_as_usual() {
        on_a_runtime(Duration::from_millis(1), async |timer| {
            let far = Instant::now() + Duration::from_secs(3600);
            let told = async {
                tokio::task::yield_now().await;
                timer.end_all();
            };
            tokio::join!(timer.sleep_until(far), timer.sleep_until(far), told);
            assert!(timer.waits.borrow().by_due.is_empty());
            let soon = Instant::now() + Duration::from_millis(5);
            timer.sleep_until(soon).await;
            assert!(Instant::now() >= soon);
        });
    }

    #[test]
    fn a_wait_that_is_given_up_leaves_nothing_behind() {
        on_a_runtime(Duration::ZERO, async |timer| {
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

    #[test]
    fn a_wait_that_is_over_before_the_timerfd_says_so_leaves_nothing_behind() {
        on_a_runtime(Duration::ZERO, async |timer| {
            let soon = Instant::now() + Duration::from_millis(1);
            let mut sleep = Box::pin(timer.sleep_until(soon));
            std::future::poll_fn(|context| {
                let first = sleep.as_mut().poll(context);
                while Instant::now() < soon {}
                assert!(sleep.as_mut().poll(context).is_ready());
                assert!(first.is_ready() || timer.waits.borrow().by_due.len() == 1);
                Poll::Ready(())
            })
            .await;
            drop(sleep);
            assert!(timer.waits.borrow().by_due.is_empty());
        });
    }

    #[test]
    fn with_a_tick_waits_end_together_and_never_early() {
        let tick = Duration::from_millis(20);
        on_a_runtime(tick, async |timer| {
            let due = |after_us| timer.sleep_until(timer.start + Duration::from_micros(after_us)).due_ns;
            assert_eq!(
                [due(1), due(19_999), due(20_000), due(20_001)].map(|ns| ns / 1000),
                [20_000, 20_000, 20_000, 40_000]
            );
            timer.sleep_until(timer.start + Duration::from_millis(1)).await;
            assert!(timer.start.elapsed() >= tick);
            assert!(timer.waits.borrow().by_due.is_empty());
        });
    }
}
