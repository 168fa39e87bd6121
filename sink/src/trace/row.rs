//! One delivery as it is kept, as it is written, and as a shard's row is read again.

use super::{Ended, Scope, Taken};
use crate::conversation::TlsVersion;
use crate::delivery::Times;
use crate::message_id::MessageId;
use std::borrow::Cow;
use std::io::{self, Write};
use std::ops::Range;

/// One delivery.
pub struct Row {
    id: Option<MessageId>,
    connection: u64,
    start_ns: u64,
    end_ns: u64,
    times: Times,
    /// 0: the delivery ended without a reply to its dot.
    code: u16,
    tls: TlsVersion,
    taken: Taken,
}

/// As documented; a hash of its content takes 40 more.
const _: () = assert!(size_of::<Row>() == 88);

impl Row {
    pub fn new(ended: &Ended<'_>) -> Row {
        let &Ended { connection, delivery, end_ns, code, tls, taken, .. } = ended;
        let times = delivery.times.as_deref().copied().unwrap_or_default();
        Row { id: delivery.id, connection, start_ns: delivery.start_ns, end_ns, times, code, tls, taken }
    }
}

/// The columns: times of stages are those of their last replies, in microseconds since `start_ns`; `body_us` is the
/// arrival of the final dot.
pub const HEADER: &str = "id,connection,start_ns,end_ns,code,tls,again,\
    banner_us,ehlo_us,starttls_us,handshake_us,auth_us,mail_us,rcpt_us,data_us,body_us,sha256\n";

/// No id, no code and stages that were not passed are empty cells; `texts` are those that ids were made of. `again` is
/// 1 for a message that had been taken before, else 0; in a shard's file it is empty where no message was taken.
///
/// # Errors
/// What `out` says.
pub fn write_row(
    row: &Row,
    digest: Option<&[u8; 32]>,
    texts: &[Box<str>],
    scope: Scope,
    out: &mut impl Write,
) -> io::Result<()> {
    if let Some(id) = row.id {
        write_cell(&id.text(texts).to_string(), out)?;
    }
    write!(out, ",{},{},{},", row.connection, row.start_ns, row.end_ns)?;
    if row.code > 0 {
        write!(out, "{}", row.code)?;
    }
    write!(out, ",{},{}", row.tls.as_str(), again(row.taken, scope))?;
    for place in 0..Times::STAGES.len() {
        match row.times.us(place) {
            Some(us) => write!(out, ",{us}")?,
            None => out.write_all(b",")?,
        }
    }
    out.write_all(b",")?;
    if let Some(digest) = digest {
        digest.iter().try_for_each(|byte| write!(out, "{byte:02x}"))?;
    }
    out.write_all(b"\n")
}

/// The cell of the column `again`.
fn again(taken: Taken, scope: Scope) -> &'static str {
    match (taken, scope) {
        (Taken::Again, _) => "1",
        (Taken::No, Scope::Shard) => "",
        (Taken::No | Taken::First, _) => "0",
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

/// A row that a shard wrote, as far as others need to know it.
#[derive(Debug, PartialEq, Eq)]
pub struct ShardRow<'a> {
    /// Empty: none.
    pub id: Cow<'a, [u8]>,
    pub end_ns: u64,
    /// A message was taken, whether for the first time or again.
    pub taken: bool,
    /// Where the cell of the column `again` is.
    pub again: Range<usize>,
}

impl ShardRow<'_> {
    /// `None`: `row` is none of [`write_row`]'s.
    pub fn read(row: &[u8]) -> Option<ShardRow<'_>> {
        let (id, mut at) = read_cell(row)?;
        let mut next = || {
            let start = at + 1;
            at = start + memchr::memchr(b',', row.get(start..)?)?;
            Some(start..at)
        };
        let (_connection, _start_ns, end_ns) = (next()?, next()?, next()?);
        let (_code, _tls, again) = (next()?, next()?, next()?);
        let end_ns = std::str::from_utf8(&row[end_ns]).ok()?.parse().ok()?;
        Some(ShardRow { id, end_ns, taken: !again.is_empty(), again })
    }
}

/// The first cell, and where the comma after it is.
fn read_cell(row: &[u8]) -> Option<(Cow<'_, [u8]>, usize)> {
    let Some(quoted) = row.strip_prefix(b"\"") else {
        let end = memchr::memchr(b',', row)?;
        return Some((Cow::Borrowed(&row[..end]), end));
    };
    let (mut cell, mut at) = (Vec::new(), 0);
    loop {
        let end = at + memchr::memchr(b'"', &quoted[at..])?;
        cell.extend_from_slice(&quoted[at..end]);
        match quoted.get(end + 1)? {
            b'"' => cell.push(b'"'),
            b',' => return Some((Cow::Owned(cell), end + 2)),
            _ => return None,
        }
        at = end + 2;
    }
}
