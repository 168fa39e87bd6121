//! The threads driver: as many threads as connections, each blocking in one of them, and one that reads requests and
//! hands them out.
//!
//! What a thread does with a request is what a blocking agent does. A thread is started when a request finds none
//! free, so an agent has as many as it ever had deliveries at a time. They share the process and with it its fate:
//! a thread that panics ends the agent.

use crate::deliver::{Open, deliver};
use crate::requests::{Next, Requests, send};
use crate::seats::{FreeSeats, Seat, Turn};
use crate::socket::MOMENT;
use delivery::{AgentFrame, AgentOptions, NextHop, Received};
use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

/// Address space of one thread's stack: four times the 32 KiB that a delivery touches, name resolution included. The rest
/// costs no memory.
const STACK_BYTES: usize = 128 * 1024;

/// What the threads share.
struct Desk {
    options: AgentOptions,
    socket: UnixStream,
    /// Held while one report is written: their bytes must not mix.
    writing: Mutex<()>,
    free: Mutex<FreeSeats>,
    freed: Condvar,
    panicked: AtomicBool,
}

/// The reading thread's side of another.
struct Worker {
    requests: SyncSender<Box<Received>>,
    thread: JoinHandle<()>,
}

/// Runs until the queue manager closes `socket`. Returns the exit status.
pub fn run(socket: UnixStream, options: &AgentOptions) -> i32 {
    let desk = Arc::new(Desk {
        options: options.clone(),
        socket,
        writing: Mutex::default(),
        free: Mutex::default(),
        freed: Condvar::new(),
        panicked: AtomicBool::new(false),
    });
    let mut workers = Vec::new();
    let served = serve(&desk, &mut workers);
    match served {
        Ok(()) if desk.panicked.load(Ordering::Relaxed) => 101,
        Ok(()) => {
            leave(&desk, workers);
            0
        }
        Err(error) => {
            eprintln!("mailrig agent: giving up: {error}");
            1
        }
    }
}

fn serve(desk: &Arc<Desk>, workers: &mut Vec<Worker>) -> io::Result<()> {
    let mut requests = Requests::new(&desk.socket)?;
    send(&desk.socket, &AgentFrame::Ready)?;
    loop {
        match requests.next(None)? {
            Next::Closed => return Ok(()),
            Next::Quiet => {}
            Next::Request(received) => {
                let seat = seat_for(desk, workers, &received.request.next_hop)?;
                // a thread that is gone has panicked, and the socket says so next
                let _ = workers[seat].requests.send(received);
            }
        }
    }
}

/// A free thread, or a new one. With every connection in use nothing more is read until one is free, so that what
/// comes too fast waits in the socket.
fn seat_for(desk: &Arc<Desk>, workers: &mut Vec<Worker>, next_hop: &NextHop) -> io::Result<Seat> {
    let mut free = desk.free();
    loop {
        if let Some(seat) = free.take(next_hop) {
            return Ok(seat);
        }
        if workers.len() < desk.options.connections {
            match start(desk, workers.len()) {
                Ok(worker) => {
                    workers.push(worker);
                    return Ok(workers.len() - 1);
                }
                Err(error) if workers.is_empty() && desk.options.memory_max_bytes.is_some() => {
                    // its stack is what the limit has no room for: to be counted as any other lack of memory
                    eprintln!("mailrig agent: starting a thread: {error}");
                    std::process::abort();
                }
                Err(error) if workers.is_empty() => return Err(error),
                // with fewer threads than wished, fewer deliveries at a time
                Err(_) => {}
            }
        }
        if let Some(seat) = free.take_oldest() {
            return Ok(seat);
        }
        free = desk.freed.wait(free).unwrap_or_else(PoisonError::into_inner);
    }
}

fn start(desk: &Arc<Desk>, seat: Seat) -> io::Result<Worker> {
    let (sender, receiver) = sync_channel(1);
    let desk = desk.clone();
    let thread = Builder::new().stack_size(STACK_BYTES).spawn(move || {
        let _guard = EndOnPanic(&desk);
        work(&desk, seat, &receiver);
    })?;
    Ok(Worker { requests: sender, thread })
}

fn work(desk: &Desk, seat: Seat, requests: &Receiver<Box<Received>>) {
    let (mut open, mut turn): (Option<Open>, Turn) = (None, 0);
    loop {
        let next = match (requests.recv_timeout(MOMENT), &open) {
            (Err(RecvTimeoutError::Timeout), open) => {
                sys::memory::trim_heap();
                sys::memory::trim_stack();
                match open {
                    Some(_) => requests.recv_timeout(desk.options.session_idle.saturating_sub(MOMENT)),
                    None => requests.recv().map_err(RecvTimeoutError::from),
                }
            }
            (came, _) => came,
        };
        match next {
            Ok(mut received) => {
                let report;
                (report, open) = deliver(&mut received, open, &desk.options);
                drop(received);
                // free before the report: the next request may come at once
                turn = desk.free().put(seat, open.as_ref().map(|open| open.next_hop.clone()));
                desk.freed.notify_one();
                desk.report(&AgentFrame::Report(report));
            }
            Err(RecvTimeoutError::Timeout) => {
                if let Some(open) = open.take_if(|_| desk.free().disconnect(turn)) {
                    open.close();
                }
            }
            Err(RecvTimeoutError::Disconnected) => {
                if let Some(open) = open {
                    open.close();
                }
                return;
            }
        }
    }
}

/// Threads with nothing in flight end their connections in order. What is in flight ends with the process: nobody
/// would take its report.
fn leave(desk: &Desk, workers: Vec<Worker>) {
    let idle: Vec<Seat> = desk.free().iter().collect();
    let mut threads: Vec<Option<JoinHandle<()>>> =
        workers.into_iter().map(|worker| Some(worker.thread)).collect();
    for seat in idle {
        if let Some(thread) = threads[seat].take() {
            let _ = thread.join();
        }
    }
}

impl Desk {
    fn free(&self) -> MutexGuard<'_, FreeSeats> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, frame: &AgentFrame) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        // a queue manager that is gone is seen by the thread that reads
        let _ = send(&self.socket, frame);
    }
}

/// What a thread had in flight would never be reported, so the queue manager must learn that it is lost.
struct EndOnPanic<'a>(&'a Desk);

impl Drop for EndOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.panicked.store(true, Ordering::Relaxed);
            let _ = self.0.socket.shutdown(Shutdown::Both);
        }
    }
}
