//! Makes one trace of those of several shards, row by row, whatever their size.
//!
//! A file without its header is one of a shard that died before it wrote: it has no rows. A last row without its line
//! end was cut by such a death and is left out.

use super::IN_FLIGHT_HEADER;
use super::row::{HEADER, ShardRow};
use crate::message_id::Ids;
use crate::seen::Seen;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, BufRead, Write};

/// All deliveries in the order in which they ended; `again` is what a single sink would have said. The rows of each
/// shard are in that order already, and of [`super::Scope::Shard`].
///
/// # Errors
/// What a file or `out` says; [`io::ErrorKind::InvalidData`] for what is no row of a trace.
pub fn merge_deliveries(shards: Vec<impl BufRead>, out: &mut impl Write) -> io::Result<()> {
    let (mut ids, mut seen) = (Ids::default(), Seen::default());
    out.write_all(HEADER.as_bytes())?;
    merge(
        shards,
        HEADER.as_bytes(),
        |row| ShardRow::read(row).map(|row| row.end_ns),
        |_, row| {
            let Some(ShardRow { id, taken, again, .. }) = ShardRow::read(row) else { return Ok(()) };
            let came_before = taken && ids.id(&id).is_some_and(|id| !seen.accept(id));
            out.write_all(&row[..again.start])?;
            out.write_all(if came_before { b"1" } else { b"0" })?;
            out.write_all(&row[again.end..])?;
            out.write_all(b"\n")
        },
    )?;
    out.flush()
}

/// At each moment of a sample, the sum of what each shard said last.
///
/// # Errors
/// As [`merge_deliveries`].
pub fn merge_in_flight(shards: Vec<impl BufRead>, out: &mut impl Write) -> io::Result<()> {
    let mut last = vec![0u64; shards.len()];
    out.write_all(IN_FLIGHT_HEADER)?;
    merge(
        shards,
        IN_FLIGHT_HEADER,
        |row| read_sample(row).map(|(at_ns, _)| at_ns),
        |shard, row| {
            let Some((at_ns, in_flight)) = read_sample(row) else { return Ok(()) };
            last[shard] = in_flight;
            writeln!(out, "{at_ns},{}", last.iter().sum::<u64>())
        },
    )?;
    out.flush()
}

fn read_sample(row: &[u8]) -> Option<(u64, u64)> {
    let (at_ns, in_flight) = std::str::from_utf8(row).ok()?.split_once(',')?;
    Some((at_ns.parse().ok()?, in_flight.parse().ok()?))
}

/// Gives the rows of all files to `take` in the order of their `time`, each with the place of its file.
fn merge(
    files: Vec<impl BufRead>,
    header: &[u8],
    time: impl Fn(&[u8]) -> Option<u64>,
    mut take: impl FnMut(usize, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut files: Vec<_> = files.into_iter().map(Rows::new).collect();
    let mut due = BinaryHeap::new();
    for (place, rows) in files.iter_mut().enumerate() {
        if rows.next()? {
            if rows.row() != header.trim_ascii_end() {
                return Err(rows.broken(place));
            }
            due.extend(rows.next_time(place, &time)?.map(|time| Reverse((time, place))));
        }
    }
    while let Some(Reverse((_, place))) = due.pop() {
        let rows = &mut files[place];
        take(place, rows.row())?;
        due.extend(rows.next_time(place, &time)?.map(|time| Reverse((time, place))));
    }
    Ok(())
}

/// The lines of a file, one at a time.
struct Rows<R> {
    file: R,
    line: Vec<u8>,
    lines: u64,
}

impl<R: BufRead> Rows<R> {
    fn new(file: R) -> Rows<R> {
        Rows { file, line: Vec::new(), lines: 0 }
    }

    /// Goes to the next whole line; says whether there is one.
    fn next(&mut self) -> io::Result<bool> {
        self.line.clear();
        self.lines += 1;
        self.file.read_until(b'\n', &mut self.line)?;
        Ok(self.line.pop() == Some(b'\n'))
    }

    fn row(&self) -> &[u8] {
        &self.line
    }

    fn next_time(&mut self, place: usize, time: impl Fn(&[u8]) -> Option<u64>) -> io::Result<Option<u64>> {
        if !self.next()? {
            return Ok(None);
        }
        time(self.row()).map(Some).ok_or_else(|| self.broken(place))
    }

    fn broken(&self, place: usize) -> io::Error {
        let problem = format!("line {} of shard {} is none of a trace", self.lines, place + 1);
        io::Error::new(io::ErrorKind::InvalidData, problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::TlsVersion;
    use crate::delivery::Delivery;
    use crate::trace::{Ended, Scope, Taken, Trace};

    fn merged<'a>(
        files: &[&'a str],
        merge: impl FnOnce(Vec<&'a [u8]>, &mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<String> {
        let mut out = Vec::new();
        merge(files.iter().map(|file| file.as_bytes()).collect(), &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    /// What a trace of this scope writes of (end_ns, id, taken).
    fn written(scope: Scope, deliveries: &[(u64, &str, Taken)]) -> String {
        let mut ids = Ids::default();
        let mut trace = Trace::new(scope, None).unwrap();
        for &(end_ns, id, taken) in deliveries {
            let delivery = Delivery { id: ids.id(id.as_bytes()), ..Delivery::new(1, true) };
            let ended = Ended {
                connection: 4,
                delivery: &delivery,
                end_ns,
                code: 250,
                tls: TlsVersion::V13,
                taken,
                digest: None,
            };
            trace.ended(&ended, &ids);
        }
        let mut out = Vec::new();
        trace.write_deliveries(&ids, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn deliveries_come_in_the_order_of_their_ends_and_know_what_other_shards_took() {
        use Taken::{Again, First, No};
        let odd = "\"odd\", id";
        let one = written(Scope::Shard, &[(10, "r/1/1", First), (30, odd, First), (50, "", First)]);
        let two = written(
            Scope::Shard,
            &[(20, "r/1/1", First), (20, "r/2/1", No), (40, odd, First), (40, "r/2/1", First)],
        );
        let cut = written(Scope::Shard, &[(25, "r/1/1", First), (60, "r/3/1", First)]);
        let whole = written(
            Scope::Sink,
            &[
                (10, "r/1/1", First),
                (20, "r/1/1", Again),
                (20, "r/2/1", No),
                (25, "r/1/1", Again),
                (30, odd, First),
                (40, odd, Again),
                (40, "r/2/1", First),
                (50, "", First),
            ],
        );
        let files = [&*one, "", &two, &cut[..cut.len() - 1]];
        assert_eq!(merged(&files, merge_deliveries).unwrap(), whole);

        let broken = format!("{one}no row\n");
        let error = merged(&[&two, &broken], merge_deliveries).unwrap_err();
        assert_eq!(error.to_string(), "line 5 of shard 2 is none of a trace");
    }

    #[test]
    fn samples_add_up_to_what_each_shard_said_last() {
        let files = ["at_ns,in_flight\n1,5\n11,6\n21,0\n", "", "at_ns,in_flight\n3,1\n11,2\n40,1\n"];
        let sum = merged(&files, merge_in_flight).unwrap();
        assert_eq!(sum, "at_ns,in_flight\n1,5\n3,6\n11,7\n11,8\n21,2\n40,1\n");
    }
}
