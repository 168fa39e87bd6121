//! One connection after another: opened, used for messages, closed.
//!
//! What a reply means is the crate `smtp`'s to know; here are the sockets, the waiting, and the patience with a server that
//! turns us away.
//!
//! | module | for |
//! |---|---|
//! | `slot` | one of the run's connections, for as long as the run lasts |
//! | `connection` | one session: its bytes and its deadline |
//! | `source` | addresses and ports to connect from |
//! | `deadline` | one timer for each slot |
//! | `backoff` | waits after refusals, and when to give up |

mod backoff;
mod connection;
mod deadline;
mod slot;
pub mod source;

pub use slot::slot;

use smtp::client::Timeouts;
use std::time::Duration;

/// How sessions are held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Messages after which a connection is closed with QUIT and opened again; none: never.
    pub messages_per_connection: Option<u64>,
    /// Use PIPELINING where it is offered.
    pub pipelining: bool,
    /// How long to wait for a connection and for each reply; none: [`CONNECT_TIMEOUT`], and RFC 5321 §4.5.3.2.
    pub timeout: Option<Duration>,
}

impl Default for Options {
    fn default() -> Options {
        Options { messages_per_connection: None, pipelining: true, timeout: None }
    }
}

impl Options {
    /// How long a connection may take to be established.
    pub fn connect_timeout(&self) -> Duration {
        self.timeout.unwrap_or(CONNECT_TIMEOUT)
    }

    /// What the client session is told.
    pub fn client(&self) -> smtp::client::Options {
        smtp::client::Options {
            pipelining: self.pipelining,
            timeouts: self.timeout.map_or_else(Timeouts::default, timeouts),
            ..smtp::client::Options::new(HELLO)
        }
    }
}

fn timeouts(all: Duration) -> Timeouts {
    Timeouts {
        greeting: all,
        hello: all,
        start_tls: all,
        auth: all,
        mail: all,
        rcpt: all,
        data_init: all,
        data_block: all,
        data_end: all,
        rset: all,
        quit: all,
    }
}

/// How long a connection may take to be established; RFC 5321 leaves it open.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// RFC 5321 §4.1.3: a client without a name gives its address.
const HELLO: &str = "[127.0.0.1]";
