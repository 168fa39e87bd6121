//! CSV files of rows: written with a header always, read with errors that name file, line and column.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

/// A record that cannot be read or written. Displays as `runs.csv:3: column ...`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    file: PathBuf,
    line: Option<u64>,
    message: String,
}

impl Error {
    pub fn new(file: &Path, line: Option<u64>, message: impl Into<String>) -> Error {
        Error { file: file.to_owned(), line, message: message.into() }
    }

    fn csv(file: &Path, header: Option<&csv::StringRecord>, error: csv::Error) -> Error {
        let line = error.position().map(csv::Position::line);
        let message = match error.into_kind() {
            csv::ErrorKind::Io(error) => error.to_string(),
            csv::ErrorKind::Deserialize { err, .. } => {
                let column = err.field().and_then(|at| header?.get(at as usize));
                match column {
                    Some(column) => format!("column `{column}`: {}", err.kind()),
                    // A column that is not there is missed at the first row, but wrong in the header.
                    None => match err.kind().to_string().strip_prefix("missing field ") {
                        Some(column) => return Error::new(file, Some(1), format!("has no column {column}")),
                        None => err.kind().to_string(),
                    },
                }
            }
            csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                format!("{len} cells, where the header has {expected_len} columns")
            }
            csv::ErrorKind::Utf8 { .. } => "not UTF-8".to_owned(),
            _ => "not a CSV file".to_owned(),
        };
        Error::new(file, line, message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file.display(), self.message),
            None => write!(f, "{}: {}", self.file.display(), self.message),
        }
    }
}

impl std::error::Error for Error {}

/// What has a place in a CSV file: flat, and with a row that shows its columns.
pub trait Record: Serialize {
    /// A row with nothing in it.
    fn empty() -> Self;
}

/// Appends rows to a new file as they come, each on disk before the next trial starts.
pub struct RowWriter<T> {
    path: PathBuf,
    writer: csv::Writer<BufWriter<File>>,
    rows: PhantomData<fn(&T)>,
}

impl<T: Record> RowWriter<T> {
    /// Creates the file with its header.
    ///
    /// # Errors
    /// The file cannot be made, or is there already.
    pub fn create(path: &Path) -> Result<RowWriter<T>, Error> {
        let file = File::create_new(path).map_err(|error| Error::new(path, None, error.to_string()))?;
        let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(BufWriter::new(file));
        let result = writer.write_record(columns::<T>()).and_then(|()| Ok(writer.flush()?));
        result.map_err(|error| Error::csv(path, None, error))?;
        Ok(RowWriter { path: path.to_owned(), writer, rows: PhantomData })
    }

    /// # Errors
    /// The row cannot be written.
    pub fn write(&mut self, row: &T) -> Result<(), Error> {
        self.writer.serialize(row).map_err(|error| Error::csv(&self.path, None, error))
    }

    /// Hands everything written so far to the kernel.
    ///
    /// # Errors
    /// The file cannot be written, for instance because the disk is full.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.writer.flush().map_err(|error| Error::new(&self.path, None, error.to_string()))
    }
}

/// Writes a whole file of rows.
///
/// # Errors
/// The file cannot be written, or is there already.
pub fn write_rows<T: Record>(path: &Path, rows: &[T]) -> Result<(), Error> {
    let mut writer = RowWriter::create(path)?;
    rows.iter().try_for_each(|row| writer.write(row))?;
    writer.flush()
}

/// Reads a whole file of rows. Columns that are not known are passed over: a newer version may have written them.
///
/// # Errors
/// The file cannot be read, lacks a column, or a cell does not fit; with file, line and column.
pub fn read_rows<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, Error> {
    let mut reader = csv::Reader::from_path(path).map_err(|error| Error::csv(path, None, error))?;
    let header = reader.headers().map_err(|error| Error::csv(path, None, error))?.clone();
    reader.deserialize().map(|row| row.map_err(|error| Error::csv(path, Some(&header), error))).collect()
}

/// The names of a row's columns, in order.
pub fn columns<T: Record>() -> Vec<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.serialize(T::empty()).expect("rows are flat, so a vector takes them");
    let bytes = writer.into_inner().map_err(|error| error.to_string()).expect("a vector takes everything");
    let text = String::from_utf8(bytes).expect("column names are ASCII");
    let header = text.lines().next().expect("a header is written before the first row");
    header.split(',').map(str::to_owned).collect()
}

/// Writes text beside the CSVs, as a whole or not at all.
pub(crate) fn write_text(path: &Path, text: &str) -> Result<(), Error> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let written = File::create(&partial).and_then(|mut file| file.write_all(text.as_bytes()));
    written
        .and_then(|()| std::fs::rename(&partial, path))
        .map_err(|error| Error::new(path, None, error.to_string()))
}
