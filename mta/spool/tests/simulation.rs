//! The segment store on a disk that fails in every way that disks do, under a seed: nothing that was accepted is
//! lost, nothing that was durably final is delivered again.
//!
//! `SPOOL_SEEDS=100000` tries more of them, `SPOOL_SEEDS=100000..150000` others, `SPOOL_SEED=N` one again.

#[path = "simulation/disk.rs"]
mod disk;

use delivery::{Envelope, EpochMs, QueueId, RecipientState};
use disk::{Faults, SimulatedDisk};
use smtp::{ForwardPath, ReversePath};
use spool::disk::Disk;
use spool::files::FilesSpool;
use spool::segments::{Options, SegmentSpool};
use spool::{Change, Content, Durability, Spool, SpoolError, Status};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Quick enough for every run of the tests.
const SEEDS: u64 = 250;
const STEPS: u32 = 60;

/// What must be true of one message.
#[derive(Clone, Debug)]
struct Expected {
    content: Vec<u8>,
    /// What was asked for last.
    states: Vec<RecipientState>,
    /// What is on stable storage at least.
    durable: Vec<RecipientState>,
    /// It got its 250.
    accepted: bool,
    removed: bool,
    removal_durable: bool,
    /// It was refused for want of space, before anything was written.
    refused_unwritten: bool,
}

struct Run<'a> {
    seed: u64,
    random: fastrand::Rng,
    faults: Faults,
    disk: SimulatedDisk,
    corrupt: SimulatedDisk,
    files: &'a Arc<FilesSpool>,
    spool: SegmentSpool,
    expected: BTreeMap<QueueId, Expected>,
    /// Of the change whose outcome nobody heard.
    restarts: u32,
    /// Segments that a start did not read.
    summaries: u64,
}

fn options() -> Options {
    Options {
        durability: Durability::Full,
        segment_bytes: 16 * 1024,
        grow_bytes: 2 * 1024,
        path: Path::new("simulated").to_owned(),
    }
}

fn over(disk: &SimulatedDisk, corrupt: &SimulatedDisk, files: &Arc<FilesSpool>) -> SegmentSpool {
    SegmentSpool::over(Arc::new(disk.clone()), Arc::new(corrupt.clone()), files.clone(), options())
}

fn envelope(recipients: usize) -> Envelope {
    let mailbox = |n| ForwardPath::Mailbox(format!("r{n}@b.test").parse().expect("a mailbox"));
    Envelope {
        received: EpochMs(1),
        reverse_path: ReversePath::Null,
        recipients: (0..recipients).map(mailbox).collect(),
        eight_bit: false,
    }
}

fn content_of(spool: &SegmentSpool, id: QueueId) -> Result<Vec<u8>, SpoolError> {
    match spool.content(id)? {
        Content::Inline(bytes) => Ok(bytes),
        Content::File { .. } => panic!("messages here are small"),
    }
}

impl<'a> Run<'a> {
    fn new(seed: u64, files: &'a Arc<FilesSpool>) -> Run<'a> {
        let mut random = fastrand::Rng::with_seed(seed);
        let once_in = |random: &mut fastrand::Rng| if random.bool() { 0 } else { random.u32(8..60) };
        let faults = Faults {
            write_error: once_in(&mut random),
            sync_error: once_in(&mut random),
            name_error: once_in(&mut random),
            capacity: random.bool().then(|| random.usize(20_000..120_000)),
            calls_left: None,
        };
        let disk = SimulatedDisk::new(random.u64(..), Faults::default());
        let corrupt = SimulatedDisk::new(random.u64(..), Faults::default());
        let spool = over(&disk, &corrupt, files);
        spool.recover(&mut |id, _| panic!("{id} in an empty spool")).expect("an empty disk");
        disk.set_faults(faults);
        let (expected, restarts, summaries) = (BTreeMap::new(), 0, 0);
        Run { seed, random, faults, disk, corrupt, files, spool, expected, restarts, summaries }
    }

    fn some_queued(&mut self) -> Option<QueueId> {
        let queued: Vec<_> =
            self.expected.iter().filter(|(_, one)| one.accepted && !one.removed).map(|(id, _)| *id).collect();
        self.random.choice(queued)
    }

    fn step(&mut self) {
        if self.random.u32(0..12) == 0 {
            let faults = Faults { calls_left: Some(self.random.u32(0..25)), ..self.faults };
            self.disk.set_faults(faults);
        }
        if self.random.u32(0..10) == 0 {
            // space is plenty, or short
            self.spool.keep_free(if self.random.bool() { 0 } else { u64::MAX });
        }
        match self.random.u32(0..10) {
            0..=4 => self.change(),
            5 => drop(self.spool.sync()),
            6 => {
                for _ in 0..self.random.u32(1..8) {
                    if !matches!(self.spool.tend(), Ok(true)) {
                        break;
                    }
                }
            }
            7 => self.read(),
            _ => self.remove_some(),
        }
        if self.disk.is_dead() || self.random.u32(0..25) == 0 {
            return self.restart();
        }
        if !self.spool.awaits_sync() {
            for one in self.expected.values_mut() {
                one.durable.clone_from(&one.states);
                one.removal_durable = one.removed;
            }
        }
    }

    fn change(&mut self) {
        let mut changes = Vec::new();
        let mut ids = Vec::new();
        for _ in 0..self.random.u32(1..5) {
            if self.random.bool() {
                let recipients = self.random.usize(1..4);
                let content: Vec<u8> = (0..self.random.usize(0..3000)).map(|_| self.random.u8(..)).collect();
                let mut incoming = self.spool.begin(envelope(recipients)).expect("needs no disk");
                incoming.write(&content).expect("is in memory");
                let pending = vec![RecipientState::Pending; recipients];
                let expected = Expected {
                    content,
                    states: pending.clone(),
                    durable: pending,
                    accepted: false,
                    removed: false,
                    removal_durable: false,
                    refused_unwritten: false,
                };
                self.expected.insert(incoming.id(), expected);
                ids.push(incoming.id());
                changes.push(Change::Commit(incoming));
            } else if let Some(id) = self.some_queued() {
                let one = self.expected.get_mut(&id).expect("chosen from these");
                let at = self.random.usize(0..one.states.len());
                if self.random.bool() && one.states.len() > 1 {
                    one.states[at] = RecipientState::Delivered;
                }
                let (attempts, due) = (self.random.u16(..), EpochMs(self.random.u64(..)));
                let status = Status { states: one.states.clone(), attempts, due, held: self.random.bool() };
                ids.push(id);
                changes.push(Change::Update { id, status });
            }
        }
        let is_commit: Vec<bool> = changes.iter().map(|one| matches!(one, Change::Commit(_))).collect();
        let results = self.spool.apply(changes);
        if self.disk.is_dead() {
            return;
        }
        for ((id, is_commit), result) in ids.iter().zip(is_commit).zip(results) {
            let one = self.expected.get_mut(id).expect("noted above");
            match result {
                Ok(changed) => {
                    assert_eq!(changed, *id);
                    one.accepted = true;
                }
                Err(SpoolError::Full { .. }) if is_commit => one.refused_unwritten = true,
                Err(SpoolError::Missing(_)) => assert!(!is_commit),
                Err(_) => assert!(is_commit, "seed {}: an update waits in memory", self.seed),
            }
        }
    }

    /// A summary may be lost, torn, of another segment or damaged: it is never missed and never believed.
    fn tamper(&mut self) {
        let mut names = self.disk.names().expect("the disk is well");
        names.retain(|name| name.ends_with(".summary"));
        let Some(name) = self.random.choice(&names) else { return };
        let bytes = self.disk.bytes(name);
        match self.random.u32(0..8) {
            0 => self.disk.remove(name).expect("is there"),
            1 => self.disk.replace(name, &bytes[..self.random.usize(0..=bytes.len())]),
            2 => self.disk.replace(name, &self.disk.bytes(self.random.choice(&names).expect("one at least"))),
            3 if !bytes.is_empty() => self.disk.flip(name, self.random.usize(0..bytes.len() * 8)),
            _ => {}
        }
    }

    fn remove_some(&mut self) {
        let Some(id) = self.some_queued() else { return };
        let one = self.expected.get_mut(&id).expect("chosen from these");
        one.removed = true;
        one.states.fill(RecipientState::Delivered);
        let _ = self.spool.remove(id);
    }

    fn read(&mut self) {
        let Some(id) = self.some_queued() else { return };
        let (read, loaded) = (content_of(&self.spool, id), self.spool.load(id));
        if self.disk.is_dead() {
            return;
        }
        let one = &self.expected[&id];
        assert_eq!(read.expect("is queued"), one.content, "seed {}: {id}", self.seed);
        let stored = loaded.expect("is queued");
        assert_eq!(stored.status.states, one.states, "seed {}: {id}", self.seed);
    }

    /// The process ends, or the machine; the next one accounts for everything.
    fn restart(&mut self) {
        if self.random.bool() {
            self.disk.kill();
        } else {
            self.disk.lose_power();
        }
        self.restarts += 1;
        // a start may be stopped, too
        if self.random.u32(0..4) == 0 {
            let calls_left = Some(self.random.u32(0..30));
            self.disk.set_faults(Faults { calls_left, ..Faults::default() });
            let spool = over(&self.disk, &self.corrupt, self.files);
            let _ = spool.recover(&mut |_, _| {});
            if self.random.bool() {
                self.disk.kill();
            } else {
                self.disk.lose_power();
            }
        }
        self.disk.set_faults(Faults::default());
        self.tamper();
        self.spool = over(&self.disk, &self.corrupt, self.files);
        let mut found = BTreeMap::new();
        let recovery = self.spool.recover(&mut |id, stored| {
            assert!(found.insert(id, stored).is_none(), "{id} comes twice");
        });
        self.summaries += recovery.expect("the disk is well again").summaries;
        let seed = self.seed;
        for (id, one) in &mut self.expected {
            let Some(stored) = found.remove(id) else {
                // what is fully marked may be gone without its removal, which was asked for in the same moment
                let gone = one.removed || one.states.iter().all(|state| *state != RecipientState::Pending);
                assert!(!one.accepted || gone, "seed {seed}: lost {id}");
                one.removed = true;
                one.removal_durable = true;
                continue;
            };
            assert!(!one.removal_durable, "seed {seed}: {id} was durably removed and is back");
            assert!(!one.refused_unwritten, "seed {seed}: {id} was refused, and nothing of it was written");
            for (at, state) in stored.status.states.iter().enumerate() {
                let is_final = *state != RecipientState::Pending;
                assert!(
                    is_final || one.durable[at] == RecipientState::Pending,
                    "seed {seed}: {id} recipient {at} would get it again although its mark was durable"
                );
                assert!(
                    !is_final || one.states[at] != RecipientState::Pending,
                    "seed {seed}: {id} recipient {at} was never marked"
                );
            }
            let content = content_of(&self.spool, *id).expect("is queued");
            assert_eq!(content, one.content, "seed {seed}: {id}");
            // found again, it counts, whether its client heard of it or not
            (one.accepted, one.removed) = (true, false);
            one.states.clone_from(&stored.status.states);
            // this start has read it; whether the power keeps it is known after the next sync
        }
        assert!(found.is_empty(), "seed {seed}: never committed: {found:?}");
        self.disk.set_faults(self.faults);
    }
}

/// Restarts, messages and summaries that were believed.
fn run(seed: u64, files: &Arc<FilesSpool>) -> [u64; 3] {
    let mut run = Run::new(seed, files);
    for _ in 0..STEPS {
        run.step();
    }
    run.restart();
    let messages = run.expected.values().filter(|one| one.accepted).count() as u64;
    [u64::from(run.restarts), messages, run.summaries]
}

#[test]
fn no_seed_loses_or_repeats_what_was_durable() {
    let number = |text: &str| text.parse::<u64>().expect("a number");
    let seeds = match (std::env::var("SPOOL_SEED"), std::env::var("SPOOL_SEEDS")) {
        (Ok(seed), _) => number(&seed)..number(&seed) + 1,
        (_, Ok(seeds)) => match seeds.split_once("..") {
            Some((from, to)) => number(from)..number(to),
            None => 0..number(&seeds),
        },
        _ => 0..SEEDS,
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let began = std::time::Instant::now();
    let totals: Vec<[u64; 3]> = std::thread::scope(|scope| {
        let work = |thread: u64| {
            let seeds = seeds.clone();
            move || {
                let folder = tempfile::tempdir().expect("a folder");
                let files = FilesSpool::open(folder.path(), Durability::None).expect("opens");
                let files = Arc::new(files);
                let mut total = [0; 3];
                for seed in seeds.filter(|seed| seed % threads == thread) {
                    let one = std::panic::catch_unwind(|| run(seed, &files));
                    let one = one.unwrap_or_else(|_| panic!("run it again: SPOOL_SEED={seed}"));
                    total.iter_mut().zip(one).for_each(|(total, one)| *total += one);
                }
                total
            }
        };
        let workers: Vec<_> = (0..threads).map(|thread| scope.spawn(work(thread))).collect();
        workers.into_iter().map(|worker| worker.join().expect("no seed fails")).collect()
    });
    let [restarts, messages, summaries] = [0, 1, 2].map(|at| totals.iter().map(|one| one[at]).sum::<u64>());
    println!(
        "{} seeds in {:.1} s: {restarts} restarts, {messages} messages, {summaries} summaries believed",
        seeds.end - seeds.start,
        began.elapsed().as_secs_f64()
    );
    assert!(messages > restarts, "the simulation does something");
    assert!(summaries > 0 || seeds.end - seeds.start < SEEDS, "no start had the use of a summary");
}
