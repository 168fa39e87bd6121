//! Waits that end within a tenth of a millisecond: what a site's delays are made of.
//!
//! The runtime's own timers count whole milliseconds and round up, which is a twentieth of a delay of 20 ms and
//! several times one of 300 us. This is a heap of wakers on one timerfd, with a coarser tick than the kernel's so
//! that the waits of many connections end together. A wait can't be given up before it ends (its place in the heap
//! stays), so timeouts are not its job.

use crate::clock;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::cell::RefCell;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::task::{Poll, Waker};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The timer of one thread.
pub struct Timer {
    fd: AsyncFd<OwnedFd>,
    waits: RefCell<Waits>,
}

struct Waits {
    heap: BinaryHeap<Reverse<Wait>>,
    /// When the timerfd will fire; `u64::MAX` if it is not set.
    armed_ns: u64,
}

struct Wait {
    due_ns: u64,
    waker: Waker,
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
        let waits = Waits { heap: BinaryHeap::new(), armed_ns: u64::MAX };
        Ok(Timer { fd: AsyncFd::with_interest(fd, Interest::READABLE)?, waits: RefCell::new(waits) })
    }

    /// Ends no earlier than `delay` from now, and returns when that was to be, CLOCK_MONOTONIC. Needs [`Timer::run`]
    /// running on the same thread.
    pub async fn sleep(&self, delay: Duration) -> u64 {
        let delay_ns = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX / 2);
        let wanted_ns = clock::now_ns() + delay_ns;
        let due_ns = wanted_ns.next_multiple_of(TICK_NS);
        let mut waiting = false;
        poll_fn(|context| {
            if waiting && clock::now_ns() >= due_ns {
                return Poll::Ready(());
            }
            if !waiting {
                waiting = true;
                self.add(Wait { due_ns, waker: context.waker().clone() });
            }
            Poll::Pending
        })
        .await;
        wanted_ns
    }

    /// Wakes who is due; never ends but on an error of the timerfd.
    pub async fn run(&self) -> io::Result<()> {
        loop {
            // Setting the timer anew makes it unreadable again and its next end a new edge: no read is needed.
            self.fd.readable().await?.clear_ready();
            self.fire();
        }
    }

    fn add(&self, wait: Wait) {
        let mut waits = self.waits.borrow_mut();
        let due_ns = wait.due_ns;
        waits.heap.push(Reverse(wait));
        if due_ns < waits.armed_ns {
            self.arm(&mut waits, due_ns);
        }
    }

    fn fire(&self) {
        let mut waits = self.waits.borrow_mut();
        let now_ns = clock::now_ns();
        while waits.heap.peek().is_some_and(|Reverse(wait)| wait.due_ns <= now_ns) {
            if let Some(Reverse(wait)) = waits.heap.pop() {
                wait.waker.wake();
            }
        }
        match waits.heap.peek() {
            Some(Reverse(next)) => {
                let due_ns = next.due_ns;
                self.arm(&mut waits, due_ns);
            }
            None => waits.armed_ns = u64::MAX,
        }
    }

    fn arm(&self, waits: &mut Waits, due_ns: u64) {
        waits.armed_ns = due_ns;
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let due = Timespec {
            tv_sec: (due_ns / NS_PER_S).cast_signed(),
            tv_nsec: (due_ns % NS_PER_S).cast_signed(),
        };
        timerfd_settime(
            &self.fd,
            TimerfdTimerFlags::ABSTIME,
            &Itimerspec { it_interval: never, it_value: due },
        )
        .expect("a timerfd of ours takes any time after 1970");
    }
}

impl PartialEq for Wait {
    fn eq(&self, other: &Wait) -> bool {
        self.due_ns == other.due_ns
    }
}

impl Eq for Wait {}

impl PartialOrd for Wait {
    fn partial_cmp(&self, other: &Wait) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Wait {
    fn cmp(&self, other: &Wait) -> Ordering {
        self.due_ns.cmp(&other.due_ns)
    }
}

/// Waits end on multiples of this: at most ten thousand wake-ups a second, however many connections wait.
const TICK_NS: u64 = 100_000;
const NS_PER_S: u64 = 1_000_000_000;
