//! The open loop's clockwork: gives each message, when it is due, to a connection that is free.
//!
//! The queue of messages that are due is only the schedule itself, so a server that stalls costs no memory. While all
//! connections are busy nothing happens here: whoever becomes free takes what is due by himself. Knows no sockets.
//!
//! The generator's own lag is what only its loop is to blame for: the time by which a message that was due, with a
//! connection free for it, was taken up late; and, lest nothing be seen while all connections are busy, the time by which a
//! tick of 10 ms came late. Time spent waiting for a busy connection is the server's, and part of the latency alone.

use crate::run::Run;
use crate::schedule::{Claim, Next};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Connections that wait for their next message, the one that was used last on top: so that as few as possible are used.
#[derive(Default)]
pub struct Idle {
    seats: RefCell<Vec<Rc<Seat>>>,
    changed: Notify,
    /// Whether a change would be of interest.
    all_busy: Cell<bool>,
    /// When a connection became free after all had been busy.
    free_since: Cell<Option<Instant>>,
}

/// Where a connection waits.
#[derive(Default)]
struct Seat {
    order: Cell<Option<Order>>,
    /// Whether it was taken from those that wait.
    called: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// What a waiting connection is told.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    Start(Claim),
    /// There will be no more messages.
    Leave,
}

impl Idle {
    /// A place to wait in; given back when it is dropped.
    pub fn sit(&self) -> Place<'_> {
        let seat = Rc::new(Seat::default());
        self.seats.borrow_mut().push(seat.clone());
        self.tell();
        Place { idle: self, seat }
    }

    /// Something changed that the clockwork may be waiting for.
    fn tell(&self) {
        if self.all_busy.get() {
            self.changed.notify_one();
        }
    }

    fn take(&self) -> Option<Rc<Seat>> {
        self.seats.borrow_mut().pop()
    }
}

impl Seat {
    fn give(&self, order: Order) {
        self.order.set(Some(order));
        self.called.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// A connection's place among those that wait.
pub struct Place<'a> {
    idle: &'a Idle,
    seat: Rc<Seat>,
}

impl Place<'_> {
    /// Waits for an order.
    pub fn order(&self) -> impl Future<Output = Order> {
        poll_fn(|context| match self.seat.order.take() {
            Some(order) => Poll::Ready(order),
            None => {
                self.seat.waker.borrow_mut().replace(context.waker().clone());
                Poll::Pending
            }
        })
    }

    /// The order that was given and not taken yet, by a connection that can't carry it out.
    pub fn given(self) -> Option<Order> {
        self.seat.order.take()
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.seat.called.get() {
            self.idle.seats.borrow_mut().retain(|seat| !Rc::ptr_eq(seat, &self.seat));
        }
    }
}

/// Gives out messages until one needs a new connection, which may be opened if there is `room`: then it is returned. `None`
/// when no more messages are to be started. May be dropped and called again.
pub async fn next_connection(run: &Run, room: bool) -> Option<Claim> {
    let idle = &run.idle;
    loop {
        if !room && idle.seats.borrow().is_empty() && !run.is_stopped() {
            idle.all_busy.set(true);
            idle.changed.notified().await;
            continue;
        }
        let now = Instant::now();
        if idle.all_busy.replace(false) {
            idle.free_since.set(Some(now));
        }
        let next = run.schedule.borrow_mut().claim(now);
        match next {
            Next::Start(claim) => {
                let due = idle.free_since.get().map_or(claim.intended, |free| free.max(claim.intended));
                run.statistics.borrow_mut().generator_lagged(now.saturating_duration_since(due));
                match idle.take() {
                    Some(seat) => seat.give(Order::Start(claim)),
                    None => return Some(claim),
                }
            }
            Next::Wait(until) => {
                tokio::select! {
                    () = run.timer.sleep_until(until) => {}
                    () = run.over.notified() => {}
                }
            }
            Next::End => {
                while let Some(seat) = idle.take() {
                    seat.give(Order::Leave);
                }
                return None;
            }
        }
    }
}

/// Looks how late the loop comes to a tick of its own, for as long as it is polled.
pub async fn watch_lag(run: &Run) {
    let mut due = Instant::now();
    loop {
        due += TICK;
        run.timer.sleep_until(due).await;
        let now = Instant::now();
        let statistics = &mut *run.statistics.borrow_mut();
        // Ticks that went by while the loop stood still were late as well, each a little less.
        while due <= now {
            statistics.generator_lagged(now - due);
            due += TICK;
        }
        due -= TICK;
    }
}

const TICK: Duration = Duration::from_millis(10);
