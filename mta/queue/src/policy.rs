//! What an operator may change while mail flows, and how it is changed: a reload.
//!
//! The configuration is read by whoever made the queue manager; here is only what follows from it. A configuration that
//! can't be taken as a whole changes nothing.

use crate::manager::{Manager, epoch_now};
use crate::within::DriverWithin;
use std::time::{Duration, Instant};
use supervisor::link::ToStarter;

/// Everything else needs a restart.
#[derive(Clone, Debug)]
pub struct Policy {
    /// All but whose rules they are.
    pub scheduler: scheduler::Limits,
    pub rules: Vec<scheduler::Rule>,
    pub pool: supervisor::pool::Limits,
    /// An agent that has a delivery longer than this hangs.
    pub watchdog: Duration,
    /// Agents have a limit of memory, and one that is aborted has reached it.
    pub memory_limit: bool,
    /// Deliveries in flight at a stop are waited for so long.
    pub stop_bound: Duration,
    /// With less space free, no mail is taken in.
    pub space_min_bytes: u64,
}

/// What a configuration that was read again says.
pub struct Reread {
    pub policy: Policy,
    pub agents: NewAgents,
}

/// What the agents are that come from now on.
pub enum NewAgents {
    /// For the starter, which knows how to read it.
    Described(Vec<u8>),
    /// Where there are none: the driver inside the queue manager's process.
    Within(DriverWithin),
}

/// Reads the configuration again. The error is for the operator: what is wrong where, and what to do.
pub type Reader = Box<dyn FnMut() -> Result<Reread, String> + Send>;

impl Manager {
    /// Takes on the configuration as it is now and replaces the agents: those with nothing in flight at once, the others
    /// when they have finished. With an error nothing is changed.
    pub(crate) fn reload(&mut self) -> Result<(), String> {
        match (self.settings.reread)() {
            Ok(Reread { policy, agents }) => {
                self.take_on(policy, agents);
                Ok(())
            }
            Err(error) => {
                // one line, as the log has it
                let words = error.split_whitespace().collect::<Vec<_>>().join(" ");
                self.log.event(&format!("reload: refused, nothing is changed: {words}"));
                Err(error)
            }
        }
    }

    fn take_on(&mut self, policy: Policy, agents: NewAgents) {
        let (now, counts) = (Instant::now(), self.agents.pool.counts());
        let Policy { scheduler, rules, pool, watchdog, memory_limit, stop_bound, space_min_bytes } =
            policy.clone();
        self.settings.policy = policy;
        self.mail.scheduler.change(epoch_now(), scheduler, rules);
        self.agents.watch(watchdog, memory_limit);
        self.keep_free(space_min_bytes);
        match agents {
            // before any agent is asked for that is to be like this
            NewAgents::Described(agents) => self.tell_starter(&ToStarter::Change { stop_bound, agents }),
            NewAgents::Within(driver) => {
                if let Some(within) = &mut self.settings.within {
                    within.become_like(driver);
                }
            }
        }
        for agent in self.agents.pool.change(pool) {
            self.agents.retire(agent, now);
        }
        let (idle, busy) = (counts.idle, counts.busy);
        self.log
            .event(&format!("reload: {idle} idle agents leave, {busy} busy ones when they have finished"));
    }
}
