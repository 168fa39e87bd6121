//! `mailrig send`: loads an SMTP server and says how long each stage took.
//!
//! Only the command line: the load itself is the crate `load`.

mod capacity;
mod content;
mod output;
mod pace;
mod session;
mod shard;
mod workload;

use load::report::Report;
use load::report::condition::Condition;
use load::schedule::Model;
use load::session::endpoint::Endpoint;
use load::shards::Assignment;
use load::statistics::summary::Summary;
use load::watch::Watch;
use rustix::process::{Signal, set_parent_process_death_signal};
use std::env;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

#[derive(clap::Args)]
pub struct Args {
    /// The server, as 127.0.0.1:2525, [::1]:2525, localhost:2525 or unix:/run/lmtp
    #[arg(value_name = "ADDR:PORT|unix:PATH")]
    target: Endpoint,
    /// Take options from this file (profiles/load has some); those given here win
    #[arg(long, value_name = "FILE.toml")]
    workload: Option<PathBuf>,
    /// Connections kept busy at a time [default: 1]; in the open loop the most that are opened [default: 100]
    #[arg(long, value_name = "N")]
    connections: Option<u32>,
    /// All chance follows from it: the same seed, the same load
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Call a run of the open loop invalid if the generator itself is later than this in one case of a hundred
    #[arg(long, value_name = "TIME", default_value = "10ms", value_parser = settings::duration::parse)]
    max_lag: Duration,
    /// Fail (exit status 1) if this is true; may be given several times.
    ///
    /// A figure, < or >, and a value: p50, p99.9, mean, max or count of a stage, message, service, start_lag or
    /// generator_lag, of replies that were ok, deferred, refused or failed, such as "p99(message) > 200ms" or
    /// "max(rcpt/refused) > 1s"; "rate < 480/s"; "errors > 0.1%" and "missed > 0", of messages not accepted and never
    /// started. Without it, any message that is not accepted fails the run.
    #[arg(long, value_name = "CONDITION")]
    fail_if: Vec<Condition>,
    /// Load another host than this one: give its address once more
    #[arg(long, value_name = "HOST")]
    i_own_this_host: Option<IpAddr>,
    /// Refuse higher rates as mistakes
    #[arg(long, value_name = "N/s", default_value = "20000/s", value_parser = load::schedule::stages::parse_rate)]
    max_rate: f64,
    /// Only print one whole dialogue, annotated
    #[arg(long)]
    dry_run: bool,
    /// Send from so many processes, which share schedule and connections
    #[arg(long, value_name = "N", default_value_t = 1)]
    shards: u32,
    /// Be one of them
    #[arg(long, hide = true, value_name = "JSON", value_parser = shard::parse)]
    shard: Option<Arc<Assignment>>,
    /// End with the process that started this one
    #[arg(long, hide = true)]
    with_parent: bool,
    #[command(flatten)]
    pace: pace::Args,
    #[command(flatten)]
    session: session::Args,
    #[command(flatten)]
    content: content::Args,
    #[command(flatten)]
    output: output::Args,
    #[command(flatten)]
    capacity: capacity::Args,
}

/// Sends the load. Exit status: 0 all as wanted; 1 not (a condition, else a message that was not accepted), the run was
/// stopped, the generator itself lagged, or the results could not be written; 2 bad usage.
pub fn main(args: Args) -> ExitCode {
    match send(args) {
        Ok(status) => status,
        Err(failure) => failure.complain(),
    }
}

fn send(args: Args) -> Result<ExitCode, Failure> {
    let args = match &args.workload {
        Some(path) => workload::complete(path, env::args_os().skip(1)).map_err(Failure::usage)?,
        None => args,
    };
    if args.with_parent || args.shard.is_some() {
        set_parent_process_death_signal(Some(Signal::KILL))
            .map_err(|error| Failure::usage(format!("asking to end with the parent process: {error}")))?;
    }
    let session = args.session.options().map_err(Failure::usage)?;
    let plan = args.pace.plan(args.seed);
    let connections = match plan.model {
        Model::Closed { .. } if !args.capacity.is_asked() => 1,
        Model::Closed { .. } | Model::Open { .. } => CONNECTIONS_OPEN,
    };
    let options = load::Options {
        target: args.target,
        own_host: args.i_own_this_host.map(|ip| ip.to_canonical()),
        rate_max: args.max_rate,
        connections: args.connections.unwrap_or(connections),
        session,
        message: args.content.options(),
        start_ns: None,
        seed: args.seed,
        lag_max: args.max_lag,
        plan,
    };
    if let Some(assignment) = &args.shard {
        shard::run(options, assignment).map_err(Failure::usage)?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.dry_run {
        print(&load::rehearse(&options)?);
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(climb) = args.capacity.climb(&args.pace, &options) {
        return capacity::run(&climb, options, args.shards, &args.output);
    }
    let mut files = args.output.open().map_err(Failure::usage)?;
    let mut watch = files.watch(args.output.progress(&options.plan));
    let summary = measure(&options, args.shards, &mut watch)?;
    let watched = watch.finish();
    let mut report = Report::new(&summary, options.lag_max);
    report.judge(&summary, &args.fail_if);
    files.finish(&summary, &report).and(watched).map_err(Failure::results)?;
    conclude(&report)
}

fn measure(options: &load::Options, shards: u32, watch: &mut Watch) -> Result<Summary, load::Error> {
    if shards == 1 {
        return load::measure(options, watch);
    }
    load::check(options)?;
    let (plan, run) = (&options.plan, &options.message.run);
    load::shards::measure(plan, options.connections, run, shards, shard::command, watch)
}

fn print(text: &str) {
    // A reader that went away is no failure; the exit status still tells.
    let _ = io::stdout().write_all(text.as_bytes());
}

fn conclude(report: &Report) -> Result<ExitCode, Failure> {
    if let Some(reason) = &report.stopped {
        let (started, messages) = (report.started, report.messages);
        return Err(Failure::results(format!("{reason}; {started} of {messages} messages were started")));
    }
    Ok(match report.is_success() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(1),
    })
}

/// Why there is nothing more to do.
struct Failure {
    status: u8,
    message: String,
    hint: Option<&'static str>,
}

impl Failure {
    /// Before anything was sent.
    fn usage(message: String) -> Failure {
        Failure { status: 2, message, hint: None }
    }

    /// After something was sent.
    fn results(message: String) -> Failure {
        Failure { status: 1, message, hint: None }
    }

    fn complain(&self) -> ExitCode {
        // Standard error may be closed; the exit status still tells.
        let _ = writeln!(io::stderr(), "mailrig: {}", self.message);
        if let Some(hint) = self.hint {
            let _ = writeln!(io::stderr(), "hint: {hint}");
        }
        ExitCode::from(self.status)
    }
}

impl From<load::Error> for Failure {
    fn from(error: load::Error) -> Failure {
        let status = if matches!(error, load::Error::Shard { .. }) { 1 } else { 2 };
        Failure { status, message: error.to_string(), hint: error.hint() }
    }
}

fn parse_time(text: &str) -> Result<Duration, String> {
    match settings::duration::parse(text)? {
        Duration::ZERO => Err("must be longer than 0".to_owned()),
        time => Ok(time),
    }
}

/// Enough that a server which answers in a tenth of a second takes a thousand messages a second.
const CONNECTIONS_OPEN: u32 = 100;
