//! Requests in, a task for each, reports out: the event agent's side of its socket to the queue manager.

use crate::connection::{Received, connect};
use crate::idle::IdleConnections;
use delivery::wire::split_frame;
use delivery::{AgentFrame, AgentOptions, Content, DeliveryReport, DeliveryRequest, NextHop, StageTimes};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use tokio::io::Interest;
use tokio::sync::Notify;
use tokio::task::LocalSet;

const READ_BYTES: usize = 64 * 1024;

/// What all deliveries of the loop share.
struct Loop {
    options: AgentOptions,
    socket: tokio::net::UnixStream,
    idle: RefCell<IdleConnections>,
    /// Reports that are not on the socket yet; the writer takes them all at once.
    reports: RefCell<Vec<u8>>,
    written: Notify,
}

/// Runs until the queue manager closes `socket`. Returns the exit status.
pub fn run(socket: UnixStream, options: &AgentOptions) -> i32 {
    let served = socket
        .set_nonblocking(true)
        .and_then(|()| tokio::runtime::Builder::new_current_thread().enable_all().build())
        .and_then(|runtime| LocalSet::new().block_on(&runtime, serve(socket, options.clone())));
    match served {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("mailrig agent: giving up: {error}");
            1
        }
    }
}

async fn serve(socket: UnixStream, options: AgentOptions) -> io::Result<()> {
    let shared = Rc::new(Loop {
        options,
        socket: tokio::net::UnixStream::from_std(socket)?,
        idle: RefCell::default(),
        reports: RefCell::default(),
        written: Notify::new(),
    });
    shared.report(&AgentFrame::Ready);
    tokio::select! {
        ended = shared.clone().read_requests() => ended,
        ended = shared.write_reports() => ended,
        () = shared.expire_idle() => Ok(()),
    }
}

impl Loop {
    fn report(&self, frame: &AgentFrame) {
        frame.encode(&mut self.reports.borrow_mut());
        self.written.notify_one();
    }

    async fn read_requests(self: Rc<Self>) -> io::Result<()> {
        let mut received = Vec::new();
        let mut descriptors = VecDeque::new();
        loop {
            let filled = received.len();
            received.resize(filled + READ_BYTES, 0);
            let (count, descriptor) = self
                .socket
                .async_io(Interest::READABLE, || {
                    sys::descriptor::receive(self.socket.as_fd(), &mut received[filled..])
                })
                .await?;
            received.truncate(filled + count);
            descriptors.extend(descriptor);
            if count == 0 {
                return Ok(());
            }
            let mut taken = 0;
            while let Some((kind, payload, length)) =
                split_frame(&received[taken..]).map_err(io::Error::other)?
            {
                let request = DeliveryRequest::decode(kind, payload).map_err(io::Error::other)?;
                taken += length;
                let file = file_of(&request, &mut descriptors)?;
                tokio::task::spawn_local(self.clone().deliver(Received { request, file }));
            }
            received.drain(..taken);
            if received.is_empty() {
                received = Vec::new();
            }
        }
    }

    async fn write_reports(&self) -> io::Result<()> {
        loop {
            let bytes = std::mem::take(&mut *self.reports.borrow_mut());
            if bytes.is_empty() {
                self.written.notified().await;
                continue;
            }
            let mut sent = 0;
            while sent < bytes.len() {
                sent += self
                    .socket
                    .async_io(Interest::WRITABLE, || {
                        sys::descriptor::send(self.socket.as_fd(), &bytes[sent..], None)
                    })
                    .await?;
            }
        }
    }

    async fn expire_idle(&self) {
        let mut tick = tokio::time::interval(self.options.session_idle / 2);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.idle.borrow_mut().expire(self.options.session_idle);
        }
    }

    async fn deliver(self: Rc<Self>, mut received: Received) {
        let started_ns = sys::clock::monotonic_ns();
        let next_hop: NextHop = received.request.next_hop.clone();
        let open = self.idle.borrow_mut().take(&next_hop);
        let connected = match open {
            Some(connection) => Ok(connection),
            None => connect(&next_hop, &self.options).await,
        };
        let mut connection = match connected {
            Ok(connection) => connection,
            Err(error) => {
                let times = StageTimes { started_ns, ready_ns: 0, done_ns: sys::clock::monotonic_ns() };
                let report = DeliveryReport::unconnected(&received.request, &error.to_string(), times);
                return self.report(&AgentFrame::Report(report));
            }
        };
        let write_timeout = self.options.session.timeouts.data_block;
        let report = connection.deliver(&mut received, started_ns, write_timeout).await;
        // the connection ends or is free before the report, so that the queue manager never counts one too few
        if connection.reusable(&self.options) {
            self.idle.borrow_mut().put(next_hop, connection);
        } else {
            connection.quit();
        }
        self.report(&AgentFrame::Report(report));
    }
}

fn file_of(request: &DeliveryRequest, descriptors: &mut VecDeque<OwnedFd>) -> io::Result<Option<OwnedFd>> {
    match request.content {
        Content::Inline(_) => Ok(None),
        Content::Descriptor { .. } => match descriptors.pop_front() {
            Some(file) => Ok(Some(file)),
            None => Err(io::Error::other("a request came without its file")),
        },
    }
}
