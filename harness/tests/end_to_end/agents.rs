//! The life and death of delivery agents.

use crate::support::message::with_id;
use crate::support::mta::{Config, Mta};
use crate::support::patience::eventually;
use crate::support::process::signal;
use crate::support::sink::Sink;
use crate::support::site::{Site, accept};
use crate::support::{Driver, with_both_drivers};
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

with_both_drivers!(
    replaces_agents_that_are_killed_and_loses_nothing,
    damps_a_crash_loop,
    uses_an_agent_as_often_as_allowed_and_no_more,
);

fn send(mta: &Mta, run: &str, count: usize) {
    let mut client = mta.client();
    for number in 0..count {
        client.deliver("s@client.test", &["r@d.test"], &with_id(&format!("{run}/{number}/0"), 500));
    }
}

fn replaces_agents_that_are_killed_and_loses_nothing(driver: Driver) {
    const MESSAGES: usize = 300;
    const KILLS: usize = 5;
    let sink = Sink::start(&["--delay", "dot=20ms"]);
    let config = Config::new(driver).relayhost(sink.address).concurrency(driver, 5).impatient();
    let mta = Mta::start(&config.top("paused = true"));
    send(&mta, "kill", MESSAGES);
    let mut control = mta.control();
    control.command("resume");
    let mut killed = BTreeSet::new();
    while killed.len() < KILLS {
        let before = control.status();
        assert!(before.queued() > 0, "all is delivered after {} kills", killed.len());
        // each agent is to have finished something since it came, or its service is throttled
        eventually("deliveries", || control.status().count("delivered") >= before.count("delivered") + 10);
        let victims = control.status().agent_pids();
        let Some(victim) = victims.into_iter().find(|pid| !killed.contains(pid)) else { continue };
        signal(victim, Signal::KILL);
        killed.insert(victim);
        eventually("its death is noticed", || {
            let status = control.status();
            !status.agent_pids().contains(&victim) && status.agents("died") == killed.len() as u64
        });
    }
    mta.drain();
    let status = control.status();
    assert!(status.agents("spawned") > status.agents("died"));
    let log = mta.log();
    assert_eq!(log.matches(" was ended by signal 9").count(), KILLS, "{log}");
    assert_eq!(log.matches(" deliveries put back").count(), KILLS, "{log}");
    mta.stop();
    let ledger = sink.stop();
    assert_eq!((ledger.count("unique"), ledger.count("without_id")), (MESSAGES as u64, 0));
    // what had its final reply on the way, at most one a connection of each victim
    let at_once = if driver == Driver::Blocking { 1 } else { 5 };
    assert!(ledger.count("duplicates") <= (KILLS * at_once) as u64, "{}", ledger.json);
}

fn damps_a_crash_loop(driver: Driver) {
    let silent = Arc::new(AtomicBool::new(true));
    let site = Site::start({
        let silent = silent.clone();
        move |line: &str| {
            while silent.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(5));
            }
            accept(line)
        }
    });
    let mta = Mta::start(&Config::new(driver).relayhost(site.address).concurrency(driver, 1).impatient());
    mta.client().deliver("s@client.test", &["r@d.test"], b"Subject: hot\r\n\r\n");
    let mut control = mta.control();
    let mut last: Option<(u32, Instant)> = None;
    for pause_s in [1, 2] {
        let mut agent = None;
        eventually("an agent with the message", || {
            let status = control.status();
            agent =
                status.agent_pids().first().copied().filter(|pid| last.is_none_or(|(old, _)| old != *pid));
            agent.is_some() && status.agents("busy") == 1
        });
        if let Some((_, died)) = last {
            assert!(died.elapsed() > Duration::from_millis(900), "replaced after {:?}", died.elapsed());
        }
        let agent = agent.expect("eventually said so");
        signal(agent, Signal::KILL);
        last = Some((agent, Instant::now()));
        mta.wait_for_log(&format!("it had finished none, so no new agent for {pause_s} s"));
    }
    silent.store(false, Ordering::Relaxed);
    site.wait_for(1);
    mta.drain();
    assert!(last.is_some_and(|(_, died)| died.elapsed() > Duration::from_millis(1900)));
    let deferred: Vec<_> = mta.outcomes().into_iter().filter(|one| one.status == "deferred").collect();
    // the second in a row that died with it: the message itself is under suspicion
    assert_eq!(deferred.len(), 1, "{deferred:?}");
    assert_eq!(deferred[0].dsn, "4.3.0");
    mta.stop();
}

fn uses_an_agent_as_often_as_allowed_and_no_more(driver: Driver) {
    for (agents, max_use, messages) in [(1, 1, 6), (1, 7, 50), (3, 4, 30)] {
        let site = Site::accepting();
        let config = Config::new(driver).relayhost(site.address);
        let config = config
            .delivery(&format!("agents_max = {agents}"))
            .delivery(&format!("max_use = {max_use}"))
            .queue("destination_concurrency = 3")
            .queue("initial_destination_concurrency = 3");
        // with one connection an agent, what an agent did is what it was given
        let config =
            if driver == Driver::Event { config.delivery("connections_per_agent = 1") } else { config };
        let mta = Mta::start(&config.top("paused = true"));
        send(&mta, "use", messages);
        mta.control().command("resume");
        mta.drain();
        let spawned = mta.status().agents("spawned");
        let least = messages.div_ceil(max_use) as u64;
        if agents == 1 {
            assert_eq!(spawned, least, "{messages} messages, {max_use} an agent");
        } else {
            assert!((least..=least + agents).contains(&spawned), "{spawned} agents, at least {least}");
        }
        assert_eq!(mta.status().agents("died"), 0);
        // one message a connection is the default
        assert_eq!((site.messages().len(), site.connections()), (messages, messages));
        mta.stop();
    }
}
