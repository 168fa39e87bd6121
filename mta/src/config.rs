//! The configuration file of the MTA: TOML with checked keys, turned into values that can't be wrong.

mod queue;

use delivery::NextHop;
use queue::{RawQueue, RawRule};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How an agent waits for its connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// One connection, blocking system calls.
    Blocking,
    /// Many connections, a thread with blocking system calls for each.
    Threads,
    /// Many connections on one tokio event loop.
    Event,
}

impl Driver {
    pub const ALL: [Driver; 3] = [Driver::Blocking, Driver::Threads, Driver::Event];

    /// Its name in configuration files and as an agent's argument.
    pub fn as_str(self) -> &'static str {
        match self {
            Driver::Blocking => "blocking",
            Driver::Threads => "threads",
            Driver::Event => "event",
        }
    }

    pub fn from_word(word: &str) -> Option<Driver> {
        Driver::ALL.into_iter().find(|driver| driver.as_str() == word)
    }
}

/// How an agent comes into being.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Spawn {
    /// Forked from the starter, which is ready to deliver.
    Zygote,
    /// Forked from the starter, then executed, as master(8) of Postfix does.
    Exec,
    /// As `Zygote`, but all at start-up, and kept.
    Preforked,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// On stable storage before its 250.
    Full,
    /// No sync at all: for measurements of something else.
    None,
}

/// How the queue is kept on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Store {
    /// Many messages in a file, one sync for all that wait.
    Segments,
    /// One file a message, as Postfix keeps it.
    Files,
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    listen: Vec<SocketAddr>,
    spool: PathBuf,
    #[serde(default = "segments")]
    store: Store,
    #[serde(default = "space_min", deserialize_with = "settings::size::deserialize")]
    space_min: u64,
    control: PathBuf,
    relayhost: Option<String>,
    #[serde(default)]
    transport: BTreeMap<String, String>,
    #[serde(default)]
    concurrency_limit: BTreeMap<String, u32>,
    #[serde(default = "full")]
    durability: Durability,
    user: Option<String>,
    #[serde(default)]
    paused: bool,
    hostname: Option<String>,
    log: Option<PathBuf>,
    #[serde(default = "max_message", deserialize_with = "settings::size::deserialize")]
    max_message_size: u64,
    #[serde(default = "max_sessions")]
    max_sessions: usize,
    #[serde(default)]
    delivery: RawDelivery,
    #[serde(default)]
    queue: RawQueue,
    #[serde(default)]
    rule: Vec<RawRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawDelivery {
    driver: Driver,
    agents_max: usize,
    connections_per_agent: Option<usize>,
    spawn: Spawn,
    max_use: Option<u64>,
    #[serde(deserialize_with = "settings::duration::deserialize")]
    max_idle: Duration,
    spawn_rate: u32,
    #[serde(deserialize_with = "settings::duration::deserialize")]
    watchdog: Duration,
    #[serde(deserialize_with = "settings::duration::deserialize")]
    stop_bound: Duration,
    #[serde(deserialize_with = "settings::size::deserialize_option")]
    memory_max: Option<u64>,
    messages_per_connection: u32,
    pipelining: bool,
    #[serde(deserialize_with = "settings::duration::deserialize_option")]
    timeout: Option<Duration>,
}

impl Default for RawDelivery {
    fn default() -> RawDelivery {
        RawDelivery {
            driver: Driver::Blocking,
            agents_max: 100,
            connections_per_agent: None,
            spawn: Spawn::Zygote,
            max_use: None,
            max_idle: Duration::from_secs(100),
            // more than a starter can fork: what bounds it is what waits
            spawn_rate: 10_000,
            // Postfix: daemon_timeout
            watchdog: Duration::from_secs(18_000),
            stop_bound: Duration::from_secs(10),
            memory_max: None,
            messages_per_connection: 1,
            pipelining: true,
            timeout: None,
        }
    }
}

fn full() -> Durability {
    Durability::Full
}

fn segments() -> Store {
    Store::Segments
}

fn space_min() -> u64 {
    // room for what is queued to go on, and for others on this file system
    64 << 20
}

fn max_message() -> u64 {
    // Postfix's message_size_limit
    10_240_000
}

fn max_sessions() -> usize {
    1000
}

/// The checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    pub listen: Vec<SocketAddr>,
    pub spool: PathBuf,
    pub store: Store,
    /// With less space free, no mail is taken in.
    pub space_min_bytes: u64,
    pub control: PathBuf,
    pub relayhost: Option<NextHop>,
    /// Domain to next hop.
    pub transport: Vec<(String, NextHop)>,
    /// Next hops with a destination concurrency of their own.
    pub concurrency_limits: Vec<(NextHop, u32)>,
    pub durability: Durability,
    /// Whom the MTA becomes when it is started as root.
    pub user: Option<String>,
    /// Start with delivery held.
    pub paused: bool,
    pub hostname: String,
    pub log: Option<PathBuf>,
    pub max_message_bytes: u64,
    pub max_sessions: usize,
    pub driver: Driver,
    /// Delivery runs inside the queue manager's process, as the one agent that `pool` then has.
    pub within: bool,
    pub spawn: Spawn,
    pub pool: supervisor::pool::Limits,
    /// An agent that has a delivery longer than this hangs.
    pub watchdog: Duration,
    /// Deliveries in flight at a stop are waited for so long.
    pub stop_bound: Duration,
    /// Private writable memory of one agent.
    pub memory_max_bytes: Option<u64>,
    pub messages_per_connection: u32,
    pub pipelining: bool,
    /// How long a remote site may take for a connection, and for each reply; `None`: as RFC 5321 says, minutes.
    pub timeout: Option<Duration>,
    pub scheduler: scheduler::Limits,
    /// Limits of some next hops in the place of these.
    pub rules: Vec<scheduler::Rule>,
}

/// A process holds so many files at most on many machines; an agent needs one a connection, and one now and
/// then for a large body.
const CONNECTIONS_PER_AGENT_MAX: usize = 9_900;

const AGENTS_MAX: usize = 19_000;

/// A page: what is less can't be meant.
const MEMORY_LEAST_BYTES: u64 = 4096;

impl Config {
    /// Reads and checks a configuration file. The error says what is wrong in which line, and what would be right.
    pub fn read(path: &Path) -> Result<Config, String> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
        Config::parse(&text, &name)
    }

    /// As [`Config::read`], of a text; `name` is what errors call it.
    pub fn parse(text: &str, name: &str) -> Result<Config, String> {
        let raw: RawConfig = settings::parse_toml(text, name).map_err(|error| error.to_string())?;
        check(raw).map_err(|(key, why)| settings::Error::at(name, text, key, why).to_string())
    }
}

fn check(raw: RawConfig) -> Result<Config, (&'static str, String)> {
    let wrong = |key: &'static str, why: &str| Err((key, why.to_owned()));
    if raw.listen.is_empty() {
        return wrong(
            "listen",
            "`listen` is empty: name at least one address, for example [\"127.0.0.1:2525\"]",
        );
    }
    let hop = |key: &'static str, text: String| NextHop::parse(&text).map_err(|why| (key, why));
    let relayhost = raw.relayhost.map(|text| hop("relayhost", text)).transpose()?;
    let transport = raw.transport.into_iter().map(|(domain, text)| Ok((domain, hop("transport", text)?)));
    let transport = transport.collect::<Result<Vec<_>, (&'static str, String)>>()?;
    let mut concurrency_limits = Vec::new();
    for (text, limit) in raw.concurrency_limit {
        let next_hop = hop("concurrency_limit", text)?;
        if Some(&next_hop) != relayhost.as_ref() && !transport.iter().any(|(_, other)| *other == next_hop) {
            let why = format!("`{next_hop}` is limited, and neither relayhost nor a transport leads there");
            return Err(("concurrency_limit", why));
        }
        if limit == 0 {
            return Err((
                "concurrency_limit",
                format!("a limit of 0 for `{next_hop}` delivers nothing: at least 1"),
            ));
        }
        concurrency_limits.push((next_hop, limit));
    }
    let RawDelivery { driver, agents_max, connections_per_agent, .. } = raw.delivery;
    let within = agents_max == 0;
    if within && driver != Driver::Event {
        let why = "`agents_max` is 0: inside the queue manager only the event driver runs; write driver = \"event\", or 1 or more agents";
        return wrong("agents_max", why);
    }
    if within && raw.delivery.memory_max.is_some() {
        let why = "`memory_max` is for agents, and with agents_max = 0 there are none; leave it out";
        return wrong("memory_max", why);
    }
    if agents_max > AGENTS_MAX {
        return Err(("agents_max", format!("`agents_max` is {agents_max}: up to {AGENTS_MAX} can be run")));
    }
    let connections_per_agent = match (driver, connections_per_agent) {
        (Driver::Blocking, None | Some(1)) => 1,
        (Driver::Blocking, Some(_)) => {
            let why = "a blocking agent has one connection: leave `connections_per_agent` out, or use driver = \"threads\" or \"event\"";
            return wrong("connections_per_agent", why);
        }
        (Driver::Threads, None) => 100,
        (Driver::Event, None) => 1000,
        (Driver::Threads | Driver::Event, Some(count))
            if (1..=CONNECTIONS_PER_AGENT_MAX).contains(&count) =>
        {
            count
        }
        (Driver::Threads | Driver::Event, Some(count)) => {
            let why = format!(
                "`connections_per_agent` is {count}: 1 to {CONNECTIONS_PER_AGENT_MAX} fit in a process"
            );
            return Err(("connections_per_agent", why));
        }
    };
    if raw.delivery.timeout.is_some_and(|timeout| timeout.is_zero()) {
        return wrong(
            "timeout",
            "`timeout` is 0: no site could answer in time; write 1s or more, or leave it out",
        );
    }
    if raw.delivery.max_idle.is_zero() {
        return wrong("max_idle", "`max_idle` is 0: no agent would live to be used; write 100s");
    }
    if raw.delivery.memory_max.is_some_and(|bytes| bytes < MEMORY_LEAST_BYTES) {
        return wrong("memory_max", "`memory_max` is too little for any process: write 16MiB or more");
    }
    if raw.delivery.watchdog.is_zero() {
        return wrong("watchdog", "`watchdog` is 0: every agent would be killed at once; write 5h");
    }
    if raw.max_sessions == 0 {
        return wrong("max_sessions", "`max_sessions` is 0: no mail would come in");
    }
    let hostname = raw.hostname.unwrap_or_else(own_name);
    if hostname.is_empty() || !hostname.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b)) {
        return wrong(
            "hostname",
            "`hostname` has letters, digits, dots and hyphens, for example \"mx.example.org\"",
        );
    }
    let agents_max = agents_max.max(1);
    let slots = u32::try_from(agents_max * connections_per_agent).unwrap_or(u32::MAX);
    let scheduler = raw.queue.check(slots, u64::from(std::process::id()))?;
    let rules = raw.rule.into_iter().map(RawRule::check).collect::<Result<Vec<_>, _>>()?;
    // reuse limits are for agents of one connection: with many, a limit would end the busiest for nothing. Postfix's 100
    // leaves creation 3 % of the shortest delivery
    let max_use = raw.delivery.max_use.unwrap_or(if driver == Driver::Blocking { 1000 } else { 0 });
    Ok(Config {
        listen: raw.listen,
        spool: raw.spool,
        store: raw.store,
        space_min_bytes: raw.space_min,
        control: raw.control,
        relayhost,
        transport,
        concurrency_limits,
        durability: raw.durability,
        user: raw.user,
        paused: raw.paused,
        hostname,
        log: raw.log,
        max_message_bytes: raw.max_message_size,
        max_sessions: raw.max_sessions,
        driver,
        within,
        spawn: raw.delivery.spawn,
        watchdog: raw.delivery.watchdog,
        stop_bound: raw.delivery.stop_bound,
        memory_max_bytes: raw.delivery.memory_max,
        pool: supervisor::pool::Limits {
            agents_max,
            connections_per_agent,
            max_use,
            max_idle: raw.delivery.max_idle,
            spawn_rate: raw.delivery.spawn_rate,
            preforked: raw.delivery.spawn == Spawn::Preforked,
        },
        messages_per_connection: raw.delivery.messages_per_connection,
        pipelining: raw.delivery.pipelining,
        timeout: raw.delivery.timeout,
        scheduler,
        rules,
    })
}

fn own_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let usable = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b));
    if usable { name } else { "localhost".to_owned() }
}
