//! Summaries: what they save, and what is found behind them.

use super::*;

/// What is found with a summary is what is found without it, whatever became of the summary; and it is written again.
#[test]
fn a_summary_saves_reading_its_segment_and_is_believed_only_when_it_is_whole() {
    let rig = Rig::new(1);
    let (spool, ..) = rig.open();
    let ids: Vec<_> = (0..60).map(|n| add(&spool, 2, &[b'a' + n % 26; 700])).collect();
    for (n, id) in ids.iter().enumerate() {
        match n % 4 {
            0 => drop(spool.remove(*id).expect("removes")),
            1 => drop(spool.update(*id, status(&[Delivered, Pending], 2)).expect("is written")),
            2 => drop(
                spool.update(*id, Status { held: true, ..status(&[Pending; 2], 3) }).expect("is written"),
            ),
            _ => {}
        }
    }
    spool.sync().expect("syncs");
    while spool.tend().expect("the disk is well") {}
    let summaries = || {
        let mut names = rig.disk.names().expect("lists");
        names.retain(|name| name.ends_with(".summary"));
        names
    };
    let names = summaries();
    assert_eq!(
        names.len(),
        spool.segments().len() - 3,
        "all but the newest, and the one before it was sealed"
    );
    let (_, found, recovery) = rig.open();
    assert_eq!(recovery.summaries, names.len() as u64);
    let without = |name: &str| {
        let (_, again, recovery) = rig.open();
        assert_eq!(again, found, "{name}");
        assert!(recovery.quarantined.is_empty());
        assert_eq!(recovery.summaries, names.len() as u64 - 1, "{name} was believed");
    };
    let (name, whole) = (&names[0], rig.disk.bytes(&names[0]));
    for bit in (0..whole.len() * 8).step_by(43) {
        rig.disk.flip(name, bit);
        // nobody reads the zeros, but they are under the checksum
        without(name);
        rig.disk.flip(name, bit);
    }
    for bytes in (0..whole.len()).step_by(50) {
        rig.disk.replace(name, &whole[..bytes]);
        without(name);
    }
    rig.disk.replace(name, &rig.disk.bytes(&names[1]));
    without(name);
    // its segment is not the one that it was: as after a loss of power without durability
    rig.disk.replace(name, &whole);
    let segment = name.strip_suffix(".summary").expect("chosen so");
    let content = rig.disk.bytes(segment);
    rig.disk.replace(segment, &vec![0; content.len()]);
    assert_eq!(rig.open().2.summaries, names.len() as u64 - 1, "is of a segment that is no more");
    rig.disk.replace(segment, &content[..4096]);
    assert_eq!(rig.open().2.summaries, names.len() as u64 - 1, "is of a longer segment");
    rig.disk.replace(segment, &content);
    rig.disk.remove(name).expect("removes");
    without(name);
    let (spool, ..) = rig.open();
    while spool.tend().expect("the disk is well") {}
    assert!(summaries().contains(name));
    let (spool, again, recovery) = rig.open();
    assert_eq!((again, recovery.summaries), (found, summaries().len() as u64));
    // a segment that is given back takes it along
    ids.iter().for_each(|id| drop(spool.remove(*id)));
    while spool.tend().expect("the disk is well") {}
    assert!(!summaries().contains(name));
}

/// The start has not read the message's segment: the first who does finds the damage, be it the reader or the compaction.
#[test]
fn damage_behind_a_summary_is_put_aside_by_whoever_reads_it() {
    for compaction in [false, true] {
        let rig = Rig::new(1);
        let (spool, ..) = rig.open();
        let ids: Vec<_> = (0..80).map(|n| add(&spool, 1, &[b'a' + n % 26; 700])).collect();
        while spool.tend().expect("the disk is well") {}
        // the second of the first segment
        rig.disk.flip("00000001", (896 + 300) * 8);
        let (spool, found, recovery) = rig.open();
        assert_eq!((found.len(), recovery.quarantined.len()), (ids.len(), 0));
        assert!(recovery.summaries > 0);
        let victim = ids[1];
        let error = if compaction {
            let gone = ids.iter().enumerate().filter(|(n, _)| n % 9 != 1);
            gone.for_each(|(_, id)| drop(spool.remove(*id)));
            loop {
                match spool.tend() {
                    Ok(more) => assert!(more, "the damage was not found"),
                    Err(error) => break error,
                }
            }
        } else {
            spool.content(victim).expect_err("is damaged")
        };
        match error {
            SpoolError::Corrupt { id, moved_to, damage: Damage::RecordChecksum } => {
                assert_eq!(id, victim);
                let name = moved_to.file_name().expect("a file").to_str().expect("is text");
                assert_eq!(rig.corrupt.bytes(name).len(), 896);
            }
            other => panic!("{other:?}"),
        }
        while spool.tend().expect("the disk is well") {}
        assert!(matches!(spool.load(victim), Err(SpoolError::Missing(_))));
        assert_eq!(content(&spool, ids[73]), [b'a' + 73 % 26; 700]);
    }
}

/// A message that was damaged before its segment got a summary is put aside, wherever the summary's writing stopped.
#[test]
fn a_summary_that_leaves_a_message_out_is_not_believed_before_that_is_put_aside() {
    let mut calls = 0;
    loop {
        let rig = Rig::new(u64::from(calls));
        let (spool, ..) = rig.open();
        let ids: Vec<_> = (0..30).map(|n| add(&spool, 1, &[b'a' + n % 26; 700])).collect();
        // the second of the first segment
        rig.disk.flip("00000001", (896 + 300) * 8);
        rig.die_after(calls);
        while spool.tend().is_ok_and(|more| more) {}
        let done = !rig.disk.is_dead();
        rig.disk.kill();
        let (_, found, _) = rig.open();
        assert_eq!(found.len(), ids.len() - 1, "after {calls} calls");
        let aside = rig.corrupt.names().expect("lists");
        assert!(aside.iter().any(|name| name.starts_with(&ids[1].to_string())), "{calls} calls: {aside:?}");
        if done {
            assert!(calls > 5, "only {calls} calls were tried");
            break;
        }
        calls += 1;
    }
}
