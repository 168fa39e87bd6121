//! SIGKILL in the middle of a load, to any of the processes or all: every message that got its 250 is accounted for.
//!
//! `MAILRIG_CRASHES=200` kills so often with each store and driver, `MAILRIG_CRASH_SEED=N` at other moments.

mod support;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;
use support::operator::{row, said};
use support::{Client, DRIVERS, Mta, Sink, alive, dial, eventually, kill, mailrig};

const CLIENTS: usize = 4;
const STORES: [&str; 2] = ["segments", "files"];
const CONCURRENCY: usize = 10;
/// Delivered, but killed before that was written: at most what was in flight or with the writers.
const REPEATED_MAX: usize = CONCURRENCY + 4 * CONCURRENCY;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn seeded() -> fastrand::Rng {
    let seed = number("MAILRIG_CRASH_SEED").unwrap_or(20_261_123);
    println!("MAILRIG_CRASH_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

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
        if std::thread::current().name().is_some() {
            eprintln!("{info}");
        }
    }));
    let (crashes, mut random) = (number("MAILRIG_CRASHES"), seeded());
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
        let duplicates = ledger["duplicates"].as_u64().unwrap() as usize;
        let bound = rounds * REPEATED_MAX;
        assert!(duplicates <= bound, "{driver} {store}: {duplicates} duplicates");
        println!("{driver} {store}: {rounds} crashes, {} accepted, {duplicates} twice", accepted.len());
        assert!(mta.process.terminate().success(), "{}", mta.log());
        assert_eq!(mta.queued(), 0, "{driver} {store}: what is delivered is in the spool no more");
    }
}

/// Messages that an import is given from one kill to the next.
const IMPORTED_MAX: usize = 6;

/// An export of numbered messages, some of them too large for a segment: the text of each.
fn export(messages: usize) -> Vec<String> {
    let exported = |number| {
        let lines = if number % 5 == 4 { 6000 } else { 300 };
        let content =
            format!("X-Mailrig-Id: import/0-0-{number}/0\r\n\r\n{}", "line of text\r\n".repeat(lines));
        let row = row(number, &format!("s{number:05}@s.test"), &["r@sink.test"], content.len());
        format!("{row}\n{content}\n")
    };
    (0..messages).map(exported).collect()
}

/// Writes an export into a named pipe: the first part, and when the sender is dropped, the rest.
fn feed(pipe: &Path, parts: [String; 2]) -> (Sender<()>, JoinHandle<()>) {
    let (more, wanted) = channel();
    let pipe = pipe.to_owned();
    let feeder = std::thread::spawn(move || {
        let [first, rest] = parts;
        let mut pipe = std::fs::OpenOptions::new().write(true).open(pipe).unwrap();
        // where the import has ended there is nobody to read it
        let _ = pipe.write_all(first.as_bytes());
        let _ = wanted.recv();
        let _ = pipe.write_all(rest.as_bytes());
    });
    (more, feeder)
}

/// Imports until the MTA is killed after some messages, and a moment. Of the second part the import gets nothing before, so it
/// can't have ended however fast it is. Gives what it said at its end.
fn import_and_kill(mta: &mut Mta, file: &Path, parts: [String; 2], random: &mut fastrand::Rng) -> Output {
    let pids = mta.pids();
    let (more, feeder) = feed(file, parts);
    let mut import = mailrig();
    import.args(["queue", "import", "--config"]).arg(mta.folder.join("mta.toml")).arg(file);
    let mut import = import.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(import.stdout.take().unwrap()).lines();
    let count = (0..random.usize(1..IMPORTED_MAX)).filter(|_| lines.next().is_some()).count();
    std::thread::sleep(Duration::from_micros(random.u64(0..5000)));
    mta.process.signal("KILL");
    pids.iter().for_each(|pid| kill(*pid, "KILL"));
    mta.process.wait();
    eventually("all processes end", || !pids.iter().any(|pid| alive(*pid)));
    drop(more);
    lines.for_each(drop);
    let output = import.wait_with_output().unwrap();
    // what it still holds is not for the next import; one that did not begin leaves it where it is
    if count > 0 {
        feeder.join().unwrap();
    }
    output
}

/// Nothing is delivered until the import is done, or all the time.
#[test]
fn an_import_whose_mta_is_killed_goes_on_and_takes_each_message_once() {
    let (kills_max, mut random) = (number("MAILRIG_CRASHES").unwrap_or(3) as usize, seeded());
    for (store, paused) in STORES.iter().flat_map(|store| [(store, true), (store, false)]) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("exported");
        let messages = kills_max * IMPORTED_MAX + 4;
        let export = export(messages);
        assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
        let sink = Sink::start(folder.path(), "sink", &[]);
        let keys = format!("relayhost = \"{}\"\nstore = \"{store}\"\npaused = {paused}", sink.address);
        let tables = format!("[delivery]\n{}", dial("event", CONCURRENCY));
        for round in 0..kills_max {
            let mut mta = Mta::start(folder.path(), &keys, &tables);
            let (first, rest) = export.split_at((round + 1) * IMPORTED_MAX);
            let output = import_and_kill(&mut mta, &file, [first.concat(), rest.concat()], &mut random);
            let said = String::from_utf8_lossy(&output.stderr);
            // it was in the middle of it
            assert!(!output.status.success(), "{store}, round {round}: it had ended");
            assert!(said.contains("control socket"), "{store}, round {round}: {said}");
        }
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, export.concat()).unwrap();
        let mut mta = Mta::start(folder.path(), &keys, &tables);
        said(folder.path(), &["import", file.to_str().unwrap()]);
        let status = mta.control("status");
        assert_eq!(status["held"], 0, "{store}: what was imported is not held");
        if paused {
            assert_eq!(mta.queued(), messages, "{store}: each is there once");
            mta.control("resume");
        }
        mta.wait_drained();
        let ledger = sink.stop();
        let ids: HashMap<String, u64> = serde_json::from_value(ledger["ids"].clone()).unwrap();
        assert_eq!(ids.len(), messages, "{store}, paused {paused}");
        let duplicates = ledger["duplicates"].as_u64().unwrap() as usize;
        let bound = if paused { 0 } else { kills_max * REPEATED_MAX };
        assert!(duplicates <= bound, "{store}, paused {paused}: {duplicates} duplicates");
        println!("{store}, paused {paused}: {kills_max} kills, {messages} imported, {duplicates} twice");
        assert!(mta.process.terminate().success(), "{}", mta.log());
    }
}
