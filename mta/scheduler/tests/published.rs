//! Figures that others have published of such a scheduler, and closed forms, under virtual time.

use delivery::{EpochMs, QueueId};
use scheduler::{Entry, Feedback, Limits, Next, Outcome, Report, Rules, Scheduler, SenderId};
use smtp::client::HopStatus;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

const START: EpochMs = EpochMs(1_800_000_000_000);

/// How a site ends a delivery that begins while so many others are under way: after how many ms, and how.
type Site<'a> = &'a mut dyn FnMut(usize) -> (u64, Outcome, HopStatus);

/// First attempts at `deliveries` to one site; how many were deferred, and how long all took.
fn run(limits: Limits, deliveries: u64, site: Site<'_>) -> (u64, f64) {
    let mut scheduler = Scheduler::new(limits);
    let destination = scheduler.destination("mx.test:25");
    for n in 0..deliveries {
        let (id, sender) = (QueueId(n), SenderId(0));
        scheduler.enqueue(Entry { id, destination, sender, born: START, due: START, attempts: 0 });
    }
    let mut now = START;
    let mut under_way = BinaryHeap::new();
    let (mut deferred, mut ended) = (0, 0);
    let mut inside = 0;
    while ended < deliveries {
        match scheduler.poll(now) {
            Next::Deliver(entry, ..) if scheduler.entry(entry).is_some_and(|entry| entry.attempts == 0) => {
                let (takes_ms, outcome, hop) = site(inside);
                let accepted = outcome == Outcome::Finished;
                inside += usize::from(accepted);
                under_way.push(Reverse((now.0 + takes_ms, entry, accepted, hop == HopStatus::Up)));
                continue;
            }
            // a second attempt: not what is counted
            Next::Deliver(entry, ..) => {
                assert!(scheduler.remove(entry));
                scheduler.put_back(now, entry);
                continue;
            }
            _ => {}
        }
        let Some(Reverse((at_ms, entry, accepted, up))) = under_way.pop() else {
            let Next::Sleep(at) = scheduler.poll(now) else { panic!("{ended} of {deliveries} have ended") };
            now = at;
            continue;
        };
        now = EpochMs(at_ms);
        inside -= usize::from(accepted);
        let outcome = if accepted { Outcome::Finished } else { Outcome::Retry };
        let hop = if up { HopStatus::Up } else { HopStatus::Throttle };
        let _ = scheduler.report(now, entry, Report { outcome, hop });
        deferred += u64::from(!accepted);
        ended += 1;
    }
    (deferred, now.since(START).as_secs_f64())
}

/// Postfix's SCHEDULER_README, "Impact of active server concurrency limiter": a server that takes a second for each and
/// replies 421 to more than 5 at a time; a client that starts with 5 of at most 20. Measured there: 16.5, 24.5, 49.7 %.
#[test]
fn a_server_that_refuses_the_sixth_defers_what_postfix_measured() {
    let cases =
        [(Feedback::Inverse(1.0), 16.5), (Feedback::InverseRoot(1.0), 24.5), (Feedback::Fixed(1.0), 49.7)];
    for rules in [Limits::postfix(), Limits { rules: Rules::Mailrig, ..Limits::postfix() }] {
        for (feedback, published) in cases {
            let limits = Limits { positive_feedback: feedback, negative_feedback: feedback, ..rules.clone() };
            let mut random = fastrand::Rng::with_seed(1);
            // two thousand recipients, two a delivery; no two deliveries end in the same moment
            let (deferred, _) = run(limits, 1000, &mut |inside| {
                if inside < 5 {
                    (1000 + random.u64(0..200), Outcome::Finished, HopStatus::Up)
                } else {
                    (20, Outcome::Retry, HopStatus::Throttle)
                }
            });
            let percent = deferred as f64 / 10.0;
            assert!(
                (percent - published).abs() <= 1.5,
                "{:?}, feedback {feedback}: {percent} % deferred where Postfix measured {published} %",
                rules.rules
            );
        }
    }
}

/// C connections that are each held for T seconds deliver C/T a second.
#[test]
fn deliveries_a_second_are_the_connections_by_the_time_that_each_is_held() {
    for (connections, held_ms) in [(5, 1000), (20, 1000), (20, 30_000), (100, 200)] {
        let limits = Limits {
            destination_concurrency: connections,
            initial_destination_concurrency: connections,
            ..Limits::default()
        };
        let (deferred, took_s) =
            run(limits, 20 * u64::from(connections), &mut |_| (held_ms, Outcome::Finished, HopStatus::Up));
        let per_s = 20.0 * f64::from(connections) / took_s;
        let formula = f64::from(connections) / (held_ms as f64 / 1000.0);
        assert!(deferred == 0 && (per_s / formula - 1.0).abs() < 0.01, "{per_s}/s where C/T is {formula}/s");
    }
}

/// Postfix's TUNING_README: with one of N MX hosts dead, deliveries that try it first wait for the timeout, one of N, so
/// that C connections deliver C x N / timeout a second.
#[test]
fn one_dead_host_of_several_leaves_their_number_by_the_timeout() {
    for hosts in [2, 5] {
        let (connections, timeout_ms) = (20, 30_000);
        let limits = Limits { initial_destination_concurrency: connections, ..Limits::default() };
        let mut random = fastrand::Rng::with_seed(1);
        let (deferred, took_s) = run(limits, 20_000, &mut |_| {
            let takes_ms = if random.u8(0..hosts) == 0 { timeout_ms + 1 } else { 1 };
            (takes_ms, Outcome::Finished, HopStatus::Up)
        });
        let formula = f64::from(connections) * f64::from(hosts) / (timeout_ms as f64 / 1000.0);
        let per_s = 20_000.0 / took_s;
        assert!(
            deferred == 0 && (per_s / formula - 1.0).abs() < 0.05,
            "{per_s}/s, C x N / timeout is {formula}/s"
        );
    }
}
