//! Agents and connections of each: what a profile's words mean at one concurrency, and whether it can be run.

use crate::descriptors::DescriptorLimit;
use crate::experiment::Driver;
use crate::plan::{DialPlan, SubjectPlan};
use crate::raw::Count;
use crate::value::Checker;
use settings::Error;

impl Checker<'_> {
    /// Agents and connections of each, for one concurrency, as the descriptor limit allows.
    pub fn dial(
        &self,
        subject: &SubjectPlan,
        dial: &DialPlan,
        concurrency: u32,
        limit: &DescriptorLimit,
        notes: &mut Vec<String>,
    ) -> Result<(u32, u32), Error> {
        let name = &subject.name;
        let agents_key = format!("{}.agents_max", subject.key);
        let connections_key = format!("{}.connections_per_agent", subject.key);
        let mut agents = match dial.agents_max {
            Count::Concurrency => concurrency,
            Count::Number(agents) => agents,
        };
        let within = agents == 0;
        if within && dial.driver != Driver::Event {
            let message =
                format!("`agents_max` of `{name}` is 0: only the event driver runs inside the queue manager");
            let hint = "write driver = \"event\", or 1 or more, or \"concurrency\"";
            return Err(self.error(&agents_key, message).with_hint(hint));
        }
        let mut connections = match dial.connections_per_agent {
            Count::Concurrency if dial.agents_max == Count::Concurrency => {
                let message = format!("`{name}` has concurrency agents of concurrency connections each");
                return Err(self.error(&connections_key, message).with_hint("make one of the two a number"));
            }
            Count::Concurrency => concurrency,
            Count::Number(0) => {
                let message = format!("`connections_per_agent` of `{name}` is 0: nothing could be delivered");
                return Err(self
                    .error(&connections_key, message)
                    .with_hint("write 1 or more, or \"concurrency\""));
            }
            Count::Number(connections) => connections,
        };
        match dial.driver {
            Driver::Blocking if dial.connections_per_agent != Count::Number(1) => {
                let message =
                    format!("`{name}` has the driver blocking, which holds one connection an agent");
                return Err(self
                    .error(&connections_key, message)
                    .with_hint("write connections_per_agent = 1, or driver = \"threads\" or \"event\""));
            }
            Driver::Blocking => {}
            Driver::Threads | Driver::Event => {
                let most = limit.connections_of_agent();
                if connections > most && dial.connections_per_agent == Count::Concurrency && !within {
                    let needed = concurrency.div_ceil(most).max(agents);
                    if needed > agents {
                        notes.push(format!(
                            "`{name}` has {needed} agents instead of {agents} at concurrency {concurrency}: \
                             an agent holds at most {most} connections with {} files; what the added agents cost is in \
                             its memory and in the slope of that",
                            limit.files
                        ));
                    }
                    agents = needed;
                    connections = concurrency.div_ceil(agents);
                } else if connections > most {
                    let whose = if within { "inside the queue manager" } else { "an agent" };
                    let message = format!(
                        "`{name}` has {connections} connections {whose}, more than the {most} that fit"
                    );
                    return Err(self.error(&connections_key, message).with_hint(limit.hint()));
                }
            }
        }
        if u64::from(agents) > limit.sockets() {
            let message =
                format!("`{name}` has {agents} agents, more than the queue manager can hold a socket to");
            return Err(self.error(&agents_key, message).with_hint(limit.hint()));
        }
        let held = u64::from(agents.max(1)) * u64::from(connections);
        if held < u64::from(concurrency) {
            let message = format!(
                "`{name}` holds {held} connections at most ({agents} agents x {connections}), so a \
                 concurrency of {concurrency} is never reached"
            );
            let key = if dial.agents_max == Count::Concurrency { &connections_key } else { &agents_key };
            return Err(self
                .error(key, message)
                .with_hint("write \"concurrency\" for one of the two, or take the point out"));
        }
        Ok((agents, connections))
    }
}
