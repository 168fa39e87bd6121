//! `mailrig sink`: the remote site on the command line.

use behaviour::{DelayRule, ReplyRule, Site};
use rustix::process::{Signal, set_parent_process_death_signal};
use sink::{Config, ENOUGH_BACKLOG, Error, SILENCE, Sink, backlog_max};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

#[derive(clap::Args)]
pub struct Args {
    /// Where to listen; may be given several times, port 0 takes a free one
    #[arg(long, value_name = "ADDR:PORT", required = true, num_args = 1..)]
    listen: Vec<SocketAddr>,
    /// Wait before the reply of a stage: connect, banner, ehlo, mail, rcpt, data, dot, rset, noop, quit, or each for
    /// every reply but QUIT's; DELAY is 20ms, uniform(10ms,30ms) or exponential(20ms)
    #[arg(long, value_name = "STAGE=DELAY")]
    delay: Vec<DelayRule>,
    /// Refuse at a stage with this 4xx or 5xx code, always or in PERCENT of the cases
    #[arg(long, value_name = "STAGE=CODE[@PERCENT]")]
    reply: Vec<ReplyRule>,
    /// All chance comes from it: the same seed and connections give the same run
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Write the account of what came in as JSON at the end
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// List every message id in the ledger
    #[arg(long, requires = "ledger")]
    ids: bool,
    /// Write deliveries.csv and in_flight.csv there at the end
    #[arg(long, value_name = "DIR")]
    trace: Option<PathBuf>,
    /// Print a line of JSON every 100 ms
    #[arg(long)]
    live: bool,
    /// Connections open at once; the others get 421 [default: what the limit of open files allows]
    #[arg(long, value_name = "N")]
    max_connections: Option<usize>,
    /// End after this long [default: on SIGTERM or SIGINT]
    #[arg(long, value_name = "DURATION", value_parser = settings::duration::parse)]
    duration: Option<Duration>,
    /// Die with the parent process
    #[arg(long, hide = true)]
    with_parent: bool,
}

pub fn main(args: Args) -> ExitCode {
    if args.with_parent
        && let Err(error) = set_parent_process_death_signal(Some(Signal::KILL))
    {
        return fail(&format!("cannot ask to die with the parent process: {error}"), None, 2);
    }
    let site = match Site::new(args.seed, &args.delay, &args.reply) {
        Ok(site) => site,
        Err(error) => return fail(&error, None, 2),
    };
    let config = Config {
        listen: args.listen,
        site,
        ledger: args.ledger,
        ids: args.ids,
        trace: args.trace,
        live: args.live,
        connections_max: args.max_connections,
        duration: args.duration,
        silence: SILENCE,
    };
    let sink = match Sink::open(config) {
        Ok(sink) => sink,
        Err(error) => return fail_with(&error, 2),
    };
    if let Some(backlog) = backlog_max().filter(|&backlog| backlog < ENOUGH_BACKLOG) {
        eprintln!("mailrig: at most {backlog} connections can wait to be accepted");
        eprintln!("hint: sysctl net.core.somaxconn={ENOUGH_BACKLOG}");
    }
    match sink.run(sink::until_signal, std::io::stdout()) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => fail_with(&error, 1),
    }
}

fn fail_with(error: &Error, status: u8) -> ExitCode {
    fail(&error.to_string(), error.hint().as_deref(), status)
}

fn fail(message: &str, hint: Option<&str>, status: u8) -> ExitCode {
    eprintln!("mailrig: {message}");
    if let Some(hint) = hint {
        eprintln!("hint: {hint}");
    }
    ExitCode::from(status)
}
