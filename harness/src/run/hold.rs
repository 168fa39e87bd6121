//! Trials that hold all their deliveries at once, to see what they cost in memory.
//!
//! The sink delays its words for longer than any trial takes, until it is told to hurry. So however long a machine takes
//! to bring all connections there, and to read the memory of thousands of processes, they are all held meanwhile.

use super::cast::Cast;
use super::trial::Performance;
use super::trouble::Trouble;
use measure::memory::HELD;
use measure::{InvalidReason, MemoryRow, RunRow};
use profile::{HELD_MESSAGE_BYTES, HoldState};
use rustix::process::{Signal, kill_process};
use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant};
use subject::census::{self, Count};
use subject::interrupt::Interrupt;
use subject::sampling::Watched;

/// What the sink says: longer than a trial holds, and less than a client waits for a greeting (RFC 5321 §4.5.3.2.1).
const DELAY: &str = "4m";
/// How the sink's socket is told to take no more than it has read: the kernel's own limit would swallow the message.
const WINDOW: &str = "64KiB";
/// From the last connection's arrival on: what wakes up now and then has done so, and gives back what it does not need.
pub const SETTLE: Duration = Duration::from_millis(1500);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Before the release: agents that have no delivery yet.
pub const READY: &str = "ready";
/// When nothing is left to deliver.
pub const DRAINED: &str = "drained";

/// What each role had at a moment.
pub struct Moment {
    pub name: &'static str,
    pub counts: Vec<Count>,
}

impl Moment {
    pub fn take(name: &'static str, watched: &[Watched]) -> Moment {
        Moment { name, counts: census::take(watched) }
    }
}

/// For the column `sink_delay`.
pub fn delay_words(state: HoldState) -> String {
    let stage = match state {
        HoldState::BannerWait => "banner",
        HoldState::MidData => "body",
        HoldState::DotWait => "dot",
    };
    format!("{stage}={DELAY}")
}

/// The options that make the sink hold; `site` is for its site file, where flags do not say enough.
pub fn sink_arguments(state: HoldState, site: &Path) -> std::io::Result<Vec<OsString>> {
    if state != HoldState::MidData {
        return Ok(vec!["--delay".into(), delay_words(state).into()]);
    }
    let half = HELD_MESSAGE_BYTES / 2;
    let text = format!(
        "[[site]]\nname = \"holding\"\nwindow = \"{WINDOW}\"\n\n[[site.rule]]\nat = \"body\"\nafter = \"{half}\"\n\
         delay = \"{DELAY}\"\n"
    );
    std::fs::write(site, text)?;
    Ok(vec!["--site".into(), site.into()])
}

impl Performance<'_> {
    /// Waits until every delivery of the trial is held, reads all memory, and lets them go.
    pub(super) fn hold(
        &mut self,
        cast: &mut Cast,
        watched: &[Watched],
        bound: Duration,
    ) -> Result<(), Trouble> {
        let connections = u64::from(self.trial.concurrency);
        let (progress, trial) = (self.progress, self.trial);
        bring_together(cast, connections, bound, &self.rig.interrupt, |held| {
            progress.step(trial, &format!("{held} of {connections} held"));
        })?;
        self.rig.interrupt.sleep(SETTLE).map_err(Trouble::of(InvalidReason::SubjectFailed))?;
        self.seen.memory.push(Moment::take(HELD, watched));
        let held = cast.sink_live.figures().map_or(0, |figures| figures.connections_delayed);
        if held != connections {
            let what = format!("{held} of {connections} deliveries were held while memory was read");
            return Err(Trouble::new(InvalidReason::SubjectFailed, what));
        }
        release(cast)
    }
}

/// Tells the sink to hurry.
pub fn release(cast: &Cast) -> Result<(), Trouble> {
    kill_process(cast.sink.pid(), Signal::USR1).map_err(|error| {
        Trouble::new(InvalidReason::SinkFailed, format!("telling the sink to let go: {error}"))
    })
}

/// Waits until the sink holds so many connections.
pub fn bring_together(
    cast: &mut Cast,
    connections: u64,
    bound: Duration,
    interrupt: &Interrupt,
    mut show: impl FnMut(u64),
) -> Result<(), Trouble> {
    let end = Instant::now() + bound;
    loop {
        cast.mta.check_alive().map_err(Trouble::of(InvalidReason::SubjectFailed))?;
        cast.sink.check_alive().map_err(Trouble::of(InvalidReason::SinkFailed))?;
        let held = cast.sink_live.figures().map_or(0, |figures| figures.connections_delayed);
        show(held);
        if held >= connections {
            return Ok(());
        }
        if Instant::now() >= end {
            let (bound_s, log) = (bound.as_secs(), cast.mta.last_lines());
            let what =
                format!("after {bound_s} s {held} of {connections} are held; the MTA's last lines:\n{log}");
            return Err(Trouble::new(InvalidReason::DrainTimeout, what));
        }
        interrupt.sleep(LOOK_EVERY).map_err(Trouble::of(InvalidReason::SubjectFailed))?;
    }
}

/// The moments of a trial as rows.
pub fn rows(row: &RunRow, state: HoldState, moments: &[Moment]) -> Vec<MemoryRow> {
    let of = |moment: &Moment, count: &Count| {
        let mut cells = MemoryRow::new(row, state.as_str(), moment.name, count.role);
        cells.processes = count.processes;
        (cells.uss_bytes, cells.pss_bytes) = (count.uss_bytes, count.pss_bytes);
        cells.kernel_bytes = count.kernel_bytes;
        cells
    };
    moments.iter().flat_map(|moment| moment.counts.iter().map(move |count| of(moment, count))).collect()
}
