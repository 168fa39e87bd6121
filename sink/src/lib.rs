//! The remote site: a server that takes mail as a site of a given behaviour would, and keeps account of it.
//!
//! One thread, one event loop, one small task a connection. What a site says and when is the crate `behaviour`'s;
//! what SMTP allows is the crate `smtp`'s; here are the sockets around them, the waiting, and the books. It must not
//! know what sends the mail: it serves any MTA.
//!
//! | module | for |
//! |---|---|
//! | [`sink`](crate::Sink) | configuration in, account out |
//! | `accept`, `listener`, `limits` | who gets in |
//! | `connection` | one socket: reading, waiting, writing |
//! | `conversation` | one connection without its socket: joins session, site and books |
//! | `timer` | the waits of all connections |
//! | `header`, `message_id` | which message it is |
//! | `delivery`, `ledger`, `trace`, `records` | the books, and the files they end in |
//! | `watch` | samples and live lines |

mod accept;
mod clock;
mod connection;
mod conversation;
mod delivery;
mod error;
mod header;
mod ledger;
mod limits;
mod listener;
mod message_id;
mod records;
mod shared;
mod sink;
mod timer;
mod trace;
mod watch;

pub use error::Error;
pub use ledger::{IdCounts, Live, Totals};
pub use listener::{ENOUGH_BACKLOG, backlog_max};
pub use sink::{Config, SILENCE, Sink, until_signal};
