//! What one decision of the scheduler costs, with 10, a million and ten million entries queued, and what memory they take.
//!
//! Destinations are 1000; agents have 1000 slots, so that the shares are kept.
//! `due`: everything may be delivered now, each destination's by one sender; a decision is poll, report of success, and a
//! new entry in its place. `due by senders`: the same by 1000 senders to each destination, who have their turns.
//! `deferred`: everything waits for its retry, spread over the maximal back-off; time moves on to the next due
//! entry, a decision is poll and report of a deferral, which puts the entry back into the timer.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use delivery::{EpochMs, QueueId};
use scheduler::{Disposition, Entry, Limits, Next, Outcome, Report, Scheduler, SenderId};
use smtp::client::HopStatus;
use std::hint::black_box;
use std::time::Duration;

const START: EpochMs = EpochMs(1_800_000_000_000);
const DESTINATIONS: u64 = 1000;
const SENDERS: u64 = 1000;
const DECISIONS: u64 = 1000;

/// `queued` entries, due evenly over `over_ms` from now, their destinations in no order.
fn filled(queued: u64, over_ms: u64, senders: u64) -> Scheduler {
    let limits = Limits {
        lifetime: Duration::MAX,
        initial_destination_concurrency: 20,
        slots: 1000,
        ..Limits::default()
    };
    let mut scheduler = Scheduler::new(limits);
    assert_eq!(scheduler.poll(START), Next::Empty);
    for n in 0..queued {
        let due = EpochMs(START.0 + n * over_ms / queued);
        enqueue(&mut scheduler, n, due, senders);
    }
    scheduler
}

fn enqueue(scheduler: &mut Scheduler, n: u64, due: EpochMs, senders: u64) {
    let number = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % DESTINATIONS;
    let destination = scheduler.destination(NAMES.with(|names| names[number as usize]));
    scheduler.enqueue(Entry {
        id: QueueId(n),
        destination,
        sender: SenderId((n / 7 % senders) as u32),
        born: START,
        due,
        attempts: 0,
    });
}

thread_local! {
    static NAMES: Vec<&'static str> = (0..DESTINATIONS).map(|n| &*format!("mx{n}.test:25").leak()).collect();
}

/// Of this process (proc(5), statm).
fn resident_bytes() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux has it");
    let pages: f64 = statm.split(' ').nth(1).and_then(|field| field.parse().ok()).expect("a number of pages");
    pages * rustix::param::page_size() as f64
}

fn decide(criterion: &mut Criterion) {
    let before = resident_bytes();
    let deferred = filled(10_000_000, 4_000_000, SENDERS);
    let each = (resident_bytes() - before) / 10_000_000.0;
    println!(
        "memory: {} bytes a record, {each:.1} resident for each of 10 000 000 deferred",
        scheduler::ENTRY_BYTES
    );
    drop(deferred);
    let mut group = criterion.benchmark_group("scheduler/decide");
    group.throughput(Throughput::Elements(DECISIONS));
    for queued in [10, 1_000_000, 10_000_000] {
        for (kind, senders) in [("due", 1), ("due by senders", SENDERS)] {
            let mut scheduler = filled(queued, 0, senders);
            let mut n = queued;
            group.bench_function(format!("{kind}/{queued}"), |bencher| {
                bencher.iter(|| {
                    for _ in 0..DECISIONS {
                        let Next::Deliver(entry, ..) = scheduler.poll(START) else { panic!("all is due") };
                        let report = Report { outcome: Outcome::Finished, hop: HopStatus::Up };
                        assert_eq!(scheduler.report(START, entry, report), Disposition::Gone);
                        enqueue(&mut scheduler, n, START, senders);
                        n += 1;
                    }
                });
            });
        }
        let mut scheduler = filled(queued, 4_000_000, SENDERS);
        let mut now = START;
        group.bench_function(format!("deferred/{queued}"), |bencher| {
            bencher.iter(|| {
                for _ in 0..DECISIONS {
                    let entry = loop {
                        match scheduler.poll(now) {
                            Next::Deliver(entry, ..) => break entry,
                            Next::Sleep(until) => now = until,
                            other => panic!("all are deferred, but {other:?}"),
                        }
                    };
                    let report = Report { outcome: Outcome::Retry, hop: HopStatus::Up };
                    black_box(scheduler.report(now, entry, report));
                }
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(3)).without_plots();
    targets = decide
}
criterion_main!(benches);
