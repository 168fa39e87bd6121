//! What can keep a sink from running, or its account from being written.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

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
    /// The operating system refused what every sink needs.
    System {
        doing: &'static str,
        source: io::Error,
    },
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
            Error::TooManyConnections { .. } => Some("raise the limit of open files: ulimit -n".to_owned()),
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
            Error::System { doing, source } => write!(f, "cannot {doing}: {source}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Listen { source, .. } | Error::File { source, .. } | Error::System { source, .. } => {
                Some(source)
            }
            Error::NoAddress
            | Error::Tls { .. }
            | Error::NoSite { .. }
            | Error::TooManyConnections { .. } => None,
        }
    }
}
