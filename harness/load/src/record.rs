//! Files that are written while a run lasts: a row and the histograms of each second.
//!
//! A thread of its own does it, so that neither packing histograms nor a slow disk makes the load late.
//!
//! | module | for |
//! |---|---|
//! | [`rows`] | the time series as CSV |
//! | [`hdr`] | histograms as HdrHistogram's tools read them |

pub mod hdr;
pub mod rows;

use crate::statistics::summary::Interval;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{JoinHandle, spawn};

/// Where to; each is open already.
#[derive(Default)]
pub struct Outputs {
    /// A time series, a row for each second.
    pub rows: Option<Output>,
    /// Histograms of each second.
    pub hdr: Option<Output>,
    /// Each part as a line of JSON, for the process that started this one.
    pub lines: Option<Output>,
}

/// A file or the like.
pub struct Output {
    pub name: PathBuf,
    pub writer: Box<dyn Write + Send>,
}

impl Output {
    fn fail(&self, error: impl std::fmt::Display) -> String {
        format!("writing {}: {error}", self.name.display())
    }
}

/// Writes what it is given.
pub struct Recorder {
    sender: Sender<Interval>,
    thread: JoinHandle<Result<(), String>>,
}

impl Recorder {
    /// None where there is nothing to write.
    pub fn start(outputs: Outputs) -> Option<Recorder> {
        if outputs.rows.is_none() && outputs.hdr.is_none() && outputs.lines.is_none() {
            return None;
        }
        let (sender, receiver) = channel();
        Some(Recorder { sender, thread: spawn(move || write(outputs, &receiver)) })
    }

    /// Writes one part, some time soon.
    pub fn write(&mut self, interval: Interval) {
        // Where the other side failed there is an error to be told at the end.
        let _ = self.sender.send(interval);
    }

    /// Waits until all is written.
    ///
    /// # Errors
    /// The file that could not be written, and why.
    pub fn finish(self) -> Result<(), String> {
        drop(self.sender);
        match self.thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

fn write(mut outputs: Outputs, receiver: &Receiver<Interval>) -> Result<(), String> {
    if let Some(output) = &mut outputs.rows {
        rows::write_head(&mut output.writer).map_err(|error| output.fail(error))?;
    }
    let mut hdr = match &mut outputs.hdr {
        Some(output) => Some(hdr::Log::begin(&mut output.writer).map_err(|error| output.fail(error))?),
        None => None,
    };
    for interval in receiver {
        if let Some(output) = &mut outputs.rows {
            rows::write_row(&interval, &mut output.writer).map_err(|error| output.fail(error))?;
        }
        if let (Some(hdr), Some(output)) = (&mut hdr, &mut outputs.hdr) {
            hdr.write(&interval, &mut output.writer).map_err(|error| output.fail(error))?;
        }
        if let Some(output) = &mut outputs.lines {
            write_line(&interval, &mut output.writer).map_err(|error| output.fail(error))?;
        }
    }
    let all = [outputs.rows, outputs.hdr, outputs.lines];
    all.into_iter().flatten().try_for_each(|mut output| {
        let flushed = output.writer.flush();
        flushed.map_err(|error| output.fail(error))
    })
}

fn write_line(interval: &Interval, out: &mut impl Write) -> io::Result<()> {
    let mut line = serde_json::to_vec(interval)?;
    line.push(b'\n');
    out.write_all(&line)?;
    out.flush()
}
