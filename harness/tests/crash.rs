//! SIGKILL in the middle of a load, to any of the processes or all: every message that got its 250 is accounted for.
//!
//! `MAILRIG_CRASHES=200` kills so often with each store and driver, `MAILRIG_CRASH_SEED=N` at other moments.

mod support;

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::{Client, DRIVERS, Mta, Sink, alive, dial, eventually, kill};

const CLIENTS: usize = 4;
const STORES: [&str; 2] = ["segments", "files"];
const CONCURRENCY: usize = 10;

/// Sends numbered messages until told to stop or the MTA goes; notes those that got their 250.
fn submit(address: &str, round: usize, client: usize, stop: &AtomicBool, accepted: &Mutex<Vec<String>>) {
    let mut connection = Client::connect(address);
    connection.hello();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let id = format!("crash/{round}-{client}-{number}/0");
        let content = format!("X-Mailrig-Id: {id}\r\n\r\n{}", "line of text\r\n".repeat(300));
        let sent = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            connection.mail("s@client.test", &["r@sink.test"], content.as_bytes())
        }));
        match sent {
            Ok(reply) if reply.starts_with("250") => accepted.lock().unwrap().push(id),
            _ => return,
        }
    }
}

#[test]
fn kill_dash_nine_loses_nothing_and_repeats_only_what_was_in_flight() {
    // panics of clients whose server was killed are expected and not worth a page each
    std::panic::set_hook(Box::new(|info| {
        if std::thread::current().name().is_some_and(|name| name.contains("kill_dash")) {
            eprintln!("{info}");
        }
    }));
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seed = number("MAILRIG_CRASH_SEED").unwrap_or(20_261_123);
    let crashes = number("MAILRIG_CRASHES");
    let mut random = fastrand::Rng::with_seed(seed);
    println!("MAILRIG_CRASH_SEED={seed}");
    // every driver and every store; each with each when there is time
    let mut campaigns: Vec<_> = DRIVERS.iter().zip(STORES.iter().cycle()).collect();
    if crashes.is_some() {
        campaigns.extend(DRIVERS.iter().zip(STORES.iter().rev().cycle()));
    }
    for (driver, store) in campaigns {
        let folder = tempfile::tempdir().unwrap();
        let sink = Sink::start(folder.path(), "sink", &["--delay", "each=2ms"]);
        let keys = format!("relayhost = \"{}\"\nstore = \"{store}\"", sink.address);
        let tables = format!(
            "[delivery]\n{}[queue]\n\
             destination_concurrency = {CONCURRENCY}\ninitial_destination_concurrency = {CONCURRENCY}\n\
             minimal_backoff = \"1s\"\nmaximal_backoff = \"1s\"\n",
            dial(driver, CONCURRENCY)
        );
        let accepted = Mutex::new(Vec::new());
        let rounds = crashes.unwrap_or(3) as usize;
        for round in 0..rounds {
            let mut mta = Mta::start(folder.path(), &keys, &tables);
            let stop = AtomicBool::new(false);
            std::thread::scope(|scope| {
                for client in 0..CLIENTS {
                    let (mta, stop, accepted) = (&mta.address, &stop, &accepted);
                    scope.spawn(move || submit(mta, round, client, stop, accepted));
                }
                std::thread::sleep(Duration::from_millis(random.u64(150..600)));
                let pids = mta.pids();
                if random.bool()
                    && let Some(agent) = pids.get(2..).and_then(|agents| random.choice(agents))
                {
                    // costs nothing, and the work goes on
                    kill(*agent, "KILL");
                    std::thread::sleep(Duration::from_millis(random.u64(0..50)));
                }
                match random.u32(0..4) {
                    // the starter, the queue manager, reception, or all at once
                    0 => mta.process.signal("KILL"),
                    1 => kill(pids[0], "KILL"),
                    2 => kill(pids[1], "KILL"),
                    _ => {
                        mta.process.signal("KILL");
                        pids.iter().for_each(|pid| kill(*pid, "KILL"));
                    }
                }
                stop.store(true, Ordering::Relaxed);
                assert!(!mta.process.wait().success());
                eventually("the other processes end by themselves", || !pids.iter().any(|pid| alive(*pid)));
            });
        }
        let mut mta = Mta::start(folder.path(), &keys, &tables);
        mta.wait_drained();
        let ledger = sink.stop();
        let ids: HashMap<String, u64> = serde_json::from_value(ledger["ids"].clone()).unwrap();
        let accepted = accepted.into_inner().unwrap();
        assert!(accepted.len() > 50, "{driver} {store}: only {} messages went in", accepted.len());
        let lost: Vec<_> = accepted.iter().filter(|id| !ids.contains_key(*id)).collect();
        assert!(lost.is_empty(), "{driver} {store}: lost {lost:?}");
        // delivered, but killed before that was written: at most what a round had in flight or with the writers
        let duplicates = ledger["duplicates"].as_u64().unwrap() as usize;
        let bound = rounds * (CONCURRENCY + 4 * CONCURRENCY);
        assert!(duplicates <= bound, "{driver} {store}: {duplicates} duplicates");
        println!("{driver} {store}: {rounds} crashes, {} accepted, {duplicates} twice", accepted.len());
        assert!(mta.process.terminate().success(), "{}", mta.log());
        assert_eq!(mta.queued(), 0, "{driver} {store}: what is delivered is in the spool no more");
    }
}
