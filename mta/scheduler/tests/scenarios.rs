//! What the scheduler does in situations that a postmaster knows.

use delivery::{EpochMs, QueueId};
use scheduler::{Disposition, Entry, Feedback, Limits, Next, Outcome, Report, Scheduler, SenderId};
use smtp::client::HopStatus;
use std::time::Duration;

const START: EpochMs = EpochMs(1_800_000_000_000);

/// Windows that move by one a delivery.
fn by_ones() -> Limits {
    let step = Feedback::Fixed(1.0);
    Limits { positive_feedback: step, negative_feedback: step, ..Limits::default() }
}

#[test]
fn destinations_take_turns_and_each_serves_its_own_in_order() {
    let mut scheduler = Scheduler::new(Limits { initial_destination_concurrency: 20, ..Limits::default() });
    let names = ["a.test:25", "b.test:25", "c.test:25"].map(|name| scheduler.destination(name));
    assert_eq!(scheduler.poll(START), Next::Empty);
    // a mailing of a thousand, then one note each for the others
    for n in 0..1000 {
        scheduler.enqueue(Entry {
            id: QueueId(n),
            destination: names[0],
            sender: SenderId(0),
            born: START,
            due: START,
            attempts: 0,
        });
    }
    for n in [1000, 1001] {
        let destination = names[n as usize - 999];
        scheduler.enqueue(Entry {
            id: QueueId(n),
            destination,
            sender: SenderId(0),
            born: START,
            due: START,
            attempts: 0,
        });
    }
    let order: Vec<u64> = std::iter::from_fn(|| match scheduler.poll(START) {
        Next::Deliver(_, id, _) => Some(id.0),
        _ => None,
    })
    .collect();
    assert_eq!(order, [0, 1000, 1001].into_iter().chain(1..20).collect::<Vec<_>>());
}

#[test]
fn a_destination_with_a_limit_of_its_own_keeps_to_it_and_leaves_the_rest_to_others() {
    let limits = Limits { destination_concurrency: 8, initial_destination_concurrency: 4, ..by_ones() };
    let mut scheduler = Scheduler::new(limits);
    scheduler.limit_destination("few.test:25", 2);
    scheduler.limit_destination("many.test:25", 30);
    let names = ["few.test:25", "many.test:25", "other.test:25"].map(|name| scheduler.destination(name));
    let windows = |scheduler: &Scheduler| names.map(|name| scheduler.window(name));
    assert_eq!(windows(&scheduler), [2, 4, 4]);
    for n in 0..900 {
        let destination = names[n as usize % 3];
        scheduler.enqueue(Entry {
            id: QueueId(n),
            destination,
            sender: SenderId(0),
            born: START,
            due: START,
            attempts: 0,
        });
    }
    let mut busy = std::collections::VecDeque::new();
    for _ in 0..300 {
        while let Next::Deliver(entry, ..) = scheduler.poll(START) {
            busy.push_back(entry);
        }
        let entry = busy.pop_front().expect("there is mail for all");
        scheduler.report(START, entry, Report { outcome: Outcome::Finished, hop: HopStatus::Up });
    }
    assert_eq!(windows(&scheduler), [2, 30, 8]);
}

#[test]
fn a_dead_destination_rests_and_holds_nobody_up() {
    let mut scheduler = Scheduler::new(Limits::default());
    let (dead, well) = (scheduler.destination("dead.test:25"), scheduler.destination("well.test:25"));
    for n in 0..100 {
        scheduler.enqueue(Entry {
            id: QueueId(n),
            destination: dead,
            sender: SenderId(0),
            born: START,
            due: START,
            attempts: 0,
        });
    }
    let mut tried = 0;
    let mut now = START;
    while let Next::Deliver(entry, ..) = scheduler.poll(now) {
        tried += 1;
        now.0 += 10;
        let report = Report { outcome: Outcome::Retry, hop: HopStatus::Throttle };
        assert!(matches!(scheduler.report(now, entry, report), Disposition::Retry { attempts: 1, .. }));
    }
    assert_eq!(tried, 10, "three cohorts of a window that closes from five to one by 1/N");
    let counts = scheduler.counts(now);
    assert_eq!(
        (counts.active, counts.due, counts.deferred),
        (0, 0, 100),
        "90 wait for the host, 10 for themselves"
    );

    scheduler.enqueue(Entry {
        id: QueueId(100),
        destination: well,
        sender: SenderId(0),
        born: now,
        due: now,
        attempts: 0,
    });
    let Next::Deliver(entry, QueueId(100), _) = scheduler.poll(now) else {
        panic!("the well one is held up")
    };
    scheduler.report(now, entry, Report { outcome: Outcome::Finished, hop: HopStatus::Up });

    let revival = EpochMs(START.0 + 100 + 300_000);
    let own_retries = 10;
    assert!(matches!(scheduler.poll(EpochMs(revival.0 - 1)), Next::Sleep(at) if at <= revival));
    assert_eq!(scheduler.counts(EpochMs(revival.0 - 1)).due, 0);
    assert!((90..=90 + own_retries).contains(&scheduler.counts(revival).due));
    let Next::Deliver(probe, ..) = scheduler.poll(revival) else { panic!("its rest is over") };
    assert!(matches!(scheduler.poll(revival), Next::Sleep(_) | Next::Blocked), "one probe at a time");
    scheduler.report(revival, probe, Report { outcome: Outcome::Finished, hop: HopStatus::Up });
    assert_eq!(scheduler.window(dead), 2);
}

#[test]
fn retries_of_mail_deferred_together_spread() {
    let mut dues = [1u64, 1, 2].map(|seed| {
        let mut scheduler =
            Scheduler::new(Limits { seed, initial_destination_concurrency: 20, ..Limits::default() });
        let destination = scheduler.destination("mx.test:25");
        let entries = (0..20).map(|n| Entry {
            id: QueueId(n),
            destination,
            sender: SenderId(0),
            born: START,
            due: START,
            attempts: 0,
        });
        for entry in entries {
            scheduler.enqueue(entry);
        }
        let mut dues = Vec::new();
        while let Next::Deliver(entry, ..) = scheduler.poll(START) {
            match scheduler.report(START, entry, Report { outcome: Outcome::Retry, hop: HopStatus::Up }) {
                Disposition::Retry { due, .. } => dues.push(due),
                other => panic!("{other:?}"),
            }
        }
        dues
    });
    assert_eq!(dues[0], dues[1]);
    assert_ne!(dues[1], dues[2]);
    dues[0].sort_unstable();
    let spread = dues[0][19].since(dues[0][0]);
    assert!(spread > Duration::from_secs(30), "twenty retries within {spread:?} of each other");
}

#[test]
fn old_names_of_entries_find_nothing() {
    let mut scheduler = Scheduler::new(Limits::default());
    let destination = scheduler.destination("mx.test:25");
    let entry =
        |n| Entry { id: QueueId(n), destination, sender: SenderId(0), born: START, due: START, attempts: 3 };
    let first = scheduler.enqueue(entry(1));
    assert!(scheduler.remove(first));
    let _ = scheduler.poll(START);
    let second = scheduler.enqueue(entry(2));
    assert_ne!(first, second);
    assert_eq!((scheduler.entry(first), scheduler.entry(second)), (None, Some(entry(2))));
    let report = Report { outcome: Outcome::Retry, hop: HopStatus::Up };
    assert_eq!(scheduler.report(START, first, report), Disposition::Gone);
    assert_eq!(scheduler.report(START, second, report), Disposition::Gone, "it is not under way");
    assert!(matches!(scheduler.poll(START), Next::Deliver(_, QueueId(2), _)));
}

#[test]
fn a_late_success_frees_what_waits_for_a_dead_destination() {
    let (destination_concurrency, initial_destination_concurrency) = (50, 50);
    let limits = Limits { destination_concurrency, initial_destination_concurrency, ..by_ones() };
    let mut scheduler = Scheduler::new(limits);
    let destination = scheduler.destination("mx.test:25");
    for n in 0..150 {
        scheduler.enqueue(Entry {
            id: QueueId(n),
            destination,
            sender: SenderId(0),
            born: START,
            due: START,
            attempts: 0,
        });
    }
    let under_way: Vec<_> = std::iter::from_fn(|| match scheduler.poll(START) {
        Next::Deliver(entry, ..) => Some(entry),
        _ => None,
    })
    .collect();
    for entry in &under_way[1..] {
        scheduler.report(START, *entry, Report { outcome: Outcome::Retry, hop: HopStatus::Throttle });
    }
    assert_eq!((scheduler.window(destination), scheduler.counts(START).due), (0, 0));
    scheduler.report(START, under_way[0], Report { outcome: Outcome::Finished, hop: HopStatus::Up });
    assert!(scheduler.counts(START).due > 90, "{:?}", scheduler.counts(START));
    assert!(matches!(scheduler.poll(START), Next::Deliver(..)));
}

#[test]
fn a_destination_that_dies_while_it_has_a_turn_is_passed_over() {
    let (destination_concurrency, initial_destination_concurrency) = (50, 50);
    let limits = Limits { destination_concurrency, initial_destination_concurrency, ..by_ones() };
    let mut scheduler = Scheduler::new(limits);
    let destination = scheduler.destination("mx.test:25");
    for n in 0..100 {
        scheduler.enqueue(Entry {
            id: QueueId(n),
            destination,
            sender: SenderId(0),
            born: START,
            due: START,
            attempts: 0,
        });
    }
    // one agent: the window is never full, so the destination always has a place in the round
    while scheduler.window(destination) > 0 {
        let Next::Deliver(entry, ..) = scheduler.poll(START) else { panic!("it is not dead yet") };
        scheduler.report(START, entry, Report { outcome: Outcome::Retry, hop: HopStatus::Throttle });
    }
    assert!(matches!(scheduler.poll(START), Next::Sleep(_)));
}

#[test]
fn a_clock_set_back_makes_no_wait_longer_or_shorter() {
    let mut scheduler = Scheduler::new(Limits::default());
    let destination = scheduler.destination("mx.test:25");
    scheduler.enqueue(Entry {
        id: QueueId(1),
        destination,
        sender: SenderId(0),
        born: START,
        due: START,
        attempts: 0,
    });
    let Next::Deliver(entry, ..) = scheduler.poll(START) else { panic!("it is due") };
    let report = Report { outcome: Outcome::Retry, hop: HopStatus::Up };
    let Disposition::Retry { due, .. } = scheduler.report(START, entry, report) else {
        panic!("it is young")
    };
    let day = Duration::from_secs(24 * 3600);
    let before = EpochMs(START.0 - day.as_millis() as u64);
    assert_eq!(scheduler.poll(before), Next::Sleep(EpochMs(before.0 + due.since(START).as_millis() as u64)));
    // and what is new is due at once
    scheduler.enqueue(Entry {
        id: QueueId(2),
        destination,
        sender: SenderId(0),
        born: before,
        due: before,
        attempts: 0,
    });
    assert!(matches!(scheduler.poll(before), Next::Deliver(_, QueueId(2), _)));
}
