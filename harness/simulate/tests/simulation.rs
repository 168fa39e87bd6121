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
fn with_few_destinations_their_windows_are_the_bound() {
    // of 80 slots half is for retries, or what four windows of five have
    for (destinations, slots) in [(1000, 40), (4, 20)] {
        let mut world = World::new(limits(Schedule::Mailrig, 80));
        (world.limits.destination_concurrency, world.limits.initial_destination_concurrency) = (5, 5);
        world.sites = vec![
            site("well", 50, 0.0, 1000, Answer::Delivered),
            site("stuck", destinations, 0.0, 30_000, Answer::Deferred),
        ];
        let mut simulation = Simulation::new(world);
        // more than can be kept on time
        simulation.keep_deferred(1, 10_000);
        let attempts = [1, 3].map(|hour| {
            simulation.run_until(Duration::from_secs(hour * 3600));
            simulation.sample("point").attempts
        });
        let expected = slots * 7200 / 30;
        // nothing that is new arrives but what takes the place of a message that got too old
        let ratio = (attempts[1] - attempts[0]) as f64 / expected as f64;
        assert!((0.95..=1.1).contains(&ratio), "{destinations} destinations: {ratio} of {expected} attempts");
    }
}

#[test]
fn retries_in_step_hold_up_new_mail_without_a_share_and_without_jitter() {
    let profile = simulate::parse(include_str!("../../../profiles/retries-in-step.toml"), "profile").unwrap();
    let p99_s = std::thread::scope(|scope| {
        let points = profile.points.iter().map(|point| {
            scope.spawn(|| {
                let mut simulation = Simulation::new(point.world.clone());
                // a quarter of the depth that it comes to is enough
                simulation.run_until(Duration::from_secs(5 * 3600));
                simulation.sample("before");
                simulation.run_until(Duration::from_secs(6 * 3600));
                simulation.sample("point").good_mail_p99_s.unwrap()
            })
        });
        let points: Vec<_> = points.collect();
        points.into_iter().map(|point| point.join().unwrap()).collect::<Vec<f64>>()
    });
    // by Postfix's rules and ours, each at Postfix's schedule and ours
    assert!(p99_s[0] > 20.0 && p99_s[1..].iter().all(|p99_s| *p99_s < 2.0), "{p99_s:?}");
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
    let few = simulate::parse(include_str!("../../../profiles/few-destinations.toml"), "few").unwrap();
    assert_eq!((few.points.len(), few.search_limit), (5, true));
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
