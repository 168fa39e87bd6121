//! One connection after another: opened, used for messages, closed.
//!
//! What a reply means is the crate `smtp`'s to know; here are the sockets, the waiting, and the patience with a server that
//! turns us away.
//!
//! | module | for |
//! |---|---|
//! | `slot` | one of the run's connections, for as long as the run lasts |
//! | `connection` | one session: its dialogue and its deadline |
//! | `wire`, `stream` | its bytes, and the socket under them |
//! | [`endpoint`], [`source`] | where the server is; addresses and ports to connect from |
//! | [`tls`] | when a session is encrypted, and whom to trust |
//! | `deadline` | one timer for each slot |
//! | `backoff` | waits after refusals, and when to give up |

mod backoff;
mod connection;
mod deadline;
pub mod endpoint;
mod namespace;
mod slot;
pub mod source;
mod stream;
pub mod tls;
mod wire;

pub use slot::slot;

pub use smtp::Protocol;
pub use smtp::client::Credentials;
use smtp::client::{Timeouts, Tls};
use std::time::Duration;

/// How sessions are held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Our name, the argument of EHLO.
    pub hello: String,
    /// SMTP or LMTP.
    pub protocol: Protocol,
    /// Messages after which a connection is closed with QUIT and opened again; none: never.
    pub messages_per_connection: Option<u64>,
    /// Use PIPELINING where it is offered.
    pub pipelining: bool,
    /// Use BDAT where CHUNKING is offered.
    pub chunking: bool,
    pub tls: tls::Options,
    /// With whom to say AUTH.
    pub auth: Option<Credentials>,
    /// Addresses to connect from, in turn; none: the kernel's choice.
    pub sources: Option<source::Addresses>,
    /// How long to wait for a connection and for each reply; none: [`CONNECT_TIMEOUT`], and RFC 5321 §4.5.3.2.
    pub timeout: Option<Duration>,
}

impl Default for Options {
    /// SMTP with PIPELINING and nothing else, connections kept.
    fn default() -> Options {
        Options {
            hello: HELLO.to_owned(),
            protocol: Protocol::Smtp,
            messages_per_connection: None,
            pipelining: true,
            chunking: false,
            tls: tls::Options::default(),
            auth: None,
            sources: None,
            timeout: None,
        }
    }
}

impl Options {
    /// How long a connection may take to be established.
    pub fn connect_timeout(&self) -> Duration {
        self.timeout.unwrap_or(CONNECT_TIMEOUT)
    }

    /// What the client session is told; a password may be said in plaintext to a server on this host only.
    pub fn client(&self, local: bool) -> smtp::client::Options {
        smtp::client::Options {
            hello: self.hello.clone(),
            protocol: self.protocol,
            pipelining: self.pipelining,
            chunking: self.chunking,
            tls: match self.tls.mode {
                tls::Mode::StartTls => Tls::Required,
                tls::Mode::Never | tls::Mode::Implicit => Tls::Never,
            },
            auth: self.auth.clone(),
            auth_without_tls: local,
            timeouts: self.timeout.map_or_else(Timeouts::default, Timeouts::all),
        }
    }
}

/// How long a connection may take to be established; RFC 5321 leaves it open.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// RFC 5321 §4.1.3: a client without a name gives its address.
pub const HELLO: &str = "[127.0.0.1]";
