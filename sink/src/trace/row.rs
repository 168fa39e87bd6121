//! One delivery as it is kept and as it is written.

use super::Ended;
use crate::conversation::TlsVersion;
use crate::delivery::Times;
use crate::message_id::MessageId;
use std::io::{self, Write};

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
    again: bool,
}

/// As documented; a hash of its content takes 40 more.
const _: () = assert!(size_of::<Row>() == 88);

impl Row {
    pub fn new(ended: &Ended<'_>) -> Row {
        let &Ended { connection, delivery, end_ns, code, tls, again, .. } = ended;
        let times = delivery.times.as_deref().copied().unwrap_or_default();
        Row { id: delivery.id, connection, start_ns: delivery.start_ns, end_ns, times, code, tls, again }
    }
}

/// The columns: times of stages are those of their last replies, in microseconds since `start_ns`; `body_us` is the
/// arrival of the final dot.
pub const HEADER: &str = "id,connection,start_ns,end_ns,code,tls,again,\
    banner_us,ehlo_us,starttls_us,handshake_us,auth_us,mail_us,rcpt_us,data_us,body_us,sha256\n";

/// No id, no code and stages that were not passed are empty cells; `texts` are those that ids were made of.
///
/// # Errors
/// What `out` says.
pub fn write_row(
    row: &Row,
    digest: Option<&[u8; 32]>,
    texts: &[Box<str>],
    out: &mut impl Write,
) -> io::Result<()> {
    if let Some(id) = row.id {
        write_cell(&id.text(texts).to_string(), out)?;
    }
    write!(out, ",{},{},{},", row.connection, row.start_ns, row.end_ns)?;
    if row.code > 0 {
        write!(out, "{}", row.code)?;
    }
    write!(out, ",{},{}", row.tls.as_str(), if row.again { "1" } else { "0" })?;
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

/// A cell of CSV, RFC 4180 §2 (5) to (7).
fn write_cell(text: &str, out: &mut impl Write) -> io::Result<()> {
    if text.contains([',', '"']) {
        write!(out, "\"{}\"", text.replace('"', "\"\""))
    } else {
        out.write_all(text.as_bytes())
    }
}
