//! One trial from the first directory to the finished row.
//!
//! Preload: the mail is accepted while delivery is paused, the agents are started, delivery is released and the
//! queue drains. Concurrent: the mail comes in while it goes out. Whatever goes wrong becomes a row that does not
//! count, with what was measured until then.

use super::cast::{ANSWER_BOUND, Cast, Paths, STARTER, STATUS_EVERY};
use super::hold::{self, DRAINED, Moment, READY};
use super::progress::Progress;
use super::results::{self, Ledger};
use super::rig::{Rig, Scratch};
use super::tarpits::{self, Stretch};
use super::trouble::Trouble;
use super::window::Reading;
use measure::{Account, Grouping, InvalidReason, MemoryRow, Placement, RunRow, SampleRow, Trace};
use profile::{Experiment, LoadModel, Mta, SchedulerWord, Trial};
use std::path::Path;
use std::time::{Duration, Instant};
use subject::control::Status;
use subject::cores::Cores;
use subject::live::Figures;
use subject::role::Role;
use subject::sampling::{Cost, Sample, Sampler, Samples, Watched};

/// Until the agents for the waiting mail have started.
const RAMP_BOUND: Duration = Duration::from_secs(120);
/// Between two looks at sink and MTA while the queue drains.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Between two samples of the sink's counter of deliveries in flight.
pub const IN_FLIGHT_INTERVAL: Duration = Duration::from_millis(2);

/// What all trials of an experiment share.
pub struct Conditions<'a> {
    pub experiment: &'a Experiment,
    pub run_id: &'a str,
    /// The run's results; a trial's own directories are made in it while it runs.
    pub folder: &'a Path,
    pub cores: &'a Cores,
    pub placement: Placement,
}

/// A finished trial.
pub struct Measured {
    pub row: RunRow,
    pub samples: Vec<SampleRow>,
    /// Of a trial that holds its deliveries.
    pub memory: Vec<MemoryRow>,
    pub cost: Cost,
    /// What went wrong, for people; the row has the word for it.
    pub trouble: Option<String>,
    pub warnings: Vec<String>,
}

/// Runs it. `trial.order` must be unique in the run.
///
/// # Errors
/// The trial's directories can't be made, so that no other trial would do better.
pub fn run(
    rig: &mut Rig,
    conditions: &Conditions,
    trial: &Trial,
    progress: &Progress,
) -> Result<Measured, String> {
    let scratch = rig.scratch(conditions.folder, trial.order)?;
    let row = describe(rig, conditions, trial);
    let mut performance = Performance { rig, conditions, trial, progress, row, seen: Seen::default() };
    let result = performance.perform(&scratch);
    let Performance { mut row, mut seen, .. } = performance;
    seen.warnings.extend(rig.tidy(&scratch));
    let trouble = result.err();
    let reason = trouble.as_ref().map(|trouble| trouble.reason);
    match trial.hold {
        Some(_) => row.judge_held(reason),
        None => row.judge(reason),
    }
    let memory = trial.hold.map_or(Vec::new(), |state| hold::rows(&row, state, &seen.memory));
    let samples = sample_rows(&row, &seen);
    let trouble = trouble.map(|trouble| trouble.what);
    Ok(Measured { row, samples, memory, cost: seen.samples.cost, trouble, warnings: seen.warnings })
}

/// A trial under way.
pub(super) struct Performance<'a> {
    pub(super) rig: &'a Rig,
    pub(super) conditions: &'a Conditions<'a>,
    pub(super) trial: &'a Trial,
    pub(super) progress: &'a Progress,
    pub(super) row: RunRow,
    pub(super) seen: Seen,
}

/// What a trial has shown so far; on failure the rest stays empty.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) offered: Option<u64>,
    pub(super) released_ns: Option<u64>,
    pub(super) used: Option<Reading>,
    pub(super) left: Option<Left>,
    pub(super) samples: Samples,
    pub(super) memory: Vec<Moment>,
    /// Rows of one look of the sampler.
    pub(super) watched: usize,
    pub(super) warnings: Vec<String>,
    /// Where some destinations drip: when good mail was counted.
    pub(super) among_tarpits: Option<Stretch>,
}

/// Messages that the MTA has or has given back at the end.
#[derive(Clone, Copy, Default)]
pub(super) struct Left {
    bounced: u64,
    queued: u64,
}

impl Left {
    fn of(status: &Status) -> Left {
        Left { bounced: status.bounced, queued: status.queued() }
    }
}

impl Seen {
    /// Most processes of the subject in one look, all its roles together.
    fn processes_peak(&self) -> Option<u64> {
        let looks = self.samples.samples.chunks(self.watched.max(1));
        let of_subject = |sample: &&Sample| SUBJECT.contains(&sample.role);
        looks.map(|look| look.iter().filter(of_subject).map(|sample| sample.processes).sum()).max()
    }
}

/// The roles of the subject as the samples name them.
const SUBJECT: [&str; 4] = [Role::Agents.as_str(), STARTER, Role::Queue.as_str(), Role::Reception.as_str()];

impl Performance<'_> {
    fn perform(&mut self, scratch: &Scratch) -> Result<(), Trouble> {
        let dial = match &self.trial.subject.mta {
            Mta::Mailrig(dial) => dial,
            Mta::Wire => return self.perform_on_the_wire(scratch),
        };
        let mut cast = Cast::start(self.rig, self.trial, dial, self.conditions.cores, scratch)?;
        let driven = self.drive(&mut cast);
        let interrupted = || self.rig.interrupt.is_set();
        if driven.is_err() && !interrupted() {
            // where the mail is now is worth knowing, if it can still be said
            self.seen.left = cast.status().ok().as_ref().map(Left::of).or(self.seen.left);
        }
        self.seen.warnings.extend(cast.stop());
        if interrupted() {
            return Err(Trouble::new(InvalidReason::Interrupted, "interrupted"));
        }
        let filled = self.fill(&Paths::of(scratch));
        // of two causes the first is the more telling one
        driven.and(filled)
    }

    /// Load, release, drain.
    fn drive(&mut self, cast: &mut Cast) -> Result<(), Trouble> {
        let bound = self.conditions.experiment.drain_timeout;
        let subject_failed = Trouble::of(InvalidReason::SubjectFailed);
        let model = self.trial.load.model;
        // the id of a message is run/number/time
        let run = format!("{}.{}", self.conditions.run_id, self.trial.order);
        self.progress.step(self.trial, &format!("{} messages coming in", self.trial.load.messages));
        if model == LoadModel::Preload {
            let load = cast.start_load(self.trial, &run)?;
            self.seen.offered = Some(cast.finish_load(load, bound)?.accepted);
            self.progress.step(self.trial, "agents starting");
            self.row.ramp_s = Some(cast.control.ramp(RAMP_BOUND).map_err(&subject_failed)?.ramp_s);
        }
        let status = cast.status()?;
        let before = Reading::take(cast, &status, model, Some(0.0));
        let watched = cast.watched(model);
        self.seen.watched = watched.len();
        if self.trial.hold.is_some() {
            self.seen.memory.push(Moment::take(READY, &watched));
        }
        let sampler = Sampler::start(watched.clone());
        let delivered = self.deliver(cast, &run, &watched, bound);
        self.seen.samples = sampler.stop();
        let (status, sent_cpu_s) = delivered?;
        self.seen.used = Some(Reading::take(cast, &status, model, sent_cpu_s).since(&before));
        self.seen.left = Some(Left::of(&status));
        if self.trial.hold.is_some() {
            self.rig.interrupt.sleep(hold::SETTLE).map_err(&subject_failed)?;
            self.seen.memory.push(Moment::take(DRAINED, &watched));
        }
        Ok(())
    }

    /// From the release on; gives the state at the end and the load generator's processor time, if it was at work.
    fn deliver(
        &mut self,
        cast: &mut Cast,
        run: &str,
        watched: &[Watched],
        bound: Duration,
    ) -> Result<(Status, Option<f64>), Trouble> {
        if let Some(tarpits) = self.trial.tarpits {
            return self.deliver_among(&tarpits, cast, run, bound);
        }
        let mut sent_cpu_s = None;
        match self.trial.load.model {
            LoadModel::Preload => {
                let released = cast.control.resume(ANSWER_BOUND);
                self.seen.released_ns = Some(released.map_err(Trouble::of(InvalidReason::SubjectFailed))?);
            }
            LoadModel::Concurrent => {
                let load = cast.start_load(self.trial, run)?;
                let sent = cast.finish_load(load, bound)?;
                self.seen.released_ns = sent.first_ns;
                self.seen.offered = Some(sent.accepted);
                sent_cpu_s = Some(sent.cpu_s);
            }
        }
        if self.trial.hold.is_some() {
            self.hold(cast, watched, bound)?;
        }
        let offered = self.seen.offered.unwrap_or(0);
        let status = drain(self.rig, cast, offered, bound, |figures| {
            let Figures { accepted, in_flight, .. } = figures;
            self.progress
                .step(self.trial, &format!("{accepted} of {offered} delivered, {in_flight} in flight"));
        })?;
        Ok((status, sent_cpu_s))
    }

    /// Ledger and trace, and every cell that follows from them and from what was seen.
    pub(super) fn fill(&mut self, paths: &Paths) -> Result<(), Trouble> {
        let Performance { row, seen, .. } = self;
        let agents = Role::Agents.as_str();
        row.processes_peak = seen.processes_peak();
        row.pss_agents_peak_bytes = seen.samples.peak(agents, |sample| sample.pss_bytes);
        row.uss_agents_peak_bytes = seen.samples.peak(agents, |sample| sample.uss_bytes);
        row.kernel_agents_peak_bytes = seen.samples.peak(agents, |sample| sample.kernel_bytes);
        row.pss_queue_peak_bytes = seen.samples.peak(Role::Queue.as_str(), |sample| sample.pss_bytes);
        let failed = |what: String| Trouble::new(InvalidReason::SinkFailed, what);
        let ledger: Ledger = results::read(&paths.ledger).map_err(failed)?;
        let span = ledger.last_accepted_ns.zip(seen.released_ns);
        row.elapsed_s = span.and_then(|(last, first)| Some(last.checked_sub(first)? as f64 / 1e9));
        if let (Some(offered), Some(left)) = (seen.offered, seen.left) {
            row.set_account(&Account {
                offered,
                delivered: ledger.unique,
                duplicated: ledger.duplicates,
                bounced: left.bounced,
                deferred: left.queued,
            });
        }
        let trace = Trace::read(&paths.trace).map_err(|error| failed(error.to_string()))?;
        row.set_trace(&trace.figures(IN_FLIGHT_INTERVAL.as_nanos() as u64), ledger.in_flight_peak);
        if let (Some(tarpits), Some(stretch)) = (&self.trial.tarpits, &seen.among_tarpits) {
            stretch.fill(tarpits, self.trial.load.messages, &trace, row);
        }
        if let Some(mut used) = seen.used {
            seen.warnings.extend(used.disturbance());
            used.leave_out_busy_poll(ledger.busy_poll_s);
            used.fill(row);
            row.limited_by = used.limited_by(row, self.conditions.placement, self.rig.allowed.len());
        }
        Ok(())
    }
}

/// Waits until nothing is left that could be delivered now.
fn drain(
    rig: &Rig,
    cast: &mut Cast,
    messages: u64,
    bound: Duration,
    mut show: impl FnMut(&Figures),
) -> Result<Status, Trouble> {
    let mut shown = None;
    let end = Instant::now() + bound;
    let mut asked = Instant::now();
    loop {
        cast.mta.check_alive().map_err(Trouble::of(InvalidReason::SubjectFailed))?;
        cast.sink.check_alive().map_err(Trouble::of(InvalidReason::SinkFailed))?;
        let figures = cast.sink_live.figures();
        if let Some(new) = figures.filter(|_| figures != shown) {
            show(&new);
            shown = figures;
        }
        let all_accepted = figures.is_some_and(|figures| figures.accepted >= messages);
        if all_accepted || asked.elapsed() >= STATUS_EVERY {
            let status = cast.status()?;
            if status.is_drained() {
                return Ok(status);
            }
            if Instant::now() >= end {
                let Status { incoming, active, due, .. } = status;
                return Err(Trouble::new(
                    InvalidReason::DrainTimeout,
                    format!(
                        "after {} s {incoming} messages are coming in, {active} in delivery and {due} waiting; the MTA's last lines:\n{}",
                        bound.as_secs(),
                        cast.mta.last_lines()
                    ),
                ));
            }
            asked = Instant::now();
        }
        rig.interrupt.sleep(LOOK_EVERY).map_err(Trouble::of(InvalidReason::SubjectFailed))?;
    }
}

/// The row's cells that are known before the trial.
fn describe(rig: &Rig, conditions: &Conditions, trial: &Trial) -> RunRow {
    let subject = &trial.subject;
    let mut row = RunRow::new(conditions.run_id);
    row.started_utc = jiff::Timestamp::now().to_string();
    row.profile = conditions.experiment.name.clone();
    row.subject = subject.name.clone();
    row.mta = subject.mta.as_str().to_owned();
    if let Some(dial) = subject.mta.dial() {
        row.driver = dial.driver.as_str().to_owned();
        row.spawn = dial.spawn.as_str().to_owned();
        row.agents_max = Some(dial.agents_max);
        row.connections_per_agent = Some(dial.connections_per_agent);
        row.durability = dial.durability.as_str().to_owned();
        row.store = dial.spool.as_str().to_owned();
        row.scheduler = dial.queue.scheduler.unwrap_or(SchedulerWord::Mailrig).as_str().to_owned();
    }
    row.load_model = trial.load.model.as_str().to_owned();
    row.placement = Some(conditions.placement);
    row.grouping = Some(rig.grouping());
    row.tls = trial.tls.as_str().to_owned();
    row.messages_per_connection = Some(subject.messages_per_connection);
    row.message_size_bytes = trial.load.size_bytes;
    row.sink_delay = trial.hold.map_or_else(|| trial.sink.delay_words(), hold::delay_words);
    row.sink_reply = trial.sink.reply_words();
    if let Some(tarpits) = &trial.tarpits {
        row.sink_delay = tarpits::delay_words(tarpits, &row.sink_delay);
    }
    row.concurrency = trial.concurrency;
    row.repeat = trial.repeat;
    row.order = trial.order;
    row
}

/// The samples as rows: seconds since the release, the agents without the starter, the harness since the first look.
fn sample_rows(row: &RunRow, seen: &Seen) -> Vec<SampleRow> {
    let Some(released_ns) = seen.released_ns else { return Vec::new() };
    let samples = &seen.samples.samples;
    let harness_before = samples.iter().find(|sample| sample.role == Role::Harness.as_str());
    let harness_before_s = harness_before.and_then(|sample| sample.cpu_s);
    let mut rows = Vec::with_capacity(samples.len());
    for look in samples.chunks(seen.watched.max(1)) {
        let starter_s = look.iter().find(|sample| sample.role == STARTER).and_then(|sample| sample.cpu_s);
        for sample in look {
            let less = if sample.role == Role::Agents.as_str() && row.grouping == Some(Grouping::Cgroup) {
                starter_s
            } else if sample.role == Role::Harness.as_str() {
                harness_before_s
            } else {
                Some(0.0)
            };
            let mut cells = SampleRow::new(sample.role, row);
            cells.s = Some((sample.at_ns as f64 - released_ns as f64) / 1e9);
            cells.processes = Some(sample.processes);
            cells.pss_bytes = sample.pss_bytes;
            cells.uss_bytes = sample.uss_bytes;
            cells.kernel_bytes = sample.kernel_bytes;
            cells.cpu_s = sample.cpu_s.zip(less).map(|(cpu_s, less)| (cpu_s - less).max(0.0));
            cells.in_flight = sample.in_flight;
            cells.delivered = sample.delivered;
            rows.push(cells);
        }
    }
    rows
}
