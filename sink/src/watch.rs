//! What a sink lets others know while it runs: that it is ready, the live lines.

use crate::clock;
use crate::live::Live;
use crate::shared::Shared;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// Says where a sink listens, a line for each address, in one write so that a reader never sees half of it.
///
/// # Errors
/// What `out` says.
pub fn say_ready(addresses: &[SocketAddr], out: &mut impl Write) -> io::Result<()> {
    let ready: String = addresses.iter().map(|address| format!("{READY}{address}\n")).collect();
    out.write_all(ready.as_bytes())?;
    out.flush()
}

/// Shows where a sink stands; an error ends the showing, and not the sink.
pub type Show = Box<dyn FnMut(&Live) -> io::Result<()> + Send>;

/// Gives the state of the sink to `states` ten times a second, until nobody takes them. A state that finds the one
/// before not taken yet is left out.
pub async fn report(shared: Rc<Shared>, states: SyncSender<Live>) {
    let mut ticks = interval(REPORT_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let live = shared.books.borrow().ledger.live(shared.delayed(), clock::cpu_s());
        if let Err(TrySendError::Disconnected(_)) = states.try_send(live) {
            return;
        }
    }
}

/// Starts a thread that shows states: a reader that stops reading then stops that thread, and not the sink. It ends
/// with its reader; whoever wants the sink to end too says so otherwise.
///
/// # Errors
/// The thread cannot be started.
pub fn start_showing(mut show: Show) -> io::Result<SyncSender<Live>> {
    let (states, due) = sync_channel::<Live>(1);
    let work = move || {
        for live in due {
            if show(&live).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("live".to_owned()).spawn(work)?;
    Ok(states)
}

/// Shows each state as a line of JSON.
pub fn json_lines(mut out: impl Write + Send + 'static) -> Show {
    Box::new(move |live| {
        let mut line = serde_json::to_vec(live).expect("numbers can always be written as JSON");
        line.push(b'\n');
        out.write_all(&line)?;
        out.flush()
    })
}

/// What a line that says where a sink listens begins with.
pub const READY: &str = "ready ";
/// Between two states that are shown.
pub const REPORT_EVERY: Duration = Duration::from_millis(100);
