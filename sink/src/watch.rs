//! Looks at the sink from time to time: the samples of the trace and the live lines.

use crate::clock;
use crate::shared::Shared;
use std::io::{self, Write};
use std::rc::Rc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread;
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

/// Gives the state of the sink as a line of JSON to `lines` ten times a second, until nobody takes them. A line
/// that finds the one before not taken yet is left out.
pub async fn report(shared: Rc<Shared>, lines: SyncSender<Vec<u8>>) {
    let mut ticks = interval(REPORT_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let live = shared.books.borrow().ledger.live(clock::cpu_s());
        let mut line = serde_json::to_vec(&live).expect("numbers can always be written as JSON");
        line.push(b'\n');
        if let Err(TrySendError::Disconnected(_)) = lines.try_send(line) {
            return;
        }
    }
}

/// Starts a thread that writes lines: a reader that stops reading then stops that thread, and not the sink. It ends
/// with its reader; whoever wants the sink to end too says so otherwise.
///
/// # Errors
/// The thread cannot be started.
pub fn line_writer(mut out: impl Write + Send + 'static) -> io::Result<SyncSender<Vec<u8>>> {
    let (lines, due) = sync_channel::<Vec<u8>>(1);
    let write = move || {
        for line in due {
            if out.write_all(&line).and_then(|()| out.flush()).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("live".to_owned()).spawn(write)?;
    Ok(lines)
}

const SAMPLE_EVERY: Duration = Duration::from_millis(10);
const REPORT_EVERY: Duration = Duration::from_millis(100);
