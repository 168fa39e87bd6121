//! Listening sockets with what a sink needs: the longest backlog there is, and no delay on what is accepted.

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with, sockopt};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

/// Who else may listen on an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    Alone,
    /// Processes of the same user that say so too: the kernel spreads connections among them (SO_REUSEPORT).
    WithShards,
}

/// Listens on `address`; port 0 takes a free one. Accepted sockets have TCP_NODELAY from birth, because on Linux
/// they take it over from the listening one; so with the receive buffer, which must be small before the connection is
/// there for its window to be.
///
/// # Errors
/// Above all that the port is in use, or not ours to take.
pub fn listen_on(
    address: SocketAddr,
    sharing: Sharing,
    window_bytes: Option<usize>,
) -> io::Result<TcpListener> {
    let socket = bound(address, sharing)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    if let Some(bytes) = window_bytes {
        sockopt::set_socket_recv_buffer_size(&socket, bytes)?;
    }
    listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

/// Keeps `address` for shards, without listening, as long as the socket is open; port 0 takes a free one. Returns the
/// address too.
///
/// # Errors
/// As [`listen_on`].
pub fn reserve(address: SocketAddr) -> io::Result<(SocketAddr, OwnedFd)> {
    if address.port() != 0 {
        // Another sink's shards would share their port with ours.
        drop(listen_on(address, Sharing::Alone, None)?);
    }
    let socket = bound(address, Sharing::WithShards)?;
    let address = getsockname(&socket)?.try_into()?;
    Ok((address, socket))
}

fn bound(address: SocketAddr, sharing: Sharing) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, sharing == Sharing::WithShards)?;
    bind(&socket, &address)?;
    Ok(socket)
}

/// The kernel's own bound of every backlog, net.core.somaxconn; `None` if it cannot be read.
pub fn backlog_max() -> Option<u32> {
    std::fs::read_to_string("/proc/sys/net/core/somaxconn").ok()?.trim().parse().ok()
}

/// The kernel cuts it to net.core.somaxconn.
const BACKLOG: i32 = 65_535;
/// With a shorter backlog, connections of a large subject wait for a retransmission of their SYN.
pub const ENOUGH_BACKLOG: u32 = 4096;
