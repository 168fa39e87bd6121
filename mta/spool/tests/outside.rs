//! The spool against the world: a kill in the middle of the work, and a full disk. Both run this test
//! executable again as a child process.

use delivery::{Envelope, EpochMs, QueueId, RecipientState};
use smtp::{ForwardPath, ReversePath};
use spool::files::FilesSpool;
use spool::{Content, Durability, Incoming, Spool, SpoolError, Status};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const CHILD: &str = "SPOOL_TEST_FOLDER";

fn begin(spool: &FilesSpool) -> Result<Incoming, SpoolError> {
    spool.begin(Envelope {
        received: EpochMs(1),
        reverse_path: ReversePath::Null,
        recipients: vec![ForwardPath::Postmaster],
        eight_bit: false,
    })
}

fn add(spool: &FilesSpool, content: &[u8]) -> Result<QueueId, SpoolError> {
    let mut incoming = begin(spool)?;
    incoming.write(content)?;
    spool.commit(incoming)
}

fn status(state: RecipientState, attempts: u16) -> Status {
    Status { states: vec![state], attempts, due: EpochMs(2), held: false }
}

fn this_test(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this executable"));
    command.args([name, "--exact", "--nocapture"]);
    command
}

/// Adds and removes messages from several threads, and says what it did after it is done, until it is killed.
fn work(dir: &Path) {
    let spool = FilesSpool::open(dir, Durability::Full).expect("opens");
    let content = vec![b'x'; 100_000];
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (spool, content) = (&spool, &content);
            scope.spawn(move || {
                for n in 0.. {
                    let id = add(spool, &content[..if n % 4 == 0 { 100_000 } else { 3000 }]).expect("adds");
                    println!("added {id}");
                    if n % 3 == thread {
                        // said before it is done: afterwards it may be there or not
                        println!("removing {id}");
                        spool.update(id, status(RecipientState::Delivered, 0)).expect("marks");
                        spool.remove(id).expect("removes");
                    }
                }
            });
        }
    });
}

#[test]
fn a_kill_at_any_moment_costs_no_committed_message() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return work(dir.as_ref());
    }
    let dir = tempfile::tempdir().expect("a folder");
    let (mut added, mut removing) = (BTreeSet::new(), BTreeSet::new());
    for round in 0..4 {
        let name = "a_kill_at_any_moment_costs_no_committed_message";
        let mut child =
            this_test(name).env(CHILD, dir.path()).stdout(Stdio::piped()).spawn().expect("starts");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| output.lines().map_while(Result::ok).collect::<Vec<_>>());
            std::thread::sleep(Duration::from_millis(150 + round * 37));
            child.kill().expect("kills");
            child.wait().expect("is reaped");
            for line in reader.join().expect("reads") {
                // the test runner writes to the same lines
                let said = |word: &str| -> Option<QueueId> { line.split_once(word)?.1.parse().ok() };
                added.extend(said("added "));
                removing.extend(said("removing "));
            }
        });
        let spool = FilesSpool::open(dir.path(), Durability::Full).expect("the lock went with the process");
        let mut found = BTreeSet::new();
        let recovery = spool.recover(&mut |id, _| assert!(found.insert(id))).expect("recovers");
        assert_eq!(recovery.quarantined, []);
        let expected: BTreeSet<QueueId> = added.difference(&removing).copied().collect();
        assert!(!added.is_empty() && found.is_superset(&expected), "lost {:?}", expected.difference(&found));
        let unsaid: Vec<_> = found.difference(&added).collect();
        assert!(
            unsaid.len() <= 3 * (round as usize + 1),
            "one a thread can be kept but not yet said: {unsaid:?}"
        );
        for id in &found {
            let bytes = match spool.content(*id).expect("is whole") {
                Content::Inline(bytes) => bytes.len() as u64,
                Content::File { length, .. } => length,
            };
            assert!([3000, 100_000].contains(&bytes));
        }
    }
}

fn fill(dir: &Path) {
    let spool = FilesSpool::open(dir, Durability::Full).expect("opens");
    assert!(spool.free_bytes().expect("known") > 500_000);
    let mut ids = Vec::new();
    let error = loop {
        match add(&spool, &[b'x'; 4000]) {
            Ok(id) => ids.push(id),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, SpoolError::Full { .. }) && ids.len() > 50, "{error} after {}", ids.len());
    assert!(error.to_string().contains("the file system is full"), "{error}");
    assert!(spool.free_bytes().expect("known") < 20_000);
    // a large message finds out while it comes in
    let mut incoming = begin(&spool).expect("begins");
    let error = (0..100).find_map(|_| incoming.write(&[b'y'; 4096]).err()).expect("does not fit");
    assert!(matches!(error, SpoolError::Full { .. }), "{error}");
    drop(incoming);
    // what is queued goes on, and makes room
    spool.update(ids[0], status(RecipientState::Pending, 1)).expect("needs no space");
    spool.update(ids[1], status(RecipientState::Delivered, 0)).expect("needs no space");
    ids.drain(..20).for_each(|id| assert_eq!(spool.remove(id).expect("removes"), id));
    ids.push(add(&spool, &[b'z'; 40_000]).expect("there is room again"));
    drop(spool);
    let spool = FilesSpool::open(dir, Durability::Full).expect("opens");
    let mut found = Vec::new();
    let recovery = spool.recover(&mut |id, _| found.push(id)).expect("recovers");
    found.sort_unstable();
    assert_eq!((found, recovery.half_written, recovery.quarantined.len()), (ids, 0, 0));
    println!("filled");
}

#[test]
fn a_full_disk_is_said_and_costs_nothing_that_is_queued() {
    if let Some(dir) = std::env::var_os(CHILD) {
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(&dir).status();
        if !mounted.is_ok_and(|status| status.success()) {
            return println!("not allowed: mount a tmpfs");
        }
        return fill(dir.as_ref());
    }
    let dir = tempfile::tempdir().expect("a folder");
    let child = this_test("a_full_disk_is_said_and_costs_nothing_that_is_queued");
    let namespaces = if rustix::process::geteuid().is_root() { "-m" } else { "-rm" };
    let mut command = Command::new("unshare");
    command.arg(namespaces).arg(child.get_program()).args(child.get_args()).env(CHILD, dir.path());
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => return println!("skipped: unshare(1) cannot be run: {error}"),
    };
    let (said, complaint) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if complaint.contains("unshare") || said.contains("not allowed: mount a tmpfs") {
        return println!("skipped: a mount namespace is not allowed here: {complaint}");
    }
    assert!(output.status.success() && said.contains("filled"), "{said}\n{complaint}");
}
