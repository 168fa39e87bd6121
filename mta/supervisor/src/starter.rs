//! The starter: forks queue manager, reception and agents, reaps them, and ends the rest in order when one of
//! the first two goes.
//!
//! It is the parent of every process of the MTA, so it stays small: one thread, no runtime, few descriptors
//! (a fork copies its tables), nothing parsed that comes from outside.

use crate::link::{AgentNumber, FromStarter, ToStarter, Usage};
use delivery::wire::{self, split_frame};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, Signal};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use sys::process::{End, Fork};

/// An orderly stop that takes longer than this ends with SIGKILL for what is left.
pub const STOP_BOUND: Duration = Duration::from_secs(15);

/// What the processes do once they are forked; each gets its ends of the sockets and returns its exit status.
pub struct Roles<Q, R, A> {
    pub queue: Q,
    pub reception: R,
    pub agent: A,
}

/// The ends of the sockets that a queue manager has.
pub struct QueueEnds {
    pub starter: UnixStream,
    pub reception: UnixStream,
    pub control: OwnedFd,
}

/// What the starter was set up with before its first fork.
pub struct Descriptors {
    /// Listening for SMTP.
    pub listeners: Vec<OwnedFd>,
    /// Listening for control connections.
    pub control: OwnedFd,
}

struct Child {
    pid: Pid,
    /// `None` while it lives.
    ended: Option<End>,
    cpu_ns: u64,
}

struct Starter<A> {
    link: UnixStream,
    received: Vec<u8>,
    queue: Child,
    reception: Child,
    agents: HashMap<Pid, AgentNumber>,
    ended_agents_cpu_ns: u64,
    agent_main: A,
    signals: OwnedFd,
    stopping: Option<Instant>,
    ready: Box<dyn FnMut()>,
}

/// Runs the MTA until it is told to stop (SIGTERM, SIGINT) or one of its two lasting processes ends.
///
/// `ready` is called once, when mail is accepted. Returns the exit status: 0 after an orderly stop.
pub fn run<Q, R, A>(
    descriptors: Descriptors,
    roles: Roles<Q, R, A>,
    ready: Box<dyn FnMut()>,
) -> io::Result<i32>
where
    Q: FnOnce(QueueEnds) -> i32,
    R: FnOnce(Vec<OwnedFd>, UnixStream) -> i32,
    A: Fn(UnixStream) -> i32,
{
    let signals =
        sys::signal::signal_descriptor(&[sys::signal::SIGTERM, sys::signal::SIGINT, sys::signal::SIGCHLD])?;
    // a session of its own, so that the kernel groups its processor time apart from whoever started it
    let _ = rustix::process::setsid();
    let (link, queue_link) = UnixStream::pair()?;
    let (queue_intake, reception_intake) = UnixStream::pair()?;

    let queue_keeps = [queue_link.as_fd(), queue_intake.as_fd(), descriptors.control.as_fd()];
    if let Some(pid) = fork_child(&queue_keeps, true)? {
        let queue = Child { pid, ended: None, cpu_ns: 0 };
        drop((queue_link, queue_intake, descriptors.control));
        let mut keeps: Vec<BorrowedFd<'_>> = descriptors.listeners.iter().map(AsFd::as_fd).collect();
        keeps.push(reception_intake.as_fd());
        let Some(pid) = fork_child(&keeps, true)? else {
            let status = (roles.reception)(descriptors.listeners, reception_intake);
            sys::process::exit_now(status);
        };
        let reception = Child { pid, ended: None, cpu_ns: 0 };
        drop((descriptors.listeners, reception_intake));
        let starter = Starter {
            link,
            received: Vec::new(),
            queue,
            reception,
            agents: HashMap::new(),
            ended_agents_cpu_ns: 0,
            agent_main: roles.agent,
            signals,
            stopping: None,
            ready,
        };
        return starter.serve();
    }
    let ends = QueueEnds { starter: queue_link, reception: queue_intake, control: descriptors.control };
    sys::process::exit_now((roles.queue)(ends))
}

/// Forks; the child keeps only `keeps` and standard streams. `None` in the child.
fn fork_child(keeps: &[BorrowedFd<'_>], own_session: bool) -> io::Result<Option<Pid>> {
    match sys::process::fork_single_threaded()? {
        Fork::Parent(pid) => Ok(Some(pid)),
        Fork::Child => {
            sys::signal::restore_defaults();
            if own_session {
                let _ = rustix::process::setsid();
            }
            sys::descriptor::close_all_but(keeps);
            Ok(None)
        }
    }
}

impl<A: Fn(UnixStream) -> i32> Starter<A> {
    fn serve(mut self) -> io::Result<i32> {
        loop {
            let link_open = self.queue.ended.is_none();
            let mut watched = vec![PollFd::new(&self.signals, PollFlags::IN)];
            if link_open {
                watched.push(PollFd::new(&self.link, PollFlags::IN));
            }
            let wait = Timespec { tv_sec: 1, tv_nsec: 0 };
            match rustix::event::poll(&mut watched, self.stopping.is_some().then_some(&wait)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let link_ready = link_open && !watched[1].revents().is_empty();
            while let Some(signal) = sys::signal::next_signal(&self.signals)? {
                if signal != sys::signal::SIGCHLD {
                    self.stop("told to by a signal");
                }
            }
            self.reap()?;
            if link_ready && self.queue.ended.is_none() {
                self.read_link();
            }
            if let Some(status) = self.finished() {
                return Ok(status);
            }
        }
    }

    /// Begins the orderly stop: reception first, which still gets its answers; then the queue manager, whose
    /// going ends the agents.
    fn stop(&mut self, why: &str) {
        if self.stopping.is_some() {
            return;
        }
        self.stopping = Some(Instant::now());
        eprintln!("mailrig mta: stopping: {why}");
        if self.reception.ended.is_none() {
            let _ = rustix::process::kill_process(self.reception.pid, Signal::TERM);
        } else {
            self.send(&FromStarter::Stop, None);
        }
    }

    /// The exit status, once everything has ended.
    fn finished(&mut self) -> Option<i32> {
        let began = self.stopping?;
        if self.queue.ended.is_some() && self.reception.ended.is_some() && self.agents.is_empty() {
            let clean =
                [&self.queue, &self.reception].iter().all(|child| child.ended == Some(End::Status(0)));
            return Some(i32::from(!clean));
        }
        if began.elapsed() > STOP_BOUND {
            eprintln!("mailrig mta: not stopped after {} s: killing what is left", STOP_BOUND.as_secs());
            let lasting = [&self.queue, &self.reception].into_iter().filter(|child| child.ended.is_none());
            for pid in lasting.map(|child| child.pid).chain(self.agents.keys().copied()) {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
        None
    }

    fn reap(&mut self) -> io::Result<()> {
        while let Some(exit) = sys::process::reap()? {
            if let Some(agent) = self.agents.remove(&exit.pid) {
                self.ended_agents_cpu_ns += exit.cpu_ns;
                let (status, signal) = match exit.end {
                    End::Status(status) => (status, 0),
                    End::Signal(signal) => (0, signal),
                };
                self.send(&FromStarter::Ended { agent, status, signal }, None);
                continue;
            }
            let stopping = self.stopping.is_some();
            for (child, name) in [(&mut self.queue, "queue manager"), (&mut self.reception, "reception")] {
                if child.pid == exit.pid {
                    child.ended = Some(exit.end);
                    child.cpu_ns = exit.cpu_ns;
                    if !stopping {
                        eprintln!(
                            "mailrig mta: {name} (pid {}) ended: {:?}",
                            exit.pid.as_raw_nonzero(),
                            exit.end
                        );
                    }
                }
            }
            if self.reception.pid == exit.pid && stopping {
                self.send(&FromStarter::Stop, None);
            }
            if self.queue.ended.is_some() || self.reception.ended.is_some() {
                self.stop("a lasting process has ended");
            }
        }
        Ok(())
    }

    fn read_link(&mut self) {
        let mut buffer = [0u8; 4096];
        let count = match io::Read::read(&mut (&self.link), &mut buffer) {
            Ok(0) => return self.stop("the queue manager closed its socket"),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return,
            Err(error) => return self.stop(&format!("reading from the queue manager: {error}")),
        };
        self.received.extend_from_slice(&buffer[..count]);
        let mut taken = 0;
        loop {
            let message = match split_frame(&self.received[taken..]) {
                Ok(None) => break,
                Ok(Some((kind, payload, length))) => {
                    taken += length;
                    ToStarter::decode(kind, payload)
                }
                Err(error) => Err(error),
            };
            match message {
                Ok(message) => self.handle(message),
                Err(error) => return self.confused(error),
            }
        }
        self.received.drain(..taken);
    }

    fn confused(&mut self, error: wire::WireError) {
        self.stop(&format!("the queue manager sent nonsense: {error}"));
    }

    fn handle(&mut self, message: ToStarter) {
        match message {
            ToStarter::Ready => (self.ready)(),
            ToStarter::Start(agent) => {
                if let Err(error) = self.start_agent(agent) {
                    let errno = error.raw_os_error().unwrap_or(0);
                    self.send(&FromStarter::NotStarted { agent, errno }, None);
                }
            }
            ToStarter::Usage { question } => {
                let usage = self.usage();
                self.send(&FromStarter::Usage { question, usage }, None);
            }
        }
    }

    fn start_agent(&mut self, agent: AgentNumber) -> io::Result<()> {
        let (queue_end, agent_end) = UnixStream::pair()?;
        match fork_child(&[agent_end.as_fd()], false)? {
            None => sys::process::exit_now((self.agent_main)(agent_end)),
            Some(pid) => {
                self.agents.insert(pid, agent);
                let pid = pid.as_raw_nonzero().get().cast_unsigned();
                self.send(&FromStarter::Started { agent, pid }, Some(queue_end.as_fd()));
                Ok(())
            }
        }
    }

    fn usage(&self) -> Usage {
        let living = |pid| sys::clock::process_cpu_ns(pid).unwrap_or(0);
        let of = |child: &Child| if child.ended.is_some() { child.cpu_ns } else { living(child.pid) };
        let me = rustix::process::getpid();
        let raw = |pid: Pid| pid.as_raw_nonzero().get().cast_unsigned();
        Usage {
            starter_ns: living(me),
            queue_ns: of(&self.queue),
            reception_ns: of(&self.reception),
            agents_ns: self.ended_agents_cpu_ns + self.agents.keys().map(|pid| living(*pid)).sum::<u64>(),
            starter_pid: raw(me),
            reception_pid: raw(self.reception.pid),
        }
    }

    /// Sends one frame. A queue manager that is gone is noticed by its exit, so a failure here needs no answer.
    fn send(&mut self, message: &FromStarter, descriptor: Option<BorrowedFd<'_>>) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        let (mut sent, mut descriptor) = (0, descriptor);
        while sent < bytes.len() {
            match sys::descriptor::send(self.link.as_fd(), &bytes[sent..], descriptor.take()) {
                Ok(count) => sent += count,
                Err(_) => return,
            }
        }
    }
}
