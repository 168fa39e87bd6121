//! `mailrig sink`: the remote site on the command line.

mod console;
mod sites;

use clap::ValueEnum;
use rustix::process::{Signal, set_parent_process_death_signal};
use sink::{Config, ENOUGH_BACKLOG, Error, Keep, SILENCE, Show, Sink, backlog_max};
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

#[derive(clap::Args)]
pub struct Args {
    /// Where to listen: ADDR:PORT, or FIRST-LAST:PORT for several addresses; may be given several times, port 0 takes a
    /// free one [default: the addresses in the site file]
    #[arg(long, value_name = "ADDR:PORT", num_args = 1.., value_parser = sites::parse_listen)]
    listen: Vec<sites::Listen>,
    /// How it behaves: a TOML file, see docs/SINK.md
    #[arg(long, value_name = "FILE", conflicts_with_all = ["delay", "reply", "without", "tls", "lmtp", "auth"])]
    site: Option<PathBuf>,
    /// Wait before the reply of a stage: connect, banner, ehlo, starttls, handshake, auth, mail, rcpt, data, body (each
    /// piece of it), dot, rset, noop, quit, or each for every reply but QUIT's; DELAY is 20ms, uniform(10ms,30ms),
    /// exponential(20ms), lognormal(p50=20ms,p99=2s), pareto(min=10ms,alpha=1.5) or file(NAME)
    #[arg(long, value_name = "STAGE=DELAY")]
    delay: Vec<String>,
    /// Say something else at a stage, always or in PERCENT of the cases: 450, or 450 4.2.1 Mailbox busy
    #[arg(long, value_name = "STAGE=REPLY[@PERCENT]")]
    reply: Vec<String>,
    /// Do not offer an extension
    #[arg(long, value_name = "EXTENSION", value_delimiter = ',')]
    without: Vec<sites::Extension>,
    /// Offer TLS with a certificate made at the start
    #[arg(long, value_name = "MODE")]
    tls: Option<sites::TlsMode>,
    /// Offer AUTH, and take any credentials
    #[arg(long)]
    auth: bool,
    /// Speak LMTP
    #[arg(long)]
    lmtp: bool,
    /// Write the certificate of the authority that signed the made ones, for clients to trust
    #[arg(long, value_name = "FILE")]
    authority: Option<PathBuf>,
    /// All chance comes from it: the same seed and connections give the same run [default: the site file's, or 0]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// What becomes of the mail: discard, hash (SHA-256 in the trace), maildir:DIR or files:DIR (one a message)
    #[arg(long, value_name = "WHAT", default_value = "discard", value_parser = parse_keep)]
    keep: Keep,
    /// Write the account of what came in as JSON at the end
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// List every message id in the ledger
    #[arg(long, requires = "ledger")]
    ids: bool,
    /// Write deliveries.csv and in_flight.csv there at the end
    #[arg(long, value_name = "DIR")]
    trace: Option<PathBuf>,
    /// Write deliveries.csv while the sink runs: needs a thread, and no memory
    #[arg(long, requires = "trace")]
    spill: bool,
    /// Print a line of JSON every 100 ms
    #[arg(long, alias = "live")]
    json: bool,
    /// No live line and nothing about limits
    #[arg(long)]
    quiet: bool,
    /// Log connections and outcomes to standard error
    #[arg(long, value_name = "LEVEL")]
    log: Option<LogLevel>,
    /// Connections open at once; the others get 421 [default: what the limit of open files allows]
    #[arg(long, value_name = "N")]
    max_connections: Option<usize>,
    /// How long a client may neither write nor read
    #[arg(long, value_name = "DURATION", value_parser = settings::duration::parse)]
    silence: Option<Duration>,
    /// End after this long [default: on SIGTERM or SIGINT]
    #[arg(long, value_name = "DURATION", value_parser = settings::duration::parse)]
    duration: Option<Duration>,
    /// Die with the parent process
    #[arg(long, hide = true)]
    with_parent: bool,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogLevel {
    /// Errors of the system
    Warn,
    /// Start and end
    Info,
    /// Connections and messages
    Debug,
    /// Every reply
    Trace,
}

pub fn main(args: Args) -> ExitCode {
    if args.with_parent
        && let Err(error) = set_parent_process_death_signal(Some(Signal::KILL))
    {
        return fail(&format!("cannot ask to die with the parent process: {error}"), None, 2);
    }
    if let Some(level) = args.log {
        console::start_logging(level.into());
    }
    let (quiet, json) = (args.quiet, args.json);
    let config = match config(args) {
        Ok(config) => config,
        Err(error) => return fail(&error.message, error.hint.as_deref(), 2),
    };
    let sink = match Sink::open(config) {
        Ok(sink) => sink,
        Err(error) => return fail_with(&error, 2),
    };
    if !quiet {
        tell_limits(&sink);
    }
    let show: Option<Show> = match (json, quiet) {
        (true, _) => Some(sink::json_lines(io::stdout())),
        (false, false) if io::stderr().is_terminal() => Some(console::live_line()),
        _ => None,
    };
    match sink.run(sink::until_signal, io::stdout(), show) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => fail_with(&error, 1),
    }
}

fn config(args: Args) -> Result<Config, sites::Problem> {
    let (sites, listen_there) = match &args.site {
        Some(path) => sites::from_file(path, args.seed)?,
        None => (sites::from_flags(&args)?, Vec::new()),
    };
    let mut listen: Vec<SocketAddr> = args.listen.into_iter().flat_map(|listen| listen.0).collect();
    if listen.is_empty() {
        listen = listen_there;
    }
    Ok(Config {
        keep: args.keep,
        ledger: args.ledger,
        ids: args.ids,
        trace: args.trace,
        spill: args.spill,
        connections_max: args.max_connections,
        duration: args.duration,
        silence: args.silence.unwrap_or(SILENCE),
        authority: args.authority,
        ..Config::new(listen, sites)
    })
}

/// Says what the sink can hold, and what to raise for more, before somebody finds out in a run.
fn tell_limits(sink: &Sink) {
    eprintln!("mailrig: holds up to {} connections; more get 421", sink.connections_max());
    eprintln!("hint: for more --shards N, each with as many, or ulimit -Hn");
    if let Some(backlog) = backlog_max().filter(|&backlog| backlog < ENOUGH_BACKLOG) {
        eprintln!("mailrig: at most {backlog} connections can wait to be accepted");
        eprintln!("hint: sysctl net.core.somaxconn={ENOUGH_BACKLOG}");
    }
}

fn parse_keep(text: &str) -> Result<Keep, String> {
    match text.split_once(':') {
        None if text == "discard" => Ok(Keep::Discard),
        None if text == "hash" => Ok(Keep::Hash),
        Some(("maildir", folder)) if !folder.is_empty() => Ok(Keep::Maildir(folder.into())),
        Some(("files", folder)) if !folder.is_empty() => Ok(Keep::Files(folder.into())),
        _ => Err("write discard, hash, maildir:DIR or files:DIR".to_owned()),
    }
}

impl From<LogLevel> for tracing::Level {
    fn from(level: LogLevel) -> tracing::Level {
        match level {
            LogLevel::Warn => tracing::Level::WARN,
            LogLevel::Info => tracing::Level::INFO,
            LogLevel::Debug => tracing::Level::DEBUG,
            LogLevel::Trace => tracing::Level::TRACE,
        }
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
