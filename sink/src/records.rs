//! The files that a sink leaves: opened before it starts, so that a run is not lost to a wrong path at its end.

use crate::books::Books;
use crate::error::Error;
use crate::totals::Totals;
use crate::trace::{Scope, Trace};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Where the account goes.
#[derive(Default)]
pub struct Records {
    ledger: Option<Output>,
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
        let ledger = ledger.map(|path| Output::create(path.to_owned())).transpose()?;
        let trace = match trace {
            None => None,
            Some(folder) => {
                fs::create_dir_all(folder)
                    .map_err(|source| Error::File { path: folder.to_owned(), source })?;
                let create = |name| Output::create(folder.join(name));
                let deliveries = Some(create("deliveries.csv")?);
                Some(TraceFiles { deliveries, in_flight: create("in_flight.csv")? })
            }
        };
        Ok(Records { ledger, trace })
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
                Trace::new(Scope::Sink, spilled).map(Some)
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
                    let path = files.in_flight.path.with_file_name("deliveries.csv");
                    let spilled = trace.write_deliveries(ids, &mut io::sink());
                    spilled.map_err(|source| Error::File { path, source })?;
                }
            }
            files.in_flight.write(|out| trace.write_in_flight(out))?;
        }
        // Last, so that who sees a whole ledger finds a whole trace.
        match self.ledger {
            None => Ok(()),
            Some(ledger) => ledger.write(|out| {
                serde_json::to_writer_pretty(&mut *out, totals)?;
                out.write_all(b"\n")
            }),
        }
    }
}

impl Output {
    fn create(path: PathBuf) -> Result<Output, Error> {
        match File::create(&path) {
            Ok(file) => Ok(Output { path, file }),
            Err(source) => Err(Error::File { path, source }),
        }
    }

    fn write(self, fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> Result<(), Error> {
        let mut out = BufWriter::new(self.file);
        fill(&mut out).and_then(|()| out.flush()).map_err(|source| Error::File { path: self.path, source })
    }
}
