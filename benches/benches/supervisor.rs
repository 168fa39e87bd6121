//! What one decision about agents costs, with 10, 1000 and 10 000 of them.
//!
//! `take` is what the queue manager asks for each delivery: whether another agent is wanted, which one gets the
//! delivery, what becomes of it after the report, when time alone has something to do. `use_up` is the same with
//! agents of one delivery each, so that every decision also ends one and makes its successor. In both half of the
//! agents are busy.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::collections::VecDeque;
use std::hint::black_box;
use std::time::{Duration, Instant};
use supervisor::link::AgentNumber;
use supervisor::pool::{AfterUse, Limits, Pool, Readiness};

const DECISIONS: u64 = 1000;

/// So many agents that are ready, and half of them in a delivery.
fn pool(agents_max: usize, max_use: u64, now: Instant) -> (Pool, VecDeque<AgentNumber>) {
    let mut pool = Pool::new(Limits {
        agents_max,
        connections_per_agent: 1,
        max_use,
        max_idle: Duration::from_secs(100),
        spawn_rate: 0,
        preforked: true,
    });
    start_all(&mut pool, now);
    let busy = (0..agents_max / 2).map(|_| pool.take(now).expect("half are free")).collect();
    (pool, busy)
}

fn start_all(pool: &mut Pool, now: Instant) {
    while pool.wants_agent(0, now) {
        let number = pool.start(now);
        assert_eq!(pool.ready(number, now), Readiness::Welcome);
    }
}

fn decide(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("supervisor/decide");
    group.throughput(Throughput::Elements(DECISIONS));
    let now = Instant::now();
    for (name, max_use, after) in [("take", 0, AfterUse::Keep), ("use_up", 1, AfterUse::Retire)] {
        for agents in [10, 1000, 10_000] {
            let (mut pool, mut busy) = pool(agents, max_use, now);
            group.bench_function(format!("{name}/{agents}"), |bencher| {
                bencher.iter(|| {
                    for _ in 0..DECISIONS {
                        busy.push_back(pool.take(now).expect("half are free"));
                        let oldest = busy.pop_front().expect("half are busy");
                        assert_eq!(pool.release(oldest, now), after);
                        start_all(&mut pool, now);
                        black_box((pool.retire_idle(now), pool.idle_deadline()));
                    }
                });
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(2)).without_plots();
    targets = decide
}
criterion_main!(benches);
