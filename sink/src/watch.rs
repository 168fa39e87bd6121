//! Looks at the sink from time to time: the samples of the trace and the live lines.

use crate::clock;
use crate::shared::Shared;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::Write;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// Samples the deliveries in flight for the trace, for ever. The counter knows no durations, and a late sample says
/// when it really was.
pub async fn sample(shared: Rc<Shared>) {
    let mut ticks = interval(SAMPLE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        sample_once(&shared);
    }
}

/// One sample, if there is a trace.
pub fn sample_once(shared: &Shared) {
    let books = &mut *shared.books.borrow_mut();
    if let Some(trace) = &mut books.trace {
        trace.sample(clock::now_ns(), books.ledger.in_flight());
    }
}

/// Writes a line of JSON with the state of the sink ten times a second, for ever. A line that the reader has no room
/// for is left out: a reader that stopped reading must not stop the sink.
pub async fn report(shared: Rc<Shared>, mut out: impl Write + AsFd) {
    let mut ticks = interval(REPORT_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let live = shared.books.borrow().ledger.live(clock::cpu_s());
        let mut line = serde_json::to_vec(&live).expect("numbers can always be written as JSON");
        line.push(b'\n');
        if has_room(&out) && out.write_all(&line).and_then(|()| out.flush()).is_err() {
            // Nobody reads any more; whoever wants the sink to end with its reader says so otherwise.
            return;
        }
    }
}

/// Whether a short line can be written at once: a pipe that polls as writable has room for PIPE_BUF bytes (pipe(7)).
fn has_room(out: &impl AsFd) -> bool {
    let mut fds = [PollFd::new(out, PollFlags::OUT)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
}

const SAMPLE_EVERY: Duration = Duration::from_millis(10);
const REPORT_EVERY: Duration = Duration::from_millis(100);
