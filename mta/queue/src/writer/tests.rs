//! When the writer syncs.

use super::*;
use delivery::{EpochMs, RecipientState};
use smtp::{ForwardPath, ReversePath};
use spool::Durability;
use spool::disk::{Disk, DiskFile, Local};
use spool::files::FilesSpool;
use spool::segments::{Options, SegmentSpool};
use std::io::IoSlice;

/// What is promised of a mark.
const PROMISED: Duration = Duration::from_millis(100);
/// Some of these will not be disturbed by what else this machine does.
const MARKS: usize = 12;

type Syncs = Arc<Mutex<Vec<Instant>>>;

/// A disk that says when a file was synced.
#[derive(Debug)]
struct Watched(Local, Syncs);

#[derive(Debug)]
struct WatchedFile(Arc<dyn DiskFile>, Syncs);

impl Watched {
    fn file(&self, file: io::Result<Arc<dyn DiskFile>>) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(WatchedFile(file?, self.1.clone())))
    }
}

impl Disk for Watched {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.file(self.0.create(name))
    }
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.file(self.0.open(name))
    }
    fn rename(&self, name: &str, new_name: &str) -> io::Result<()> {
        self.0.rename(name, new_name)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }
    fn names(&self) -> io::Result<Vec<String>> {
        self.0.names()
    }
    fn sync_names(&self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for WatchedFile {
    fn write_at(&self, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.0.write_at(pieces, offset)
    }
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }
    fn sync(&self) -> io::Result<()> {
        self.1.lock().unwrap().push(Instant::now());
        Ok(())
    }
    fn bytes(&self) -> io::Result<u64> {
        self.0.bytes()
    }
}

fn status(state: RecipientState, attempts: u16) -> Status {
    Status { states: vec![state, RecipientState::Pending], attempts, due: EpochMs(1), held: false }
}

#[test]
fn a_mark_is_synced_in_time_whatever_else_is_written_and_a_deferral_asks_for_no_sync() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = FilesSpool::open(folder.path(), Durability::Full).expect("opens");
    std::fs::create_dir(folder.path().join("segments")).expect("makes");
    let syncs = Syncs::default();
    let disk = |name: &str| -> Arc<dyn Disk> {
        let local = Local::open(&folder.path().join(name)).expect("is there");
        Arc::new(Watched(local, syncs.clone()))
    };
    let options = Options::new(folder.path(), Durability::Full);
    let spool = SegmentSpool::over(disk("segments"), disk("corrupt"), Arc::new(files), options);
    spool.recover(&mut |_, _| {}).expect("is empty");
    let mailbox = |text: &str| ForwardPath::Mailbox(text.parse().expect("a mailbox"));
    let envelope = Envelope {
        received: EpochMs(1),
        reverse_path: ReversePath::Null,
        recipients: vec![mailbox("a@b.test"), mailbox("c@d.test")],
        eight_bit: false,
    };
    let (marked, deferred) = [(); 2]
        .map(|()| {
            let incoming = spool.begin(envelope.clone()).expect("begins");
            spool.commit(incoming).expect("is committed")
        })
        .into();
    let count = || syncs.lock().unwrap().len();
    let mut writer = Writer::new(Arc::new(spool)).expect("starts");
    let defer = |writer: &mut Writer, attempts| {
        let status = status(RecipientState::Pending, attempts);
        writer.submit(Job::Update { id: deferred, status });
    };

    let before = count();
    defer(&mut writer, 1);
    let handed_over = writer.deadline().expect("it waits for others");
    writer.pass_time(handed_over);
    std::thread::sleep(PROMISED * 2);
    assert_eq!(count(), before, "a deferral was synced");

    let mut best = Duration::MAX;
    for attempts in 0..MARKS as u16 {
        let (before, asked) = (count(), Instant::now());
        let status = status(RecipientState::Delivered, attempts);
        writer.submit(Job::Update { id: marked, status });
        // these must not put it off
        while count() == before {
            assert!(asked.elapsed() < Duration::from_secs(60), "a mark was never synced");
            defer(&mut writer, attempts);
            std::thread::sleep(Duration::from_millis(1));
            writer.pass_time(Instant::now());
        }
        let synced = syncs.lock().unwrap()[before];
        best = best.min(synced.duration_since(asked));
    }
    assert!(best <= PROMISED, "no mark was synced within {PROMISED:?}, the first after {best:?}");
    writer.finish();
}
