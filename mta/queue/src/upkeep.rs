//! Agents come and go: asked for, welcomed, retired, given up. What they deliver is none of its business.

use crate::endings::End;
use crate::manager::Manager;
use std::time::Instant;
use supervisor::link::{AgentNumber, ToStarter};
use supervisor::pool::{Death, Readiness};

/// Turns of reading that the reports of an agent that has ended may take.
const LAST_READS: usize = 64;

impl Manager {
    /// Asks for the agents that the pool wants: for deliveries that wait, or because it keeps some ready.
    pub(crate) fn start_agents(&mut self) {
        if self.stopping.is_some() {
            return;
        }
        let now = Instant::now();
        while self.agents.pool.wants_agent(self.waiting.len(), now) {
            let number = self.agents.ask(now);
            self.start(number);
        }
    }

    fn start(&mut self, number: AgentNumber) {
        let Some(driver) = &mut self.settings.within else {
            return self.tell_starter(&ToStarter::Start(number));
        };
        let started =
            driver.start().and_then(|socket| self.agents.started(number, None, socket, &self.poller));
        if let Err(error) = started {
            self.agents.endings.not_started();
            self.lose_agent(number, &format!("could not be started: {error}"));
        }
    }

    /// Threads of this process can't be killed; that their socket is closed must do.
    fn kill(&mut self, number: AgentNumber) {
        match self.settings.within {
            None => self.tell_starter(&ToStarter::Kill(number)),
            // nobody will reap it
            Some(_) => drop(self.agents.endings.ended(number, End { status: 0, signal: 0 })),
        }
    }

    /// False when it was ready before.
    pub(crate) fn take_ready(&mut self, number: AgentNumber) -> bool {
        let now = Instant::now();
        self.agents.is_ready(number);
        match self.agents.pool.ready(number, now) {
            Readiness::Welcome => {}
            Readiness::Retire => self.agents.retire(number, now),
            Readiness::Confused => return false,
        }
        true
    }

    /// What time alone brings about: marks reach the spool, idle agents retire, agents that do not answer are given up.
    pub(crate) fn pass_time(&mut self) {
        let now = Instant::now();
        self.writer.pass_time(now);
        while let Some(agent) = self.agents.pool.retire_idle(now) {
            self.agents.retire(agent, now);
        }
        while let Some(agent) = self.agents.overdue(now) {
            self.judge_overdue(agent, now);
        }
        while let Some(agent) = self.agents.endings.overdue(now) {
            self.log.event(&format!("agent {} did not leave: killed", agent.0));
            self.kill(agent);
        }
    }

    /// So much is to be kept free: reception refuses mail for it, and the spool gives up what it keeps for later.
    pub(crate) fn keep_free(&mut self, min_bytes: u64) {
        self.space.keep_free(min_bytes);
        self.spool.keep_free(min_bytes);
    }

    /// Asks for free space now and then, and tells reception when that makes a difference.
    pub(crate) fn look_for_space(&mut self) {
        let now = Instant::now();
        if self.space.next_look(now).is_none_or(|due| due > now) {
            return;
        }
        let had_room = self.space.has_room();
        // what can't be known does not keep mail away: the write itself will tell
        let free_bytes = self.spool.free_bytes().unwrap_or(u64::MAX);
        let tell = self.space.note(free_bytes, now);
        // what the spool keeps for later goes where space is short
        self.writer.tend();
        if had_room != self.space.has_room() {
            let (mib, verb) = (free_bytes >> 20, if had_room { "is refused" } else { "comes in again" });
            self.log.event(&format!("{mib} MiB are free on the spool's file system: mail {verb}"));
            self.alarms += u64::from(had_room);
        }
        if tell && let Some(intake) = &mut self.intake {
            let told = intake.tell_room(self.space.room(), &self.poller);
            if let Err(error) = told {
                self.log.event(&format!("reception: {error}"));
            }
        }
    }

    /// Its socket says that it is gone; the starter will say how it ended.
    pub(crate) fn agent_closed(&mut self, number: AgentNumber, why: &str) {
        self.agents.endings.closed(number, Instant::now());
        if self.settings.within.is_some()
            // nobody else will say how it ended
            && let Some(text) = self.agents.endings.ended(number, End { status: 1, signal: 0 })
        {
            self.log.event(&text);
        }
        self.lose_agent(number, why);
    }

    /// The starter has reaped it. What it had said before counts.
    pub(crate) fn agent_ended(&mut self, number: AgentNumber, end: End) {
        for _ in 0..LAST_READS {
            if self.agents.stream(number).is_none() {
                break;
            }
            self.read_agent(number);
        }
        if let Some(text) = self.agents.endings.ended(number, end) {
            self.log.event(&text);
        }
        self.lose_agent(number, "has ended");
    }

    /// What it says can't be relied on, nor that it will leave when its socket closes.
    pub(crate) fn agent_confused(&mut self, number: AgentNumber, why: &str) {
        self.agents.endings.confused(number);
        self.kill(number);
        self.lose_agent(number, why);
    }

    /// The watchdog: kills an agent that has not answered in time, unless its answer is on its socket.
    pub(crate) fn judge_overdue(&mut self, number: AgentNumber, now: Instant) {
        self.read_agent(number);
        if self.agents.overdue(now) == Some(number) {
            self.agents.endings.hung(number);
            self.kill(number);
            self.lose_agent(number, "did not answer in time: killed");
        }
    }

    /// The agent is gone: what it had goes back, and the pool decides whether the service needs a pause.
    pub(crate) fn lose_agent(&mut self, number: AgentNumber, why: &str) {
        let death = self.agents.pool.died(number, Instant::now());
        let lost = self.agents.drop_agent(number);
        if death == Death::Expected && lost.is_empty() {
            return;
        }
        let mut text = format!("agent {} {why}; {} deliveries put back", number.0, lost.len());
        if let Death::FirstUse { throttled_until } = death {
            let pause_s = throttled_until.saturating_duration_since(Instant::now()).as_secs_f64();
            text.push_str(&format!("; it had finished none, so no new agent for {pause_s:.0} s"));
        }
        self.log.event(&text);
        for delivery in lost {
            self.put_back(&delivery);
        }
    }
}
