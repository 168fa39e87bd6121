//! The files that a sink leaves: opened before it starts, so that a run is not lost to a wrong path at its end.

use crate::account;
use crate::books::Books;
use crate::error::Error;
use crate::totals::Totals;
use crate::trace::{self, Scope, Trace};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Where the account goes.
pub struct Records {
    scope: Scope,
    /// A sink's ledger, or a shard's account.
    account: Option<Output>,
    trace: Option<TraceFiles>,
}

struct TraceFiles {
    /// `None` once the trace has it, to be written while the sink runs.
    deliveries: Option<Output>,
    in_flight: Output,
}

struct Output {
    path: PathBuf,
    file: File,
}

impl Records {
    /// Makes the files, empty; the trace's folder too.
    ///
    /// # Errors
    /// [`Error::File`] names the one that cannot be written.
    pub fn create(ledger: Option<&Path>, trace: Option<&Path>) -> Result<Records, Error> {
        Records::of(Scope::Sink, ledger, trace)
    }

    /// Makes those of a shard.
    ///
    /// # Errors
    /// As [`Records::create`].
    pub fn of_shard(account: &Path, trace: Option<&Path>) -> Result<Records, Error> {
        Records::of(Scope::Shard, Some(account), trace)
    }

    fn of(scope: Scope, account: Option<&Path>, trace: Option<&Path>) -> Result<Records, Error> {
        let account = account.map(|path| Output::create(path.to_owned())).transpose()?;
        let trace = match trace {
            None => None,
            Some(folder) => {
                fs::create_dir_all(folder)
                    .map_err(|source| Error::File { path: folder.to_owned(), source })?;
                let create = |name| Output::create(folder.join(name));
                let deliveries = Some(create(DELIVERIES)?);
                Some(TraceFiles { deliveries, in_flight: create(IN_FLIGHT)? })
            }
        };
        Ok(Records { scope, account, trace })
    }

    /// The trace that is asked for; one that spills takes its file along.
    ///
    /// # Errors
    /// No thread for a trace that spills.
    pub fn trace(&mut self, spill: bool) -> io::Result<Option<Trace>> {
        match &mut self.trace {
            None => Ok(None),
            Some(files) => {
                let spilled = files.deliveries.take_if(|_| spill).map(|output| output.file);
                Trace::new(self.scope, spilled).map(Some)
            }
        }
    }

    /// Writes everything.
    ///
    /// # Errors
    /// [`Error::File`], for example on a full disk.
    pub fn write(self, totals: &Totals, books: &mut Books) -> Result<(), Error> {
        if let (Some(files), Some(trace)) = (self.trace, &mut books.trace) {
            let ids = &books.ledger.ids;
            match files.deliveries {
                Some(deliveries) => deliveries.write(|out| trace.write_deliveries(ids, out))?,
                None => {
                    let path = files.in_flight.path.with_file_name(DELIVERIES);
                    let spilled = trace.write_deliveries(ids, &mut io::sink());
                    spilled.map_err(|source| Error::File { path, source })?;
                }
            }
            files.in_flight.write(|out| trace.write_in_flight(out))?;
        }
        // Last, so that who sees a whole account finds a whole trace.
        match (self.account, self.scope) {
            (None, _) => Ok(()),
            (Some(ledger), Scope::Sink) => ledger.write_ledger(totals),
            (Some(file), Scope::Shard) => file.write(|out| account::write(totals, &books.ledger, out)),
        }
    }

    /// Writes the totals of all shards, and the trace that they left in `folders`, which are then removed. A folder may
    /// lack what its shard could not write.
    ///
    /// # Errors
    /// [`Error::File`]; the folders stay then.
    pub fn write_merged(self, totals: &Totals, folders: &[PathBuf]) -> Result<(), Error> {
        if let Some(TraceFiles { deliveries, in_flight }) = self.trace {
            let left = |name| folders.iter().map(move |folder| open_if_there(&folder.join(name)));
            if let Some(deliveries) = deliveries {
                deliveries
                    .write(|out| trace::merge_deliveries(left(DELIVERIES).collect::<Result<_, _>>()?, out))?;
            }
            in_flight.write(|out| trace::merge_in_flight(left(IN_FLIGHT).collect::<Result<_, _>>()?, out))?;
            folders.iter().for_each(|folder| remove_trace(folder));
        }
        self.account.map_or(Ok(()), |ledger| ledger.write_ledger(totals))
    }
}

/// Removes the trace that a shard left. What cannot be removed, or is not the shard's, hurts nobody.
pub fn remove_trace(folder: &Path) {
    for name in [DELIVERIES, IN_FLIGHT] {
        let _ = fs::remove_file(folder.join(name));
    }
    let _ = fs::remove_dir(folder);
}

fn open_if_there(path: &Path) -> io::Result<Box<dyn BufRead>> {
    match File::open(path) {
        Ok(file) => Ok(Box::new(BufReader::with_capacity(READ_BYTES, file))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Box::new(io::empty())),
        Err(error) => Err(error),
    }
}

impl Output {
    fn create(path: PathBuf) -> Result<Output, Error> {
        match File::create(&path) {
            Ok(file) => Ok(Output { path, file }),
            Err(source) => Err(Error::File { path, source }),
        }
    }

    fn write_ledger(self, totals: &Totals) -> Result<(), Error> {
        self.write(|out| {
            serde_json::to_writer_pretty(&mut *out, totals)?;
            out.write_all(b"\n")
        })
    }

    fn write(self, fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> Result<(), Error> {
        let mut out = BufWriter::new(self.file);
        fill(&mut out).and_then(|()| out.flush()).map_err(|source| Error::File { path: self.path, source })
    }
}

const DELIVERIES: &str = "deliveries.csv";
const IN_FLIGHT: &str = "in_flight.csv";
/// Of each shard's file at once: few turns of the disk between them.
const READ_BYTES: usize = 256 * 1024;
