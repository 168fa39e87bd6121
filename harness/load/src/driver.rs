//! Runs a load from its options to its report: the runtime, the slots, the signals and the progress.

use crate::clock::Clock;
use crate::descriptors;
use crate::message::{Template, check_run_name};
use crate::progress::{Display, Progress};
use crate::report::Report;
use crate::run::{Run, Scratch};
use crate::schedule::Schedule;
use crate::slot::slot;
use crate::source::Sources;
use crate::statistics::Statistics;
use smtp::client::{Timeouts, Transaction};
use smtp::{ForwardPath, ReversePath};
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fmt, io};
use tokio::runtime::{Builder, LocalOptions};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep_until};

/// What to send where, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server; a loopback address.
    pub target: SocketAddr,
    /// Connections at a time.
    pub connections: u32,
    /// Messages in all.
    pub messages: u64,
    /// Messages after which a connection is closed with QUIT and opened again; 0: never.
    pub messages_per_connection: u64,
    /// Size of each message in bytes, as sent, before dot-stuffing.
    pub size_bytes: u64,
    /// Argument of MAIL; empty for the null reverse-path.
    pub from: String,
    /// Arguments of RCPT, at least one.
    pub to: Vec<String>,
    /// The first part of each message's id.
    pub run: String,
    /// Use PIPELINING where it is offered.
    pub pipelining: bool,
    /// How long to wait for a connection and for each reply; none: [`CONNECT_TIMEOUT`], and RFC 5321 §4.5.3.2.
    pub timeout: Option<Duration>,
    /// How the run is shown while it lasts.
    pub progress: Display,
}

/// Why a run could not start.
#[derive(Debug)]
pub enum Error {
    /// The target is another host.
    NotLoopback(SocketAddr),
    /// An option has a value that can't be.
    Option { name: &'static str, problem: String },
    /// This process may not open as many descriptors.
    Descriptors { connections: u32, limit: u64 },
    /// The runtime or a signal handler could not be made.
    Runtime(io::Error),
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Error::Descriptors { .. } => {
                Some("raise the hard limit (ulimit -Hn) or ask for fewer connections")
            }
            Error::NotLoopback(_) | Error::Option { .. } | Error::Runtime(_) => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotLoopback(target) => {
                write!(f, "refusing to load {target}: only loopback addresses (127.0.0.0/8, ::1) are allowed")
            }
            Error::Option { name, problem } => write!(f, "{name}: {problem}"),
            Error::Descriptors { connections, limit } => {
                write!(
                    f,
                    "{connections} connections need more than the {limit} descriptors this process may open"
                )
            }
            Error::Runtime(error) => write!(f, "starting the load: {error}"),
        }
    }
}

impl std::error::Error for Error {}

/// Sends the load and reports. Blocks until all is sent, the server has proved to be away, or a signal (SIGINT, SIGTERM)
/// stops it; then messages under way get [`DRAIN`] to end, and a second signal ends even that.
///
/// # Errors
/// [`Error`], before anything is sent.
pub fn run(options: Options) -> Result<Report, Error> {
    if !options.target.ip().to_canonical().is_loopback() {
        return Err(Error::NotLoopback(options.target));
    }
    for (name, value) in [("--connections", u64::from(options.connections)), ("--messages", options.messages)]
    {
        if value == 0 {
            return Err(Error::Option { name, problem: "must be at least 1".to_owned() });
        }
    }
    let slots = options.messages.min(options.connections.into());
    descriptors::allow(slots)
        .map_err(|limit| Error::Descriptors { connections: options.connections, limit })?;
    let run = Rc::new(shared(&options)?);
    let progress = Progress::new(options.progress, options.messages);
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .map_err(Error::Runtime)?;
    runtime.block_on(drive(&run, slots, progress)).map_err(Error::Runtime)?;
    drop(runtime);
    let stopped = run.stopped.borrow().clone();
    let report = Report::new(options.messages, &run.statistics.borrow(), &run.clock.borrow(), stopped);
    Ok(report)
}

fn shared(options: &Options) -> Result<Run, Error> {
    let bad = |name, problem: String| Error::Option { name, problem };
    let reverse_path = ReversePath::parse(&options.from)
        .map_err(|error| bad("--from", format!("{:?}: {error}", options.from)))?;
    let parse = |to: &String| ForwardPath::parse(to).map_err(|error| bad("--to", format!("{to:?}: {error}")));
    let recipients = options.to.iter().map(parse).collect::<Result<Vec<_>, Error>>()?;
    if recipients.is_empty() {
        return Err(bad("--to", "must be given at least once".to_owned()));
    }
    check_run_name(&options.run).map_err(|problem| bad("--run", problem))?;
    let template = Template::new(&options.run, &reverse_path, &recipients, options.size_bytes)
        .map_err(|problem| bad("--size", problem))?;
    let per_connection = Some(options.messages_per_connection).filter(|&limit| limit > 0);
    let reconnections = per_connection.map_or(0, |limit| options.messages.div_ceil(limit));
    Ok(Run {
        transaction: Transaction {
            reverse_path,
            recipients,
            size_bytes: Some(template.size_bytes()),
            eight_bit: false,
            smtp_utf8: false,
        },
        template,
        client: Arc::new(smtp::client::Options {
            pipelining: options.pipelining,
            timeouts: options.timeout.map_or_else(Timeouts::default, timeouts),
            ..smtp::client::Options::new(HELLO)
        }),
        connect_timeout: options.timeout.unwrap_or(CONNECT_TIMEOUT),
        messages_per_connection: per_connection,
        sources: Sources::new(options.target, reconnections.max(options.connections.into())),
        schedule: RefCell::new(Schedule::closed_loop(options.messages)),
        statistics: RefCell::new(Statistics::default()),
        clock: RefCell::new(Clock::start()),
        scratch: RefCell::new(Scratch::default()),
        answered: Cell::new(0),
        stopped: RefCell::new(None),
    })
}

fn timeouts(all: Duration) -> Timeouts {
    Timeouts {
        greeting: all,
        hello: all,
        start_tls: all,
        auth: all,
        mail: all,
        rcpt: all,
        data_init: all,
        data_block: all,
        data_end: all,
        rset: all,
        quit: all,
    }
}

async fn drive(run: &Rc<Run>, slots: u64, mut progress: Progress) -> io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut tick = interval(progress.every());
    let mut running = JoinSet::new();
    for _ in 0..slots {
        running.spawn_local(slot(run.clone()));
    }
    let mut give_up_at = None;
    loop {
        if run.is_stopped() {
            give_up_at.get_or_insert_with(|| tokio::time::Instant::now() + DRAIN);
        }
        let drained = async {
            match give_up_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = running.join_next() => match ended {
                Some(Ok(())) => {}
                Some(Err(error)) => resume_unwind(error.into_panic()),
                None => break,
            },
            Some(()) = async { tokio::select! { it = interrupt.recv() => it, it = terminate.recv() => it } } => {
                if run.is_stopped() {
                    break;
                }
                run.stop("interrupted by a signal");
            }
            () = drained => break,
            _ = tick.tick() => progress.show(&run.statistics.borrow()),
        }
    }
    let abandoned = run.statistics.borrow().in_flight;
    running.shutdown().await;
    run.statistics.borrow_mut().abandon(abandoned, Instant::now());
    progress.finish();
    Ok(())
}

/// How long a connection may take to be established; RFC 5321 leaves it open.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long messages under way may take to end after the run was stopped.
pub const DRAIN: Duration = Duration::from_secs(10);
/// RFC 5321 §4.1.3: a client without a name gives its address.
const HELLO: &str = "[127.0.0.1]";
