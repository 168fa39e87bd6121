//! The trace of a run: each delivery with its times, and how many were in flight at each moment.
//!
//! The two are kept apart on purpose: the samples come from a counter that knows no durations, so that Little's law
//! is a check of one by the other. It must not know sockets or sessions.

use crate::delivery::Delivery;
use crate::message_id::{Ids, MessageId};
use std::io::{self, Write};

/// Everything that `--trace` writes at the end.
#[derive(Default)]
pub struct Trace {
    deliveries: Vec<Row>,
    in_flight: Vec<Sample>,
}

struct Row {
    id: Option<MessageId>,
    connection: u64,
    start_ns: u64,
    end_ns: u64,
    /// 0: the delivery ended without a reply to its dot.
    code: u16,
}

struct Sample {
    at_ns: u64,
    in_flight: u64,
}

impl Trace {
    /// A delivery ended; `code` is that of the reply to the dot, `None` if there was none.
    pub fn ended(&mut self, connection: u64, delivery: &Delivery, end_ns: u64, code: Option<u16>) {
        let Delivery { start_ns, id, .. } = *delivery;
        self.deliveries.push(Row { id, connection, start_ns, end_ns, code: code.unwrap_or(0) });
    }

    pub fn sample(&mut self, at_ns: u64, in_flight: u64) {
        self.in_flight.push(Sample { at_ns, in_flight });
    }

    /// One row for each delivery attempt in the order in which they ended; no id and no code are empty cells.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write_deliveries(&self, ids: &Ids, out: &mut impl Write) -> io::Result<()> {
        out.write_all(b"id,connection,start_ns,end_ns,code\n")?;
        for row in &self.deliveries {
            if let Some(id) = row.id {
                write_cell(&ids.text(id).to_string(), out)?;
            }
            write!(out, ",{},{},{},", row.connection, row.start_ns, row.end_ns)?;
            match row.code {
                0 => out.write_all(b"\n")?,
                code => writeln!(out, "{code}")?,
            }
        }
        out.flush()
    }

    /// One row for each sample.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write_in_flight(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(b"at_ns,in_flight\n")?;
        for sample in &self.in_flight {
            writeln!(out, "{},{}", sample.at_ns, sample.in_flight)?;
        }
        out.flush()
    }
}

/// A cell of CSV, RFC 4180 §2 (5) to (7).
fn write_cell(text: &str, out: &mut impl Write) -> io::Result<()> {
    if text.contains([',', '"']) {
        write!(out, "\"{}\"", text.replace('"', "\"\""))
    } else {
        out.write_all(text.as_bytes())
    }
}
