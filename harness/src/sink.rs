//! `mailrig sink`: the remote site on the command line.

mod capacity;
mod console;
mod sites;

use clap::ValueEnum;
use rustix::process::{Signal, set_parent_process_death_signal};
use sink::{Config, Error, Keep, SILENCE, Shard, Shards, Show, Sink};
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
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
    /// Connections open at once; the others get 421 [default: what the limit of open files allows]. Shards get equal
    /// parts; connections come to them evenly, but not exactly
    #[arg(long, value_name = "N")]
    max_connections: Option<usize>,
    /// Processes that share the addresses, the ledger and the trace: each holds as many connections as its limit of open
    /// files allows
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=SHARDS_MAX))]
    shards: u32,
    /// How long a client may neither write nor read
    #[arg(long, value_name = "DURATION", value_parser = settings::duration::parse)]
    silence: Option<Duration>,
    /// Look for more for so long before sleeping, so that clients on the same machine need not wake the sink: takes a core
    #[arg(long, value_name = "DURATION", value_parser = settings::duration::parse)]
    busy_poll: Option<Duration>,
    /// End after this long [default: on SIGTERM or SIGINT]
    #[arg(long, value_name = "DURATION", value_parser = settings::duration::parse)]
    duration: Option<Duration>,
    /// Die with the parent process
    #[arg(long, hide = true)]
    with_parent: bool,
    /// Be the shard that its parent describes in this file
    #[arg(long, hide = true, value_name = "FILE")]
    shard: Option<PathBuf>,
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
    if (args.with_parent || args.shard.is_some())
        && let Err(error) = set_parent_process_death_signal(Some(Signal::KILL))
    {
        return fail(&format!("cannot ask to die with the parent process: {error}"), None, 2);
    }
    if let Some(level) = args.log {
        console::start_logging(level.into());
    }
    let show = Showing { quiet: args.quiet, json: args.json, capped: args.max_connections.is_some() };
    let (shards, shard) = (args.shards, args.shard.clone());
    let config = match config(args) {
        Ok(config) => config,
        Err(error) => return fail(&error.message, error.hint.as_deref(), 2),
    };
    match (shard, shards) {
        (Some(file), _) => be_shard(config, &file),
        (None, 1) => alone(config, &show),
        (None, shards) => with_shards(config, shards, &show),
    }
}

/// What the user wants to be shown.
struct Showing {
    quiet: bool,
    json: bool,
    /// How many connections there may be was said on the command line.
    capped: bool,
}

impl Showing {
    fn show(&self) -> Option<Show> {
        match (self.json, self.quiet) {
            (true, _) => Some(sink::json_lines(io::stdout())),
            (false, false) if io::stderr().is_terminal() => Some(console::live_line()),
            _ => None,
        }
    }

    fn tell_capacity(&self, shards: u32, connections_max: usize) {
        if !self.quiet {
            capacity::tell(shards, connections_max, self.capped);
        }
    }
}

fn alone(config: Config, show: &Showing) -> ExitCode {
    let sink = match Sink::open(config) {
        Ok(sink) => sink,
        Err(error) => return fail_with(&error, 2),
    };
    show.tell_capacity(1, sink.connections_max());
    status(sink.run(sink::until_signal, io::stdout(), show.show()))
}

fn with_shards(config: Config, count: u32, show: &Showing) -> ExitCode {
    let myself = match std::env::current_exe() {
        Ok(path) => path,
        Err(error) => return fail(&format!("cannot find the own executable: {error}"), None, 2),
    };
    let shards = match Shards::open(config, count) {
        Ok(shards) => shards,
        Err(error) => return fail_with(&error, 2),
    };
    show.tell_capacity(count, shards.connections_max());
    let command = |file: &Path| {
        let mut command = Command::new(&myself);
        command.args(std::env::args_os().skip(1)).arg("--shard").arg(file);
        command
    };
    status(shards.run(command, sink::until_signal, io::stdout(), show.show()))
}

/// A shard tells its parent what it would show, and nobody else.
fn be_shard(config: Config, file: &Path) -> ExitCode {
    let shard = match Shard::read(file) {
        Ok(shard) if shard.is_orphan() => return fail("the parent of this shard has ended", None, 2),
        Ok(shard) => shard,
        Err(error) => return fail_with(&error, 2),
    };
    match Sink::open(Config { shard: Some(shard), ..config }) {
        Ok(sink) => status(sink.run(sink::until_signal, io::stdout(), Some(sink::json_lines(io::stdout())))),
        Err(error) => fail_with(&error, 2),
    }
}

fn status<T>(end: Result<T, Error>) -> ExitCode {
    let Err(error) = end else { return ExitCode::SUCCESS };
    let at_start = matches!(&error, Error::Shard { trouble, .. } if trouble.is_at_start());
    fail_with(&error, if at_start { 2 } else { 1 })
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
        busy_poll: args.busy_poll,
        authority: args.authority,
        ..Config::new(listen, sites)
    })
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

/// Far more than any machine has a use for.
const SHARDS_MAX: i64 = 256;
