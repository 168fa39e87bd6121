//! SIGKILL in the middle of a load: no message that had its 250 is lost, and few are delivered twice.

use crate::support::client::Client;
use crate::support::message::with_id;
use crate::support::mta::{Config, Mta, files_below};
use crate::support::process::signal;
use crate::support::sink::Sink;
use crate::support::{Driver, with_both_drivers};
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

with_both_drivers!(loses_nothing_when_its_processes_are_killed);

#[derive(Clone, Copy, Debug)]
enum Victim {
    Starter,
    Queue,
    Reception,
    All,
}

const ROUNDS: [Victim; 6] =
    [Victim::Starter, Victim::All, Victim::Queue, Victim::Reception, Victim::All, Victim::Queue];

const CLIENTS: usize = 6;

const CONCURRENCY: usize = 8;

/// Deliveries whose final status is not on disk yet when a round ends: those in flight, and those whose status waits
/// for the disk behind them.
const UNWRITTEN_MAX: usize = 3 * CONCURRENCY;

/// What the clients know.
#[derive(Default)]
struct Load {
    /// `None` while the MTA is down.
    address: Mutex<Option<SocketAddr>>,
    accepted: Mutex<BTreeSet<String>>,
    /// The connection ended before the answer: accepted or not, nobody told.
    unanswered: Mutex<BTreeSet<String>>,
    done: AtomicBool,
}

fn loses_nothing_when_its_processes_are_killed(driver: Driver) {
    let seed = 20 + driver as u64;
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let sink = Sink::start(&["--delay", "dot=uniform(1ms,20ms)"]);
    let config = Config::new(driver).relayhost(sink.address).concurrency(driver, CONCURRENCY).impatient();
    let load = Load::default();
    let mut folder = tempfile::tempdir().expect("a temporary folder");
    std::thread::scope(|scope| {
        // also when a check fails, or the scope would never end
        let _done = Done(&load.done);
        for number in 0..CLIENTS {
            let load = &load;
            scope.spawn(move || send_until_done(number, load));
        }
        for victim in ROUNDS {
            let mta = Mta::start_in(std::mem::replace(&mut folder, tempfile::tempdir().unwrap()), &config);
            *load.address.lock().unwrap() = Some(mta.address);
            std::thread::sleep(Duration::from_millis(random.u64(0..500)));
            let status = mta.status();
            match victim {
                Victim::Starter => signal(status.pid("starter"), Signal::KILL),
                Victim::Queue => signal(status.pid("queue"), Signal::KILL),
                Victim::Reception => signal(status.pid("reception"), Signal::KILL),
                Victim::All => mta.process.mark.kill_all(),
            }
            *load.address.lock().unwrap() = None;
            mta.process.mark.wait_gone();
            folder = mta.kill();
        }
    });
    let mta = Mta::start_in(folder, &config);
    mta.drain();
    let log = mta.log();
    assert_eq!(mta.queue_files(), Vec::<std::path::PathBuf>::new());
    assert_eq!(files_below(&mta.path("spool").join("corrupt")), Vec::<std::path::PathBuf>::new());
    assert!(!log.contains("status=bounced"), "{log}");
    mta.stop();
    let ledger = sink.stop();
    let (accepted, unanswered) = (load.accepted.into_inner().unwrap(), load.unanswered.into_inner().unwrap());
    println!(
        "{} accepted, {} unanswered, {} delivered, {} twice",
        accepted.len(),
        unanswered.len(),
        ledger.ids.len(),
        ledger.count("duplicates")
    );
    assert!(accepted.len() > 100, "the load was too small to mean anything: {}", accepted.len());
    let lost: Vec<&String> = accepted.iter().filter(|id| !ledger.ids.contains_key(*id)).collect();
    assert!(lost.is_empty(), "accepted and not delivered: {lost:?}");
    let stray: Vec<&String> =
        ledger.ids.keys().filter(|id| !accepted.contains(*id) && !unanswered.contains(*id)).collect();
    assert!(stray.is_empty(), "delivered and never sent: {stray:?}");
    let duplicates = ledger.count("duplicates") as usize;
    assert!(duplicates <= ROUNDS.len() * UNWRITTEN_MAX, "{duplicates} duplicates");
}

struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Sends messages, each with an id of its own, over whatever MTA there is.
fn send_until_done(number: usize, load: &Load) {
    let mut messages = 0;
    let mut session: Option<(SocketAddr, Client)> = None;
    while !load.done.load(Ordering::Relaxed) {
        let Some(address) = *load.address.lock().unwrap() else {
            std::thread::sleep(Duration::from_millis(2));
            continue;
        };
        let open = session.take().filter(|(to, _)| *to == address).map(|(_, client)| Ok(client));
        let Ok(mut client) = open.unwrap_or_else(|| Client::connect(address)) else { continue };
        messages += 1;
        let id = format!("crash/{number}-{messages}/0");
        // now and then one that goes to the agent as a descriptor
        let body_bytes = if messages % 16 == 0 { 100_000 } else { 1000 };
        match client.send("s@client.test", &["r@d.test"], &with_id(&id, body_bytes)) {
            Ok(reply) if reply.code == 250 => {
                load.accepted.lock().unwrap().insert(id);
                session = Some((address, client));
            }
            Ok(reply) => assert_eq!(reply.code / 100, 4, "{reply:?}"),
            Err(_) => drop(load.unanswered.lock().unwrap().insert(id)),
        }
    }
}
