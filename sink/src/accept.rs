//! Takes connections from a listening socket, as many as may be open, and tells the others why not.

use crate::clock;
use crate::connection::Connection;
use crate::shared::Shared;
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use smtp::Reply;
use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpListener;

/// Takes connections for ever. `number` is the last connection's, common to all listeners.
pub async fn accept(
    listener: TcpListener,
    connections_max: usize,
    number: Rc<Cell<u64>>,
    shared: Rc<Shared>,
) {
    let mut refusal = Vec::new();
    // RFC 5321 §3.8, RFC 3463 §3.4; the greeting carries no enhanced status, but here no EHLO will follow
    Reply::new(421, Some((4, 3, 2)), "Too many connections, try again later").write(&mut refusal);
    let mut failing = false;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                failing = false;
                let open = shared.books.borrow().ledger.connections_open();
                if open >= connections_max as u64 {
                    // Whether the words arrive or not, the connection closes.
                    let _ = send(&stream, &refusal, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
                    shared.books.borrow_mut().ledger.connection_refused();
                    continue;
                }
                number.set(number.get() + 1);
                let connection = Connection::new(Rc::clone(&shared), stream, number.get(), clock::now_ns());
                tokio::task::spawn_local(connection.serve());
            }
            // The client gave up while it waited in the backlog.
            Err(error) if is_clients_fault(&error) => {}
            Err(error) => {
                shared.books.borrow_mut().ledger.accept_failed();
                if !failing {
                    eprintln!("mailrig: cannot accept connections: {error}; trying again every {RETRY:?}");
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
