//! The loop of the queue manager.

use crate::agents::Agents;
use crate::control::{Control, Imports};
use crate::endings::End;
use crate::intake::Intake;
use crate::log::Log;
use crate::mail::Mail;
use crate::moderation::Moderation;
use crate::policy::{Policy, Reader};
use crate::poller::{Poller, Token};
use crate::reader::SpoolReader;
use crate::routes::Routes;
use crate::space::Space;
use crate::starter::{SILENT_AFTER, Starter};
use crate::stream::Stream;
use crate::within::DriverWithin;
use crate::writer::Writer;
use delivery::EpochMs;
use scheduler::{EntryId, Scheduler};
use spool::Spool;
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use supervisor::link::{AgentNumber, FromStarter, ToStarter};

/// An orderly stop looks at least so often whether it is done.
const STOP_TICK: Duration = Duration::from_millis(50);

/// What the queue manager is told when it starts.
pub struct Settings {
    pub hostname: Arc<str>,
    pub routes: Routes,
    pub policy: Policy,
    pub paused: bool,
    /// What delivers inside this process; `None`: agents of the starter.
    pub within: Option<DriverWithin>,
    /// For a reload.
    pub reread: Reader,
}

/// Its sockets.
pub struct Channels {
    pub starter: UnixStream,
    pub reception: UnixStream,
    pub control: OwnedFd,
}

pub(crate) struct Manager {
    pub(crate) settings: Settings,
    pub(crate) poller: Poller,
    pub(crate) spool: Arc<dyn Spool>,
    pub(crate) writer: Writer,
    pub(crate) reader: SpoolReader,
    pub(crate) mail: Mail,
    pub(crate) agents: Agents,
    pub(crate) log: Log,
    pub(crate) paused: bool,
    pub(crate) stopping: Option<Instant>,
    /// When this turn of the loop began.
    turn: Instant,
    /// Reports that came in during this turn.
    pub(crate) reports: usize,
    /// All that is due is handed out, so what comes due next is waited for; not where agents or their slots are missing.
    pub(crate) waits_for_due: bool,
    /// This turn was long enough: the next one goes on at once.
    pub(crate) has_more: bool,
    /// Chosen by the scheduler; their agents are being started.
    pub(crate) waiting: VecDeque<EntryId>,
    pub(crate) delivered: u64,
    pub(crate) bounced: u64,
    /// Of the disk, since the start.
    pub(crate) alarms: u64,
    /// Being written.
    pub(crate) bounces: usize,
    pub(crate) space: Space,
    pub(crate) starter: Starter,
    pub(crate) intake: Option<Intake>,
    pub(crate) control: Control,
    /// Clients that wait for agents, and since when.
    pub(crate) ramps: Vec<(u64, Instant)>,
    pub(crate) imports: Imports,
}

/// Now on the wall clock.
pub(crate) fn epoch_now() -> EpochMs {
    EpochMs(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64)
}

/// Recovers the spool and runs until told to stop. Returns the exit status.
pub fn run(settings: Settings, spool: Arc<dyn Spool>, channels: Channels) -> i32 {
    match Manager::new(settings, spool, channels).and_then(Manager::serve) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("mailrig queue: {error}");
            1
        }
    }
}

impl Manager {
    fn new(settings: Settings, spool: Arc<dyn Spool>, channels: Channels) -> io::Result<Manager> {
        let poller = Poller::new()?;
        let writer = Writer::new(spool.clone())?;
        let policy = settings.policy.clone();
        let mut scheduler = Scheduler::new(policy.scheduler);
        policy.rules.into_iter().for_each(|rule| scheduler.add_rule(rule));
        poller.watch(writer.wake(), Token::Writer)?;
        let mut manager = Manager {
            starter: Starter::new(channels.starter, &poller)?,
            intake: Some(Intake::new(Stream::new(channels.reception, Token::Reception, &poller)?)),
            control: Control::new(channels.control, &poller)?,
            mail: Mail::new(scheduler, settings.routes.clone()),
            agents: Agents::new(policy.pool, policy.watchdog, policy.memory_limit),
            log: Log::default(),
            paused: settings.paused,
            stopping: None,
            turn: Instant::now(),
            reports: 0,
            waits_for_due: false,
            has_more: false,
            waiting: VecDeque::new(),
            delivered: 0,
            bounced: 0,
            alarms: 0,
            bounces: 0,
            space: Space::new(),
            ramps: Vec::new(),
            imports: Imports::default(),
            settings,
            poller,
            reader: SpoolReader::new(spool.clone(), writer.results()),
            spool,
            writer,
        };
        manager.keep_free(policy.space_min_bytes);
        manager.recover()?;
        manager.tell_starter(&ToStarter::Ready);
        Ok(manager)
    }

    fn recover(&mut self) -> io::Result<()> {
        let spool = self.spool.clone();
        // what waits takes no memory here but its entry, so all of it passes through
        let recovery =
            spool.recover(&mut |id, stored| self.mail.admit(id, stored)).map_err(io::Error::other)?;
        // what a start needs for the time of it lies between what stays
        sys::memory::trim_heap();
        for one in &recovery.quarantined {
            let moved_to = one.moved_to.display();
            self.log.event(&format!("a corrupt queue file was moved to {moved_to}: {}", one.damage));
        }
        if recovery.messages > 0 || recovery.half_written > 0 {
            let (messages, half_written) = (recovery.messages, recovery.half_written);
            self.log.event(&format!(
                "spool: {messages} messages found, {half_written} half-written ones removed"
            ));
        }
        Ok(())
    }

    fn serve(mut self) -> io::Result<()> {
        let mut ready = Vec::new();
        let mut moderation = Moderation::new(Instant::now());
        loop {
            self.turn = Instant::now();
            self.dispatch();
            self.start_agents();
            self.answer_ramps();
            for client in self.control.take_gone() {
                self.importer_gone(client);
            }
            self.log.flush();
            if self.stopped() {
                self.agents.drop_all();
                if let Some(driver) = &mut self.settings.within {
                    driver.finish();
                }
                self.reader.finish();
                self.writer.finish();
                return Ok(());
            }
            let reports = std::mem::take(&mut self.reports);
            let pause = moderation.pause(reports, self.agents.in_flight(), self.turn);
            let may_pause = !self.has_more && ready.iter().all(|token| matches!(token, Token::Agent(_)));
            if let Some(pause) = pause.filter(|_| may_pause) {
                std::thread::sleep(pause);
            }
            let patience = self.patience();
            self.poller.wait(patience, &mut ready)?;
            for token in &ready {
                self.handle(*token)?;
            }
            self.pass_time();
            self.answer_without_starter()?;
            self.look_for_space();
        }
    }

    fn handle(&mut self, token: Token) -> io::Result<()> {
        match token {
            Token::Starter => self.read_starter(),
            Token::Reception => self.read_reception(),
            Token::Writer => self.take_done(),
            Token::ControlListener => {
                self.control.accept(&self.poller);
                Ok(())
            }
            Token::Control(client) => {
                for command in self.control.read(client) {
                    self.obey(client, command);
                }
                Ok(())
            }
            Token::Agent(number) => {
                self.read_agent(AgentNumber(number));
                Ok(())
            }
        }
    }

    /// How long nothing can happen by time alone.
    fn patience(&mut self) -> Option<Duration> {
        if self.has_more {
            return Some(Duration::ZERO);
        }
        let now = Instant::now();
        // what came due since this turn began was not seen by it
        let start_at = self.agents.pool.start_at().filter(|at| *at > self.turn);
        let deadlines = [
            self.agents.pool.idle_deadline(),
            start_at,
            self.writer.deadline(),
            self.agents.deadline(),
            self.starter.deadline(),
            self.space.next_look(now),
        ];
        let stalled = self.ramps.iter().filter_map(|(_, began)| self.starter.stall_deadline(*began));
        let first = deadlines.into_iter().flatten().chain(stalled).min();
        let mut wake = first.map(|deadline| deadline.saturating_duration_since(now));
        let mut by = |duration: Duration| wake = Some(wake.map_or(duration, |wake| wake.min(duration)));
        if self.waits_for_due
            && let Some(due) = self.mail.scheduler.next_due()
        {
            by(due.since(epoch_now()).max(Duration::from_millis(1)));
        }
        if self.stopping.is_some() {
            by(STOP_TICK);
        }
        wake
    }

    fn stopped(&self) -> bool {
        let Some(began) = self.stopping else { return false };
        let received = self.intake.as_ref().map_or(0, Intake::count);
        (self.agents.in_flight() == 0 && received == 0 && self.bounces == 0)
            || began.elapsed() > self.settings.policy.stop_bound
    }

    pub(crate) fn tell_starter(&mut self, message: &ToStarter) {
        if let Err(error) = self.starter.tell(message, &self.poller) {
            self.log.event(&format!("starter: {error}"));
        }
    }

    fn read_starter(&mut self) -> io::Result<()> {
        let open = self.starter.fill(&self.poller)?;
        while let Some(message) = self.starter.next()? {
            match message {
                FromStarter::Started { agent, pid } => {
                    if let Some(socket) = self.starter.descriptor() {
                        self.agents.started(agent, Some(pid), socket.into(), &self.poller)?;
                        continue;
                    }
                    // this process may have no further descriptor: the kernel drops it
                    self.agents.endings.not_started();
                    self.lose_agent(agent, "came without its socket: too many open files");
                    self.tell_starter(&ToStarter::Kill(agent));
                }
                FromStarter::NotStarted { agent, errno } => {
                    let error = io::Error::from_raw_os_error(errno);
                    self.agents.endings.not_started();
                    self.lose_agent(agent, &format!("could not be started: {error}"));
                }
                FromStarter::Ended { agent, status, signal } => {
                    self.agent_ended(agent, End { status, signal });
                }
                FromStarter::Usage { question, usage } => {
                    if let Some(client) = self.starter.answered(question, usage) {
                        self.answer_status(client, Some(&usage));
                    }
                }
                // whoever sent the signal reads the log
                FromStarter::Reload => drop(self.reload()),
                FromStarter::Stop => {
                    self.stopping.get_or_insert_with(Instant::now);
                }
            }
        }
        if open {
            Ok(())
        } else {
            Err(io::Error::other("the starter is gone: stopping; the spool has all mail"))
        }
    }

    /// Answers those who wait for a starter that does not answer.
    fn answer_without_starter(&mut self) -> io::Result<()> {
        let late = |manager: &Manager| {
            let now = Instant::now();
            manager.starter.deadline().is_some_and(|deadline| deadline <= now)
        };
        if late(self) {
            // its answer may lie on its socket while everything else was more urgent
            self.read_starter()?;
        }
        if late(self) {
            let bound_s = SILENT_AFTER.as_secs();
            self.log.event(&format!("the starter has not answered for {bound_s} s"));
            for client in self.starter.unanswered() {
                self.answer_status(client, None);
            }
        }
        Ok(())
    }

    fn read_reception(&mut self) -> io::Result<()> {
        let Some(intake) = &mut self.intake else { return Ok(()) };
        let mut jobs = Vec::new();
        let open = intake
            .flush(&self.poller)
            .and_then(|()| intake.read(&*self.spool, self.space.room(), &self.poller, &mut jobs));
        jobs.into_iter().for_each(|job| self.writer.submit(job));
        if !matches!(open, Ok(true)) {
            if let Err(error) = open {
                self.log.event(&format!("reception: {error}"));
            }
            // what it had committed still comes back from the writer; it is queued, and nobody waits for the answer
            self.intake = None;
        }
        Ok(())
    }
}
