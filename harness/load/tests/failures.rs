//! Servers that refuse, vanish, stall or talk nonsense: everything is counted, nothing hangs, nothing is lost from the sums.

mod server;

use distribution::Distribution;
use load::Error;
use load::report::Report;
use server::{Server, accept, messages, options};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

fn load(target: SocketAddr, connections: u32, count: u64) -> load::Options {
    let mut options = load::Options { connections, plan: messages(count), ..options(target) };
    options.message =
        load::message::Options { size: Distribution::Fixed(600.0), from: String::new(), ..options.message };
    options
}

fn run(options: load::Options) -> Report {
    let report = load::run(&options).expect("a run");
    let ended = report.accepted + report.deferred + report.refused + report.failed;
    assert_eq!(ended + report.not_started, report.messages, "each message in one count: {report:?}");
    report
}

fn errors(report: &Report) -> Vec<(&str, Option<u16>, u64)> {
    let mut errors: Vec<_> =
        report.errors.iter().map(|row| (row.stage.as_str(), row.code, row.count)).collect();
    errors.sort_unstable();
    errors
}

/// Answers the `n`th line that `chosen` matches with what `reply` makes of `n`, and accepts the rest.
fn nth(chosen: &'static str, reply: impl Fn(usize) -> Option<String> + Send + Sync + 'static) -> Server {
    let seen = AtomicUsize::new(0);
    Server::start(move |_, line| {
        let matches = if chosen.is_empty() { line.is_empty() } else { line.starts_with(chosen) };
        let special = matches.then(|| reply(seen.fetch_add(1, Ordering::SeqCst))).flatten();
        special.unwrap_or_else(|| accept(line))
    })
}

#[test]
fn refusals_are_counted_by_stage_and_code_and_the_rest_goes_on() {
    for (verb, stage) in [("MAIL", "mail"), ("RCPT", "rcpt"), ("DATA", "data"), (".", "dot")] {
        let server = nth(verb, |n| match n % 10 {
            3 => Some(format!("451 4.3.0 not now {n}\r\n")),
            6 | 7 => Some(format!("550 5.7.1 never {n}\r\n")),
            _ => None,
        });
        for pipelining in [true, false] {
            let mut options = load(server.address, 3, 40);
            options.session.pipelining = pipelining;
            let report = run(options);
            assert_eq!(
                (report.accepted, report.deferred, report.refused, report.failed),
                (28, 4, 8, 0),
                "{stage}"
            );
            assert_eq!(errors(&report), [(stage, Some(451), 4), (stage, Some(550), 8)]);
            assert!(!report.all_accepted() && report.stopped.is_none());
            let message = &report.stages.iter().find(|(name, _)| *name == "message").expect("message").1;
            assert_eq!(message.count, 28, "refused messages are not in the histogram");
            assert_eq!(report.connections_opened, 3);
        }
    }
}

#[test]
fn one_refused_recipient_of_two_fails_the_run_but_not_the_message() {
    let server = nth("RCPT TO:<bad@two.test>", |_| Some("550 5.1.1 no such user\r\n".to_owned()));
    let to = vec!["good@two.test".to_owned(), "bad@two.test".to_owned()];
    let mut options = load(server.address, 2, 10);
    options.message.to = to;
    let report = run(options);
    assert_eq!((report.accepted, report.recipients_failed), (10, 10));
    assert_eq!(errors(&report), [("rcpt", Some(550), 10)]);
    assert!(!report.all_accepted());
}

#[test]
fn a_busy_server_is_given_time_and_gets_every_message() {
    let server = nth("", |n| (n < 5).then(|| "421 4.3.2 too busy\r\n".to_owned()));
    let report = run(load(server.address, 3, 30));
    assert_eq!(report.accepted, 30);
    assert_eq!(errors(&report), [("banner", Some(421), 5)]);
    assert!(report.all_accepted(), "what was turned away was sent later");
    let used = server.seen().iter().filter(|seen| !seen.messages.is_empty()).count();
    assert_eq!(used, 3, "no connection is lost for ever");
}

#[test]
fn a_421_in_a_transaction_defers_its_message_and_the_slot_comes_back() {
    let server = nth("MAIL", |n| (n == 4).then(|| "421 4.3.2 closing\r\n".to_owned()));
    let mut options = load(server.address, 1, 10);
    options.session.pipelining = false;
    let report = run(options);
    assert_eq!((report.accepted, report.deferred, report.connections_opened), (9, 1, 2));
    assert_eq!(errors(&report), [("mail", Some(421), 1)]);
}

#[test]
fn a_server_that_is_not_there_ends_the_run_soon_with_one_reason() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let started = Instant::now();
    let report = run(load(address, 50, 100_000));
    assert!(started.elapsed() < Duration::from_secs(8));
    assert_eq!((report.not_started, report.connections_opened), (100_000, 0));
    assert_eq!((report.elapsed_s, report.throughput_msg_per_s), (None, None), "not measured is not zero");
    let reason = report.stopped.expect("a reason");
    assert!(reason.contains("connection refused") && reason.contains(&address.to_string()), "{reason}");
    assert_eq!(report.errors.len(), 1);
}

#[test]
fn a_connection_lost_after_the_dot_fails_its_message_only() {
    let server = nth(".", |n| (n == 2).then(String::new));
    let report = run(load(server.address, 1, 10));
    assert_eq!((report.accepted, report.failed, report.connections_opened), (9, 1, 2));
    assert_eq!(errors(&report), [("dot", None, 1)]);
}

#[test]
fn a_server_that_closes_after_each_message_is_used_again_at_once() {
    // It answers the dot and closes without waiting for QUIT.
    let server = Server::start(|_, line| match line {
        "." => "250 fine\r\n221 closing\r\n".to_owned(),
        _ => accept(line),
    });
    let report = run(load(server.address, 2, 10));
    assert_eq!(report.accepted, 10, "{report:?}");
}

#[test]
fn nonsense_instead_of_a_greeting_ends_the_run() {
    let server = Server::start(|_, _| "HTTP/1.1 400 \x1b[31mBad Request\r\nServer: none\r\n\r\n".to_owned());
    let report = run(load(server.address, 4, 1000));
    assert_eq!((report.not_started, report.accepted), (1000, 0));
    assert!(report.errors.iter().all(|row| row.stage == smtp::Stage::Banner && row.code.is_none()));
    let reason = report.stopped.as_deref().expect("a reason");
    assert!(reason.contains("banner") && !reason.contains(char::is_control), "{reason:?}");
    assert_plain(&report.table());
}

#[test]
fn what_a_server_says_can_not_play_with_the_terminal() {
    let server = nth("RCPT", |_| Some("550 \x1b[31mred\x07\u{9b}2J\r\n".to_owned()));
    let report = run(load(server.address, 1, 2));
    assert_eq!(report.refused, 2);
    assert_plain(&report.table());
}

fn assert_plain(table: &str) {
    assert!(!table.contains(|c: char| c.is_control() && c != '\n'), "{table:?}");
}

#[test]
fn a_stalled_server_is_left_after_the_time_limit() {
    let server = nth("DATA", |n| {
        if n == 1 {
            std::thread::sleep(Duration::from_secs(2));
        }
        None
    });
    let mut options = load(server.address, 1, 5);
    options.session.timeout = Some(Duration::from_millis(300));
    let started = Instant::now();
    let report = run(options);
    assert!(started.elapsed() < Duration::from_secs(2));
    assert_eq!((report.accepted, report.failed), (4, 1));
    assert_eq!(errors(&report), [("data", None, 1)]);
}

#[test]
fn what_can_not_be_is_refused_before_anything_is_sent() {
    let target = "127.0.0.1:9".parse().expect("an address");
    for elsewhere in ["192.0.2.1:25", "0.0.0.0:25", "[2001:db8::1]:25", "[::ffff:192.0.2.1]:25"] {
        let mut options = load(elsewhere.parse().expect("an address"), 1, 1);
        for own_host in [None, Some("192.0.2.9".parse().expect("an address"))] {
            options.own_host = own_host;
            let refused = load::run(&options);
            assert!(matches!(refused, Err(Error::NotOurs(_))), "{elsewhere}: {refused:?}");
        }
        options.own_host = options.target.ip();
        assert!(load::check(&options).is_ok(), "whoever says that it is theirs may");
    }
    let good = load(target, 1, 1);
    let message = |change: fn(&mut load::message::Options)| {
        let mut options = good.clone();
        change(&mut options.message);
        options
    };
    let bad = [
        load::Options { connections: 0, ..good.clone() },
        load::Options { plan: messages(0), ..good.clone() },
        message(|message| message.size = Distribution::Fixed(20.0)),
        message(|message| message.from = "nobody".to_owned()),
        message(|message| message.to = vec!["a@b\r\nRSET".to_owned()]),
        message(|message| message.to = Vec::new()),
        message(|message| message.run = "a b".to_owned()),
    ];
    for options in bad {
        let error = load::run(&options).expect_err("an error");
        assert!(matches!(error, Error::Option { .. }), "{error} for {options:?}");
    }
    let error = load::run(&load(target, u32::MAX, u64::MAX)).expect_err("too many descriptors");
    assert!(matches!(error, Error::Descriptors { .. }), "{error}");
}
