//! The spool of segments: what it keeps, what a stop after each step leaves, and what damage costs.

#[path = "simulation/disk.rs"]
mod disk;
#[path = "segments/spare.rs"]
mod spare;
#[path = "segments/summaries.rs"]
mod summaries;

use delivery::{Envelope, EpochMs, QueueId, RecipientState};
use disk::{Faults, SimulatedDisk};
use smtp::{ForwardPath, ReversePath};
use spool::disk::{Disk, Local};
use spool::files::FilesSpool;
use spool::segments::{Options, SegmentSpool};
use spool::{Content, Damage, Durability, Incoming, Recovery, Spool, SpoolError, Status, Stored};
use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use RecipientState::{Bounced, Delivered, Pending};

fn envelope(recipients: usize) -> Envelope {
    let mailbox = |n| ForwardPath::Mailbox(format!("r{n}@b.test").parse().expect("a mailbox"));
    Envelope {
        received: EpochMs(1_800_000_000_000),
        reverse_path: ReversePath::Null,
        recipients: (0..recipients).map(mailbox).collect(),
        eight_bit: true,
    }
}

fn receive(spool: &dyn Spool, recipients: usize, content: &[u8]) -> Incoming {
    let mut incoming = spool.begin(envelope(recipients)).expect("begins");
    content.chunks(10_000).for_each(|chunk| incoming.write(chunk).expect("there is space"));
    incoming
}

fn add(spool: &dyn Spool, recipients: usize, content: &[u8]) -> QueueId {
    spool.commit(receive(spool, recipients, content)).expect("is committed")
}

fn status(states: &[RecipientState], attempts: u16) -> Status {
    Status { states: states.to_vec(), attempts, due: EpochMs(u64::from(attempts) * 1000), held: false }
}

fn recover(spool: &dyn Spool) -> (BTreeMap<QueueId, Stored>, Recovery) {
    let mut found = BTreeMap::new();
    let recovery =
        spool.recover(&mut |id, stored| assert!(found.insert(id, stored).is_none(), "{id} comes twice"));
    (found, recovery.expect("recovers"))
}

fn content(spool: &dyn Spool, id: QueueId) -> Vec<u8> {
    match spool.content(id).expect("is whole") {
        Content::Inline(bytes) => bytes,
        Content::File { file, offset, length } => {
            let mut bytes = vec![0; length as usize];
            file.read_exact_at(&mut bytes, offset).expect("the content is there");
            bytes
        }
    }
}

/// Large, and different at each place.
fn large_content() -> Vec<u8> {
    (0..40_000u32).flat_map(|n| format!("{n}\r\n").into_bytes()).collect()
}

#[test]
fn keeps_messages_of_any_size_and_takes_over_what_files_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = FilesSpool::open(folder.path(), Durability::Full).expect("opens");
    let old = add(&files, 2, b"from before\r\n");
    files.update(old, status(&[Pending, Delivered], 3)).expect("is written");
    drop(files);

    let open = || SegmentSpool::open(folder.path(), Durability::Full).expect("opens");
    let spool = open();
    assert_eq!(recover(&spool).0[&old].status, status(&[Pending, Delivered], 3));
    let small = add(&spool, 3, b"Subject: small\r\n\r\nhello\r\n");
    let large = add(&spool, 2, &large_content());
    let empty = add(&spool, 1, b"");
    let limit = vec![b'x'; spool::INLINE_CONTENT_BYTES];
    let at_limit = add(&spool, 1, &limit);
    let many = add(&spool, 5000, b"to many\r\n");
    let held = Status { held: true, ..status(&[Delivered, Pending, Bounced], 1) };
    spool.update(small, held.clone()).expect("is written");
    spool.update(large, status(&[Delivered, Pending], 7)).expect("is written");
    spool.update(old, status(&[Pending, Delivered], 4)).expect("is written");
    assert_eq!(spool.load(small).expect("loads").status.states, held.states);
    assert!(matches!(spool.content(at_limit), Ok(Content::Inline(_))), "no descriptor of a segment leaves");
    let Ok(Content::File { file, offset, .. }) = spool.content(large) else { panic!("more than 64 KiB") };
    assert!(file.write_at(b"x", offset).is_err(), "an agent could change the message");
    assert!(spool.awaits_sync());
    spool.sync().expect("syncs");
    assert!(!spool.awaits_sync());
    spool.remove(empty).expect("removes");
    assert!(matches!(spool.load(empty), Err(SpoolError::Missing(id)) if id == empty));
    assert!(matches!(spool.remove(empty), Err(SpoolError::Missing(_))));
    drop(spool);

    let spool = open();
    let (found, recovery) = recover(&spool);
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), [old, small, large, at_limit, many]);
    assert_eq!((recovery.messages, recovery.finished, recovery.quarantined.len()), (5, 1, 0));
    assert_eq!((&found[&small].envelope, &found[&small].status), (&envelope(3), &held));
    assert_eq!(found[&large].status, status(&[Delivered, Pending], 7));
    assert_eq!(found[&old].status, status(&[Pending, Delivered], 4));
    assert_eq!(found[&many].envelope, envelope(5000));
    for (id, expected) in [(old, b"from before\r\n".to_vec()), (large, large_content()), (at_limit, limit)] {
        assert_eq!(content(&spool, id), expected, "{id}");
    }
    assert_eq!(spool.ids_after(Some(old), 2), [small, large]);
    for id in [large, old] {
        spool.remove(id).expect("removes");
    }
    drop(spool);
    let refused =
        FilesSpool::open(folder.path(), Durability::Full).expect_err("would lose sight of segments");
    assert!(refused.to_string().contains("mailrig queue export"), "{refused}");
    assert_eq!(recover(&open()).0.into_keys().collect::<Vec<_>>(), [small, at_limit, many]);
}

/// A spool on a simulated disk.
struct Rig {
    folder: tempfile::TempDir,
    files: Arc<FilesSpool>,
    disk: SimulatedDisk,
    corrupt: SimulatedDisk,
}

impl Rig {
    fn new(seed: u64) -> Rig {
        let folder = tempfile::tempdir().expect("a folder");
        let files = Arc::new(FilesSpool::open(folder.path(), Durability::None).expect("opens"));
        let disk = |seed| SimulatedDisk::new(seed, Faults::default());
        Rig { folder, files, disk: disk(seed), corrupt: disk(seed + 1) }
    }

    fn options(&self) -> Options {
        let path = self.folder.path().to_owned();
        Options { durability: Durability::Full, segment_bytes: 8192, grow_bytes: 2048, path }
    }

    /// The next process.
    fn open(&self) -> (SegmentSpool, BTreeMap<QueueId, Stored>, Recovery) {
        self.disk.set_faults(Faults::default());
        let (disk, corrupt) = (Arc::new(self.disk.clone()), Arc::new(self.corrupt.clone()));
        let spool = SegmentSpool::over(disk, corrupt, self.files.clone(), self.options());
        let (found, recovery) = recover(&spool);
        (spool, found, recovery)
    }

    fn die_after(&self, calls: u32) {
        self.disk.set_faults(Faults { calls_left: Some(calls), ..Faults::default() });
    }
}

/// Each row of the table in `segments`: what the stop leaves, and what the next start makes of it.
#[test]
fn a_stop_after_any_step_loses_and_repeats_nothing_that_was_durable() {
    for seed in 0..20 {
        let rig = Rig::new(seed);
        let (spool, ..) = rig.open();
        let kept = add(&spool, 2, b"kept\r\n");
        // record written: the power goes before the sync is done
        let incoming = receive(&spool, 1, b"never answered\r\n");
        let unanswered = incoming.id();
        rig.die_after(1);
        assert!(spool.commit(incoming).is_err());
        rig.disk.lose_power();
        let (spool, mut found, _) = rig.open();
        if found.remove(&unanswered).is_some() {
            assert_eq!(content(&spool, unanswered), b"never answered\r\n", "whole or not at all");
            spool.remove(unanswered).expect("removes");
        }
        // fdatasync
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), [kept]);
        // deferral: no sync of its own
        spool.update(kept, status(&[Pending, Pending], 5)).expect("is written");
        spool.sync().expect("syncs");
        spool.update(kept, status(&[Pending, Pending], 6)).expect("is written");
        assert!(!spool.awaits_sync(), "a deferral asks for no sync");
        rig.disk.lose_power();
        let (spool, found, _) = rig.open();
        let attempts = found[&kept].status.attempts;
        assert!([5, 6].contains(&attempts), "{attempts}");
        // mark, before its sync: a kill keeps it, a loss of power may not
        spool.update(kept, status(&[Delivered, Pending], 6)).expect("is written");
        assert!(spool.awaits_sync());
        rig.disk.lose_power();
        let (spool, found, _) = rig.open();
        assert!(
            [status(&[Delivered, Pending], 6).states, vec![Pending; 2]].contains(&found[&kept].status.states)
        );
        spool.update(kept, status(&[Delivered, Pending], 7)).expect("is written");
        rig.disk.kill();
        let (spool, found, _) = rig.open();
        assert_eq!(found[&kept].status, status(&[Delivered, Pending], 7));
        // mark, after its sync
        spool.update(kept, status(&[Delivered, Pending], 8)).expect("is written");
        spool.sync().expect("syncs");
        rig.disk.lose_power();
        let (spool, found, _) = rig.open();
        assert_eq!(found[&kept].status, status(&[Delivered, Pending], 8));
        // removal, before its sync and after it
        let other = add(&spool, 1, b"other\r\n");
        spool.remove(other).expect("removes");
        rig.disk.lose_power();
        let (spool, found, _) = rig.open();
        if found.contains_key(&other) {
            spool.remove(other).expect("removes");
        }
        spool.sync().expect("syncs");
        rig.disk.lose_power();
        let (_, found, _) = rig.open();
        assert_eq!(found.into_keys().collect::<Vec<_>>(), [kept]);
    }
}

/// Compaction stopped after each of its calls to the disk, by a kill and by a loss of power.
#[test]
fn a_stop_in_a_compaction_costs_nothing_and_brings_nothing_back() {
    for power in [false, true] {
        let mut calls = 0;
        loop {
            let rig = Rig::new(u64::from(calls));
            let (spool, ..) = rig.open();
            let ids: Vec<_> = (0..80).map(|n| add(&spool, 2, &[b'a' + n % 26; 700])).collect();
            let survivors: Vec<_> = ids.iter().copied().step_by(12).collect();
            for id in &ids {
                if survivors.contains(id) {
                    spool.update(*id, status(&[Delivered, Pending], 2)).expect("is written");
                } else {
                    spool.remove(*id).expect("removes");
                }
            }
            spool.sync().expect("syncs");
            let before = spool.segments().len();
            rig.die_after(calls);
            while spool.tend().is_ok_and(|more| more) {}
            let (done, after) = (!rig.disk.is_dead(), spool.segments().len());
            assert!(!done || after <= before / 2, "{before} segments became {after}");
            if power {
                rig.disk.lose_power();
            } else {
                rig.disk.kill();
            }
            let (spool, found, _) = rig.open();
            assert_eq!(found.keys().copied().collect::<Vec<_>>(), survivors, "after {calls} calls");
            while spool.tend().expect("the disk is well") {}
            for (id, stored) in found {
                assert_eq!(stored.status, status(&[Delivered, Pending], 2));
                assert_eq!(content(&spool, id).len(), 700);
            }
            rig.disk.lose_power();
            assert_eq!(rig.open().1.into_keys().collect::<Vec<_>>(), survivors, "after {calls} calls");
            if done {
                assert!(calls > 10, "only {calls} calls were tried");
                break;
            }
            calls += 1;
        }
    }
}

/// Every flipped bit of a message's record is found, named and put aside, also where nothing follows that would
/// show that something is missing; the others never suffer.
#[test]
fn damage_is_put_aside_and_costs_no_other_message() {
    for followed in [true, false] {
        let rig = Rig::new(1);
        let (spool, ..) = rig.open();
        let first = add(&spool, 1, b"first\r\n");
        let victim = add(&spool, 1, b"victim\r\n");
        let mut others = vec![first];
        if followed {
            others.push(add(&spool, 1, b"last\r\n"));
        }
        drop(spool);
        let record = 192;
        for bit in (0..record * 8).step_by(3) {
            rig.disk.flip("00000001", record * 8 + bit);
            let (spool, found, recovery) = rig.open();
            for id in &others {
                assert!(found.contains_key(id), "bit {bit} cost {id}");
            }
            // what fills up the record's space is nobody's
            let harmless = found.contains_key(&victim);
            assert!(harmless || recovery.quarantined.len() == 1, "bit {bit}: {:?}", recovery.quarantined);
            assert!(!harmless || content(&spool, victim) == b"victim\r\n", "bit {bit}");
            if !harmless {
                let aside = &recovery.quarantined[0];
                assert!(matches!(aside.damage, Damage::RecordHeader | Damage::RecordChecksum), "bit {bit}");
                let name = aside.moved_to.file_name().expect("a file").to_str().expect("is text");
                assert!(!rig.corrupt.bytes(name).is_empty());
                rig.corrupt.remove(name).expect("is there");
            }
            rig.disk.flip("00000001", record * 8 + bit);
        }
        // found by the first reader after the start, too
        let (spool, found, _) = rig.open();
        assert_eq!(found.len(), others.len() + 1);
        rig.disk.flip("00000001", (record + 150) * 8);
        match spool.content(victim) {
            Err(SpoolError::Corrupt { id, damage: Damage::RecordChecksum, .. }) => assert_eq!(id, victim),
            other => panic!("{other:?}"),
        }
        assert!(matches!(spool.load(victim), Err(SpoolError::Missing(_))));
    }
}

#[test]
fn a_failed_sync_is_final_for_its_file_and_costs_only_those_who_wait() {
    let rig = Rig::new(5);
    let (spool, ..) = rig.open();
    let before = add(&spool, 1, b"before\r\n");
    spool.update(before, status(&[Pending], 1)).expect("is written");
    rig.disk.set_faults(Faults { sync_error: 1, ..Faults::default() });
    match spool.commit(receive(&spool, 1, b"waits\r\n")) {
        Err(SpoolError::Sync { path, .. }) => assert!(path.ends_with("segments/00000001"), "{path:?}"),
        other => panic!("{other:?}"),
    }
    rig.disk.set_faults(Faults::default());
    let after = add(&spool, 1, b"after\r\n");
    assert!(spool.awaits_sync(), "the operator is to be told");
    let alarm = spool.sync().expect_err("an alarm").to_string();
    assert!(alarm.contains("ALARM: cannot sync") && alarm.contains("segments/00000001"), "{alarm}");
    spool.sync().expect("is told once");
    rig.disk.lose_power();
    let (spool, found, _) = rig.open();
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), [before, after]);
    assert_eq!(found[&before].status.attempts, 1, "what was unsynced was written again");
    assert_eq!(content(&spool, after), b"after\r\n");
}

/// Readers, writers and compaction at once, on this machine's own files.
#[test]
fn many_hands_at_once_see_what_they_wrote() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = Arc::new(FilesSpool::open(folder.path(), Durability::None).expect("opens"));
    std::fs::create_dir(folder.path().join("segments")).expect("makes");
    let local =
        |name: &str| -> Arc<dyn Disk> { Arc::new(Local::open(&folder.path().join(name)).expect("is there")) };
    let options = Options {
        durability: Durability::None,
        segment_bytes: 64 * 1024,
        grow_bytes: 16 * 1024,
        path: Path::new("here").to_owned(),
    };
    let open = || SegmentSpool::over(local("segments"), local("corrupt"), files.clone(), options.clone());
    let spool = open();
    recover(&spool);
    let kept = std::thread::scope(|scope| {
        let hand = |hand: u64| {
            let spool = &spool;
            move || {
                let mut random = fastrand::Rng::with_seed(hand);
                let mut mine: Vec<(QueueId, Vec<u8>)> = Vec::new();
                for _ in 0..600 {
                    let bytes = vec![random.u8(..); random.usize(0..4000)];
                    mine.push((add(spool, 1, &bytes), bytes));
                    let (id, expected) = &mine[random.usize(..mine.len())];
                    assert_eq!(&content(spool, *id), expected);
                    if random.u32(0..10) > 0 {
                        let (id, _) = mine.swap_remove(random.usize(..mine.len()));
                        spool.remove(id).expect("is there");
                    }
                    if random.u32(0..10) == 0 {
                        let _ = spool.tend().expect("works");
                    }
                }
                mine
            }
        };
        let hands: Vec<_> = (0..4).map(|number| scope.spawn(hand(number))).collect();
        hands.into_iter().flat_map(|hand| hand.join().expect("does not panic")).collect::<BTreeMap<_, _>>()
    });
    while spool.tend().expect("works") {}
    drop(spool);
    let spool = open();
    let (found, _) = recover(&spool);
    assert_eq!(found.into_keys().collect::<Vec<_>>(), kept.keys().copied().collect::<Vec<_>>());
    kept.iter().for_each(|(id, bytes)| assert_eq!(&content(&spool, *id), bytes));
}
