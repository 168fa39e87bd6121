//! The simulation against what is known without it: closed forms, conservation of messages, and its own seed.

use behaviour::Delay;
use scheduler::{Limits, Schedule};
use simulate::{Answer, Simulation, Site, World, limit};
use std::time::Duration;

fn site(name: &str, destinations: u32, share: f64, latency_ms: u64, answer: Answer) -> Site {
    let latency = Delay::Fixed(Duration::from_millis(latency_ms));
    Site { name: name.to_owned(), destinations, share, latency, answer }
}

fn limits(schedule: Schedule, slots: u32) -> Limits {
    let usual = schedule.defaults();
    Limits {
        schedule,
        minimal_backoff: usual.minimal_backoff,
        maximal_backoff: usual.maximal_backoff,
        lifetime: usual.lifetime,
        destination_concurrency: slots,
        initial_destination_concurrency: slots,
        slots,
        slow_share: 0.5,
        unproven_share: 1.0,
        ..Limits::default()
    }
}

#[test]
fn the_limit_is_the_formulas_where_slots_are_the_bound() {
    for (schedule, failure_ms) in [(Schedule::Mailrig, 30_000), (Schedule::Postfix, 100_000)] {
        let mut world = World::new(limits(schedule, 40));
        world.sites = vec![
            site("well", 20, 0.0, 1000, Answer::Delivered),
            site("stuck", 100, 0.0, failure_ms, Answer::Deferred),
        ];
        let found = limit::scale(&world).search("point");
        let ratio = found.messages / found.formula.messages();
        assert!((0.9..=1.1).contains(&ratio), "{schedule:?}: {} found, {:?}", found.messages, found.formula);
    }
}

#[test]
fn what_arrived_is_delivered_bounced_or_queued_and_a_seed_is_a_history() {
    let run = |seed: u64| {
        let mut world =
            World::new(Limits { lifetime: Duration::from_secs(7200), seed, ..limits(Schedule::Mailrig, 50) });
        world.sites = vec![
            site("well", 50, 0.9, 500, Answer::Delivered),
            site("greylisting", 10, 0.05, 200, Answer::Greylisted(Duration::from_secs(600))),
            site("gone", 10, 0.03, 30_000, Answer::Unreachable),
            site("back soon", 5, 0.02, 1000, Answer::Down(Duration::from_secs(6000))),
        ];
        world.arrivals_per_s = 5.0;
        let mut simulation = Simulation::new(world);
        let hours = (1..=6).map(|hour| {
            simulation.run_until(Duration::from_secs(hour * 3600));
            simulation.sample("point")
        });
        let rows: Vec<_> = hours.collect();
        let ages = simulation.ages("point");
        (rows, ages)
    };
    let (rows, ages) = run(1);
    for row in &rows {
        assert_eq!(row.arrivals, row.delivered + row.bounced + row.queue_depth, "{row:?}");
        assert_eq!(row.queue_depth, row.active + row.deferred);
    }
    let last = rows.last().unwrap();
    assert!(last.bounced > 0 && last.good_mail_p99_s.is_some_and(|p99_s| p99_s < 1.0), "{last:?}");
    assert_eq!(ages[0].total, last.queue_depth, "TOTAL is all that is queued");
    assert!(ages.iter().all(|row| row.domain != "back soon"), "it has come back: {ages:?}");
    assert_eq!(run(1), (rows.clone(), ages));
    assert_ne!(run(2).0, rows);
}

#[test]
fn a_profile_is_refused_by_its_line() {
    let good = include_str!("../../../profiles/deferred-limit.toml");
    let profile = simulate::parse(good, "profile").unwrap();
    assert_eq!((profile.points.len(), profile.search_limit), (4 * 4 * 6, true));
    for (wrong, right, part) in [
        ("answer = \"refused\"", "answer = \"deferred\"", "one of delivered"),
        ("\"qmail\"", "\"kumomta\"", "no schedule"),
        ("[20, 0]", "[20, 200, 2000, 20000]", "from 1 to"),
        ("\"0s\"", "\"300s\"", "takes no time"),
        ("retry_share = [1.5]", "retry_share = [0.5]", "less than 1"),
        ("search = \"depth\"", "search = \"limit\"", "only \"limit\""),
    ] {
        let error = simulate::parse(&good.replacen(right, wrong, 1), "profile").expect_err(wrong).to_string();
        assert!(error.contains(part) && error.starts_with("profile"), "{wrong}: {error}");
    }
}
