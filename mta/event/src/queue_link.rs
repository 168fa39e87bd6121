//! Requests in, a task for each, reports out: the event agent's side of its socket to the queue manager.

use crate::connection::{Connection, connect};
use crate::idle::IdleConnections;
use crate::outbox::{Frames, Outbox};
use crate::parcel::{Message, Parcel, Shelf};
use delivery::wire::split_frame;
use delivery::{AgentFrame, AgentOptions, ContentAnswer, DeliveryReport, NextHop, Received, StageTimes};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Instant;
use tokio::io::Interest;
use tokio::sync::{Notify, Semaphore};
use tokio::task::LocalSet;

const READ_BYTES: usize = 64 * 1024;

/// Threads that wait for what has no readiness: pages of files, the resolver. Tokio's own limit is 512.
const BLOCKING_THREADS: usize = 16;

/// What all deliveries of the loop share.
struct Loop {
    options: AgentOptions,
    socket: tokio::net::UnixStream,
    /// One for each delivery that may begin; given back when its report is on the socket.
    slots: Semaphore,
    /// Deliveries under way: each has a connection or is about to.
    busy: Cell<usize>,
    idle: RefCell<IdleConnections>,
    outbox: Outbox,
    panicked: Notify,
}

/// Runs until the queue manager closes `socket`. Returns the exit status.
pub fn run(socket: UnixStream, options: &AgentOptions) -> i32 {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_io().enable_time().max_blocking_threads(BLOCKING_THREADS);
    let served = socket
        .set_nonblocking(true)
        .and_then(|()| builder.build())
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
        slots: Semaphore::new(options.connections),
        options,
        socket: tokio::net::UnixStream::from_std(socket)?,
        busy: Cell::new(0),
        idle: RefCell::default(),
        outbox: Outbox::default(),
        panicked: Notify::new(),
    });
    shared.outbox.say(&AgentFrame::Ready);
    let ended = tokio::select! {
        ended = shared.clone().read() => ended,
        ended = shared.write() => ended,
        () = shared.expire_idle() => Ok(()),
        () = shared.panicked.notified() => Err(io::Error::other("a delivery panicked")),
    };
    // what is in flight ends here: nobody would take its report
    while shared.idle.borrow().count() > 0 {
        shared.idle.borrow_mut().close_oldest();
    }
    ended
}

impl Loop {
    /// With every slot taken nothing more is read, so that what comes too fast waits in the socket.
    async fn read(self: Rc<Self>) -> io::Result<()> {
        let mut buffer = vec![0; READ_BYTES];
        let mut filled = 0;
        let (mut descriptors, mut shelf) = (VecDeque::new(), Shelf::default());
        loop {
            if filled == buffer.len() {
                buffer.resize(filled + READ_BYTES, 0);
            }
            let receive = || sys::descriptor::receive(self.socket.as_fd(), &mut buffer[filled..]);
            let (count, descriptor) = self.socket.async_io(Interest::READABLE, receive).await?;
            descriptors.extend(descriptor);
            if count == 0 {
                return Ok(());
            }
            filled += count;
            let mut taken = 0;
            while let Some((kind, payload, length)) =
                split_frame(&buffer[taken..filled]).map_err(io::Error::other)?
            {
                taken += length;
                if let Some(answer) = ContentAnswer::decode(kind, payload).map_err(io::Error::other)? {
                    self.outbox.answer(&answer, &mut shelf);
                    continue;
                }
                let received = Received::decode(kind, payload, &mut descriptors).map_err(io::Error::other)?;
                self.slots.acquire().await.map_err(io::Error::other)?.forget();
                tokio::task::spawn_local(self.clone().deliver(shelf.parcel(received)));
            }
            buffer.copy_within(taken..filled, 0);
            filled -= taken;
            if filled < READ_BYTES {
                buffer.truncate(READ_BYTES);
                buffer.shrink_to(READ_BYTES);
            }
        }
    }

    async fn write(&self) -> io::Result<()> {
        loop {
            let Frames { bytes, reports } = self.outbox.take().await;
            let mut sent = 0;
            while sent < bytes.len() {
                let send = || sys::descriptor::send(self.socket.as_fd(), &bytes[sent..], None);
                sent += self.socket.async_io(Interest::WRITABLE, send).await?;
            }
            self.slots.add_permits(reports);
        }
    }

    async fn expire_idle(&self) {
        let mut tick = tokio::time::interval(self.options.session_idle / 2);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut busiest = self.busy.get();
        loop {
            tick.tick().await;
            self.idle.borrow_mut().expire(self.options.session_idle);
            busiest = busiest.max(self.busy.get());
            if self.busy.get() < busiest.div_ceil(2) {
                // half of what there was is free now
                sys::memory::trim_heap();
                busiest = self.busy.get();
            }
        }
    }

    #[expect(clippy::manual_async_fn, reason = "the arguments of an async function are in its task twice")]
    fn deliver(self: Rc<Self>, mut parcel: Parcel) -> impl Future<Output = ()> {
        async move {
            let _guard = EndOnPanic(&self);
            let started_ns = sys::clock::monotonic_ns();
            self.busy.set(self.busy.get() + 1);
            let report = self.attempt(&mut parcel, started_ns).await;
            self.outbox.say(&AgentFrame::Report(report));
        }
    }

    /// The connection ends or is free before this returns, so that the queue manager, which counts by reports, never
    /// counts one too few.
    async fn attempt(&self, parcel: &mut Parcel, started_ns: u64) -> DeliveryReport {
        // each is a box of its own: in place they would be three times in every task, once for each step that they take
        let mut connection =
            match self.connected(&parcel.received.request.next_hop, &mut parcel.message).await {
                Ok(connection) => connection,
                Err(error) => {
                    self.busy.set(self.busy.get() - 1);
                    let times = StageTimes { started_ns, ready_ns: 0, done_ns: sys::clock::monotonic_ns() };
                    let (request, options) = (&parcel.received.request, &self.options);
                    return DeliveryReport::unconnected(request, options, &error, Instant::now(), times);
                }
            };
        let write_timeout = self.options.session.timeouts.data_block;
        let report = connection.deliver(parcel, started_ns, write_timeout, &self.outbox).await;
        self.busy.set(self.busy.get() - 1);
        if connection.reusable(&self.options) {
            self.idle.borrow_mut().put(parcel.received.request.next_hop.clone(), connection);
        } else {
            connection.quit();
        }
        report
    }

    async fn connected(
        &self,
        next_hop: &NextHop,
        message: &mut Option<Message>,
    ) -> io::Result<Box<Connection>> {
        let open = self.idle.borrow_mut().take(next_hop);
        match open {
            Some(connection) => Ok(connection),
            None => {
                self.make_room();
                Box::pin(connect(next_hop, &self.options, message)).await
            }
        }
    }

    /// Idle connections give way to a new one where there would be more than this process has descriptors for.
    fn make_room(&self) {
        let mut idle = self.idle.borrow_mut();
        while idle.count() > 0 && self.busy.get() + idle.count() > self.options.connections {
            idle.close_oldest();
        }
    }
}

/// What a task had in flight would never be reported, so the queue manager must learn that it is lost.
struct EndOnPanic<'a>(&'a Loop);

impl Drop for EndOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.panicked.notify_one();
        }
    }
}
