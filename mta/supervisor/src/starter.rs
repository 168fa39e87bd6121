//! The starter: forks queue manager, reception and agents, reaps them, and ends the rest in order when one of
//! the first two goes.
//!
//! It is the parent of every process of the MTA, so it stays small: one thread, no runtime, few descriptors
//! (a fork copies its tables), nothing parsed that comes from outside.

use crate::link::{AgentNumber, FromStarter, ToStarter, Usage};
use crate::outbox::Outbox;
use crate::roster::Roster;
use delivery::wire::{self, split_frame};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, Signal};
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};
use sys::process::{End, Fork};

/// The queue manager waits for deliveries in flight; reception, its last answers and the disk get this on top.
/// After that an orderly stop ends with SIGKILL for what is left.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// When the queue manager has ended nobody takes reports: agents get this to end their connections.
const AGENTS_GRACE: Duration = Duration::from_secs(1);

/// While it stops the starter looks at least so often at the time.
const STOP_TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Exit status of an agent that panicked, as of any Rust program.
const PANICKED: i32 = 101;

/// What the processes do once they are forked; each gets its ends of the sockets and returns its exit status.
pub struct Roles<Q, R, A> {
    pub queue: Q,
    pub reception: R,
    pub agents: A,
}

/// What the agents are that the starter makes.
pub trait Agents {
    /// Runs in the forked child, and gives its exit status. It may replace itself by another program.
    fn run(&self, socket: UnixStream) -> i32;
    /// The first bytes on each agent's socket, for an agent that shares no memory with the starter.
    fn first_bytes(&self) -> &[u8];
    /// Agents from now on are as the queue manager describes them; after an error as they were.
    fn change(&mut self, description: &[u8]) -> Result<(), wire::WireError>;
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
    /// How and when; `None` while it lives.
    ended: Option<(End, Instant)>,
    cpu_ns: u64,
}

struct Starter<A> {
    /// Non-blocking.
    link: UnixStream,
    received: Vec<u8>,
    outbox: Outbox,
    queue: Child,
    reception: Child,
    roster: Roster,
    /// Processor time of the agents that have ended.
    ended_cpu_ns: u64,
    agents: A,
    signals: OwnedFd,
    stop_bound: Duration,
    stopping: Option<Instant>,
    ready: Box<dyn FnMut()>,
}

/// Runs the MTA until it is told to stop (SIGTERM, SIGINT) or one of its two lasting processes ends.
///
/// SIGHUP is a reload, which is the queue manager's to do. Deliveries in flight at a stop are waited for during `stop_bound`, a little longer
/// than which the stop takes at most. `ready` is called once, when mail is accepted. Returns the exit status: 0
/// after an orderly stop.
pub fn run<Q, R, A>(
    descriptors: Descriptors,
    roles: Roles<Q, R, A>,
    stop_bound: Duration,
    ready: Box<dyn FnMut()>,
) -> io::Result<i32>
where
    Q: FnOnce(QueueEnds) -> i32,
    R: FnOnce(Vec<OwnedFd>, UnixStream) -> i32,
    A: Agents,
{
    use sys::signal::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
    let signals = sys::signal::signal_descriptor(&[SIGTERM, SIGINT, SIGHUP, SIGCHLD])?;
    // a session of its own, so that the kernel groups its processor time apart from whoever started it
    let _ = rustix::process::setsid();
    let (link, queue_link) = UnixStream::pair()?;
    link.set_nonblocking(true)?;
    let (queue_intake, reception_intake) = UnixStream::pair()?;
    let roster = Roster::new()?;

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
            outbox: Outbox::default(),
            queue,
            reception,
            roster,
            ended_cpu_ns: 0,
            agents: roles.agents,
            signals,
            stop_bound,
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

/// Has this child killed when its parent ends: an agent in a long delivery looks at no socket, and one that is
/// stopped at no signal.
fn end_with(parent: Pid) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // it may have gone in between
    if rustix::process::getppid() == Some(parent) { Ok(()) } else { Err(ErrorKind::NotFound.into()) }
}

/// One of our children that is not reaped yet, so the number is still its own.
fn kill(pid: Pid) {
    let _ = rustix::process::kill_process(pid, Signal::KILL);
}

impl<A: Agents> Starter<A> {
    fn serve(mut self) -> io::Result<i32> {
        // what agents allocate then lies together, and not in pages of ours that each would have to copy
        sys::memory::keep_little();
        sys::memory::close_gaps();
        loop {
            let link_open = self.queue.ended.is_none();
            let mut watched = vec![PollFd::new(&self.signals, PollFlags::IN)];
            if link_open {
                // nothing new is taken in before the last answers are out
                let ready = if self.outbox.is_empty() { PollFlags::IN } else { PollFlags::OUT };
                watched.push(PollFd::new(&self.link, ready));
            }
            match rustix::event::poll(&mut watched, self.stopping.is_some().then_some(&STOP_TICK)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let revents = watched.get(1).map_or(PollFlags::empty(), PollFd::revents);
            while let Some(signal) = sys::signal::next_signal(&self.signals)? {
                match signal {
                    sys::signal::SIGCHLD => {}
                    sys::signal::SIGHUP => self.send(&FromStarter::Reload, None),
                    _ => self.stop("told to by a signal"),
                }
            }
            self.reap()?;
            if revents.contains(PollFlags::OUT) {
                let _ = self.outbox.flush(self.link.as_fd());
            }
            let readable = revents.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR);
            // what a queue manager asked for before it died is for nobody
            if self.queue.ended.is_none() {
                if readable && self.outbox.is_empty() {
                    self.read_link();
                }
                self.obey();
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
        let _ = writeln!(io::stderr(), "mailrig mta: stopping: {why}");
        if self.reception.ended.is_none() {
            let _ = rustix::process::kill_process(self.reception.pid, Signal::TERM);
        } else {
            self.send(&FromStarter::Stop, None);
        }
    }

    /// The exit status, once everything has ended.
    fn finished(&mut self) -> Option<i32> {
        let began = self.stopping?;
        let lasting = [&self.queue, &self.reception];
        if self.roster.is_empty() && lasting.iter().all(|child| child.ended.is_some()) {
            let clean = |child: &Child| matches!(child.ended, Some((End::Status(0), _)));
            return Some(i32::from(!lasting.into_iter().all(clean)));
        }
        let unheard = self.queue.ended.is_some_and(|(_, at)| at.elapsed() > AGENTS_GRACE);
        let too_late = began.elapsed() > self.stop_bound + STOP_GRACE;
        if too_late {
            let left = lasting.into_iter().filter(|child| child.ended.is_none());
            left.for_each(|child| kill(child.pid));
        }
        if unheard || too_late {
            self.roster.pids().for_each(kill);
        }
        None
    }

    fn reap(&mut self) -> io::Result<()> {
        while let Some(exit) = sys::process::reap()? {
            if let Some(agent) = self.roster.remove(exit.pid) {
                self.ended_cpu_ns += exit.cpu_ns;
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
                    child.ended = Some((exit.end, Instant::now()));
                    child.cpu_ns = exit.cpu_ns;
                    if !stopping {
                        let _ = writeln!(
                            io::stderr(),
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
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => return,
            Err(error) => return self.stop(&format!("reading from the queue manager: {error}")),
        };
        self.received.extend_from_slice(&buffer[..count]);
    }

    /// Does what was asked for, as long as the queue manager takes the answers: each that waits holds a descriptor, and a
    /// forked agent gets a table for as many as there are here.
    fn obey(&mut self) {
        let mut taken = 0;
        while self.outbox.is_empty() {
            let message = match split_frame(&self.received[taken..]) {
                Ok(None) => break,
                Ok(Some((kind, payload, length))) => {
                    taken += length;
                    ToStarter::decode(kind, payload)
                }
                Err(error) => Err(error),
            };
            match message {
                Ok(message) => {
                    if let Err(error) = self.handle(message) {
                        return self.confused(error);
                    }
                }
                Err(error) => return self.confused(error),
            }
        }
        self.received.drain(..taken);
    }

    fn confused(&mut self, error: wire::WireError) {
        self.stop(&format!("the queue manager sent nonsense: {error}"));
    }

    /// An error is nonsense.
    fn handle(&mut self, message: ToStarter) -> Result<(), wire::WireError> {
        match message {
            ToStarter::Ready => (self.ready)(),
            ToStarter::Start(agent) => {
                if let Err(error) = self.start_agent(agent) {
                    let errno = error.raw_os_error().unwrap_or(0);
                    self.send(&FromStarter::NotStarted { agent, errno }, None);
                }
            }
            ToStarter::Kill(agent) => {
                if let Some(pid) = self.roster.pid_of(agent) {
                    kill(pid);
                }
            }
            ToStarter::Usage { question } => {
                let usage = self.usage();
                self.send(&FromStarter::Usage { question, usage }, None);
            }
            ToStarter::Change { stop_bound, agents } => {
                self.stop_bound = stop_bound;
                self.agents.change(&agents)?;
            }
        }
        Ok(())
    }

    fn start_agent(&mut self, agent: AgentNumber) -> io::Result<()> {
        self.roster.reserve()?;
        let (queue_end, agent_end) = UnixStream::pair()?;
        (&queue_end).write_all(self.agents.first_bytes())?;
        let starter = rustix::process::getpid();
        let Some(pid) = fork_child(&[agent_end.as_fd()], false)? else {
            // a panic must not unwind into what the parent was doing
            let main = AssertUnwindSafe(|| end_with(starter).map_or(1, |()| self.agents.run(agent_end)));
            sys::process::exit_now(catch_unwind(main).unwrap_or(PANICKED));
        };
        self.roster.insert(pid, agent);
        let pid = pid.as_raw_nonzero().get().cast_unsigned();
        self.send(&FromStarter::Started { agent, pid }, Some(queue_end.into()));
        Ok(())
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
            agents_ns: self.ended_cpu_ns + self.roster.pids().map(living).sum::<u64>(),
            starter_pid: raw(me),
            reception_pid: raw(self.reception.pid),
        }
    }

    /// Sends one frame, now or when the queue manager reads again. One that is gone is noticed by its exit, so a
    /// failure here needs no answer.
    fn send(&mut self, message: &FromStarter, descriptor: Option<OwnedFd>) {
        self.outbox.push(message, descriptor);
        let _ = self.outbox.flush(self.link.as_fd());
    }
}
