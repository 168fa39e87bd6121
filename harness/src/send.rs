//! `mailrig send`: loads an SMTP server and says how long each stage took.
//!
//! Only the command line: the load itself is the crate `load`.

mod content;
mod output;
mod pace;
mod session;

use load::report::Report;
use load::report::condition::Condition;
use load::schedule::Model;
use load::session::endpoint::Endpoint;
use rustix::process::{Signal, set_parent_process_death_signal};
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

#[derive(clap::Args)]
pub struct Args {
    /// The server, as 127.0.0.1:2525, [::1]:2525, localhost:2525 or unix:/run/lmtp; on this host only
    #[arg(value_name = "ADDR:PORT|unix:PATH")]
    target: Endpoint,
    /// Connections kept busy at a time [default: 1]; in the open loop the most that are opened [default: 100]
    #[arg(long, value_name = "N")]
    connections: Option<u32>,
    /// All chance follows from it: the same seed, the same load
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    pace: pace::Args,
    #[command(flatten)]
    session: session::Args,
    #[command(flatten)]
    content: content::Args,
    #[command(flatten)]
    output: output::Args,
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
    /// End with the process that started this one
    #[arg(long, hide = true)]
    with_parent: bool,
}

/// Sends the load. Exit status: 0 all as wanted; 1 not (a condition, else a message that was not accepted), the run was
/// stopped, the generator itself lagged, or the results could not be written; 2 bad usage.
pub fn main(args: Args) -> ExitCode {
    if args.with_parent
        && let Err(error) = set_parent_process_death_signal(Some(Signal::KILL))
    {
        return complain(2, &format!("asking to end with the parent process: {error}"), None);
    }
    let session = match args.session.options() {
        Ok(session) => session,
        Err(problem) => return complain(2, &problem, None),
    };
    let plan = args.pace.plan(args.seed);
    let connections = match plan.model {
        Model::Closed { .. } => 1,
        Model::Open { .. } => CONNECTIONS_OPEN,
    };
    let options = load::Options {
        target: args.target,
        connections: args.connections.unwrap_or(connections),
        session,
        message: args.content.options(),
        seed: args.seed,
        lag_max: args.max_lag,
        plan,
    };
    let mut files = match args.output.open() {
        Ok(files) => files,
        Err(problem) => return complain(2, &problem, None),
    };
    let mut watch = files.watch(args.output.progress(&options.plan));
    let summary = match load::measure(&options, &mut watch) {
        Ok(summary) => summary,
        Err(error) => return complain(2, &error.to_string(), error.hint()),
    };
    let watched = watch.finish();
    let mut report = Report::new(&summary, options.lag_max);
    report.judge(&summary, &args.fail_if);
    match files.finish(&summary, &report).and(watched) {
        Err(problem) => complain(1, &problem, None),
        Ok(()) => conclude(&report),
    }
}

fn conclude(report: &Report) -> ExitCode {
    if let Some(reason) = &report.stopped {
        let (under_way, messages) = (report.started, report.messages);
        return complain(1, &format!("{reason}; {under_way} of {messages} messages were started"), None);
    }
    match report.is_success() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(1),
    }
}

fn complain(status: u8, message: &str, hint: Option<&str>) -> ExitCode {
    // Standard error may be closed; the exit status still tells.
    let _ = writeln!(io::stderr(), "mailrig: {message}");
    if let Some(hint) = hint {
        let _ = writeln!(io::stderr(), "hint: {hint}");
    }
    ExitCode::from(status)
}

fn parse_time(text: &str) -> Result<Duration, String> {
    match settings::duration::parse(text)? {
        Duration::ZERO => Err("must be longer than 0".to_owned()),
        time => Ok(time),
    }
}

/// Enough that a server which answers in a tenth of a second takes a thousand messages a second.
const CONNECTIONS_OPEN: u32 = 100;
