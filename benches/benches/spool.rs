//! What it costs to accept a message of 4 KiB: begin, write, commit, with the disk's part (`full`) and without (`none`).
//! Files by one thread and by four; segments alone and in groups that come together, as the queue manager's writer has
//! them; and beside, a storage engine (redb) that keeps the same bytes under the same ids, a transaction a group.
//!
//! The spool lies in the build's own folder for temporary files, so on the disk that the project is built on.

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use delivery::{Envelope, EpochMs, QueueId};
use redb::{Database, TableDefinition};
use smtp::{ForwardPath, ReversePath};
use spool::files::FilesSpool;
use spool::segments::SegmentSpool;
use spool::{Change, Durability, Incoming, Spool};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const CONTENT_BYTES: usize = 4096;
const GROUPS: [u64; 3] = [1, 16, 64];
const MESSAGES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("messages");

fn receive(spool: &dyn Spool, content: &[u8]) -> Incoming {
    let mailbox = |text: &str| text.parse().expect("a mailbox");
    let envelope = Envelope {
        received: EpochMs(1_800_000_000_000),
        reverse_path: ReversePath::Mailbox(mailbox("sender@a.test")),
        recipients: vec![ForwardPath::Mailbox(mailbox("recipient@b.test"))],
        eight_bit: false,
    };
    let mut incoming = spool.begin(envelope).expect("begins");
    incoming.write(content).expect("there is space");
    incoming
}

/// How long `threads` take to accept `messages` between them. They are removed afterwards, untimed.
fn by_threads(spool: &FilesSpool, threads: u64, messages: u64) -> Duration {
    let content = vec![b'x'; CONTENT_BYTES];
    let shares = (0..threads).map(|thread| messages / threads + u64::from(thread < messages % threads));
    let start = Instant::now();
    let ids = std::thread::scope(|scope| {
        let work = |share: u64| {
            let content = &content;
            move || {
                let accept = |_| spool.commit(receive(spool, content)).expect("is committed");
                (0..share).map(accept).collect::<Vec<_>>()
            }
        };
        let workers: Vec<_> = shares.map(|share| scope.spawn(work(share))).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("does not panic")).collect::<Vec<_>>()
    });
    let elapsed = start.elapsed();
    remove(spool, ids);
    elapsed
}

/// How long it takes to accept `messages` that come `group` at a time.
fn by_groups(spool: &SegmentSpool, group: u64, messages: u64) -> Duration {
    let content = vec![b'x'; CONTENT_BYTES];
    let mut ids = Vec::with_capacity(messages as usize);
    let start = Instant::now();
    while (ids.len() as u64) < messages {
        let count = group.min(messages - ids.len() as u64);
        let changes = (0..count).map(|_| Change::Commit(receive(spool, &content))).collect();
        ids.extend(spool.apply(changes).into_iter().map(|result| result.expect("is committed")));
    }
    let elapsed = start.elapsed();
    remove(spool, ids);
    while spool.tend().expect("gives space back") {}
    elapsed
}

fn remove(spool: &dyn Spool, ids: Vec<QueueId>) {
    let changes = ids.into_iter().map(|id| Change::Remove { id }).collect();
    assert!(spool.apply(changes).iter().all(Result::is_ok));
}

/// The same in the storage engine: every message a key and its bytes.
fn by_engine(database: &Database, next: &mut u64, group: u64, messages: u64, sync: bool) -> Duration {
    let bytes = vec![b'x'; CONTENT_BYTES + 128];
    let durability = if sync { redb::Durability::Immediate } else { redb::Durability::None };
    let (first, end) = (*next, *next + messages);
    let start = Instant::now();
    while *next < end {
        let mut transaction = database.begin_write().expect("begins");
        transaction.set_durability(durability).expect("is known");
        {
            let mut table = transaction.open_table(MESSAGES).expect("opens");
            for id in *next..end.min(*next + group) {
                table.insert(id, &*bytes).expect("is inserted");
            }
        }
        transaction.commit().expect("is committed");
        *next = end.min(*next + group);
    }
    let elapsed = start.elapsed();
    let transaction = database.begin_write().expect("begins");
    {
        let mut table = transaction.open_table(MESSAGES).expect("opens");
        (first..end).for_each(|id| drop(table.remove(id).expect("is removed")));
    }
    transaction.commit().expect("is committed");
    elapsed
}

fn folder(name: &str) -> PathBuf {
    let folder = format!("spool-bench-{}-{name}", std::process::id());
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder)
}

fn accept_a_message(criterion: &mut Criterion) {
    let mut benched = criterion.benchmark_group("spool/accept");
    benched.throughput(Throughput::Elements(1)).sampling_mode(SamplingMode::Flat);
    for (name, durability) in [("none", Durability::None), ("full", Durability::Full)] {
        let (files, segments, engine) = (folder("files"), folder("segments"), folder("engine"));
        let spool = FilesSpool::open(&files, durability).expect("opens");
        for threads in [1, 4] {
            benched.bench_function(format!("files/{name}/{threads}-threads"), |bencher| {
                bencher.iter_custom(|messages| by_threads(&spool, threads, messages));
            });
        }
        let spool = SegmentSpool::open(&segments, durability).expect("opens");
        spool.recover(&mut |_, _| {}).expect("is empty");
        for group in GROUPS {
            benched.bench_function(format!("segments/{name}/groups-of-{group}"), |bencher| {
                bencher.iter_custom(|messages| by_groups(&spool, group, messages));
            });
        }
        std::fs::create_dir_all(&engine).expect("makes");
        let database = Database::create(engine.join("messages.redb")).expect("opens");
        let mut next = 0;
        for group in GROUPS {
            benched.bench_function(format!("redb/{name}/groups-of-{group}"), |bencher| {
                let sync = durability == Durability::Full;
                bencher.iter_custom(|messages| by_engine(&database, &mut next, group, messages, sync));
            });
        }
        for one in [files, segments, engine] {
            std::fs::remove_dir_all(&one).expect("removes its own folder");
        }
    }
    benched.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(3)).without_plots();
    targets = accept_a_message
}
criterion_main!(benches);
