//! Files that are kept for later: they go where space is short, and count as free until then.

use super::*;

/// Three segments of mail that is gone, two of them sealed.
fn pass_through(spool: &SegmentSpool) {
    let ids: Vec<_> = (0..24).map(|n| add(spool, 1, &[b'a' + n; 700])).collect();
    for id in ids {
        spool.remove(id).expect("removes");
    }
    tend(spool);
}

fn tend(spool: &SegmentSpool) {
    spool.sync().expect("syncs");
    while spool.tend().expect("the disk is well") {}
}

#[test]
fn files_are_kept_where_space_is_plenty_and_go_where_it_is_short() {
    let rig = Rig::new(1);
    let (spool, ..) = rig.open();
    let spares = || rig.disk.names().expect("lists").iter().filter(|name| name.ends_with(".spare")).count();
    pass_through(&spool);
    assert_eq!((spares(), spool.segments().len()), (2, 1));
    // less is free than that on any disk: what is kept goes, the newest segment too since it is of no use
    spool.keep_free(u64::MAX);
    tend(&spool);
    assert_eq!((spares(), spool.segments().len()), (0, 0));
    pass_through(&spool);
    assert_eq!(spares(), 0, "none is made where space is short");
    // a new segment takes as much at once, so that is not given back and made again for each message
    let files = [(); 4].map(|()| {
        let one = add(&spool, 1, b"one by one");
        spool.remove(one).expect("removes");
        tend(&spool);
        rig.disk.names().expect("lists")
    });
    assert!(files.iter().all(|names| names.len() == 1 && *names == files[0]), "{files:?}");
    spool.keep_free(0);
    pass_through(&spool);
    assert_eq!(spares(), 2, "and they are kept again");
    let (spool, ..) = rig.open();
    assert_eq!(spares(), 2);
    spool.keep_free(u64::MAX);
    tend(&spool);
    assert_eq!(spares(), 0, "those that a start finds go, too");
}

/// Larger than what else changes on the disk meanwhile; nothing of it is written.
const SPARE_BYTES: u64 = 1 << 40;

#[test]
fn what_is_kept_counts_as_free_until_it_is_gone() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(SegmentSpool::open(folder.path(), Durability::Full).expect("opens"));
    let spare = folder.path().join("segments/00000001.spare");
    std::fs::File::create(&spare).and_then(|file| file.set_len(SPARE_BYTES)).expect("is made");
    let spool = SegmentSpool::open(folder.path(), Durability::Full).expect("opens");
    let without = spool.free_bytes().expect("known");
    recover(&spool);
    assert!(spool.free_bytes().expect("known") > without + SPARE_BYTES / 2);
    spool.keep_free(u64::MAX);
    while spool.tend().expect("tends") {}
    assert!(!spare.exists() && spool.free_bytes().expect("known") < without + SPARE_BYTES / 2);
}
