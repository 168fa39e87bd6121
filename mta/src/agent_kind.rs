//! What the agents are that the starter makes: driver, way of starting, options; and how the starter is told when the
//! operator changes them.

use crate::config::{Config, Driver, Spawn};
use crate::executed::{become_agent, deliver};
use delivery::AgentOptions;
use delivery::wire::{WireError, split_frame};
use queue::DriverWithin;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;
use supervisor::starter::Agents;

/// Postfix: smtp_connect_timeout.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Postfix: smtp_connection_cache_time_limit.
const SESSION_IDLE: Duration = Duration::from_secs(2);

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AgentKind {
    driver: Driver,
    /// Executed once it is forked.
    executed: bool,
    options: AgentOptions,
    /// The frame with its options, for an executed agent.
    first_bytes: Vec<u8>,
}

impl AgentKind {
    pub fn new(config: &Config) -> AgentKind {
        let mut session = smtp::client::Options::new(config.hostname.as_str());
        session.pipelining = config.pipelining;
        if let Some(timeout) = config.timeout {
            session.timeouts = smtp::client::Timeouts::all(timeout);
        }
        let options = AgentOptions {
            session: Arc::new(session),
            connect_timeout: config.timeout.unwrap_or(CONNECT_TIMEOUT),
            connections: config.pool.connections_per_agent,
            messages_per_connection: config.messages_per_connection,
            session_idle: SESSION_IDLE,
            memory_max_bytes: config.memory_max_bytes,
        };
        AgentKind::of(config.driver, config.spawn == Spawn::Exec, options)
    }

    fn of(driver: Driver, executed: bool, options: AgentOptions) -> AgentKind {
        let mut first_bytes = Vec::new();
        if executed {
            options.encode(&mut first_bytes);
        }
        AgentKind { driver, executed, options, first_bytes }
    }

    /// The same inside the queue manager's process.
    pub fn within(&self) -> DriverWithin {
        let (driver, options) = (self.driver, self.options.clone());
        DriverWithin::new(move |socket| deliver(socket, driver, &options))
    }

    /// For [`Agents::change`]: the driver's place in [`Driver::ALL`], whether it is executed, the frame of options.
    pub fn describe(&self) -> Vec<u8> {
        let driver = Driver::ALL.iter().position(|driver| *driver == self.driver);
        let mut out = vec![driver.expect("all are there") as u8, u8::from(self.executed)];
        self.options.encode(&mut out);
        out
    }

    fn described(description: &[u8]) -> Result<AgentKind, WireError> {
        let [driver, executed @ (0 | 1), frame @ ..] = description else {
            return Err(WireError::Invalid("description of agents"));
        };
        let driver = *Driver::ALL.get(usize::from(*driver)).ok_or(WireError::Invalid("driver"))?;
        match split_frame(frame)? {
            Some((kind, payload, taken)) if taken == frame.len() => {
                Ok(AgentKind::of(driver, *executed == 1, AgentOptions::decode(kind, payload)?))
            }
            _ => Err(WireError::Invalid("options of agents")),
        }
    }
}

impl Agents for AgentKind {
    fn run(&self, socket: UnixStream) -> i32 {
        if self.executed {
            become_agent(socket, self.driver)
        } else {
            deliver(socket, self.driver, &self.options.unshared())
        }
    }

    fn first_bytes(&self) -> &[u8] {
        &self.first_bytes
    }

    fn change(&mut self, description: &[u8]) -> Result<(), WireError> {
        *self = AgentKind::described(description)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_survives_its_description_and_nonsense_changes_nothing() {
        let base = "listen = [\"127.0.0.1:0\"]\nspool = \"s\"\ncontrol = \"c\"\n[delivery]\n";
        for keys in [
            "driver = \"blocking\"\nspawn = \"exec\"\ntimeout = \"7s\"\nmemory_max = \"16MiB\"",
            "driver = \"threads\"\nconnections_per_agent = 7\nmessages_per_connection = 3",
            "driver = \"event\"\nspawn = \"preforked\"\npipelining = false",
        ] {
            let config = Config::parse(&format!("{base}{keys}"), "test").unwrap();
            let kind = AgentKind::new(&config);
            let description = kind.describe();
            assert_eq!(AgentKind::described(&description), Ok(kind.clone()));
            assert_eq!(kind.first_bytes.is_empty(), config.spawn != Spawn::Exec);
            let mut changed = kind.clone();
            for wrong in
                [&[][..], &[9, 0], &description[..description.len() - 1], &[&description[..], &[0]].concat()]
            {
                assert!(changed.change(wrong).is_err());
            }
            assert_eq!(changed, kind);
        }
    }
}
