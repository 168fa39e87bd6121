//! The remote site: a server that takes mail as a site of a given behaviour would, and keeps account of it.
//!
//! One thread, one event loop, one small task a connection; more processes of the same where one is not enough. What a site says and when is the crate `behaviour`'s;
//! what SMTP allows is the crate `smtp`'s; here are the sockets around them, the waiting, and the books. It must not
//! know what sends the mail: it serves any MTA.
//!
//! | module | for |
//! |---|---|
//! | `config`, [`sink`](crate::Sink) | configuration in, account out |
//! | [`shards`](crate::Shards), `shard`, `account` | the same in several processes, whose accounts become one |
//! | `accept`, `listener`, `limits` | who gets in |
//! | `connection`, `wire`, `tls` | one socket: reading, waiting, writing, ending; in the clear or not |
//! | `conversation` | one connection without its socket: joins session, site and books |
//! | `header`, `message_id`, `seen` | which message it is, and whether it came before |
//! | `books`: `ledger`, `outcomes`, `totals`, `delivery`, `trace`, `records` | the accounts, and the files they end in |
//! | `store` | the mail itself, where it is wanted |
//! | `watch`, `live` | ready, samples and live lines |

mod accept;
mod account;
mod books;
mod clock;
mod config;
mod connection;
mod conversation;
mod delivery;
mod error;
mod header;
mod ledger;
mod limits;
mod listener;
mod live;
mod message_id;
mod outcomes;
mod polling;
mod records;
mod sampler;
mod seen;
mod shard;
mod shards;
mod shared;
mod sink;
mod store;
mod tls;
mod totals;
mod trace;
mod watch;
mod wire;

pub use config::{Config, SILENCE};
pub use error::{Error, ShardTrouble};
pub use limits::{connections_possible, files_max};
pub use listener::{ENOUGH_BACKLOG, backlog_max};
pub use live::Live;
pub use outcomes::OutcomeCount;
pub use shard::Shard;
pub use shards::Shards;
pub use sink::{Sink, until_signal};
pub use store::Keep;
pub use totals::{IdCounts, Totals};
pub use watch::{Show, json_lines};
