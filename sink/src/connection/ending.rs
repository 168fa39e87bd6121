//! How a connection ends: in an orderly way, or as a broken or hostile site ends it.

use super::Connection;
use crate::wire::Wire;
use behaviour::Then;
use behaviour::delay::LONGEST_DELAY;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt;
use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::ReadBuf;
use tokio::time::{Instant, sleep, timeout};

impl Connection {
    /// Ends the connection. What was to be said has been written.
    pub(super) async fn end(&mut self, then: Then) {
        match then {
            Then::GoOn | Then::Close => self.let_read(LINGER, LINGER_BYTES).await,
            Then::Reset => self.reset(),
            Then::HalfClose => self.let_read(LONGEST_DELAY, usize::MAX).await,
            Then::Silence => self.read_on(LONGEST_DELAY, usize::MAX).await,
            Then::Stall => self.wait_unread().await,
        }
    }

    /// Closes our half and leaves a client that may still be writing the time to read our last reply: to close with
    /// bytes unread would reset the connection and take the reply back.
    async fn let_read(&mut self, patience: Duration, bytes: usize) {
        let notify = self.tls.as_ref().is_none_or(|tls| tls.close_notify);
        if let Ok(Ok(())) = timeout(LINGER, self.wire.finish(notify)).await {
            self.read_on(patience, bytes).await;
        }
    }

    /// Reads and forgets until the client closes.
    async fn read_on(&mut self, patience: Duration, mut left_bytes: usize) {
        let shared = std::rc::Rc::clone(&self.shared);
        let end = poll_fn(|context| {
            loop {
                let mut buffers = shared.buffers.borrow_mut();
                let mut read = ReadBuf::new(&mut buffers.input);
                let end = ready!(self.wire.poll_read(context, &mut read));
                let bytes = read.filled().len();
                left_bytes = left_bytes.saturating_sub(bytes);
                if end.is_err() || bytes == 0 || left_bytes == 0 {
                    return Poll::Ready(());
                }
            }
        });
        // Either way the connection is closed next.
        let _ = timeout(patience, end).await;
    }

    /// RST, with whatever the client has not read yet.
    fn reset(&mut self) {
        if let Some(socket) = self.wire.socket() {
            // RFC 9293 §3.10.4: to close with a linger time of 0 is to abort
            let _ = sockopt::set_socket_linger(socket, Some(Duration::ZERO));
        }
        self.wire = Wire::Gone;
    }

    /// Reads nothing until the client has given up, which is looked for now and then: with bytes unread, the end of
    /// the stream does not show.
    async fn wait_unread(&mut self) {
        self.probe_client();
        let end = Instant::now() + LONGEST_DELAY;
        while Instant::now() < end && !self.is_given_up() {
            sleep(LOOK_EVERY).await;
        }
    }

    /// The end of a client that still has something to say stays behind it, and there is no room for either: the kernel
    /// asks now and then whether the client is there.
    fn probe_client(&self) {
        if let Some(socket) = self.wire.socket() {
            // Without it the connection is held for longer, and no more.
            let _ = sockopt::set_socket_keepalive(socket, true)
                .and_then(|()| sockopt::set_tcp_keepidle(socket, PROBE_EVERY))
                .and_then(|()| sockopt::set_tcp_keepintvl(socket, PROBE_EVERY));
        }
    }

    fn is_given_up(&self) -> bool {
        let Some(socket) = self.wire.socket() else { return true };
        let mut polled = [PollFd::from_borrowed_fd(socket, PollFlags::RDHUP)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let ends = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        poll(&mut polled, Some(&now)).is_err() || polled[0].revents().intersects(ends)
    }

    /// Ready once the client has said anything (true) or closed (false).
    pub(super) fn poll_talked(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        let mut first = [0; 1];
        match &self.wire {
            Wire::Plain(stream) => stream
                .poll_peek(context, &mut ReadBuf::new(&mut first))
                .map(|peeked| peeked.is_ok_and(|bytes| bytes > 0)),
            // Through TLS only what was said before the handshake would be early, and that is refused.
            Wire::Tls(_) | Wire::Gone => Poll::Pending,
        }
    }
}

/// How long a client may take to read a last reply that it did not ask for, and how much more it may send.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 1 << 20;
/// Between two questions whether a stalled client's kernel still knows of the connection.
const PROBE_EVERY: Duration = Duration::from_secs(30);
/// Between two looks whether a stalled client is still there.
const LOOK_EVERY: Duration = Duration::from_millis(200);
