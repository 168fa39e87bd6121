//! The bytes of a connection, in the clear or through TLS. It must not know SMTP.

use rustix::net::{SendFlags, send};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// A connection's stream.
pub enum Wire {
    Plain(TcpStream),
    /// Boxed: a connection in the clear does not pay for the largest one.
    Tls(Box<TlsStream<TcpStream>>),
    /// Lost in a handshake.
    Gone,
}

impl Wire {
    /// Reads what there is.
    pub fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Wire::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Wire::Tls(stream) => Pin::new(&mut **stream).poll_read(context, buffer),
            Wire::Gone => Poll::Ready(Ok(())),
        }
    }

    /// Writes at once what can be written without being woken later; 0 where that is never known. The `last` bytes
    /// before the connection is closed leave with its FIN, in one segment.
    pub fn write_now(&self, bytes: &[u8], last: bool) -> io::Result<usize> {
        let more = if last { SendFlags::MORE } else { SendFlags::empty() };
        match self {
            // Not through the runtime, which knows of a new socket's readiness only after another turn of its loop.
            Wire::Plain(stream) => {
                match send(stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL | more) {
                    Ok(written) => Ok(written),
                    Err(error) if would_block(error.kind()) => Ok(0),
                    Err(error) => Err(error.into()),
                }
            }
            Wire::Tls(_) => Ok(0),
            Wire::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Writes a part of `bytes`, at least one, once there is room.
    pub fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Wire::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Wire::Tls(stream) => {
                let mut stream = Pin::new(&mut **stream);
                let written = ready!(stream.as_mut().poll_write(context, bytes))?;
                // What TLS holds back would not be seen by a client that waits for it.
                ready!(stream.poll_flush(context))?;
                Poll::Ready(Ok(written))
            }
            Wire::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// Ends our half in an orderly way, with close_notify before FIN if `notify`.
    pub async fn finish(&mut self, notify: bool) -> io::Result<()> {
        match self {
            Wire::Plain(stream) => rustix::net::shutdown(&*stream, rustix::net::Shutdown::Write)?,
            Wire::Tls(stream) if notify => stream.shutdown().await?,
            Wire::Tls(stream) => rustix::net::shutdown(stream.get_ref().0, rustix::net::Shutdown::Write)?,
            Wire::Gone => {}
        }
        Ok(())
    }

    /// The socket, while there is one.
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Wire::Plain(stream) => Some(stream.as_fd()),
            Wire::Tls(stream) => Some(stream.get_ref().0.as_fd()),
            Wire::Gone => None,
        }
    }
}

pub fn would_block(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
