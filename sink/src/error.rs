//! What can keep a sink from running, or its account from being written.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// Says what failed and where; [`Error::hint`] says what to do.
#[derive(Debug)]
pub enum Error {
    /// Nowhere to listen was given.
    NoAddress,
    Listen {
        address: SocketAddr,
        source: io::Error,
    },
    /// The ledger or the trace cannot be written.
    File {
        path: PathBuf,
        source: io::Error,
    },
    /// A site's certificate or key is not usable.
    Tls {
        site: String,
        reason: String,
    },
    /// No site takes connections at an address that is listened on.
    NoSite {
        address: SocketAddr,
    },
    /// More connections were asked for than this process may have files for.
    TooManyConnections {
        wanted: usize,
        possible: usize,
    },
    /// So few connections were asked for that some shard would have none.
    FewerConnectionsThanShards {
        wanted: usize,
        shards: u32,
    },
    /// A process of the sink failed, by its number.
    Shard {
        number: u32,
        shards: u32,
        trouble: ShardTrouble,
    },
    /// The operating system refused what every sink needs.
    System {
        doing: &'static str,
        source: io::Error,
    },
}

/// What can happen to a shard, as its parent sees it.
#[derive(Debug)]
pub enum ShardTrouble {
    NotStarted(io::Error),
    /// It ended before it listened.
    NotReady(ExitStatus),
    /// It did not listen within this time.
    ReadyLate(Duration),
    /// It ended while it was to serve.
    Died(ExitStatus),
    /// It was told to end and did so badly.
    Failed(ExitStatus),
    /// It was told to end, did not within this time, and was killed.
    EndLate(Duration),
    /// Its account cannot be read.
    Account(io::Error),
}

impl ShardTrouble {
    /// Nobody has been served yet.
    pub fn is_at_start(&self) -> bool {
        match self {
            ShardTrouble::NotStarted(_) | ShardTrouble::NotReady(_) | ShardTrouble::ReadyLate(_) => true,
            ShardTrouble::Died(_)
            | ShardTrouble::Failed(_)
            | ShardTrouble::EndLate(_)
            | ShardTrouble::Account(_) => false,
        }
    }
}

impl Error {
    /// What to do about it, if that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Listen { address, source } => match source.kind() {
                io::ErrorKind::AddrInUse => Some(format!(
                    "give another port, or end the program that listens there: ss -ltnp 'sport = :{}'",
                    address.port()
                )),
                io::ErrorKind::PermissionDenied => {
                    Some("ports below 1024 need root; give a higher one".to_owned())
                }
                io::ErrorKind::AddrNotAvailable => {
                    Some("give an address of this machine, such as 127.0.0.1".to_owned())
                }
                _ => None,
            },
            Error::TooManyConnections { .. } => {
                Some("raise the limit of open files (ulimit -n), or give more --shards".to_owned())
            }
            Error::FewerConnectionsThanShards { .. } => Some("give fewer --shards".to_owned()),
            Error::Shard { trouble, .. } if trouble.is_at_start() => None,
            Error::Shard { .. } => Some("ledger and trace may lack what it took in".to_owned()),
            Error::NoAddress => Some("give at least one ADDR:PORT, or `listen` in a site file".to_owned()),
            Error::NoSite { .. } => {
                Some("give a site without `listen`, or with this address in it".to_owned())
            }
            Error::Tls { .. } | Error::File { .. } | Error::System { .. } => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NoAddress => write!(f, "no address to listen on"),
            Error::Listen { address, source } => write!(f, "cannot listen on {address}: {source}"),
            Error::Tls { site, reason } => write!(f, "TLS of site {site}: {reason}"),
            Error::NoSite { address } => write!(f, "no site takes connections at {address}"),
            Error::File { path, source } => write!(f, "cannot write {}: {source}", path.display()),
            Error::TooManyConnections { wanted, possible } => {
                write!(
                    f,
                    "cannot hold {wanted} connections: the limit of open files leaves room for {possible}"
                )
            }
            Error::FewerConnectionsThanShards { wanted, shards } => {
                write!(f, "cannot divide {wanted} connections among {shards} shards")
            }
            Error::Shard { number, shards, trouble } => write!(f, "shard {number} of {shards} {trouble}"),
            Error::System { doing, source } => write!(f, "cannot {doing}: {source}"),
        }
    }
}

impl fmt::Display for ShardTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ShardTrouble::NotStarted(source) => write!(f, "cannot be started: {source}"),
            ShardTrouble::NotReady(status) => write!(f, "ended before it was ready: {status}"),
            ShardTrouble::ReadyLate(bound) => write!(f, "was not ready within {bound:?}"),
            ShardTrouble::Died(status) => write!(f, "ended in the run: {status}"),
            ShardTrouble::Failed(status) => write!(f, "failed at its end: {status}"),
            ShardTrouble::EndLate(bound) => write!(f, "did not end within {bound:?} and was killed"),
            ShardTrouble::Account(source) => write!(f, "left an account that cannot be read: {source}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Listen { source, .. } | Error::File { source, .. } | Error::System { source, .. } => {
                Some(source)
            }
            Error::Shard {
                trouble: ShardTrouble::NotStarted(source) | ShardTrouble::Account(source),
                ..
            } => Some(source),
            Error::Shard { .. }
            | Error::FewerConnectionsThanShards { .. }
            | Error::NoAddress
            | Error::Tls { .. }
            | Error::NoSite { .. }
            | Error::TooManyConnections { .. } => None,
        }
    }
}
