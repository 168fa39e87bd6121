//! How agents, and the processes around them, come and go: forked, executed and preforked ones alike.

mod support;

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use support::{Client, DRIVERS, Mta, Process, Sink, alive, at_once, dial, eventually, kill, mailrig};

const SPAWNS: [&str; 3] = ["zygote", "exec", "preforked"];

/// What an orderly end may take beyond the bound for deliveries in flight, on a busy machine.
const PROMPTLY: Duration = Duration::from_secs(8);

/// `[delivery]` of a test, and a scheduler that is never what is waited for.
fn tables(spawn: &str, delivery: &str) -> String {
    format!(
        "[delivery]\nspawn = \"{spawn}\"\n{delivery}\n[queue]\ndestination_concurrency = 50\n\
         initial_destination_concurrency = 50\nminimal_backoff = \"100ms\"\nmaximal_backoff = \"300ms\"\n"
    )
}

fn sending(mta: &Mta, messages: usize, size: &str) -> Process {
    let mut command = mailrig();
    command.args(["send", &mta.address, "--quiet", "--connections", "5", "--size", size, "--messages"]);
    Process { child: command.arg(messages.to_string()).stdout(Stdio::null()).spawn().unwrap() }
}

/// Fills the queue of an MTA that was started with `paused = true`.
fn fill(mta: &Mta, messages: usize) {
    assert!(sending(mta, messages, "1KiB").wait().success());
    eventually("all is queued", || mta.control("status")["due"] == messages);
}

/// A process's parent, and whether it is a zombie.
fn parent_of(pid: i32) -> Option<(i32, bool)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit(") ").next()?.split(' ');
    let state = fields.next()?;
    Some((fields.next()?.parse().ok()?, state == "Z"))
}

/// Children of a process, zombies among them.
fn children(parent: i32) -> Vec<(i32, bool)> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| parent_of(pid).filter(|(of, _)| *of == parent).map(|(_, zombie)| (pid, zombie)))
        .collect()
}

fn descriptors(pid: i32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// How often all threads of a process went to sleep.
fn sleeps(pid: i32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let of = |status: String| {
        let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches:"))?;
        line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()
    };
    tasks.filter_map(|task| of(std::fs::read_to_string(task.path().join("status")).ok()?)).sum()
}

fn agents(mta: &Mta) -> Vec<i32> {
    mta.pids()[2..].to_vec()
}

/// Status once every agent that was told to go has gone; what is left is `kept` idle agents and no zombie.
fn at_rest(mta: &Mta, kept: usize) -> Value {
    let starter = mta.process.pid();
    let mut status = Value::Null;
    eventually("only queue manager, reception and kept agents are left", || {
        status = mta.control("status");
        status["agents"]["idle"] == kept && children(starter).len() == 2 + kept
    });
    assert!(!children(starter).iter().any(|(_, zombie)| *zombie), "a zombie is left");
    status
}

#[test]
fn a_reuse_limit_is_exact_and_the_idle_pool_shrinks_to_nothing() {
    for (driver, spawn, connections) in [
        ("blocking", "zygote", 1),
        ("blocking", "exec", 1),
        ("blocking", "preforked", 1),
        ("event", "exec", 4),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let sink = Sink::start(folder.path(), "sink", &[]);
        let keys = format!("relayhost = \"{}\"\npaused = true", sink.address);
        let delivery = format!(
            "driver = \"{driver}\"\nagents_max = 1\nconnections_per_agent = {connections}\nmax_use = 8\n\
             max_idle = \"100ms\""
        );
        let mta = Mta::start(folder.path(), &keys, &tables(spawn, &delivery));
        let kept = usize::from(spawn == "preforked");
        at_rest(&mta, kept);
        let held = || [mta.process.pid(), mta.pids()[0]].map(descriptors);
        let before = held();
        fill(&mta, 40);
        mta.control("resume");
        assert_eq!(mta.wait_drained()["delivered"], 40, "{driver} {spawn}");
        let status = at_rest(&mta, kept);
        // eight deliveries each, not one more or less; a preforked one has its successor waiting
        assert_eq!(status["agents"]["spawned"], 5 + kept, "{driver} {spawn}: {status}\n{}", mta.log());
        assert_eq!(lost(&status), [0, 0, 0], "{driver} {spawn}: {}", mta.log());
        // the control socket of the last question may still be open on one side
        eventually("as many descriptors as before", || {
            let now = held();
            // one more: the segment that the mail came into
            now[0] == before[0] && now[1] <= before[1] + 1
        });
        let ledger = sink.stop();
        assert_eq!((&ledger["unique"], &ledger["duplicates"]), (&40.into(), &0.into()), "{driver} {spawn}");
    }
}

/// Died, hung, out of memory.
fn lost(status: &Value) -> [u64; 3] {
    ["died", "hung", "out_of_memory"].map(|key| status["agents"][key].as_u64().unwrap())
}

#[test]
fn a_reload_replaces_every_agent_once_it_has_finished() {
    let of_blocking = SPAWNS.map(|spawn| ("blocking", spawn));
    at_once(of_blocking.into_iter().chain([("threads", "exec"), ("event", "zygote")]), |(driver, spawn)| {
        let folder = tempfile::tempdir().unwrap();
        let sink = Sink::start(folder.path(), "sink", &["--delay", "dot=40ms"]);
        let keys = format!("relayhost = \"{}\"\npaused = true", sink.address);
        let dial = if driver == "blocking" { "" } else { "connections_per_agent = 10" };
        let delivery = format!("driver = \"{driver}\"\nagents_max = 3\n{dial}\nwatchdog = \"2s\"");
        let mta = Mta::start(folder.path(), &keys, &tables(spawn, &delivery));
        fill(&mta, 60);
        mta.control("ramp");
        let first = agents(&mta);
        assert_eq!(first.len(), 3, "{driver} {spawn}");
        for agent in first.iter().filter(|_| driver == "blocking") {
            // standard streams and its socket; of another program's environment what is for the C library
            assert_eq!(descriptors(*agent), 4, "{spawn}");
            let environment = std::fs::read(format!("/proc/{agent}/environ")).unwrap();
            let is_bare = environment == b"GLIBC_TUNABLES=glibc.pthread.rseq=0\0" || environment.is_empty();
            assert_eq!(is_bare, spawn == "exec");
        }
        mta.control("resume");
        eventually("deliveries begin", || mta.control("status")["agents"]["busy"].as_u64() > Some(0));
        mta.control("reload");
        eventually("the agents of before leave", || !first.iter().any(|pid| alive(*pid)));
        let second = agents(&mta);
        mta.process.signal("HUP");
        eventually("those after them leave too", || !second.iter().any(|pid| alive(*pid)));
        let status = mta.wait_drained();
        assert_eq!((&status["delivered"], lost(&status)), (&60.into(), [0, 0, 0]), "{}", mta.log());
        assert_eq!(mta.log().matches("mailrig queue: reload: ").count(), 2, "{}", mta.log());
        let ledger = sink.stop();
        assert_eq!((&ledger["unique"], &ledger["duplicates"]), (&60.into(), &0.into()), "{driver} {spawn}");
    });
}

#[test]
fn a_stop_waits_for_what_is_in_flight_and_no_longer_than_its_bound() {
    let of_blocking = SPAWNS.map(|spawn| ("blocking", spawn));
    let others = [("threads", "exec"), ("event", "zygote"), ("within", "zygote")];
    at_once(of_blocking.into_iter().chain(others), |(driver, spawn)| {
        let three = dial(driver, 3);
        // chosen is not yet handed out: its agent may still be starting
        let busy = if driver == "blocking" { 3 } else { 1 };
        let all_in_flight = |status: Value| status["active"] == 3 && status["agents"]["busy"] == busy;
        let folder = tempfile::tempdir().unwrap();
        let sink = Sink::start(folder.path(), "sink", &["--delay", "dot=100ms"]);
        let keys = format!("relayhost = \"{}\"\npaused = true", sink.address);
        let mut mta = Mta::start(folder.path(), &keys, &tables(spawn, &three));
        fill(&mta, 40);
        mta.control("resume");
        eventually("deliveries are in flight", || all_in_flight(mta.control("status")));
        let pids = mta.pids();
        assert!(mta.process.terminate().success(), "{driver} {spawn}: {}", mta.log());
        assert!(!pids.into_iter().any(alive), "{driver} {spawn}: a process is left");
        let sent = mta.log().matches(" status=sent ").count();
        assert!((3..40).contains(&sent), "{driver} {spawn}: {sent}");
        assert_eq!(mta.queued(), 40 - sent, "{driver} {spawn}: the rest is queued");
        let ledger = sink.stop();
        assert_eq!((&ledger["unique"], &ledger["duplicates"]), (&sent.into(), &0.into()), "{driver} {spawn}");

        let silent = Sink::start(folder.path(), "silent", &["--delay", "dot=100s"]);
        let keys = format!("relayhost = \"{}\"", silent.address);
        let delivery = format!("{three}stop_bound = \"100ms\"");
        let mut mta = Mta::start(folder.path(), &keys, &tables(spawn, &delivery));
        eventually("deliveries are in flight", || all_in_flight(mta.control("status")));
        let (pids, began) = (mta.pids(), Instant::now());
        assert!(mta.process.terminate().success(), "{driver} {spawn}: {}", mta.log());
        assert!(began.elapsed() < PROMPTLY, "{driver} {spawn}: {:?}", began.elapsed());
        assert!(!pids.into_iter().any(alive), "{driver} {spawn}: a process is left");
        assert_eq!(mta.queued(), 40 - sent, "{driver} {spawn}: nothing is lost");
    });
}

#[test]
fn death_hang_and_lack_of_memory_are_told_apart_and_cost_no_mail() {
    let drivers = [("blocking", 1, 60), ("threads", 4, 200), ("event", 4, 200)];
    let cases = drivers.into_iter().flat_map(|driver| SPAWNS.map(|spawn| (driver, spawn)));
    at_once(cases, |((driver, connections, messages), spawn)| {
        let case = format!("{driver} {spawn}");
        let folder = tempfile::tempdir().unwrap();
        let sink = Sink::start(folder.path(), "sink", &["--delay", "dot=20ms"]);
        let keys = format!("relayhost = \"{}\"\npaused = true", sink.address);
        // long enough for honest agents when all the cases want the machine
        let delivery = format!(
            "driver = \"{driver}\"\nagents_max = 3\nconnections_per_agent = {connections}\nwatchdog = \"3s\""
        );
        let mut mta = Mta::start(folder.path(), &keys, &tables(spawn, &delivery));
        fill(&mta, messages);
        mta.control("ramp");
        mta.control("resume");
        eventually("deliveries succeed", || mta.control("status")["delivered"].as_u64() > Some(5));
        let agents = agents(&mta);
        kill(agents[0], "STOP");
        kill(agents[1], "KILL");
        let status = mta.wait_drained();
        assert_eq!(
            (&status["delivered"], lost(&status)),
            (&messages.into(), [1, 1, 0]),
            "{case}: {}",
            mta.log()
        );
        eventually("the one that hung is killed", || !alive(agents[0]));
        let ledger = sink.stop();
        assert_eq!(ledger["unique"], messages, "{case}: {ledger}");
        // what the two had
        assert!(ledger["duplicates"].as_u64() <= Some(2 * connections), "{case}: {ledger}");
        assert!(mta.process.terminate().success());

        let sink = Sink::start(folder.path(), "sink", &[]);
        let keys = format!("relayhost = \"{}\"", sink.address);
        // less than the request takes
        let delivery = format!("driver = \"{driver}\"\nagents_max = 1\nmemory_max = \"8KiB\"");
        let mut mta = Mta::start(folder.path(), &keys, &tables(spawn, &delivery));
        assert!(sending(&mta, 5, "60KiB").wait().success());
        eventually("it is found out", || lost(&mta.control("status"))[2] > 0);
        assert!(mta.log().contains("asked for more memory than memory_max"), "{case}: {}", mta.log());
        assert_eq!(lost(&mta.control("status"))[..2], [0, 0], "{case}: {}", mta.log());
        assert!(mta.process.terminate().success());
        let mta = Mta::start(folder.path(), &keys, &tables(spawn, "agents_max = 3"));
        mta.wait_drained();
        assert_eq!(sink.stop()["unique"], 5, "{case}");
    });
}

/// Ends an MTA whose agents are in deliveries that take for ever, by killing one of its lasting processes.
fn end_by_killing(role: usize, mta: &mut Mta) {
    eventually("deliveries are in flight", || mta.control("status")["agents"]["busy"] == 3);
    let pids = mta.pids();
    let lasting = [mta.process.pid(), pids[0], pids[1]];
    let began = Instant::now();
    kill(lasting[role], "KILL");
    assert!(!mta.process.wait().success());
    eventually("the rest ends", || !pids.iter().any(|pid| alive(*pid)));
    assert!(began.elapsed() < PROMPTLY, "{:?}", began.elapsed());
}

fn start_at(folder: &Path, spawn: &str, address: &str, delivery: &str) -> Mta {
    let keys = format!("relayhost = \"{address}\"");
    Mta::start(folder, &keys, &tables(spawn, &format!("agents_max = 3\n{delivery}")))
}

#[test]
fn when_a_lasting_process_is_killed_the_rest_ends_and_a_restart_loses_nothing() {
    for spawn in SPAWNS {
        let folder = tempfile::tempdir().unwrap();
        let silent = Sink::start(folder.path(), "silent", &["--delay", "dot=100s"]);
        let mut mta = start_at(folder.path(), spawn, &silent.address, "stop_bound = \"100ms\"");
        assert!(sending(&mta, 20, "1KiB").wait().success());
        for role in 0..3 {
            end_by_killing(role, &mut mta);
            mta = start_at(folder.path(), spawn, &silent.address, "stop_bound = \"100ms\"");
        }
        mta.process.terminate();
        let sink = Sink::start(folder.path(), "sink", &[]);
        let mta = start_at(folder.path(), spawn, &sink.address, "");
        assert_eq!(mta.wait_drained()["delivered"], 20, "{spawn}: {}", mta.log());
        let ledger = sink.stop();
        assert_eq!((&ledger["unique"], &ledger["duplicates"]), (&20.into(), &0.into()), "{spawn}");
    }
}

#[test]
fn a_lasting_process_that_is_stopped_for_a_while_delays_mail_and_no_more() {
    at_once(DRIVERS, |driver| {
        let folder = tempfile::tempdir().unwrap();
        let sink = Sink::start(folder.path(), "sink", &["--delay", "dot=20ms"]);
        // new agents all the time, so that each of the three is needed
        let dial = format!("{}max_use = 2", dial(driver, 3));
        let keys = format!("relayhost = \"{}\"", sink.address);
        let mta = Mta::start(folder.path(), &keys, &tables("zygote", &dial));
        let mut load = sending(&mta, 150, "1KiB");
        let pids = mta.pids();
        for pid in [mta.process.pid(), pids[0], pids[1]] {
            kill(pid, "STOP");
            std::thread::sleep(Duration::from_millis(150));
            kill(pid, "CONT");
        }
        assert!(load.wait().success());
        let status = mta.wait_drained();
        let (delivered, lost) = (&status["delivered"], lost(&status));
        assert_eq!((delivered, lost), (&150.into(), [0, 0, 0]), "{driver}: {}", mta.log());
        let ledger = sink.stop();
        assert_eq!((&ledger["unique"], &ledger["duplicates"]), (&150.into(), &0.into()), "{driver}");
    });
}

#[test]
fn a_starter_that_is_stopped_keeps_no_question_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start(folder.path(), "sink", &[]);
    let keys = format!("relayhost = \"{}\"\npaused = true", sink.address);
    let mta = Mta::start(folder.path(), &keys, &tables("zygote", "agents_max = 3"));
    fill(&mta, 20);
    let before = mta.control("status");
    assert_eq!(before["starter"], "answers");
    kill(mta.process.pid(), "STOP");
    // the second is not asked for at all
    for _ in 0..2 {
        let began = Instant::now();
        let status = mta.control("status");
        assert!(began.elapsed() < PROMPTLY, "{:?}", began.elapsed());
        assert_eq!((&status["starter"], &status["due"]), (&"silent".into(), &20.into()), "{status}");
        assert_eq!(status["pids"], before["pids"], "what is known is told");
        for role in ["starter", "reception", "agents"] {
            assert_eq!(status["cpu_s"][role], Value::Null, "{status}");
        }
        assert!(status["cpu_s"]["queue"].as_f64() > Some(0.0), "{status}");
    }
    let (began, ramp) = (Instant::now(), mta.ask("ramp"));
    assert!(began.elapsed() < 2 * PROMPTLY, "{:?}", began.elapsed());
    assert_eq!(
        (&ramp["ok"], &ramp["agents"], &ramp["starter"]),
        (&false.into(), &0.into(), &"silent".into())
    );
    assert!(ramp["error"].as_str().unwrap().contains("the starter has not answered for 5 s"), "{ramp}");
    kill(mta.process.pid(), "CONT");
    assert_eq!(mta.control("ramp")["agents"], 3);
    assert_eq!(mta.control("status")["starter"], "answers");
    mta.control("resume");
    let status = mta.wait_drained();
    assert_eq!((&status["delivered"], lost(&status)), (&20.into(), [0, 0, 0]), "{}", mta.log());
    assert_eq!(sink.stop()["duplicates"], 0);
}

/// A sink that listens on so many addresses of the loopback network; gives those.
fn sink_of_many(ledger: &Path, count: usize) -> (Process, Vec<String>) {
    let mut command = mailrig();
    command.args(["sink", "--listen", &format!("127.0.0.1-127.0.0.{count}:0"), "--ledger"]).arg(ledger);
    let mut process = Process { child: command.stdout(Stdio::piped()).spawn().unwrap() };
    let lines = BufReader::new(process.child.stdout.as_mut().unwrap()).lines().take(count);
    let addresses = lines.map(|line| line.unwrap().strip_prefix("ready ").unwrap().to_owned()).collect();
    (process, addresses)
}

#[test]
fn a_next_hop_with_a_limit_of_its_own_never_has_more_agents() {
    let folder = tempfile::tempdir().unwrap();
    let start = |name| Sink::start(folder.path(), name, &["--delay", "dot=20ms"]);
    let (few, many) = (start("few"), start("many"));
    let keys = format!("relayhost = \"{}\"\npaused = true", many.address);
    let limit =
        format!("[transport]\n\"few.test\" = \"{0}\"\n[concurrency_limit]\n\"{0}\" = 2\n", few.address);
    let mta = Mta::start(folder.path(), &keys, &(limit + &tables("zygote", "agents_max = 8")));
    let mut client = Client::connect(&mta.address);
    client.hello();
    for _ in 0..20 {
        assert!(
            client.mail("s@client.test", &["r@few.test", "r@many.test"], b"hello\r\n").starts_with("250")
        );
    }
    mta.control("resume");
    assert_eq!(mta.wait_drained()["delivered"], 40);
    assert_eq!(few.stop()["in_flight_peak"], 2);
    assert!(many.stop()["in_flight_peak"].as_u64() > Some(2));
}

#[test]
fn ten_thousand_requests_go_through_three_agents() {
    const HOPS: usize = 100;
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger.json");
    let (mut sink, addresses) = sink_of_many(&ledger, HOPS);
    let mut table = "[transport]\n".to_owned();
    for (number, address) in addresses.iter().enumerate() {
        table += &format!("\"d{number}.test\" = \"{address}\"\n");
    }
    let delivery = "agents_max = 3\nmax_use = 1000";
    let mta = Mta::start(folder.path(), "durability = \"none\"", &(table + &tables("preforked", delivery)));
    let to: Vec<String> = (0..HOPS).map(|number| format!("r@d{number}.test")).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    let mut client = Client::connect(&mta.address);
    client.hello();
    for number in 0..10_000 / HOPS {
        let content = format!("X-Mailrig-Id: many/{number}/0\r\n\r\nhello\r\n");
        assert!(client.mail("s@client.test", &to, content.as_bytes()).starts_with("250"));
    }
    let status = mta.wait_drained();
    assert_eq!((&status["delivered"], lost(&status)), (&10_000.into(), [0, 0, 0]), "{}", mta.log());
    // each thousand uses up one agent, but for what the last three have had
    assert!((11..=13).contains(&status["agents"]["spawned"].as_u64().unwrap()), "{status}");
    assert!(sink.terminate().success());
    let ledger: Value = serde_json::from_str(&std::fs::read_to_string(&ledger).unwrap()).unwrap();
    assert_eq!(ledger["messages"], 10_000, "{ledger}");
}

#[test]
fn who_has_nothing_to_do_sleeps() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start(folder.path(), "sink", &["--delay", "dot=60s"]);
    let table = format!("relayhost = \"{}\"", sink.address);
    let mta = Mta::start(folder.path(), &table, &tables("zygote", "agents_max = 3"));
    assert!(sending(&mta, 5, "1KiB").wait().success());
    eventually("every slot is taken and mail waits", || mta.control("status")["active"] == 3);
    let pids = mta.pids();
    let before: Vec<u64> = pids.iter().map(|pid| sleeps(*pid)).collect();
    std::thread::sleep(Duration::from_secs(2));
    for (pid, before) in pids.into_iter().zip(before) {
        let woken = sleeps(pid) - before;
        assert!(woken < 40, "process {pid} woke up {woken} times in two seconds");
    }
}
