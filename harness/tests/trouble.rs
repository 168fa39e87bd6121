//! Trouble at the remote site and among the agents, with every driver: every message ends well, or its
//! sender is told.

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};
use support::scripted::{DeadPort, Received, ScriptedSite, accept};
use support::{Client, Mta, Sink, alive, at_once, dial, eventually, kill};

/// Every driver in a process of its own, in every way in which that can come into being.
const PROCESSES: [(&str, &str); 9] = [
    ("blocking", "zygote"),
    ("blocking", "exec"),
    ("blocking", "preforked"),
    ("threads", "zygote"),
    ("threads", "exec"),
    ("threads", "preforked"),
    ("event", "zygote"),
    ("event", "exec"),
    ("event", "preforked"),
];

/// Every driver, each started in another way.
const EACH: [(&str, &str); 4] =
    [("blocking", "exec"), ("threads", "preforked"), ("event", "zygote"), ("within", "zygote")];

/// So many deliveries at a time in the way of the driver, and retries that a test can wait for.
fn tables((driver, spawn): (&str, &str), concurrency: usize) -> String {
    let dial = dial(driver, concurrency);
    format!(
        "[delivery]\nspawn = \"{spawn}\"\n{dial}[queue]\ndestination_concurrency = {concurrency}\n\
         initial_destination_concurrency = {concurrency}\nminimal_backoff = \"100ms\"\nmaximal_backoff = \"300ms\"\n"
    )
}

fn submit(mta: &Mta, from: &str, to: &[&str], content: &str) {
    let mut client = Client::connect(&mta.address);
    client.hello();
    assert!(client.mail(from, to, content.as_bytes()).starts_with("250 2.0.0 queued as "));
}

/// dsn, status and reply of each outcome line of a recipient.
fn outcomes(mta: &Mta, to: &str) -> Vec<(String, String, String)> {
    let log = mta.log();
    let lines = log.lines().filter(|line| line.contains(&format!(" to=<{to}> ")));
    let parts = lines.map(|line| {
        let (_, rest) = line.split_once(" dsn=").expect("a dsn");
        let (dsn, rest) = rest.split_once(" status=").expect("a status");
        let (status, reply) = rest.split_once(" (").expect("a reply");
        (dsn.to_owned(), status.to_owned(), reply.trim_end_matches(')').to_owned())
    });
    parts.collect()
}

/// Answers twice with `refusal` where a line begins with `at` (empty: the greeting), then takes everything.
fn recovering(at: &'static str, refusal: &'static str) -> impl Fn(&str) -> String + Send + Sync + 'static {
    let refused = AtomicU32::new(0);
    move |line: &str| {
        let here = if at.is_empty() { line.is_empty() } else { line.starts_with(at) };
        if here && refused.fetch_add(1, Ordering::Relaxed) < 2 { refusal.to_owned() } else { accept(line) }
    }
}

#[test]
fn a_temporary_refusal_or_a_lost_connection_at_any_stage_is_tried_again() {
    // where, the reply (empty: the connection is closed), the code that the log shows
    const TROUBLES: [(&str, &str, &str); 10] = [
        ("", "421 4.3.2 too busy\r\n", "421"),
        ("", "", ""),
        ("EHLO", "421 4.3.2 too busy\r\n", "421"),
        ("MAIL", "450 4.1.8 who are you\r\n", "450"),
        ("RCPT", "451 4.7.1 greylisted\r\n", "451"),
        ("DATA", "451 4.3.0 not now\r\n", "451"),
        ("DATA", "", ""),
        (".", "452 4.3.1 full\r\n", "452"),
        (".", "", ""),
        (".", "garbage\r\n", ""),
    ];
    at_once(EACH, |case| {
        let folder = tempfile::tempdir().unwrap();
        let sites: Vec<ScriptedSite> =
            TROUBLES.iter().map(|(at, refusal, _)| ScriptedSite::start(recovering(at, refusal))).collect();
        let dead = DeadPort::new();
        let mut table = format!("[transport]\n\"dead.test\" = \"{}\"\n", dead.address);
        for (number, site) in sites.iter().enumerate() {
            table += &format!("\"d{number}.test\" = \"{}\"\n", site.address);
        }
        let mta = Mta::start(folder.path(), "", &(table + &tables(case, 4)));
        for number in 0..sites.len() {
            submit(&mta, "", &[&format!("r@d{number}.test")], "Subject: patience\r\n\r\n");
        }
        submit(&mta, "", &["r@dead.test"], "Subject: patience\r\n\r\n");
        eventually("the dead port is tried", || !outcomes(&mta, "r@dead.test").is_empty());
        let dead = dead.open(accept);
        mta.wait_drained();
        for (number, (site, (at, _, code))) in sites.iter().zip(TROUBLES).enumerate() {
            let seen = outcomes(&mta, &format!("r@d{number}.test"));
            let statuses: Vec<&str> = seen.iter().map(|(_, status, _)| status.as_str()).collect();
            assert_eq!(statuses, ["deferred", "deferred", "sent"], "{case:?}, at `{at}`: {seen:?}");
            for (dsn, _, reply) in &seen[..2] {
                assert!(dsn.starts_with("4.") && reply.starts_with(code), "{case:?}, at `{at}`: {seen:?}");
            }
            assert_eq!(site.received().len(), 1, "{case:?}, at `{at}`");
        }
        let seen = outcomes(&mta, "r@dead.test");
        assert_eq!((&*seen[0].0, &*seen.last().unwrap().1), ("4.4.1", "sent"), "{seen:?}");
        assert_eq!(dead.received().len(), 1);
    });
}

/// Checks that it is a bounce to s@client.test as RFC 3464 and RFC 6522 want it; gives its three parts.
fn parts_of_bounce(message: &Received) -> [String; 3] {
    assert_eq!((&*message.reverse_path, &message.forward_paths[..]), ("", &["s@client.test".to_owned()][..]));
    let (header, body) = message.text.split_once("\r\n\r\n").expect("a header");
    let unfolded = header.replace("\r\n\t", " ");
    let kind = unfolded.lines().find_map(|line| line.strip_prefix("Content-Type: ")).expect("a type");
    assert!(kind.starts_with("multipart/report; report-type=delivery-status; boundary="), "{kind}");
    for field in ["From: ", "To: s@client.test", "Date: ", "Message-ID: <", "MIME-Version: 1.0"] {
        assert_eq!(unfolded.lines().filter(|line| line.starts_with(field)).count(), 1, "{field}: {header}");
    }
    let boundary = kind.rsplit("boundary=").next().expect("a boundary").trim_matches('"');
    let body = body.strip_suffix(&format!("--{boundary}--\r\n")).expect("the last boundary");
    let parts: Vec<&str> = body.split(&format!("--{boundary}\r\n")).collect();
    assert_eq!((parts.len(), parts[0].trim()), (4, ""), "{body}");
    for (part, kind) in
        parts[1..].iter().zip(["text/plain", "message/delivery-status", "text/rfc822-headers"])
    {
        assert!(part.starts_with(&format!("Content-Type: {kind}")), "{part}");
    }
    [parts[1], parts[2], parts[3]].map(str::to_owned)
}

#[test]
fn a_bounce_is_whole_names_each_refused_recipient_and_outlives_a_crash() {
    let refusing = |line: &str| match line.starts_with("RCPT TO:<bad") {
        true => "550 5.1.1 no such user\r\n".to_owned(),
        false => accept(line),
    };
    at_once(EACH, |case| {
        let folder = tempfile::tempdir().unwrap();
        let (home, away) = (DeadPort::new(), ScriptedSite::start(refusing));
        let table = format!("[transport]\n\"client.test\" = \"{}\"\n", home.address);
        let (keys, tables) = (format!("relayhost = \"{}\"", away.address), table + &tables(case, 4));
        let mut mta = Mta::start(folder.path(), &keys, &tables);
        // large: its header is read from the queue file
        let content = format!("X-Mailrig-Id: b/1/2\r\n\r\n{}", "secret line\r\n".repeat(10_000));
        submit(&mta, "s@client.test", &["bad-1@d.test", "good@d.test", "bad-2@d.test"], &content);
        eventually("the bounce is tried", || !outcomes(&mta, "s@client.test").is_empty());
        let pids = mta.pids();
        mta.process.signal("KILL");
        pids.iter().for_each(|pid| kill(*pid, "KILL"));
        mta.process.wait();
        eventually("its processes end", || !pids.iter().any(|pid| alive(*pid)));
        let mta = Mta::start(folder.path(), &keys, &tables);
        let home = home.open(accept);
        mta.wait_drained();
        let (told, delivered) = (home.received(), away.received());
        assert_eq!((told.len(), delivered.len()), (1, 1), "{case:?}: {}", mta.log());
        assert_eq!(delivered[0].forward_paths, ["good@d.test"]);
        let [words, status, original] = parts_of_bounce(&told[0]);
        assert!(words.contains("<bad-1@d.test>: 550 ") && words.contains("<bad-2@d.test>: 550 "), "{words}");
        let (about_message, recipients) = status.split_once("\r\n\r\nFinal-Recipient:").expect("recipients");
        assert!(about_message.contains("\r\n\r\nReporting-MTA: dns; mx.test\r\n"), "{status}");
        let recipients: Vec<&str> = recipients.split("\r\n\r\nFinal-Recipient:").collect();
        assert_eq!(recipients.len(), 2, "{status}");
        for (fields, name) in recipients.iter().zip(["bad-1", "bad-2"]) {
            assert!(fields.starts_with(&format!(" rfc822; {name}@d.test\r\n")), "{fields}");
            for field in
                ["\r\nAction: failed\r\n", "\r\nStatus: 5.1.1\r\n", "\r\nDiagnostic-Code: smtp; 550 "]
            {
                assert!(fields.contains(field), "{fields}");
            }
        }
        assert!(
            original.contains("\r\nX-Mailrig-Id: b/1/2\r\n") && !original.contains("secret"),
            "{original}"
        );
        assert_eq!(mta.queued(), 0);
    });
}

#[test]
fn agents_that_die_with_a_message_are_replaced_slower_and_slower() {
    at_once(PROCESSES, |case| {
        let folder = tempfile::tempdir().unwrap();
        let silent = Arc::new(AtomicBool::new(true));
        let site = ScriptedSite::start({
            let silent = silent.clone();
            move |line: &str| {
                while silent.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(5));
                }
                accept(line)
            }
        });
        let keys = format!("relayhost = \"{}\"", site.address);
        let mta = Mta::start(folder.path(), &keys, &tables(case, 1));
        submit(&mta, "", &["r@d.test"], "Subject: hot\r\n\r\n");
        let mut last: Option<(i32, Instant)> = None;
        for pause_s in [1, 2] {
            let mut agent = 0;
            eventually("an agent has the message", || {
                let status = mta.control("status");
                let pids = status["pids"]["agents"].as_array().unwrap();
                agent = pids.first().map_or(0, |pid| pid.as_i64().unwrap() as i32);
                status["agents"]["busy"] == 1 && last.is_none_or(|(old, _)| old != agent)
            });
            if let Some((_, died)) = last {
                assert!(died.elapsed() > Duration::from_millis(900), "replaced after {:?}", died.elapsed());
            }
            kill(agent, "KILL");
            last = Some((agent, Instant::now()));
            let words = format!("it had finished none, so no new agent for {pause_s} s");
            eventually(&words, || mta.log().contains(&words));
        }
        silent.store(false, Ordering::Relaxed);
        mta.wait_drained();
        assert!(last.is_some_and(|(_, died)| died.elapsed() > Duration::from_millis(1900)));
        let seen = outcomes(&mta, "r@d.test");
        let seen: Vec<_> = seen.iter().map(|(dsn, status, _)| (dsn.as_str(), status.as_str())).collect();
        // the second in a row that died with it: the message itself is under suspicion
        assert_eq!(seen, [("4.3.0", "deferred"), ("2.0.0", "sent")], "{case:?}");
        assert_eq!(site.received().len(), 1, "{case:?}");
    });
}

#[test]
fn agents_that_are_killed_with_many_deliveries_lose_none() {
    at_once(PROCESSES, lose_agents_of);
}

fn lose_agents_of(case: (&str, &str)) {
    const MESSAGES: usize = 200;
    const KILLS: usize = 4;
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start(folder.path(), "sink", &["--delay", "dot=30ms"]);
    let keys = format!("relayhost = \"{}\"\npaused = true", sink.address);
    let mta = Mta::start(folder.path(), &keys, &tables(case, 5));
    let mut client = Client::connect(&mta.address);
    client.hello();
    for number in 0..MESSAGES {
        let content = format!("X-Mailrig-Id: kill/{number}/0\r\n\r\nbody\r\n");
        assert!(client.mail("s@client.test", &["r@d.test"], content.as_bytes()).starts_with("250"));
    }
    mta.control("resume");
    let delivered = || mta.control("status")["delivered"].as_u64().unwrap();
    let mut killed = BTreeSet::new();
    while killed.len() < KILLS {
        // it is to have finished something, or the service is throttled
        let before = delivered();
        eventually("deliveries", || delivered() >= before + 10);
        let agent = *mta.pids().last().unwrap();
        assert!(killed.insert(agent), "the same agent again");
        kill(agent, "KILL");
        eventually("its death is noticed", || {
            mta.control("status")["agents"]["died"] == killed.len() && mta.pids().last() != Some(&agent)
        });
    }
    mta.wait_drained();
    let log = mta.log();
    assert_eq!(log.matches(" was ended by signal 9").count(), KILLS, "{log}");
    assert_eq!(log.matches(" deliveries put back").count(), KILLS, "{log}");
    drop(mta);
    let ledger = sink.stop();
    assert_eq!(ledger["unique"], MESSAGES, "{ledger}");
    // only what each victim had in flight may come twice
    assert!(ledger["duplicates"].as_u64() <= Some(5 * KILLS as u64), "{ledger}");
}
