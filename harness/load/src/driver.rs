//! Runs a load from its options to its report: the runtime, the slots, the signals and the progress.

use crate::clock::Clock;
use crate::descriptors;
use crate::dispatch::{Idle, next_connection, watch_lag};
use crate::message::Composer;
use crate::options::{Error, Options};
use crate::report::Report;
use crate::run::{Run, Scratch};
use crate::schedule::{Model, Schedule, Tally};
use crate::session::slot;
use crate::session::source::Sources;
use crate::session::tls::Connector;
use crate::statistics::Statistics;
use crate::statistics::summary::{Interval, Summary};
use crate::watch::Watch;
use std::cell::{Cell, RefCell};
use std::io;
use std::panic::resume_unwind;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use timer::Timer;
use tokio::runtime::{Builder, LocalOptions};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{interval_at, sleep_until};

/// Sends the load and reports; see [`measure`].
///
/// # Errors
/// [`Error`], before anything is sent.
pub fn run(options: &Options) -> Result<Report, Error> {
    let summary = measure(options, &mut Watch::default())?;
    Ok(Report::new(&summary, options.lag_max))
}

/// Sends the load. Blocks until all is sent, the server has proved to be away, or a signal (SIGINT, SIGTERM) stops it; then
/// messages under way get [`DRAIN`] to end, and a second signal ends even that.
///
/// # Errors
/// [`Error`], before anything is sent.
pub fn measure(options: &Options, watch: &mut Watch) -> Result<Summary, Error> {
    let Prepared { connections, composer, connector } = prepare(options)?;
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .map_err(Error::Runtime)?;
    runtime.block_on(async {
        let statistics = match watch.every() {
            Some(_) => Statistics::with_recent(),
            None => Statistics::default(),
        };
        let run = shared(options, composer, connector, statistics).map_err(Error::Runtime)?;
        let run = Rc::new(run);
        drive(&run, connections, watch).await.map_err(Error::Runtime)?;
        Ok(summary(&run))
    })
}

/// Whether a load could be sent.
///
/// # Errors
/// [`Error`]: what [`measure`] would say.
pub fn check(options: &Options) -> Result<(), Error> {
    prepare(options).map(|_| ())
}

struct Prepared {
    /// Those that can be of use.
    connections: u64,
    composer: Composer,
    connector: Option<Connector>,
}

fn prepare(options: &Options) -> Result<Prepared, Error> {
    let connections = useful_connections(options)?;
    descriptors::allow(connections)
        .map_err(|limit| Error::Descriptors { connections: options.connections, limit })?;
    let blame = |(name, problem): (&'static str, String)| Error::option(name, problem);
    let composer = Composer::new(&options.message, options.seed).map_err(blame)?;
    let address = options.target.ip().map_or("localhost".to_owned(), |ip| ip.to_string());
    let connector = Connector::new(&options.session.tls, &address).map_err(blame)?;
    Ok(Prepared { connections, composer, connector })
}

/// Refuses what can't be; gives the number of connections that can be of use.
fn useful_connections(options: &Options) -> Result<u64, Error> {
    if !options.target.may_be_loaded() && options.target.ip() != options.own_host {
        return Err(Error::NotOurs(options.target.clone()));
    }
    if options.connections == 0 {
        return Err(Error::option("--connections", "must be at least 1"));
    }
    let stop = &options.plan.stop;
    if stop.after == Some(0) {
        return Err(Error::option("--messages", "must be at least 1"));
    }
    if stop.at == Some(Duration::ZERO) {
        return Err(Error::option("--duration", "must be longer than 0"));
    }
    if let Model::Open { course, .. } = &options.plan.model {
        if stop.after.is_none() && stop.at.is_none() && options.plan.model.length().is_none() {
            return Err(Error::option("--rate", "needs an end: give --messages or --duration"));
        }
        if course.highest() > options.rate_max {
            return Err(Error::RateMax { rate: course.highest(), rate_max: options.rate_max });
        }
    }
    let schedule = Schedule::new(&options.plan, Instant::now());
    Ok(schedule.messages_of_shard().unwrap_or(u64::MAX).min(options.connections.into()))
}

/// The state of a run.
fn shared(
    options: &Options,
    composer: Composer,
    connector: Option<Connector>,
    statistics: Statistics,
) -> io::Result<Run> {
    let per_connection = options.session.messages_per_connection;
    let messages = options.plan.stop.after.unwrap_or(u64::MAX);
    let reconnections = per_connection.map_or(0, |limit| messages.div_ceil(limit));
    let think = match &options.plan.model {
        Model::Closed { think } => think.clone(),
        Model::Open { .. } => None,
    };
    let clock = Clock::start();
    let start = options.start_ns.map_or_else(Instant::now, |ns| clock.instant(ns));
    Ok(Run {
        composer,
        client: Arc::new(options.session.client(options.target.is_local())),
        tls_mode: options.session.tls.mode,
        connector,
        connect_timeout: options.session.connect_timeout(),
        messages_per_connection: per_connection,
        think,
        seed: options.seed,
        sources: Sources::new(
            options.target.clone(),
            options.session.sources,
            reconnections.max(options.connections.into()),
        ),
        schedule: RefCell::new(Schedule::new(&options.plan, start)),
        statistics: RefCell::new(statistics),
        clock: RefCell::new(clock),
        scratch: RefCell::new(Scratch::default()),
        timer: Timer::new(Duration::ZERO)?,
        idle: Idle::default(),
        answered: Cell::new(0),
        stopped: RefCell::new(None),
        over: Notify::new(),
    })
}

fn summary(run: &Run) -> Summary {
    let (clock, schedule) = (run.clock.borrow(), &mut *run.schedule.borrow_mut());
    let statistics = &mut *run.statistics.borrow_mut();
    Summary {
        open: schedule.is_open(),
        asked: schedule.messages_of_shard(),
        tally: schedule.tally(Instant::now()),
        span_ns: statistics.span.map(|(first, last)| (clock.monotonic_ns(first), clock.monotonic_ns(last))),
        figures: statistics.take_total(),
        cpu_s: clock.cpu_s(),
        stopped: run.stopped.borrow().clone(),
    }
}

/// One loop for both models: in the closed loop all connections are there from the start, in the open loop the clockwork
/// asks for each.
async fn drive(run: &Rc<Run>, connections: u64, watch: &mut Watch) -> io::Result<()> {
    let mut signals =
        Signals { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? };
    let mut parts = Parts::start(run, watch.every());
    let mut running = JoinSet::new();
    let (open, start) = (run.schedule.borrow().is_open(), run.schedule.borrow().start());
    sleep_until(start.into()).await;
    let mut dispatching = open;
    if !open {
        for _ in 0..connections {
            running.spawn_local(slot(run.clone(), None));
        }
    }
    let mut give_up_at = None;
    let mut timer = pin!(run.timer.run());
    let mut lag = pin!(watch_lag(run));
    while dispatching || !running.is_empty() {
        if run.is_stopped() {
            give_up_at.get_or_insert_with(|| tokio::time::Instant::now() + DRAIN);
        }
        let room = (running.len() as u64) < connections;
        tokio::select! {
            biased;
            ended = &mut timer => return ended,
            claim = next_connection(run, room), if dispatching => match claim {
                Some(claim) => drop(running.spawn_local(slot(run.clone(), Some(claim)))),
                None => dispatching = false,
            },
            () = &mut lag, if open => {}
            Some(ended) = running.join_next() => {
                if let Err(error) = ended {
                    resume_unwind(error.into_panic());
                }
            }
            () = signals.next() => {
                if run.is_stopped() {
                    break;
                }
                run.stop("interrupted by a signal");
            }
            () = until(give_up_at) => break,
            () = parts.over() => watch.tell(parts.cut(run)),
        }
    }
    running.shutdown().await;
    if watch.every().is_some() {
        watch.tell(parts.cut(run));
    }
    Ok(())
}

/// The parts of a run that are told of while it lasts.
struct Parts {
    start: Instant,
    every: Option<tokio::time::Interval>,
    from: Instant,
    before: Tally,
}

impl Parts {
    fn start(run: &Run, every: Option<Duration>) -> Parts {
        let start = run.schedule.borrow().start();
        let every = every.map(|every| interval_at(tokio::time::Instant::from_std(start + every), every));
        Parts { start, every, from: start, before: Tally::default() }
    }

    /// Waits until the part under way is over.
    async fn over(&mut self) {
        match &mut self.every {
            Some(every) => drop(every.tick().await),
            None => std::future::pending().await,
        }
    }

    fn cut(&mut self, run: &Run) -> Interval {
        let now = Instant::now();
        let tally = run.schedule.borrow_mut().tally(now);
        let statistics = &mut *run.statistics.borrow_mut();
        let (from, before) = (self.from, self.before);
        (self.from, self.before) = (now, tally);
        Interval {
            from_s: from.saturating_duration_since(self.start).as_secs_f64(),
            to_s: now.saturating_duration_since(self.start).as_secs_f64(),
            offered: tally.offered - before.offered,
            started: tally.started - before.started,
            in_flight: statistics.in_flight,
            connections: statistics.connections,
            figures: statistics.take_recent(),
        }
    }
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    async fn next(&mut self) {
        let received = tokio::select! { it = self.interrupt.recv() => it, it = self.terminate.recv() => it };
        if received.is_none() {
            std::future::pending().await
        }
    }
}

async fn until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// How long messages under way may take to end after the run was stopped.
pub const DRAIN: Duration = Duration::from_secs(10);
