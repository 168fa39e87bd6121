//! What a server sees of a load, and that the report agrees with it.

mod server;

use distribution::Distribution;
use load::report::Report;
use server::{Seen, Server, accept, messages, options};
use std::collections::BTreeSet;

fn count(report: &Report, stage: &str) -> u64 {
    report.stages.iter().find(|(name, _)| *name == stage).expect("a stage").1.count
}

fn commands(seen: &[Seen], verb: &str) -> usize {
    seen.iter().flat_map(|seen| &seen.commands).filter(|command| command.starts_with(verb)).count()
}

fn received(seen: &[Seen]) -> Vec<&String> {
    seen.iter().flat_map(|seen| &seen.messages).collect()
}

#[test]
fn every_message_arrives_once_with_its_size_and_an_id_of_its_own() {
    let server = Server::start(|_, line| accept(line));
    let load = load::Options { connections: 7, plan: messages(100), ..options(server.address) };
    let report = load::run(&load).expect("a run");
    let seen = server.seen();
    let messages = received(&seen);
    assert_eq!(messages.len(), 100);
    let mut ids = BTreeSet::new();
    for message in &messages {
        assert_eq!(message.len(), 1000);
        let id =
            message.strip_prefix("X-Mailrig-Id: ").and_then(|rest| rest.split("\r\n").next()).expect("an id");
        let [run, number, intended] = id.split('/').collect::<Vec<_>>()[..] else { panic!("{id}") };
        assert_eq!(run, "run-1");
        let intended: u64 = intended.parse().expect("nanoseconds");
        let span = report.first_ns.expect("a start")..=report.last_ns.expect("an end");
        assert!(span.contains(&intended), "{intended} not in {span:?}");
        ids.insert(number.parse::<u64>().expect("a number"));
        for field in ["From: <from@one.test>", "To: <to@two.test>", "Date: ", "Subject: ", "Message-ID: <"] {
            assert!(message.contains(&format!("\r\n{field}")), "{field} in {message}");
        }
    }
    assert_eq!(ids, (1..=100).collect());
    assert!(report.all_accepted());
    assert_eq!((report.messages, report.accepted, report.connections_opened), (100, 100, 7));
    for stage in ["mail", "rcpt", "data", "dot", "message"] {
        assert_eq!(count(&report, stage), 100, "{stage}");
    }
    for stage in ["connect", "banner", "ehlo"] {
        assert_eq!(count(&report, stage), 7, "{stage}");
    }
    assert!(report.errors.is_empty() && report.stopped.is_none());
    assert_eq!(commands(&seen, "QUIT"), 7);
    assert_eq!(commands(&seen, "MAIL FROM:<from@one.test> SIZE=1000"), 100);
    assert_eq!(commands(&seen, "RCPT TO:<to@two.test>"), 100);
}

#[test]
fn commands_come_in_one_group_only_where_that_is_offered_and_wanted() {
    let offered = Server::start(|_, line| accept(line));
    let silent = Server::start(|_, line| accept(line).replace("250 PIPELINING", "250 HELP"));
    for (server, pipelining, grouped) in
        [(&offered, true, true), (&silent, true, false), (&offered, false, false)]
    {
        let before = server.seen().len();
        let mut load = load::Options { plan: messages(5), ..options(server.address) };
        load.session.pipelining = pipelining;
        assert!(load::run(&load).expect("a run").all_accepted());
        assert_eq!(server.seen()[before].grouped, [grouped; 5]);
    }
}

#[test]
fn a_connection_is_used_for_exactly_as_many_messages_as_told() {
    let server = Server::start(|_, line| accept(line));
    let mut load = load::Options { connections: 4, plan: messages(50), ..options(server.address) };
    load.session.messages_per_connection = Some(3);
    let report = load::run(&load).expect("a run");
    assert!(report.all_accepted());
    let mut used: Vec<usize> =
        server.seen().iter().map(|seen| seen.messages.len()).filter(|&n| n > 0).collect();
    used.sort_unstable();
    assert_eq!(used.iter().sum::<usize>(), 50);
    assert_eq!(*used.last().expect("a connection"), 3);
    // Each of the four may end with a connection that is not used up, no more.
    assert!(used.iter().filter(|&&messages| messages < 3).count() <= 4, "{used:?}");
    assert_eq!(report.connections_opened as usize, commands(&server.seen(), "QUIT"));
}

#[test]
fn a_message_larger_than_any_socket_buffer_arrives_whole() {
    let server = Server::start(|_, line| accept(line));
    let size_bytes = 9 << 20;
    let mut load = load::Options { connections: 2, plan: messages(2), ..options(server.address) };
    load.message.size = Distribution::Fixed(size_bytes as f64);
    let report = load::run(&load).expect("a run");
    assert!(report.all_accepted(), "{:?}", report.errors);
    let seen = server.seen();
    assert_eq!(
        received(&seen).iter().map(|message| message.len() as u64).collect::<Vec<_>>(),
        [size_bytes; 2]
    );
}

#[test]
fn the_report_has_the_published_names() {
    let server = Server::start(|_, line| accept(line));
    let report = load::run(&options(server.address)).expect("a run");
    let json = serde_json::to_value(&report).expect("JSON");
    for name in
        ["messages", "accepted", "deferred", "refused", "failed", "connections_opened", "first_ns", "last_ns"]
    {
        assert!(json[name].is_u64(), "{name}");
    }
    for name in ["elapsed_s", "throughput_msg_per_s", "cpu_s"] {
        assert!(json[name].is_f64(), "{name}");
    }
    for stage in ["connect", "banner", "ehlo", "mail", "rcpt", "data", "dot", "message"] {
        assert_eq!(json["stages"][stage]["count"], 1, "{stage}");
        let figures = ["mean_us", "p50_us", "p90_us", "p99_us", "p999_us", "max_us"];
        assert!(figures.iter().all(|figure| json["stages"][stage][figure].as_f64() > Some(0.0)), "{stage}");
    }
    let table = report.table();
    assert!(table.contains("\nmessage ") && table.contains("1 accepted"), "{table}");
}
