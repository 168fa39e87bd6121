//! The spool of one file a message: what it keeps, what it refuses, and what it finds again after a stop.

use delivery::{Envelope, EpochMs, QueueId, RecipientState};
use smtp::{ForwardPath, ReversePath};
use spool::files::FilesSpool;
use spool::{Content, Damage, Durability, Incoming, Recovery, Spool, SpoolError, Status, Stored};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

fn envelope(recipients: usize) -> Envelope {
    let mailbox = |text: String| text.parse().expect("a mailbox");
    Envelope {
        received: EpochMs(1_800_000_000_000),
        reverse_path: ReversePath::Mailbox(mailbox("sender@a.test".to_owned())),
        recipients: (0..recipients).map(|n| ForwardPath::Mailbox(mailbox(format!("r{n}@b.test")))).collect(),
        eight_bit: true,
    }
}

fn open(dir: &Path) -> FilesSpool {
    FilesSpool::open(dir, Durability::None).expect("the spool opens")
}

fn receive(spool: &FilesSpool, recipients: usize, content: &[u8]) -> Incoming {
    let mut incoming = spool.begin(envelope(recipients)).expect("begins");
    content.chunks(10_000).for_each(|chunk| incoming.write(chunk).expect("there is space"));
    incoming
}

fn add(spool: &FilesSpool, recipients: usize, content: &[u8]) -> QueueId {
    spool.commit(receive(spool, recipients, content)).expect("is committed")
}

fn recover(spool: &FilesSpool) -> (BTreeMap<QueueId, Stored>, Recovery) {
    let mut found = BTreeMap::new();
    let recovery =
        spool.recover(&mut |id, stored| assert!(found.insert(id, stored).is_none(), "{id} comes twice"));
    (found, recovery.expect("recovers"))
}

fn update(spool: &FilesSpool, id: QueueId, change: impl FnOnce(&mut Status)) {
    let mut status = spool.load(id).expect("loads").status;
    change(&mut status);
    spool.update(id, status).expect("is written");
}

fn mark(spool: &FilesSpool, id: QueueId, marks: &[(usize, RecipientState)]) {
    update(spool, id, |status| marks.iter().for_each(|(index, state)| status.states[*index] = *state));
}

fn defer(spool: &FilesSpool, id: QueueId, attempts: u16, due: EpochMs) {
    update(spool, id, |status| (status.attempts, status.due) = (attempts, due));
}

/// All files below the spool's queue and corrupt folders.
fn files(dir: &Path) -> Vec<PathBuf> {
    let list =
        |dir: PathBuf| fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut found: Vec<_> = list(dir.join("queue")).flat_map(list).chain(list(dir.join("corrupt"))).collect();
    found.sort();
    found
}

/// Large, and different at each place.
fn large_content() -> Vec<u8> {
    (0..40_000u32).flat_map(|n| format!("{n}\r\n").into_bytes()).collect()
}

#[test]
fn keeps_envelope_content_and_states_over_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    let spool = FilesSpool::open(dir.path(), Durability::Full).expect("opens");
    let small = add(&spool, 3, b"Subject: small\r\n\r\nhello\r\n");
    let large = add(&spool, 1, &large_content());
    let empty = add(&spool, 1, b"");
    let limit = vec![b'x'; spool::INLINE_CONTENT_BYTES];
    let at_limit = add(&spool, 1, &limit);
    mark(&spool, small, &[(0, RecipientState::Delivered), (2, RecipientState::Bounced)]);
    update(&spool, small, |status| status.held = true);
    defer(&spool, large, 7, EpochMs(1_800_000_300_000));
    assert_eq!(fs::metadata(spool.path(small)).expect("a file").permissions().mode() & 0o7777, 0o600);
    drop(spool);

    let spool = open(dir.path());
    let (found, recovery) = recover(&spool);
    assert_eq!(recovery, Recovery { messages: 4, ..Recovery::default() });
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), [small, large, empty, at_limit]);
    for (id, stored) in &found {
        assert_eq!(&spool.load(*id).expect("loads"), stored);
    }
    let stored = &found[&small];
    assert_eq!(stored.envelope, envelope(3));
    let Status { states, attempts, due, held } = &stored.status;
    assert_eq!(states[..], [RecipientState::Delivered, RecipientState::Pending, RecipientState::Bounced]);
    assert_eq!((*attempts, *due, *held, stored.content_bytes), (0, envelope(3).received, true, 25));
    let Status { attempts, due, held, .. } = found[&large].status;
    assert_eq!((attempts, due, held), (7, EpochMs(1_800_000_300_000), false));

    assert!(
        matches!(spool.content(small), Ok(Content::Inline(bytes)) if bytes == b"Subject: small\r\n\r\nhello\r\n")
    );
    assert!(matches!(spool.content(empty), Ok(Content::Inline(bytes)) if bytes.is_empty()));
    assert!(matches!(spool.content(at_limit), Ok(Content::Inline(bytes)) if bytes == limit));
    let Ok(Content::File { file, offset, length }) = spool.content(large) else { panic!("more than 64 KiB") };
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, offset).expect("the content is there");
    assert_eq!(bytes, large_content());
    assert!(file.write_at(b"x", offset).is_err(), "an agent could change the message");

    // two large envelopes: more than the first read takes
    let many = add(&spool, 5000, b"to many\r\n");
    mark(&spool, many, &[(4999, RecipientState::Delivered)]);
    let stored = spool.load(many).expect("loads");
    assert_eq!((stored.envelope, stored.status.states[4999]), (envelope(5000), RecipientState::Delivered));

    spool.remove(small).expect("removes");
    assert!(matches!(spool.load(small), Err(SpoolError::Missing(id)) if id == small));
    assert!(matches!(spool.remove(small), Err(SpoolError::Missing(_))));
}

/// Each row of the table in `files`: what the stop leaves, and what the next start makes of it.
#[test]
fn a_stop_after_any_step_loses_and_invents_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let spool = open(dir.path());
    let neighbour = add(&spool, 1, b"neighbour\r\n");

    // create, write: the process ends while the file grows, and (as after power loss) with any part of it there
    let incoming = receive(&spool, 1, &large_content());
    let growing = spool.path(incoming.id()).with_extension("new");
    std::mem::forget(incoming);
    assert!(fs::metadata(&growing).expect("received into a file").len() > 0);
    for length in [0, 63, 64, 100, 70_000] {
        fs::File::create(&growing).and_then(|file| file.set_len(length)).expect("a cut file");
        let (found, recovery) = recover(&spool);
        assert_eq!(recovery, Recovery { messages: 1, half_written: 1, ..Recovery::default() });
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), [neighbour]);
    }
    // fsync: complete, but without its name
    let unnamed = add(&spool, 1, b"unnamed\r\n");
    fs::rename(spool.path(unnamed), spool.path(unnamed).with_extension("new")).expect("renamed back");
    assert_eq!(recover(&spool).1, Recovery { messages: 1, half_written: 1, ..Recovery::default() });
    // rename, fsync of the folder
    let committed = add(&spool, 2, b"committed\r\n");
    assert_eq!(recover(&spool).1, Recovery { messages: 2, ..Recovery::default() });
    // mark, one recipient after the other
    mark(&spool, committed, &[(1, RecipientState::Delivered)]);
    let states = |spool: &FilesSpool| recover(spool).0.remove(&committed).expect("is queued").status.states;
    assert_eq!(states(&spool), [RecipientState::Pending, RecipientState::Delivered]);
    // defer, torn at each byte: an early retry, nothing else
    let path = spool.path(committed);
    let before = fs::read(&path).expect("a file");
    defer(&spool, committed, 9, EpochMs(u64::MAX));
    let after = fs::read(&path).expect("a file");
    for torn in 64..=80 {
        fs::write(&path, [&after[..torn], &before[torn..]].concat()).expect("a torn file");
        let (found, recovery) = recover(&spool);
        assert!(recovery.quarantined.is_empty() && recovery.messages == 2);
        let schedule = (found[&committed].status.attempts, found[&committed].status.due);
        let (old, new) = ((0, envelope(1).received), (9, EpochMs(u64::MAX)));
        assert!(schedule == old || schedule == new, "{schedule:?}");
        assert_eq!(recovery.rescheduled, u64::from(schedule == old && torn != 64));
    }
    // the last mark without the removal; then the removal
    mark(&spool, committed, &[(0, RecipientState::Bounced)]);
    assert_eq!(recover(&spool).1, Recovery { messages: 1, finished: 1, ..Recovery::default() });
    assert_eq!(recover(&spool).1, Recovery { messages: 1, ..Recovery::default() });
    assert_eq!(files(dir.path()), [spool.path(neighbour)], "nothing is left over");
}

#[test]
fn what_is_not_committed_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let spool = open(dir.path());
    drop(receive(&spool, 1, b"small"));
    let large = receive(&spool, 1, &large_content());
    assert_eq!(files(dir.path()).len(), 1, "a large message is received into a file");
    drop(large);
    assert_eq!(files(dir.path()), [] as [PathBuf; 0]);
    assert!(matches!(spool.begin(envelope(0)), Err(SpoolError::Recipients(0))));
    assert!(matches!(spool.begin(envelope(spool::MAX_RECIPIENTS + 1)), Err(SpoolError::Recipients(_))));
}

/// Every cut and every flipped bit is found by the start or by the first reader, or does no harm; the neighbour
/// in the same folder never suffers.
#[test]
fn damage_is_put_aside_and_costs_no_other_message() {
    let dir = tempfile::tempdir().expect("a folder");
    let spool = open(dir.path());
    let ids: Vec<_> = (0..17).map(|_| add(&spool, 2, b"Subject: x\r\n\r\nbody\r\n")).collect();
    let (victim, neighbour) = (ids[0], ids[16]);
    for id in &ids[1..16] {
        spool.remove(*id).expect("removes");
    }
    assert_eq!(spool.path(victim).parent(), spool.path(neighbour).parent());
    let whole = fs::read(spool.path(victim)).expect("a file");
    let stored = spool.load(victim).expect("loads");

    let check = |bytes: &[u8], what: &str| {
        fs::write(spool.path(victim), bytes).expect("damages");
        let (found, recovery) = recover(&spool);
        assert_eq!(found.get(&neighbour), Some(&stored.clone()), "{what}: the neighbour");
        if recovery.quarantined.is_empty() {
            assert_eq!((found.get(&victim), recovery.rescheduled), (Some(&stored), 1), "{what}: believed");
            return true;
        }
        assert_eq!((found.len(), recovery.quarantined.len()), (1, 1), "{what}");
        let aside = &recovery.quarantined[0].moved_to;
        assert_eq!(fs::read(aside).expect("put aside"), bytes, "{what}: changed");
        fs::remove_file(aside).expect("removes");
        // and without a restart
        fs::write(spool.path(victim), bytes).expect("damages");
        match spool.load(victim).and_then(|_| spool.content(victim)) {
            Err(SpoolError::Corrupt { moved_to, .. }) => fs::remove_file(moved_to).expect("was put aside"),
            other => panic!("{what}: {other:?}"),
        }
        false
    };
    for length in 0..whole.len() {
        assert!(!check(&whole[..length], &format!("cut at {length}")));
    }
    assert!(!check(&[&whole[..], b"x"].concat(), "one byte too many"));
    let mut harmless = Vec::new();
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            if check(&bytes, &format!("bit {bit} of byte {at}")) {
                harmless.push(at);
            }
        }
    }
    harmless.dedup();
    assert_eq!(harmless, (64..80).collect::<Vec<_>>(), "only the schedule can be damaged without quarantine");
}

#[test]
fn content_is_checked_when_it_is_asked_for() {
    let dir = tempfile::tempdir().expect("a folder");
    let spool = open(dir.path());
    for content in [b"small\r\n".to_vec(), large_content()] {
        let id = add(&spool, 1, &content);
        let path = spool.path(id);
        let mut bytes = fs::read(&path).expect("a file");
        *bytes.last_mut().expect("not empty") ^= 1;
        fs::write(&path, &bytes).expect("damages");
        match spool.content(id) {
            Err(SpoolError::Corrupt { id: found, moved_to, damage: Damage::ContentChecksum }) => {
                assert_eq!((found, fs::read(moved_to).expect("put aside")), (id, bytes));
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(spool.load(id), Err(SpoolError::Missing(_))));
    }
}

#[test]
fn foreign_things_in_the_queue_are_put_aside_once_each() {
    let dir = tempfile::tempdir().expect("a folder");
    let spool = open(dir.path());
    let id = add(&spool, 1, b"mine\r\n");
    let folder = spool.path(id).parent().expect("a folder").to_owned();
    let wrong = (0..16).map(|n| dir.path().join(format!("queue/{n:x}"))).find(|other| *other != folder);
    fs::copy(spool.path(id), wrong.expect("another folder").join(id.to_string())).expect("copies");
    fs::write(folder.join("notes.txt"), "hello").expect("writes");
    fs::create_dir(folder.join("0123456789A0.new")).expect("makes");
    std::os::unix::fs::symlink("/etc/passwd", folder.join(QueueId(id.0 + 16).to_string())).expect("links");
    fs::create_dir(folder.join(QueueId(id.0 + 32).to_string())).expect("makes");
    fs::copy(spool.path(id), folder.join(QueueId(id.0 + 48).to_string())).expect("copies");
    fs::write(folder.join(std::ffi::OsStr::new("caf\u{e9}")), "x").expect("writes");
    let latin: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"caf\xe9");
    fs::write(folder.join(latin), "x").expect("writes");
    let (found, recovery) = recover(&spool);
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), [id]);
    assert_eq!(recovery.quarantined.len(), 8, "{:?}", recovery.quarantined);
    assert!(recovery.quarantined.iter().any(|q| q.damage == Damage::OtherId(id)));
    assert_eq!(recover(&spool).1, Recovery { messages: 1, ..Recovery::default() });
}

#[test]
fn ids_are_never_given_twice() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut last = None;
    for _ in 0..3 {
        let spool = open(dir.path());
        for _ in 0..20 {
            let id = add(&spool, 1, b"x");
            spool.remove(id).expect("removes");
            assert!(Some(id) > last, "{id} after {last:?}");
            last = Some(id);
        }
    }
    let spool = open(dir.path());
    let ids = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope
                .spawn(|| (0..50).for_each(|_| ids.lock().expect("not poisoned").push(add(&spool, 1, b"x"))));
        }
    });
    let mut ids = ids.into_inner().expect("not poisoned");
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 200);
    assert_eq!(recover(&spool).0.into_keys().collect::<Vec<_>>(), ids);
}

#[test]
fn refuses_what_is_not_its_spool_and_says_why() {
    let dir = tempfile::tempdir().expect("a folder");
    let refusal = |path: &Path| FilesSpool::open(path, Durability::Full).expect_err("is refused").to_string();

    let file = dir.path().join("file");
    fs::write(&file, "x").expect("writes");
    assert!(refusal(&file).contains("is not a folder"), "{}", refusal(&file));
    assert!(refusal(&file.join("below")).contains("is not a folder"));
    assert!(refusal(dir.path()).contains("is not a spool and not empty (it has `file`)"));
    assert!(!dir.path().join("lock").exists(), "a refused folder is left alone");

    let path = dir.path().join("spool");
    let spool = open(&path);
    let id = add(&spool, 1, b"x");
    let in_use = refusal(&path);
    assert!(in_use.contains(&format!("is in use by process {}", std::process::id())), "{in_use}");
    drop(spool);

    fs::write(path.join("format"), "mailrig spool 3\n").expect("writes");
    assert!(refusal(&path).contains("says `mailrig spool 3`, which this version cannot read"));
    fs::write(path.join("format"), "mailrig spool 2\n").expect("writes");
    assert!(refusal(&path).contains("has its mail in segments; write store = \"segments\""));
    fs::write(path.join("format"), "mailrig spool 1\n").expect("writes");
    fs::write(path.join("epoch"), "many\n").expect("writes");
    assert!(refusal(&path).contains("epoch says `many`"));
    fs::write(path.join("epoch"), "1\n").expect("writes");
    assert_eq!(recover(&open(&path)).0.into_keys().collect::<Vec<_>>(), [id]);

    // a first start that was stopped before its end
    fs::remove_file(path.join("format")).expect("removes");
    assert_eq!(recover(&open(&path)).0.into_keys().collect::<Vec<_>>(), [id]);
}
