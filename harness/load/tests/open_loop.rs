//! The open loop: messages start at their times whatever the server does, and latency counts from then.

mod server;

use distribution::Distribution;
use load::report::Report;
use load::schedule::rate::{Course, Spacing};
use load::schedule::{Model, Plan, Stop};
use server::{Server, accept, options};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

fn open(target: SocketAddr, rate: f64, stop: Stop) -> load::Options {
    let options = options(target);
    let model = Model::Open { course: Course::constant(rate), spacing: Spacing::Even };
    load::Options { connections: 50, plan: Plan { model, stop, ..options.plan }, ..options }
}

fn after(messages: u64) -> Stop {
    Stop { after: Some(messages), at: None }
}

fn ms(report: &Report, stage: &str, quantile: fn(&load::report::latency::Latency) -> Option<f64>) -> f64 {
    let (_, latency) = report.stages.iter().find(|(name, _)| *name == stage).expect("a stage");
    quantile(latency).expect("a figure") / 1000.0
}

/// Answers dots at once but for the time from `from` to `to` after the first, when it answers nothing at all.
fn stalls(from: Duration, to: Duration) -> Server {
    let first = std::sync::OnceLock::new();
    Server::start(move |_, line| {
        if line == "." {
            let start = *first.get_or_init(Instant::now);
            let now = start.elapsed();
            if (from..to).contains(&now) {
                std::thread::sleep(to - now);
            }
        }
        accept(line)
    })
}

#[test]
fn the_rate_is_kept_and_connections_are_reused() {
    let server = Server::start(|_, line| accept(line));
    let started = Instant::now();
    let report = load::run(&open(server.address, 500.0, after(100))).expect("a run");
    let elapsed = started.elapsed().as_secs_f64();
    assert!(report.all_accepted() && report.valid, "{report:?}");
    assert_eq!((report.model, report.offered, report.started, report.missed), ("open", 100, 100, 0));
    assert!((0.198..3.0).contains(&elapsed), "99 gaps of 2 ms took {elapsed} s");
    // Only what came while others were busy needed a connection of its own.
    assert!(report.connections_opened < 50, "{}", report.connections_opened);
    assert_eq!((report.start_lag.count, ms(&report, "service", |it| it.p50_us) > 0.0), (100, true));
}

#[test]
fn a_server_that_stalls_can_not_hide_it() {
    // One message a millisecond for a second, on one connection; from 0.2 s to 0.4 s the server says nothing. Messages
    // meant for the stall wait for what is left of it, so a fifth of all waits up to 200 ms, evenly spread.
    let server = stalls(Duration::from_millis(200), Duration::from_millis(400));
    let options = load::Options { connections: 1, ..open(server.address, 500.0, after(500)) };
    let report = load::run(&options).expect("a run");
    assert_eq!(report.accepted, 500);
    let (p90, p99) = (ms(&report, "message", |it| it.p90_us), ms(&report, "message", |it| it.p99_us));
    // A fifth waits; half of those more than 100 ms, a twentieth of those more than 190 ms.
    assert!((70.0..190.0).contains(&p90), "p90 {p90} ms");
    assert!((150.0..400.0).contains(&p99), "p99 {p99} ms");
    // The time of the server's work alone shows one message that was slow, and hides all that had to wait.
    assert!(ms(&report, "service", |it| it.p99_us) < 50.0, "{:?}", report.stages);
    assert!(report.start_lag.p99_us > Some(100_000.0), "{:?}", report.start_lag);
    // Waiting for the server is not the generator's own lag.
    assert!(report.generator_lag.p90_us < report.start_lag.p90_us, "{:?}", report.generator_lag);
}

#[test]
fn the_closed_loop_hides_the_same_stall() {
    let server = stalls(Duration::from_millis(100), Duration::from_millis(300));
    let report = load::run(&load::Options { plan: server::messages(500), ..options(server.address) });
    let report = report.expect("a run");
    assert!(ms(&report, "message", |it| it.p99_us) < 100.0, "one slow message of 500 is all it sees");
}

#[test]
fn messages_that_never_found_a_connection_are_missed_and_told() {
    let server = Server::start(|_, line| {
        if line == "." {
            std::thread::sleep(Duration::from_millis(50));
        }
        accept(line)
    });
    let stop = Stop { after: None, at: Some(Duration::from_millis(200)) };
    let mut options = load::Options { connections: 2, ..open(server.address, 1000.0, stop) };
    options.plan.warm_up = Duration::from_millis(5);
    let report = load::run(&options).expect("a run");
    // Two connections, 20 messages a second each, for the run and the second of grace.
    assert_eq!(report.offered, 195);
    assert!((10..60).contains(&report.started), "{report:?}");
    assert_eq!((report.missed, report.not_started), (195 - report.started, 195 - report.started));
    assert_eq!(
        report.warm_up + report.started,
        server.seen().iter().map(|seen| seen.messages.len() as u64).sum::<u64>()
    );
    assert!(!report.all_accepted() && report.valid, "the server is slow, not the generator: {report:?}");
    assert!(report.table().contains("195 offered"), "{}", report.table());
}

#[test]
fn a_generator_that_lags_says_so() {
    let server = Server::start(|_, line| accept(line));
    let mut options = open(server.address, 200.0, after(20));
    options.lag_max = Duration::from_nanos(1);
    let report = load::run(&options).expect("a run");
    assert!(!report.valid && report.all_accepted());
    assert!(
        report.invalid_because.as_deref().is_some_and(|why| why.contains("generator itself")),
        "{report:?}"
    );
    assert!(report.table().contains("\nINVALID: "), "{}", report.table());
    let closed = load::run(&load::Options { lag_max: Duration::ZERO, ..server::options(server.address) });
    assert!(closed.expect("a run").valid, "a closed loop promises no times");
}

#[test]
fn a_connection_closed_while_idle_costs_no_message() {
    // Each connection is closed by the server after its second message, without a word.
    let server = Server::start({
        let dots = AtomicUsize::new(0);
        move |_, line| match line {
            "." if dots.fetch_add(1, Ordering::SeqCst) % 2 == 1 => "250 fine\r\n221 closing\r\n".to_owned(),
            _ => accept(line),
        }
    });
    let report = load::run(&load::Options { connections: 3, ..open(server.address, 200.0, after(30)) });
    let report = report.expect("a run");
    assert_eq!((report.accepted, report.failed), (30, 0), "{report:?}");
}

#[test]
fn pauses_of_the_closed_loop_are_kept() {
    let server = Server::start(|_, line| accept(line));
    let think = Distribution::Fixed(10e6);
    let plan = Plan { model: Model::Closed { think: Some(think) }, ..server::messages(10) };
    let started = Instant::now();
    let report = load::run(&load::Options { plan, ..options(server.address) }).expect("a run");
    assert!(report.all_accepted());
    assert!(started.elapsed() >= Duration::from_millis(100) && started.elapsed() < Duration::from_secs(2));
    assert!(ms(&report, "message", |it| it.p50_us) < 10.0, "a pause is no latency");
}

#[test]
fn the_warm_up_is_in_no_figure_but_its_own() {
    let server = Server::start(|_, line| accept(line).replace("fine", "2.0.0 fine"));
    let mut options = open(server.address, 500.0, after(100));
    options.plan.warm_up = Duration::from_millis(100);
    let report = load::run(&options).expect("a run");
    assert_eq!((report.messages, report.accepted, report.warm_up), (50, 50, 50));
    assert!(report.all_accepted());
    for stage in ["mail", "dot", "message", "service"] {
        let (_, latency) = report.stages.iter().find(|(name, _)| *name == stage).expect("a stage");
        assert_eq!(latency.count, 50, "{stage}");
    }
    assert_eq!(report.start_lag.count, 50);
    assert!(report.table().contains("warm-up: 50 messages"), "{}", report.table());
}

#[test]
fn the_stages_of_failure_have_times_of_their_own() {
    let server = Server::start({
        let mails = AtomicUsize::new(0);
        move |_, line| match (
            line.starts_with("RCPT"),
            mails.fetch_add(usize::from(line.starts_with("RCPT")), Ordering::SeqCst),
        ) {
            (true, n) if n % 4 == 1 => "451 later\r\n".to_owned(),
            (true, n) if n % 4 == 2 => "550 never\r\n".to_owned(),
            (true, n) if n % 4 == 3 => String::new(),
            _ => accept(line),
        }
    });
    let report = load::run(&load::Options { plan: server::messages(16), ..options(server.address) });
    let report = report.expect("a run");
    assert_eq!((report.accepted, report.deferred, report.refused, report.failed), (4, 4, 4, 4), "{report:?}");
    for stage in ["rcpt", "message", "service"] {
        for outcome in ["ok", "deferred", "refused", "failed"] {
            let row = report.latencies.iter().find(|row| (row.stage, row.outcome) == (stage, outcome));
            assert_eq!(row.map(|row| row.latency.count), Some(4), "{stage} {outcome}");
        }
    }
}
