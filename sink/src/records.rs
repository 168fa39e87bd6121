//! The files that a sink leaves: opened before it starts, so that a run is not lost to a wrong path at its end.

use crate::conversation::Books;
use crate::error::Error;
use crate::ledger::Totals;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Where the account goes.
#[derive(Default)]
pub struct Records {
    ledger: Option<Output>,
    /// Deliveries, and those in flight.
    trace: Option<(Output, Output)>,
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
                Some((create("deliveries.csv")?, create("in_flight.csv")?))
            }
        };
        Ok(Records { ledger, trace })
    }

    pub fn traced(&self) -> bool {
        self.trace.is_some()
    }

    /// Writes everything.
    ///
    /// # Errors
    /// [`Error::File`], for example on a full disk.
    pub fn write(self, totals: &Totals, books: &Books) -> Result<(), Error> {
        if let (Some((deliveries, in_flight)), Some(trace)) = (self.trace, &books.trace) {
            deliveries.write(|out| trace.write_deliveries(&books.ledger.ids, out))?;
            in_flight.write(|out| trace.write_in_flight(out))?;
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
