//! What it costs to accept a message of 4 KiB: begin, write, commit, with the disk's part (`full`) and without
//! (`none`), by one thread and by four.
//!
//! The spool lies in the build's own folder for temporary files, so on the disk that the project is built on.

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use delivery::{Envelope, EpochMs, QueueId};
use smtp::{ForwardPath, ReversePath};
use spool::files::FilesSpool;
use spool::{Durability, Spool};
use std::path::Path;
use std::time::{Duration, Instant};

const CONTENT_BYTES: usize = 4096;

fn accept(spool: &FilesSpool, content: &[u8]) -> QueueId {
    let mailbox = |text: &str| text.parse().expect("a mailbox");
    let envelope = Envelope {
        received: EpochMs(1_800_000_000_000),
        reverse_path: ReversePath::Mailbox(mailbox("sender@a.test")),
        recipients: vec![ForwardPath::Mailbox(mailbox("recipient@b.test"))],
        eight_bit: false,
    };
    let mut incoming = spool.begin(envelope).expect("begins");
    incoming.write(content).expect("there is space");
    spool.commit(incoming).expect("is committed")
}

/// How long `threads` take to accept `messages` between them. They are removed afterwards, untimed.
fn timed(spool: &FilesSpool, threads: u64, messages: u64) -> Duration {
    let content = vec![b'x'; CONTENT_BYTES];
    let shares = (0..threads).map(|thread| messages / threads + u64::from(thread < messages % threads));
    let start = Instant::now();
    let ids = std::thread::scope(|scope| {
        let work = |share: u64| {
            let content = &content;
            move || (0..share).map(|_| accept(spool, content)).collect::<Vec<_>>()
        };
        let workers: Vec<_> = shares.map(|share| scope.spawn(work(share))).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("does not panic")).collect::<Vec<_>>()
    });
    let elapsed = start.elapsed();
    ids.into_iter().for_each(|id| assert_eq!(spool.remove(id).expect("removes"), id));
    elapsed
}

fn accept_a_message(criterion: &mut Criterion) {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("spool-bench-{}", std::process::id()));
    let mut group = criterion.benchmark_group("spool/accept");
    group.throughput(Throughput::Elements(1)).sampling_mode(SamplingMode::Flat);
    for (name, durability) in [("none", Durability::None), ("full", Durability::Full)] {
        let spool = FilesSpool::open(&dir, durability).expect("opens");
        for threads in [1, 4] {
            group.bench_function(format!("{name}/{threads}-threads"), |bencher| {
                bencher.iter_custom(|messages| timed(&spool, threads, messages));
            });
        }
    }
    group.finish();
    std::fs::remove_dir_all(&dir).expect("removes its own folder");
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(5)).without_plots();
    targets = accept_a_message
}
criterion_main!(benches);
