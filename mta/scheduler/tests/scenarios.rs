//! What the scheduler does in situations that a postmaster knows.

use delivery::{EpochMs, QueueId};
use scheduler::{
    DestinationId, Disposition, Entry, EntryId, Feedback, Limits, Next, Outcome, Report, Rule, Scheduler,
    SenderId,
};
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

/// Gives out what may be delivered now; by destination.
fn begin(scheduler: &mut Scheduler, now: EpochMs, slots: usize) -> Vec<(EntryId, DestinationId)> {
    let mut begun = Vec::new();
    while begun.len() < slots {
        let Next::Deliver(entry, _, destination) = scheduler.poll(now) else { break };
        begun.push((entry, destination));
    }
    begun
}

fn enqueue(scheduler: &mut Scheduler, destination: DestinationId, count: u64, now: EpochMs, attempts: u16) {
    for n in 0..count {
        let (id, sender) = (QueueId(n), SenderId(0));
        scheduler.enqueue(Entry { id, destination, sender, born: now, due: now, attempts });
    }
}

/// One destination may have all of them.
fn with_a_hundred_slots() -> Scheduler {
    Scheduler::new(Limits {
        slots: 100,
        destination_concurrency: 100,
        initial_destination_concurrency: 100,
        ..Limits::default()
    })
}

const WELL: Report = Report { outcome: Outcome::Finished, hop: HopStatus::Up };

#[test]
fn tarpits_together_have_a_share_of_the_slots_and_one_that_is_alone_has_all() {
    let mut scheduler = with_a_hundred_slots();
    let tarpits = ["t1.test:25", "t2.test:25"].map(|name| scheduler.destination(name));
    let well = scheduler.destination("well.test:25");
    enqueue(&mut scheduler, tarpits[0], 500, START, 0);
    let held = begin(&mut scheduler, START, 100);
    assert_eq!(held.len(), 100, "nobody else wants a slot");
    let later = EpochMs(START.0 + 60_000);
    enqueue(&mut scheduler, tarpits[1], 500, later, 0);
    enqueue(&mut scheduler, well, 500, later, 0);
    for (entry, _) in held {
        scheduler.report(later, entry, WELL);
    }
    scheduler.counts(later);
    // neither of the others is known yet: with the first they have a quarter of all, and it a tenth
    let mut held = begin(&mut scheduler, later, 100);
    let of = |held: &[(EntryId, DestinationId)], one: DestinationId| {
        held.iter().filter(|(_, other)| *other == one).count()
    };
    assert!(of(&held, tarpits[0]) <= 10, "{}", of(&held, tarpits[0]));
    assert!(held.len() <= 35, "{} for three of which none has answered in time", held.len());
    // the well one answers; the tarpits do not
    let soon = EpochMs(later.0 + 100);
    for (entry, _) in held.extract_if(.., |(_, destination)| *destination == well) {
        scheduler.report(soon, entry, WELL);
    }
    let begun = begin(&mut scheduler, soon, 100 - held.len());
    held.extend(begun);
    assert!(of(&held, well) >= 75, "{} of 100 slots for the well one", of(&held, well));
    // when all have ended, the tarpits have ten together
    let at_last = EpochMs(soon.0 + 60_000);
    held.sort_by_key(|(_, destination)| *destination != well);
    for (entry, destination) in held.drain(..) {
        scheduler.report(if destination == well { soon } else { at_last }, entry, WELL);
    }
    held = begin(&mut scheduler, at_last, 100);
    assert_eq!(held.len(), 100);
    assert_eq!(held.len() - of(&held, well), 10);
}

#[test]
fn retries_that_fail_slowly_leave_half_of_the_slots_for_new_mail() {
    let mut scheduler = with_a_hundred_slots();
    let (stuck, well) = (scheduler.destination("stuck.test:25"), scheduler.destination("well.test:25"));
    enqueue(&mut scheduler, stuck, 500, START, 3);
    assert_eq!(begin(&mut scheduler, START, 100).len(), 50);
    enqueue(&mut scheduler, well, 500, START, 0);
    assert_eq!(begin(&mut scheduler, START, 50).len(), 25, "a quarter until it has answered");
}

#[test]
fn a_rate_of_connections_counts_those_that_are_opened_and_not_those_that_are_used_again() {
    // ten seconds at ten a second, and the first at once; of ten begun five are free, and they come first
    for (reused_of_ten, expected) in [(0, 100..=102), (5, 200..=206)] {
        let mut scheduler = Scheduler::new(Limits::default());
        scheduler.add_rule(Rule {
            next_hops: vec!["big.test:25".to_owned()],
            connections_per_second: Some(10.0),
            ..Rule::default()
        });
        let destination = scheduler.destination("big.test:25");
        enqueue(&mut scheduler, destination, 1000, START, 0);
        let (mut now, mut begun) = (START, 0);
        while now.since(START) < Duration::from_secs(10) {
            match scheduler.poll(now) {
                Next::Deliver(entry, ..) => {
                    if begun % 10 < reused_of_ten {
                        scheduler.connection_reused(entry);
                    }
                    begun += 1;
                    scheduler.report(now, entry, WELL);
                }
                Next::Sleep(until) => now = until,
                other => panic!("{other:?}"),
            }
        }
        assert!(expected.contains(&begun), "{begun} with {reused_of_ten} of ten used again");
    }
}

#[test]
fn a_rate_that_destinations_share_is_kept_by_all_together_and_in_turn() {
    let mut scheduler = Scheduler::new(Limits { initial_destination_concurrency: 20, ..Limits::default() });
    scheduler.add_rule(Rule {
        next_hops: vec!["*.big.test:25".to_owned()],
        messages_per_second: Some(10.0),
        together: true,
        ..Rule::default()
    });
    let names = ["a.big.test:25", "b.big.test:25", "c.big.test:25", "small.test:25"];
    let destinations = names.map(|name| scheduler.destination(name));
    for destination in destinations {
        enqueue(&mut scheduler, destination, 1000, START, 0);
    }
    let mut counts = [0; 4];
    let mut now = START;
    while now.since(START) < Duration::from_secs(10) {
        match scheduler.poll(now) {
            Next::Deliver(entry, _, destination) => {
                counts[destinations.iter().position(|one| *one == destination).unwrap()] += 1;
                scheduler.report(now, entry, WELL);
            }
            Next::Sleep(until) => now = until,
            other => panic!("{other:?}"),
        }
    }
    assert!((100..=102).contains(&counts[..3].iter().sum::<u32>()), "{counts:?}");
    assert!(counts[..3].iter().all(|count| (30..=36).contains(count)), "{counts:?}");
    assert_eq!(counts[3], 1000, "others have no rate");
}

#[test]
fn what_waits_for_a_dead_host_is_given_up_when_it_is_too_old() {
    let mut scheduler = Scheduler::new(Limits { lifetime: Duration::from_secs(3600), ..Limits::default() });
    let dead = scheduler.destination("dead.test:25");
    enqueue(&mut scheduler, dead, 1000, START, 0);
    let (mut now, mut tried, mut expired) = (START, 0, 0);
    let lost = Report { outcome: Outcome::Retry, hop: HopStatus::Throttle };
    while expired < 1000 {
        match scheduler.poll(now) {
            Next::Deliver(entry, ..) => {
                tried += 1;
                now.0 += 30_000;
                expired += u32::from(scheduler.report(now, entry, lost) == Disposition::Expired);
            }
            Next::Expired(..) => expired += 1,
            Next::Sleep(until) => now = until,
            other => panic!("{other:?}"),
        }
    }
    assert!(tried < 40, "{tried} attempts on a host that is dead");
    assert!(
        now.since(START) < Duration::from_secs(3600 + 2 * 4000),
        "the last was given up after {:?}",
        now.since(START)
    );
    assert_eq!(scheduler.poll(now), Next::Empty);
}

#[test]
fn the_sender_is_told_once_that_a_message_is_late() {
    let limits = Limits { delay_warning: Some(Duration::from_secs(3600)), ..Limits::default() };
    let mut scheduler = Scheduler::new(limits);
    let destination = scheduler.destination("full.test:25");
    enqueue(&mut scheduler, destination, 1, START, 0);
    let (mut now, mut warned_at) = (START, Vec::new());
    loop {
        match scheduler.poll(now) {
            Next::Deliver(entry, ..) => {
                let report = Report { outcome: Outcome::Retry, hop: HopStatus::Up };
                match scheduler.report(now, entry, report) {
                    Disposition::Retry { warn, .. } if warn => warned_at.push(now.since(START)),
                    Disposition::Retry { .. } => {}
                    Disposition::Expired => break,
                    Disposition::Gone => panic!("it was never delivered"),
                }
            }
            Next::Sleep(until) => now = until,
            other => panic!("{other:?}"),
        }
    }
    let hour = Duration::from_secs(3600);
    assert!(warned_at.len() == 1 && warned_at[0] >= hour && warned_at[0] < 3 * hour, "{warned_at:?}");
}
