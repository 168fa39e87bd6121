//! The MTA in operation, as its users see it: every driver, real processes, real sockets.

mod support;

use std::time::Duration;
use support::{Client, DRIVERS, Mta, Process, Sink, Site, alive, dial, eventually, mailrig};

fn delivery(driver: &str, more: &str) -> String {
    format!(
        "[delivery]\n{}{more}\n[queue]\ndestination_concurrency = 20\n\
         initial_destination_concurrency = 20\nminimal_backoff = \"1s\"\nmaximal_backoff = \"2s\"\n",
        dial(driver, 10)
    )
}

fn send(address: &str, messages: u32, arguments: &[&str]) -> bool {
    let mut command = mailrig();
    command.args(["send", address, "--quiet", "--messages", &messages.to_string()]).args(arguments);
    Process { child: command.stdout(std::process::Stdio::null()).spawn().unwrap() }.wait().success()
}

#[test]
fn delivers_each_message_once_logs_it_and_stops_in_order() {
    for driver in DRIVERS {
        let folder = tempfile::tempdir().unwrap();
        let sink = Sink::start(folder.path(), "sink", &[]);
        let relay = format!("relayhost = \"{}\"", sink.address);
        let mut mta = Mta::start(folder.path(), &relay, &delivery(driver, ""));
        assert!(send(&mta.address, 200, &["--connections", "5", "--size", "4KiB"]));
        let status = mta.wait_drained();
        assert_eq!(status["delivered"], 200, "{driver}: {status}");
        let pids = mta.pids();
        assert!(mta.process.terminate().success(), "{driver}: {}", mta.log());
        assert!(!pids.into_iter().any(alive), "{driver}: a process is left");
        assert!(mta.queued() == 0 && !folder.path().join("control").exists());
        let sent = mta.log().lines().filter(|line| is_outcome(line, "sent")).count();
        assert_eq!(sent, 200, "{driver}: {}", mta.log());
        let ledger = sink.stop();
        assert_eq!(
            (&ledger["messages"], &ledger["unique"]),
            (&200.into(), &200.into()),
            "{driver}: {ledger}"
        );
    }
}

/// The documented form: `queue_id= to= relay= delay= delays= dsn= status= (reply)`.
fn is_outcome(line: &str, status: &str) -> bool {
    let keys =
        ["queue_id=", " to=<", " relay=", " delay=", " delays=", " dsn=", &format!(" status={status} (")];
    let mut at = 0;
    line.ends_with(')')
        && keys.iter().all(|key| match line[at..].find(key) {
            Some(found) => {
                at += found + key.len();
                true
            }
            None => false,
        })
}

#[test]
fn a_connection_carries_as_many_messages_as_it_may_and_ends_with_quit() {
    for driver in DRIVERS {
        let folder = tempfile::tempdir().unwrap();
        let sink = Sink::start(folder.path(), "sink", &[]);
        let keys = format!("relayhost = \"{}\"\npaused = true", sink.address);
        let tables = format!("[delivery]\n{}messages_per_connection = 5\n", dial(driver, 1));
        let mut mta = Mta::start(folder.path(), &keys, &tables);
        assert!(send(&mta.address, 18, &[]));
        mta.control("resume");
        mta.wait_drained();
        assert!(mta.process.terminate().success(), "{driver}: {}", mta.log());
        let ledger = sink.stop();
        assert_eq!(
            (&ledger["unique"], &ledger["connections"]),
            (&18.into(), &4.into()),
            "{driver}: {ledger}"
        );
        // the last one, which had room for two more, as well
        let outcomes = ledger["outcomes"].as_array().unwrap();
        let quits =
            outcomes.iter().find(|outcome| outcome["stage"] == "quit").map(|outcome| &outcome["count"]);
        assert_eq!(quits, Some(&4.into()), "{driver}: {ledger}");
    }
}

#[test]
fn content_of_any_size_arrives_byte_for_byte_under_a_received_field() {
    for driver in DRIVERS {
        let folder = tempfile::tempdir().unwrap();
        let (site, other) = (Site::start("250 ok"), Site::start("250 ok"));
        let keys = format!("relayhost = \"{}\"", site.address);
        let tables = format!("[transport]\n\"Other.Test\" = \"{}\"\n{}", other.address, delivery(driver, ""));
        let mta = Mta::start(folder.path(), &keys, &tables);
        let mut client = Client::connect(&mta.address);
        client.hello();
        let dots = b"..\r\n..x\r\n\r\n....\r\nend\r\n".to_vec();
        let line = |count: usize| format!("{}\r\n", "x".repeat(62)).repeat(count).into_bytes();
        // around 64 KiB the content changes from inline to a descriptor
        let contents = [b"S: a\r\n\r\n".to_vec(), dots, line(1023), line(1024), line(1025), line(40_000)];
        for content in &contents {
            let to: Vec<String> =
                (0..30).map(|n| format!("u{n}@{}.test", ["a", "b", "other"][n % 3])).collect();
            let to: Vec<&str> = to.iter().map(String::as_str).collect();
            assert!(client.mail("s@client.test", &to, content).starts_with("250 2.0.0 queued as "));
        }
        mta.wait_drained();
        for (site, recipients) in [(&site, 20), (&other, 10)] {
            let messages = site.messages.lock().unwrap();
            assert_eq!(messages.len(), contents.len(), "{driver}");
            for content in &contents {
                // several contents end alike: theirs is the message with the least before it
                let ending = messages.iter().filter(|(_, got)| got.ends_with(content));
                let found = ending.min_by_key(|(_, got)| got.len()).expect("content came through");
                let added = &found.1[..found.1.len() - content.len()];
                let added = String::from_utf8_lossy(added);
                assert!(
                    added.starts_with("Received: from client.test ([127.0.0.1])\r\n\tby mx.test"),
                    "{added:?}"
                );
                assert_eq!(added.matches("\r\n").count(), 3, "{added:?}");
                assert_eq!(found.0.matches("RCPT TO:").count(), recipients, "{}", found.0);
            }
        }
    }
}

#[test]
fn a_killed_agent_costs_nothing_and_a_reuse_limit_is_exact() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start(folder.path(), "sink", &["--delay", "dot=50ms"]);
    let keys = format!("relayhost = \"{}\"\npaused = true", sink.address);
    let mta = Mta::start(folder.path(), &keys, &delivery("blocking", ""));
    assert!(send(&mta.address, 200, &["--connections", "5"]));
    assert_eq!(mta.control("ramp")["agents"], 10);
    mta.control("resume");
    eventually("deliveries begin", || mta.control("status")["delivered"].as_u64() > Some(20));
    for pid in &mta.pids()[2..5] {
        support::kill(*pid, "KILL");
    }
    let status = mta.wait_drained();
    assert!(
        mta.log().contains("deliveries put back") && mta.log().contains("ended by signal 9"),
        "{}",
        mta.log()
    );
    assert_eq!((&status["delivered"], &status["agents"]["died"]), (&200.into(), &3.into()), "{status}");
    let ledger = sink.stop();
    assert_eq!(ledger["unique"], 200, "{ledger}");
    assert!(ledger["duplicates"].as_u64() <= Some(3), "only what was in flight may come twice: {ledger}");
    drop(mta);
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start(folder.path(), "sink", &[]);
    let keys = format!("relayhost = \"{}\"", sink.address);
    let mta = Mta::start(folder.path(), &keys, "[delivery]\nagents_max = 1\nmax_use = 10\n");
    assert!(send(&mta.address, 50, &[]));
    assert_eq!(mta.wait_drained()["agents"]["spawned"], 5);
}

#[test]
fn refused_and_expired_mail_bounces_and_a_bounce_never_does() {
    let folder = tempfile::tempdir().unwrap();
    let refusing = Site::start("550 5.1.1 no such user");
    let (deferring, sender) = (Site::start("450 4.2.0 try later"), Site::start("250 ok"));
    let tables = format!(
        "[transport]\n\"gone.test\" = \"{}\"\n\"slow.test\" = \"{}\"\n\"client.test\" = \"{}\"\n\
         [delivery]\nagents_max = 5\n[queue]\nminimal_backoff = \"1s\"\nmaximal_backoff = \"1s\"\nlifetime = \"2s\"\n",
        refusing.address, deferring.address, sender.address
    );
    let mta = Mta::start(folder.path(), "", &tables);
    let mut client = Client::connect(&mta.address);
    client.hello();
    let content = b"X-Mailrig-Id: r/1/2\r\nSubject: hello\r\n\r\nbody\r\n";
    for to in ["a@gone.test", "a@slow.test", "a@nowhere.test"] {
        assert!(client.mail("s@client.test", &[to], content).starts_with("250"));
    }
    // a bounce that is refused itself, and mail whose sender can't be reached
    assert!(client.mail("", &["b@gone.test"], content).starts_with("250"));
    assert!(client.mail("s@gone.test", &["c@gone.test"], content).starts_with("250"));
    mta.wait_drained();
    let messages = sender.messages.lock().unwrap();
    assert_eq!(messages.len(), 3, "{}", mta.log());
    for (recipient, status) in
        [("a@gone.test", "5.1.1"), ("a@slow.test", "5.4.7"), ("a@nowhere.test", "5.4.4")]
    {
        let field = format!("Final-Recipient: rfc822; {recipient}\r\nAction: failed\r\nStatus: {status}\r\n");
        let found = messages.iter().map(|(envelope, content)| (envelope, String::from_utf8_lossy(content)));
        let (envelope, text) =
            found.into_iter().find(|(_, text)| text.contains(&field)).expect("a bounce for each");
        assert!(
            envelope.starts_with("MAIL FROM:<>") && envelope.contains("RCPT TO:<s@client.test>"),
            "{envelope}"
        );
        assert!(text.contains("X-Mailrig-Id: r/1/2\r\n") && !text.contains("\r\nbody\r\n"), "{text}");
    }
    assert_eq!(mta.log().matches("has the null reverse-path: nobody is told").count(), 2, "{}", mta.log());
    assert!(mta.log().lines().any(|line| is_outcome(line, "deferred") && line.contains("dsn=4.2.0")));
    eventually("it is in no queue", || mta.queued() == 0);
}

#[test]
fn a_start_without_a_route_bounces_every_message_once_and_delivers_the_rest() {
    // several times what is written at a time
    const UNROUTED: u32 = 4000;
    const ROUTED: u32 = 50;
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start(folder.path(), "sink", &[]);
    let keys = format!("relayhost = \"{}\"\npaused = true", sink.address);
    let mut mta = Mta::start(folder.path(), &keys, "");
    assert!(send(&mta.address, UNROUTED, &["--to", "user{50}@gone.test", "--connections", "20"]));
    assert!(send(&mta.address, ROUTED, &["--to", "user{50}@there.test"]));
    assert!(mta.process.terminate().success());
    let (address, senders) = (&sink.address, "mailrig.test");
    let table = format!("[transport]\n\"there.test\" = \"{address}\"\n\"{senders}\" = \"{address}\"\n");
    let mta = Mta::start(folder.path(), "", &table);
    let status = mta.wait_drained();
    assert_eq!((&status["bounced"], &status["delivered"]), (&UNROUTED.into(), &(UNROUTED + ROUTED).into()));
    let log = mta.log();
    let bounced = log.lines().filter(|line| is_outcome(line, "bounced") && line.contains("@gone.test"));
    assert_eq!(bounced.count(), UNROUTED as usize);
    assert_eq!(mta.queued(), 0);
    // a bounce has no number of its own
    assert_eq!(sink.stop()["unique"], ROUTED);
}

#[test]
fn retries_until_the_site_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let mta = Mta::start(folder.path(), &format!("relayhost = \"{address}\""), &delivery("event", ""));
    assert!(send(&mta.address, 5, &[]));
    eventually("a deferral is logged", || mta.log().lines().any(|line| is_outcome(line, "deferred")));
    let sink = Sink::start_at(folder.path(), "sink", &address, &[]);
    assert_eq!(mta.wait_drained()["delivered"], 5);
    assert_eq!(sink.stop()["unique"], 5);
}

#[test]
fn reception_refuses_what_it_must_and_forgets_what_breaks_off() {
    let folder = tempfile::tempdir().unwrap();
    let keys = "relayhost = \"127.0.0.1:1\"\npaused = true\nmax_sessions = 2\nmax_message_size = \"64KiB\"";
    let mta = Mta::start(folder.path(), keys, "");
    let mut client = Client::connect(&mta.address);
    client.hello();
    let to = ["r@x.test"];
    assert!(client.mail("s@y.test", &to, b"a\nb\r\n").starts_with("550 5.6.0"));
    assert!(client.mail("s@y.test", &to, b"a\r\n.\nMAIL FROM:<evil@x.test>\r\n").starts_with("550 5.6.0"));
    let hops = "Received: from a by b\r\n".repeat(101) + "\r\n";
    assert!(client.mail("s@y.test", &to, hops.as_bytes()).starts_with("554 5.4.6"));
    assert!(client.mail("s@y.test", &to, &b"0123456789\r\n".repeat(6000)).starts_with("552 5.3.4"));
    let mut second = Client::connect(&mta.address);
    second.hello();
    assert!(Client::connect(&mta.address).reply().starts_with("421 4.3.2"));
    // a client that goes in the middle leaves nothing, and a silent one holds nobody up
    for line in ["MAIL FROM:<s@y.test>", "RCPT TO:<r@x.test>", "DATA"] {
        second.say(line);
    }
    second.send(b"half a message\r\n");
    assert!(client.mail("s@y.test", &to, b"whole\r\n").starts_with("250"));
    drop(second);
    eventually("the half message is forgotten", || mta.control("status")["incoming"] == 0);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(mta.control("status")["due"], 1);
}
