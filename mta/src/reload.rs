//! A configuration that is read again while the MTA runs: what may be different, and what needs a restart.
//!
//! It is taken as a whole or not at all, so that a running MTA is always what one version of its file says.

use crate::agent_kind::AgentKind;
use crate::config::Config;
use crate::run::{check_descriptors, policy};
use queue::{NewAgents, Reader, Reread};
use std::path::PathBuf;

/// Reads `file` again whenever it is called; `running` is what it said at the start.
pub fn reader(file: PathBuf, running: Config) -> Reader {
    let mut running = running;
    Box::new(move || {
        let config = read(&file)?;
        let keys = needs_restart(&running, &config);
        if !keys.is_empty() {
            let keys = keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
            return Err(format!(
                "{}: {keys} can't be changed while the MTA runs: restart it, or put back what was there",
                file.display()
            ));
        }
        check_descriptors(config.pool.agents_max)?;
        let kind = AgentKind::new(&config);
        let agents = if config.within {
            NewAgents::Within(kind.within())
        } else {
            NewAgents::Described(kind.describe())
        };
        let policy = policy(&config);
        running = config;
        Ok(Reread { policy, agents })
    })
}

fn read(file: &PathBuf) -> Result<Config, String> {
    let name = file.display();
    // a pipe would be waited for, and says nothing a second time
    match std::fs::metadata(file) {
        Ok(found) if !found.is_file() => {
            Err(format!("{name}: only a file can be read again: restart the MTA"))
        }
        Err(error) => {
            let who = rustix::process::getuid().as_raw();
            Err(format!("{name}: {error}; the MTA reads it as the user that it runs as (uid {who})"))
        }
        Ok(_) => Config::read(file),
    }
}

/// Keys that differ and can't be taken on by processes that run.
fn needs_restart(running: &Config, new: &Config) -> Vec<&'static str> {
    // every field by name: a new one does not compile until it is decided what a reload does with it
    let Config {
        listen,
        spool,
        store,
        space_min_bytes: _,
        control,
        relayhost,
        transport,
        concurrency_limits: _,
        durability,
        user,
        // how delivery starts; the control socket holds and resumes it
        paused: _,
        hostname,
        log,
        max_message_bytes,
        max_sessions,
        driver: _,
        within,
        spawn: _,
        pool: _,
        watchdog: _,
        stop_bound: _,
        memory_max_bytes: _,
        messages_per_connection: _,
        pipelining: _,
        timeout: _,
        scheduler,
        rules: _,
    } = running;
    let differs = [
        ("listen", *listen != new.listen),
        ("spool", *spool != new.spool),
        ("store", *store != new.store),
        ("control", *control != new.control),
        ("relayhost", *relayhost != new.relayhost),
        ("transport", *transport != new.transport),
        ("durability", *durability != new.durability),
        ("user", *user != new.user),
        ("hostname", *hostname != new.hostname),
        ("log", *log != new.log),
        ("max_message_size", *max_message_bytes != new.max_message_bytes),
        ("max_sessions", *max_sessions != new.max_sessions),
        // 0 or not: the number itself may change
        ("agents_max", *within != new.within),
        ("scheduler", scheduler.rules != new.scheduler.rules),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}
