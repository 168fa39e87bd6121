//! Listening sockets with what a sink needs: the longest backlog there is, and no delay on what is accepted.

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
use std::io;
use std::net::{SocketAddr, TcpListener};

/// Listens on `address`; port 0 takes a free one. Accepted sockets have TCP_NODELAY from birth, because on Linux
/// they take it over from the listening one; so with the receive buffer, which must be small before the connection is
/// there for its window to be.
///
/// # Errors
/// Above all that the port is in use, or not ours to take.
pub fn listen_on(address: SocketAddr, window_bytes: Option<usize>) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    if let Some(bytes) = window_bytes {
        sockopt::set_socket_recv_buffer_size(&socket, bytes)?;
    }
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

/// The kernel's own bound of every backlog, net.core.somaxconn; `None` if it cannot be read.
pub fn backlog_max() -> Option<u32> {
    std::fs::read_to_string("/proc/sys/net/core/somaxconn").ok()?.trim().parse().ok()
}

/// The kernel cuts it to net.core.somaxconn.
const BACKLOG: i32 = 65_535;
/// With a shorter backlog, connections of a large subject wait for a retransmission of their SYN.
pub const ENOUGH_BACKLOG: u32 = 4096;
