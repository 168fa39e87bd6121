//! The operator's hands on a queue: through the control socket of the MTA that runs, or in a spool that none has open.

mod running;
mod stopped;

use crate::config::Config;
pub use queue::view::{Act, Filter, Recipient, Row, Standing};
use running::Running;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use stopped::Stopped;

/// Ids in one command: a page.
const IDS_MAX: usize = 500;

/// Has the MTA that runs read its configuration again and replace its agents. With an error it goes on as it was.
pub fn reload(config: &Config) -> Result<(), String> {
    let socket = UnixStream::connect(&config.control)
        .map_err(|error| format!("control socket {}: {error}: no MTA runs here", config.control.display()))?;
    Running::new(socket)?.reload()
}

/// What an act did, in messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize)]
pub struct Tally {
    pub done: u64,
    /// Left alone: they are being delivered, or are in that state already.
    pub busy: u64,
    pub missing: u64,
}

/// How far the import of a message is.
pub enum Step<'a> {
    /// It will be kept under this id.
    Begun(&'a str),
    /// It is durable.
    Kept,
}

/// The queue of one configuration. Errors are for the operator to read.
pub enum Queue {
    Running(Running),
    Stopped(Box<Stopped>),
}

impl Queue {
    /// Finds out which of the two it is.
    pub fn open(config: &Config) -> Result<Queue, String> {
        match UnixStream::connect(&config.control) {
            Ok(socket) => Ok(Queue::Running(Running::new(socket)?)),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                Ok(Queue::Stopped(Box::new(Stopped::open(config)?)))
            }
            Err(error) => Err(format!("control socket {}: {error}", config.control.display())),
        }
    }

    /// Shows every message that matches, in the order of their ids. Of a message with many recipients only the
    /// first are there.
    pub fn list(
        &mut self,
        filter: &Filter,
        each: &mut dyn FnMut(Row) -> Result<(), String>,
    ) -> Result<(), String> {
        match self {
            Queue::Running(running) => running.list(filter, each),
            Queue::Stopped(stopped) => stopped.list(filter, each),
        }
    }

    /// One message with all its recipients.
    pub fn show(&mut self, id: &str) -> Result<Row, String> {
        match self {
            Queue::Running(running) => running.show(id),
            Queue::Stopped(stopped) => stopped.show(id),
        }
    }

    /// Writes a message's content.
    pub fn content(&mut self, id: &str, out: &mut dyn Write) -> Result<(), String> {
        match self {
            Queue::Running(running) => running.content(id, out),
            Queue::Stopped(stopped) => stopped.content(id, out),
        }
    }

    pub fn act(&mut self, act: Act, ids: &[String]) -> Result<Tally, String> {
        let mut all = Tally::default();
        for ids in ids.chunks(IDS_MAX) {
            let one = match self {
                Queue::Running(running) => running.act(act, ids)?,
                Queue::Stopped(stopped) => stopped.act(act, ids)?,
            };
            all = Tally {
                done: all.done + one.done,
                busy: all.busy + one.busy,
                missing: all.missing + one.missing,
            };
        }
        Ok(all)
    }

    /// Makes everything that is deferred due, and gives dead destinations another chance. Held messages stay held.
    pub fn flush(&mut self) -> Result<(), String> {
        match self {
            Queue::Running(running) => running.flush(),
            Queue::Stopped(stopped) => stopped.flush(),
        }
    }

    /// Takes in a message; `content` has as many bytes as `row` says. Each step is told before the next; the message is
    /// held until the last of them was heard without an error. Returns its new id.
    pub fn import(
        &mut self,
        row: &Row,
        content: &mut dyn Read,
        step: &mut dyn FnMut(Step<'_>) -> Result<(), String>,
    ) -> Result<String, String> {
        match self {
            Queue::Running(running) => running.import(row, content, step),
            Queue::Stopped(stopped) => stopped.import(row, content, step),
        }
    }

    /// Whether a message whose import was begun, and then stopped, was taken in. It is held if it was.
    pub fn was_imported(&mut self, id: &str) -> Result<bool, String> {
        match self {
            Queue::Running(running) => running.was_imported(id),
            Queue::Stopped(stopped) => stopped.was_imported(id),
        }
    }

    /// Ends the import of a message that was taken in and perhaps is held for that reason alone.
    pub fn end_import(&mut self, id: &str, row: &Row) -> Result<(), String> {
        match self {
            _ if row.held => Ok(()),
            Queue::Running(running) => running.end_import(id),
            Queue::Stopped(stopped) => stopped.act(Act::Release, &[id.to_owned()]).map(drop),
        }
    }
}

/// Reads `size_bytes` of content and hands them on in pieces.
fn in_pieces(
    content: &mut dyn Read,
    size_bytes: u64,
    piece_bytes: usize,
    mut take: impl FnMut(&[u8]) -> Result<(), String>,
) -> Result<(), String> {
    let mut left = size_bytes;
    let mut piece = vec![0; piece_bytes];
    while left > 0 {
        let count = left.min(piece_bytes as u64) as usize;
        content.read_exact(&mut piece[..count]).map_err(|error| format!("reading: {error}"))?;
        take(&piece[..count])?;
        left -= count as u64;
    }
    Ok(())
}
