//! From a configuration to running processes.

use crate::agent_kind::AgentKind;
use crate::config::{Config, Durability, Spawn, Store};
use crate::reload::reader;
use queue::Policy;
use spool::files::FilesSpool;
use spool::segments::SegmentSpool;
use spool::{Spool, SpoolError};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use supervisor::starter::{Descriptors, QueueEnds, Roles};
use sys::privilege::User;

/// What the queue manager opens but sockets of agents: control connections (64 at most), queue files that are being
/// written or handed over, its channels.
const DESCRIPTORS_BESIDE_AGENTS: u64 = 150;

/// The kernel cuts this to net.core.somaxconn.
const LISTEN_BACKLOG: i32 = 4096;

/// Runs the MTA until it is told to stop.
///
/// An `Err` is a mistake in configuration or set-up, found before anything was started; `Ok` is the exit status
/// of the run. `file` is where the configuration was read, for a reload. `with_parent` ends it with the process that started it. `ready` is told each address once mail is
/// accepted there.
pub fn run(config: Config, file: &Path, with_parent: bool, ready: fn(SocketAddr)) -> Result<i32, String> {
    let file = std::path::absolute(file).map_err(|error| format!("{}: {error}", file.display()))?;
    raise_descriptor_limit();
    check_descriptors(config.pool.agents_max)?;
    // queue files and the control socket are nobody else's business
    rustix::process::umask(rustix::fs::Mode::from_bits_truncate(0o077));
    let log = config.log.as_deref().map(open_log).transpose()?;
    let (listeners, addresses) = listen_all(&config.listen)?;
    let user = user_to_become(config.user.as_deref())?;
    prepare_spool_folder(&config.spool, user.as_ref())?;
    let control = control_socket(&config.control, user.as_ref())?;
    if let Some(user) = &user {
        sys::privilege::become_user(user).map_err(|error| format!("becoming user {}: {error}", user.name))?;
    }
    if with_parent {
        die_with_parent()?;
    }
    // opened to find mistakes before anything is started; the queue manager, whose it is, opens it anew
    open_spool(&config).map(drop).map_err(|error| error.to_string())?;

    // mistakes above are told to whoever started this; from here on everything goes to the log
    if let Some(log) = log {
        rustix::stdio::dup2_stderr(&log).map_err(|error| format!("log: {error}"))?;
    }
    // so that what comes from many agents is taken in together; without it the MTA is only a little slower
    let _ = sys::schedule::as_batch();
    delivery::rehearse(Instant::now());
    // as above: this clock is found at its first use
    sys::clock::monotonic_ns();
    if config.spawn != Spawn::Exec
        && let Err(error) = sys::code::into_large_page(agent::blocking::run as *const ())
    {
        eprintln!(
            "mailrig mta: no large page for the agents' code, which makes them a little slower: {error}"
        );
    }
    let roles = roles(&config, file);
    let descriptors = Descriptors { listeners, control };
    let tell = Box::new(move || addresses.iter().for_each(|address| ready(*address)));
    let ended = supervisor::starter::run(descriptors, roles, config.stop_bound, tell);
    // best effort: a path that stays behind is recognised as stale at the next start
    let _ = std::fs::remove_file(&config.control);
    ended.map_err(|error| format!("starter: {error}"))
}

/// The store that the configuration names, locked for this process.
pub(crate) fn open_spool(config: &Config) -> Result<Arc<dyn Spool>, SpoolError> {
    let durability = match config.durability {
        Durability::Full => spool::Durability::Full,
        Durability::None => spool::Durability::None,
    };
    Ok(match config.store {
        Store::Segments => Arc::new(SegmentSpool::open(&config.spool, durability)?),
        Store::Files => Arc::new(FilesSpool::open(&config.spool, durability)?),
    })
}

/// What each process will do, with all that it needs to know.
fn roles(
    config: &Config,
    file: PathBuf,
) -> Roles<
    impl FnOnce(QueueEnds) -> i32 + use<>,
    impl FnOnce(Vec<OwnedFd>, UnixStream) -> i32 + use<>,
    AgentKind,
> {
    let hostname: Arc<str> = config.hostname.as_str().into();
    let agents = AgentKind::new(config);
    let reception = server::Settings {
        hostname: hostname.clone(),
        max_message_bytes: config.max_message_bytes,
        max_sessions: config.max_sessions,
    };
    let opened = config.clone();
    let queue = queue::Settings {
        hostname,
        routes: queue::Routes::new(config.transport.clone(), config.relayhost.clone()),
        policy: policy(config),
        paused: config.paused,
        within: config.within.then(|| agents.within()),
        reread: reader(file, config.clone()),
    };
    Roles {
        queue: move |ends: QueueEnds| match open_spool(&opened) {
            Ok(spool) => {
                let channels = queue::Channels {
                    starter: ends.starter,
                    reception: ends.reception,
                    control: ends.control,
                };
                queue::run(queue, spool, channels)
            }
            Err(error) => {
                eprintln!("mailrig queue: {error}");
                1
            }
        },
        reception: move |listeners: Vec<OwnedFd>, queue: UnixStream| server::run(listeners, queue, reception),
        agents,
    }
}

/// What a reload may change.
pub(crate) fn policy(config: &Config) -> Policy {
    let limited = config.concurrency_limits.iter().map(|(next_hop, concurrency)| scheduler::Rule {
        next_hops: vec![next_hop.as_str().to_owned()],
        concurrency: Some(*concurrency),
        ..scheduler::Rule::default()
    });
    Policy {
        scheduler: config.scheduler.clone(),
        rules: limited.chain(config.rules.iter().cloned()).collect(),
        pool: config.pool.clone(),
        watchdog: config.watchdog,
        memory_limit: config.memory_max_bytes.is_some(),
        stop_bound: config.stop_bound,
        space_min_bytes: config.space_min_bytes,
    }
}

/// An event agent holds a descriptor for each connection, the queue manager one for each agent.
fn raise_descriptor_limit() {
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = limit.maximum;
    // with less room, fewer connections at a time: nothing is lost
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, limit);
}

/// A queue manager that can't take in an agent's socket could only end, so the mistake is told before.
pub(crate) fn check_descriptors(agents_max: usize) -> Result<(), String> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    match limit {
        Some(limit) if limit < agents_max as u64 + DESCRIPTORS_BESIDE_AGENTS => {
            let room = limit.saturating_sub(DESCRIPTORS_BESIDE_AGENTS);
            Err(format!(
                "`agents_max` is {agents_max}, and with {limit} descriptors there is room for {room} agents: \
                 lower it, or raise the limit (ulimit -Hn)"
            ))
        }
        _ => Ok(()),
    }
}

fn open_log(path: &Path) -> Result<std::fs::File, String> {
    let opened = std::fs::OpenOptions::new().create(true).append(true).open(path);
    opened.map_err(|error| format!("log {}: {error}", path.display()))
}

fn listen_all(addresses: &[SocketAddr]) -> Result<(Vec<OwnedFd>, Vec<SocketAddr>), String> {
    let mut listeners = Vec::new();
    let mut bound = Vec::new();
    for address in addresses {
        let (listener, at) = listen(*address).map_err(|error| {
            let in_use = error.kind() == io::ErrorKind::AddrInUse;
            let hint =
                if in_use { "; another server has this port: choose another or stop that one" } else { "" };
            format!("listen on {address}: {error}{hint}")
        })?;
        listeners.push(listener);
        bound.push(at);
    }
    Ok((listeners, bound))
}

fn listen(address: SocketAddr) -> io::Result<(OwnedFd, SocketAddr)> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, LISTEN_BACKLOG)?;
    let at = SocketAddr::try_from(rustix::net::getsockname(&socket)?)?;
    Ok((socket, at))
}

/// `None`: the MTA stays who it is.
fn user_to_become(name: Option<&str>) -> Result<Option<User>, String> {
    match name {
        Some(name) if sys::privilege::is_root() => {
            let user = sys::privilege::find_user(name).map_err(|error| format!("user: {error}"))?;
            Ok(Some(user))
        }
        None if sys::privilege::is_root() => {
            eprintln!("mailrig mta: running as root; name an unprivileged account with `user = \"...\"`");
            Ok(None)
        }
        _ => Ok(None),
    }
}

/// Makes the spool's folder where there is none, owned by whom the queue manager will be.
fn prepare_spool_folder(path: &Path, user: Option<&User>) -> Result<(), String> {
    let failed = |error: io::Error| format!("spool {}: {error}", path.display());
    if path.exists() {
        return Ok(());
    }
    std::fs::create_dir_all(path).map_err(failed)?;
    match user {
        Some(user) => std::os::unix::fs::chown(path, Some(user.uid), Some(user.gid)).map_err(failed),
        None => Ok(()),
    }
}

/// Binds the control socket. One that a dead MTA left behind is replaced; a living one's is not.
fn control_socket(path: &Path, user: Option<&User>) -> Result<OwnedFd, String> {
    let failed = |error: io::Error| format!("control socket {}: {error}", path.display());
    if let Ok(found) = std::fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            return Err(format!("control socket {}: something else is there; remove it", path.display()));
        }
        if UnixStream::connect(path).is_ok() {
            return Err(format!(
                "control socket {}: another MTA answers there; stop it first",
                path.display()
            ));
        }
        std::fs::remove_file(path).map_err(failed)?;
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    if let Some(user) = user {
        std::os::unix::fs::chown(path, Some(user.uid), Some(user.gid)).map_err(failed)?;
    }
    Ok(listener.into())
}

fn die_with_parent() -> Result<(), String> {
    let parent = rustix::process::getppid();
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
        .map_err(|error| format!("asking to end with the parent: {error}"))?;
    // it may have gone in between
    if rustix::process::getppid() != parent {
        return Err("the process that started this one is gone".to_owned());
    }
    Ok(())
}
