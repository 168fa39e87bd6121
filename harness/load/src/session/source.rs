//! Opening connections: from which address and port, and how not to run out of them.
//!
//! A closed connection may keep its port for a minute on our side, and there are some 28 000 ports for each pair of
//! addresses. Long before they are used up the kernel begins to search for a free one with every connection. So a run that
//! opens many connections within 127.0.0.0/8 brings its own address and port for each: all addresses of that network are
//! this host, and taking them in turn needs no search.

use super::endpoint::Endpoint;
use super::stream::Stream;
use std::cell::Cell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use tokio::net::{TcpSocket, UnixStream};

/// Where connections of one run come from.
pub struct Sources {
    target: Endpoint,
    addresses: Addresses,
    /// The next pair of address and port to connect from; none while the kernel picks them.
    next: Cell<Option<u32>>,
}

/// Addresses of ours in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    first: Ipv4Addr,
    count: u32,
}

impl Sources {
    /// Sources for a run that is expected to open `connections` to `target`, from `addresses` where they were chosen.
    pub fn new(target: Endpoint, addresses: Option<Addresses>, connections: u64) -> Sources {
        let picks = addresses.is_some() || (can_pick(&target) && connections > KERNEL_PICKS_MAX);
        let addresses = addresses.unwrap_or(Addresses::OF_OURS);
        Sources { target, addresses, next: Cell::new(picks.then(|| addresses.any())) }
    }

    /// Where all connections go.
    pub fn target(&self) -> &Endpoint {
        &self.target
    }

    /// Connects, without delaying small writes.
    pub async fn connect(&self) -> io::Result<Stream> {
        let address = match &self.target {
            Endpoint::Unix(path) => return UnixStream::connect(path).await.map(Stream::Unix),
            Endpoint::Tcp(address) => *address,
        };
        for _ in 0..ATTEMPTS_MAX {
            match self.connect_once(address).await {
                Err(error) if is_taken(&error) && can_pick(&self.target) => {
                    self.next.set(self.next.get().or_else(|| Some(self.addresses.any())));
                }
                result => return result,
            }
        }
        Err(io::ErrorKind::AddrNotAvailable.into())
    }

    async fn connect_once(&self, address: SocketAddr) -> io::Result<Stream> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A dialogue is many small writes, each of which the other side waits for.
        socket.set_nodelay(true)?;
        if let Some(number) = self.next.get() {
            self.next.set(Some(number.wrapping_add(1)));
            // Without it a port in TIME_WAIT could not be bound at all.
            socket.set_reuseaddr(true)?;
            socket.bind(self.addresses.source(number))?;
        }
        socket.connect(address).await.map(Stream::Tcp)
    }
}

impl Addresses {
    /// 127.0.0.2 to 127.0.0.251: the ports of 127.0.0.1 are for the kernel to give out.
    const OF_OURS: Addresses = Addresses { first: Ipv4Addr::new(127, 0, 0, 2), count: 250 };

    /// Where to begin: runs beside and after each other should not meet.
    fn any(self) -> u32 {
        fastrand::u32(..u32::from(PORTS) * self.count.min(u32::from(u16::MAX)))
    }

    /// The pair of this number: the addresses in turn, each time with the next port.
    fn source(self, number: u32) -> SocketAddr {
        let (round, place) = (number / self.count, number % self.count);
        let address = Ipv4Addr::from(u32::from(self.first).wrapping_add(place));
        (IpAddr::V4(address), PORT_FIRST + (round % u32::from(PORTS)) as u16).into()
    }
}

impl FromStr for Addresses {
    type Err = String;

    /// Reads `127.0.0.2` or `127.0.0.2-127.0.0.9`.
    fn from_str(text: &str) -> Result<Addresses, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let parse = |text: &str| {
            text.trim().parse::<Ipv4Addr>().map_err(|_| {
                format!("`{text}` is not an IPv4 address; write 127.0.0.2 or 127.0.0.2-127.0.0.9")
            })
        };
        let (first, last) = (parse(first)?, parse(last)?);
        match u32::from(last).checked_sub(u32::from(first)) {
            Some(more) if more < ADDRESSES_MAX => Ok(Addresses { first, count: more + 1 }),
            Some(_) => Err(format!("`{text}` are more than {ADDRESSES_MAX} addresses")),
            None => Err(format!("`{text}` ends before it begins")),
        }
    }
}

/// Whether a connection to there may come from any address of 127.0.0.0/8.
fn can_pick(target: &Endpoint) -> bool {
    matches!(target, Endpoint::Tcp(SocketAddr::V4(address)) if address.ip().is_loopback())
}

fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse)
}

const ADDRESSES_MAX: u32 = 65_536;
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
        let addresses = Addresses::OF_OURS;
        let all = u32::from(PORTS) * addresses.count;
        let some: BTreeSet<SocketAddr> =
            (0..all).step_by(101).map(|number| addresses.source(number)).collect();
        assert_eq!(some.len(), (all as usize).div_ceil(101));
        assert!(some.iter().all(|source| source.ip().is_loopback() && source.port() >= PORT_FIRST));
        let last = addresses.source(all - 1);
        assert_eq!(
            (last, addresses.source(all)),
            ("127.0.0.251:60999".parse().unwrap(), addresses.source(0))
        );
        addresses.source(u32::MAX);
    }

    #[test]
    fn addresses_are_one_or_a_row_and_take_turns() {
        let row: Addresses = "127.0.0.2-127.0.0.4".parse().expect("a row");
        let ips: Vec<String> = (0..4).map(|number| row.source(number).ip().to_string()).collect();
        assert_eq!(ips, ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.2"]);
        let one: Addresses = "127.0.1.9".parse().expect("one");
        assert!(one.source(0).ip() == one.source(1).ip() && one.source(0).port() != one.source(1).port());
        for bad in
            ["", "::1", "127.0.0.9-127.0.0.2", "127.0.0.1-", "1.0.0.0-127.0.0.0", "127.0.0.1-127.0.0.2-3"]
        {
            assert!(bad.parse::<Addresses>().is_err(), "{bad}");
        }
    }
}
