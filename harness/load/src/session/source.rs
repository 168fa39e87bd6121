//! Opening connections: from which address and port, and how not to run out of them.
//!
//! A closed connection may keep its port for a minute on our side, and there are some 28 000 ports for each pair of
//! addresses. Long before they are used up the kernel begins to search for a free one with every connection. So a run that
//! opens many connections within 127.0.0.0/8 brings its own address and port for each: all addresses of that network are
//! this host, and taking them in turn needs no search.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use tokio::net::{TcpSocket, TcpStream};

/// Where connections of one run come from.
pub struct Sources {
    target: SocketAddr,
    /// The next pair of address and port to connect from; none while the kernel picks them.
    next: Cell<Option<u32>>,
}

impl Sources {
    /// Sources for a run that is expected to open `connections` to `target`.
    pub fn new(target: SocketAddr, connections: u64) -> Sources {
        let picks = target.is_ipv4() && connections > KERNEL_PICKS_MAX;
        Sources { target, next: Cell::new(picks.then(first)) }
    }

    /// Where all connections go.
    pub fn target(&self) -> SocketAddr {
        self.target
    }

    /// Connects, without delaying small writes.
    pub async fn connect(&self) -> io::Result<TcpStream> {
        for _ in 0..ATTEMPTS_MAX {
            match self.connect_once().await {
                Err(error) if is_taken(&error) && self.target.is_ipv4() => {
                    self.next.set(self.next.get().or_else(|| Some(first())));
                }
                result => return result,
            }
        }
        Err(io::ErrorKind::AddrNotAvailable.into())
    }

    async fn connect_once(&self) -> io::Result<TcpStream> {
        let socket = if self.target.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A dialogue is many small writes, each of which the other side waits for.
        socket.set_nodelay(true)?;
        if let Some(number) = self.next.get() {
            self.next.set(Some(number.wrapping_add(1)));
            // Without it a port in TIME_WAIT could not be bound at all.
            socket.set_reuseaddr(true)?;
            socket.bind(source(number))?;
        }
        socket.connect(self.target).await
    }
}

/// Where to begin: runs beside and after each other should not meet.
fn first() -> u32 {
    fastrand::u32(..u32::from(PORTS) * u32::from(ADDRESSES))
}

/// The pair of this number: all ports of an address before the next address, so that a port has few users at a time.
fn source(number: u32) -> SocketAddr {
    let (round, port) = (number / u32::from(PORTS), number % u32::from(PORTS));
    let last = ADDRESS_FIRST + (round % u32::from(ADDRESSES)) as u8;
    (IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)), PORT_FIRST + port as u16).into()
}

fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse)
}

/// 127.0.0.2 to 127.0.0.251: the ports of 127.0.0.1 are for the kernel to give out.
const ADDRESS_FIRST: u8 = 2;
const ADDRESSES: u8 = 250;
/// Where Linux takes ports for connections from, unless told otherwise: no server listens there.
const PORT_FIRST: u16 = 32_768;
const PORTS: u16 = 28_232;
/// Connections of a run for which the kernel may pick the ports: about as many as it finds at once.
const KERNEL_PICKS_MAX: u64 = 10_000;
/// Pairs that are tried for one connection before it counts as failed.
const ATTEMPTS_MAX: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_pair_of_address_and_port_has_its_turn() {
        let all = u32::from(PORTS) * u32::from(ADDRESSES);
        let some: BTreeSet<SocketAddr> = (0..all).step_by(101).map(source).collect();
        assert_eq!(some.len(), (all as usize).div_ceil(101));
        assert!(some.iter().all(|source| source.ip().is_loopback() && source.port() >= PORT_FIRST));
        assert_eq!((source(all - 1), source(all)), ("127.0.0.251:60999".parse().unwrap(), source(0)));
        source(u32::MAX);
    }
}
