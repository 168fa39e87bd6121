//! Opening connections: from which address, and how not to run out of ports.
//!
//! Each closed connection keeps its port for a minute on one side or the other, and there are some 28 000 ports for each
//! pair of addresses. A run that opens many connections within 127.0.0.0/8 therefore takes turns through many source
//! addresses of that network, all of which are this host.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use tokio::net::{TcpSocket, TcpStream};

/// Where connections of one run come from.
pub struct Sources {
    target: SocketAddr,
    addresses: Cell<u8>,
    next: Cell<u8>,
}

impl Sources {
    /// Sources for a run that is expected to open `connections` to `target`.
    pub fn new(target: SocketAddr, connections: u64) -> Sources {
        let wanted = if target.is_ipv4() { connections.div_ceil(CONNECTIONS_PER_ADDRESS) } else { 1 };
        let addresses = u8::try_from(wanted).unwrap_or(ADDRESSES_MAX).clamp(1, ADDRESSES_MAX);
        Sources { target, addresses: Cell::new(addresses), next: Cell::new(0) }
    }

    /// Where all connections go.
    pub fn target(&self) -> SocketAddr {
        self.target
    }

    /// Connects, without delaying small writes.
    pub async fn connect(&self) -> io::Result<TcpStream> {
        loop {
            match self.connect_once().await {
                // The ports of this address are used up: take turns through more addresses from now on.
                Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable && self.widen() => {}
                result => return result,
            }
        }
    }

    async fn connect_once(&self) -> io::Result<TcpStream> {
        let socket = if self.target.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A dialogue is many small writes, each of which the other side waits for.
        socket.set_nodelay(true)?;
        if self.addresses.get() > 1 {
            let number = self.next.get() % self.addresses.get();
            self.next.set(number + 1);
            // Without it a port in TIME_WAIT could not be bound, although connecting from it is safe.
            socket.set_reuseaddr(true)?;
            socket.bind((IpAddr::V4(Ipv4Addr::new(127, 0, 0, number + 1)), 0).into())?;
        }
        socket.connect(self.target).await
    }

    fn widen(&self) -> bool {
        let addresses = self.addresses.get();
        self.addresses.set(addresses.saturating_mul(2).min(ADDRESSES_MAX));
        self.target.is_ipv4() && addresses < ADDRESSES_MAX
    }
}

/// Connections of a run that share one source address: few enough that a free port is found at once.
const CONNECTIONS_PER_ADDRESS: u64 = 8_000;
/// 127.0.0.1 to 127.0.0.250.
const ADDRESSES_MAX: u8 = 250;
