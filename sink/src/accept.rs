//! Takes connections from a listening socket, as many as may be open, and tells the others why not.

use crate::clock;
use crate::connection::Connection;
use crate::shared::Shared;
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use smtp::Reply;
use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpListener;

/// Gives each connection its number.
pub struct Numbers {
    last: Cell<u64>,
    /// Shards that number in turn: each takes every so manieth number.
    step: u64,
}

impl Numbers {
    /// The numbers of shard `shard` of `shards`, both from 0: they never meet those of another one.
    pub fn of_shard(shard: u32, shards: u32) -> Numbers {
        let step = u64::from(shards.max(1));
        Numbers { last: Cell::new((u64::from(shard) + 1).wrapping_sub(step)), step }
    }

    fn next(&self) -> u64 {
        self.last.set(self.last.get().wrapping_add(self.step));
        self.last.get()
    }
}

/// Takes connections to `listening`, for ever.
pub async fn accept(
    listener: TcpListener,
    listening: SocketAddr,
    connections_max: usize,
    numbers: Rc<Numbers>,
    shared: Rc<Shared>,
) {
    let mut refusal = Vec::new();
    // RFC 5321 §3.8, RFC 3463 §3.4; the greeting carries no enhanced status, but here no EHLO will follow
    Reply::new(421, Some((4, 3, 2)), "Too many connections, try again later").write(&mut refusal);
    let mut failing = false;
    loop {
        match listener.accept().await {
            Ok((stream, client)) => {
                shared.polling.stir();
                failing = false;
                let open = shared.books.borrow().ledger.connections_open();
                if open >= connections_max as u64 {
                    // Whether the words arrive or not, the connection closes.
                    let _ = send(&stream, &refusal, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
                    shared.books.borrow_mut().ledger.connection_refused();
                    tracing::debug!(%client, open, "refused: too many connections");
                    continue;
                }
                let local = match listening.ip().is_unspecified() {
                    true => stream.local_addr().unwrap_or(listening),
                    false => listening,
                };
                let now_ns = clock::now_ns();
                let number = numbers.next();
                let Some(welcome) = shared.welcome(number, local, client.ip(), now_ns) else { continue };
                tracing::debug!(connection = number, %client, %local, "connected");
                let connection = Connection::new(Rc::clone(&shared), stream, welcome, now_ns);
                tokio::task::spawn_local(connection.serve());
            }
            // The client gave up while it waited in the backlog.
            Err(error) if is_clients_fault(&error) => {}
            Err(error) => {
                shared.books.borrow_mut().ledger.accept_failed();
                if !failing {
                    eprintln!("mailrig: cannot accept connections: {error}; trying again every {RETRY:?}");
                    tracing::warn!(%error, "cannot accept connections");
                    failing = true;
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// accept(2): errors of the connection that was to be accepted, not of this process.
fn is_clients_fault(error: &io::Error) -> bool {
    use Errno as E;
    let of_connection = [E::CONNABORTED, E::PROTO, E::INTR, E::PERM, E::NETDOWN, E::HOSTDOWN, E::NETUNREACH];
    Errno::from_io_error(error).is_some_and(|errno| of_connection.contains(&errno))
}

/// Between two attempts when descriptors or memory have run out.
const RETRY: Duration = Duration::from_millis(100);
