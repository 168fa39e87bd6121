//! Runs a load from its options to its report: the runtime, the slots, the signals and the progress.

use crate::clock::Clock;
use crate::descriptors;
use crate::dispatch::{Idle, next_connection, watch_lag};
use crate::message::Composer;
use crate::options::{Error, Options};
use crate::progress::Progress;
use crate::report::Report;
use crate::run::{Run, Scratch};
use crate::schedule::{Claim, Model, Schedule};
use crate::session::slot;
use crate::session::source::Sources;
use crate::session::tls::Connector;
use crate::statistics::Statistics;
use crate::timer::Timer;
use std::cell::{Cell, RefCell};
use std::io;
use std::panic::resume_unwind;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, LocalOptions};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep_until};

/// Sends the load and reports. Blocks until all is sent, the server has proved to be away, or a signal (SIGINT, SIGTERM)
/// stops it; then messages under way get [`DRAIN`] to end, and a second signal ends even that.
///
/// # Errors
/// [`Error`], before anything is sent.
pub fn run(options: &Options) -> Result<Report, Error> {
    let connections = check(options)?;
    descriptors::allow(connections)
        .map_err(|limit| Error::Descriptors { connections: options.connections, limit })?;
    let blame = |(name, problem): (&'static str, String)| Error::option(name, problem);
    let composer = Composer::new(&options.message, options.seed).map_err(blame)?;
    let address = options.target.ip().map_or("localhost".to_owned(), |ip| ip.to_string());
    let connector = Connector::new(&options.session.tls, &address).map_err(blame)?;
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .map_err(Error::Runtime)?;
    runtime.block_on(async {
        let run = Rc::new(shared(options, composer, connector).map_err(Error::Runtime)?);
        let mut progress = Progress::new(options.progress, &options.plan, &run);
        drive(&run, connections, &mut progress).await.map_err(Error::Runtime)?;
        progress.finish();
        Ok(Report::new(&run, options.lag_max))
    })
}

/// Refuses what can't be; gives the number of connections that can be of use.
fn check(options: &Options) -> Result<u64, Error> {
    if !options.target.is_local() {
        return Err(Error::NotLoopback(options.target.clone()));
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
    if let Model::Open { course, .. } = &options.plan.model
        && stop.after.is_none()
        && stop.at.is_none_or(|at| at > settings::duration::LONGEST)
        && course.length() >= settings::duration::LONGEST
    {
        return Err(Error::option("--rate", "needs an end: give --messages or --duration"));
    }
    let schedule = Schedule::new(&options.plan, Instant::now());
    Ok(schedule.messages_of_shard().unwrap_or(u64::MAX).min(options.connections.into()))
}

/// The state of a run that begins now.
fn shared(options: &Options, composer: Composer, connector: Option<Connector>) -> io::Result<Run> {
    let per_connection = options.session.messages_per_connection;
    let messages = options.plan.stop.after.unwrap_or(u64::MAX);
    let reconnections = per_connection.map_or(0, |limit| messages.div_ceil(limit));
    let think = match &options.plan.model {
        Model::Closed { think } => think.clone(),
        Model::Open { .. } => None,
    };
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
        schedule: RefCell::new(Schedule::new(&options.plan, Instant::now())),
        statistics: RefCell::new(Statistics::default()),
        clock: RefCell::new(Clock::start()),
        scratch: RefCell::new(Scratch::default()),
        timer: Timer::new()?,
        idle: Idle::default(),
        answered: Cell::new(0),
        stopped: RefCell::new(None),
        over: Notify::new(),
    })
}

/// One loop for both models: in the closed loop all connections are there from the start, in the open loop the clockwork
/// asks for each.
async fn drive(run: &Rc<Run>, connections: u64, progress: &mut Progress) -> io::Result<()> {
    let mut signals =
        Signals { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? };
    let mut tick = interval(progress.every());
    let mut running = JoinSet::new();
    let mut dispatching = run.schedule.borrow().is_open();
    if !dispatching {
        for _ in 0..connections {
            running.spawn_local(slot(run.clone(), None));
        }
    }
    let open = dispatching;
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
                Some(claim) => drop(running.spawn_local(slot(run.clone(), Some::<Claim>(claim)))),
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
            _ = tick.tick() => progress.show(run),
        }
    }
    running.shutdown().await;
    Ok(())
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
