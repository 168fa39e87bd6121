//! The account of one shard on its way to the others': a file with its totals and every id that it accepted.
//!
//! A line of JSON with the totals, without ids; then, all numbers as LEB128 (seven bits a byte, the lowest first): how
//! many texts there are, and each with its length before it; how many ids there are, and each as the place of its
//! text, its number and its intended time as differences to those of the id before (zigzag: small whatever the sign),
//! and its count. A message of a load generator takes about 7 bytes. Both ends are the same executable, so the format
//! has no version.

use crate::ledger::Ledger;
use crate::message_id::{Ids, MAX_ID_BYTES, MAX_TEXTS, MessageId};
use crate::seen::Seen;
use crate::totals::Totals;
use std::io::{self, BufRead, Write};

/// Accounts of several shards as one.
pub struct Sum {
    totals: Totals,
    ids: Ids,
    seen: Seen,
}

/// Writes the account of a ledger whose totals, without ids, are `totals`.
///
/// # Errors
/// What `out` says.
pub fn write(totals: &Totals, ledger: &Ledger, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, totals)?;
    out.write_all(b"\n")?;
    let texts = ledger.ids.texts();
    write_number(texts.len() as u64, out)?;
    for text in texts {
        write_number(text.len() as u64, out)?;
        out.write_all(text.as_bytes())?;
    }
    write_number(ledger.seen.unique(), out)?;
    let mut before = (0, 0);
    for (id, count) in ledger.seen.iter() {
        let (text, number, intended_ns) = id.parts();
        write_number(text.into(), out)?;
        write_number(zigzag(number.wrapping_sub(before.0)), out)?;
        write_number(zigzag(intended_ns.wrapping_sub(before.1)), out)?;
        write_number(count, out)?;
        before = (number, intended_ns);
    }
    Ok(())
}

impl Sum {
    /// Nothing yet, of so many shards.
    pub fn new(shards: u32) -> Sum {
        Sum { totals: Totals::default(), ids: Ids::default(), seen: Seen::of_shards(shards) }
    }

    /// Adds the account of a shard.
    ///
    /// # Errors
    /// What `account` says, or [`io::ErrorKind::InvalidData`] for what is no whole account; a part of its ids may
    /// have been added then.
    pub fn add(&mut self, mut account: impl BufRead) -> io::Result<()> {
        let mut line = Vec::new();
        account.read_until(b'\n', &mut line)?;
        let totals: Totals = serde_json::from_slice(&line)?;
        let texts = read_bounded(MAX_TEXTS as u64, &mut account)?;
        let places: Vec<Option<u32>> =
            (0..texts).map(|_| self.place_of_text(&mut account)).collect::<io::Result<_>>()?;
        let (mut before, mut messages) = ((0, 0), 0);
        for _ in 0..read_number(&mut account)? {
            let place = read_number(&mut account)?;
            let place = usize::try_from(place).ok().and_then(|place| places.get(place)).ok_or_else(broken)?;
            let number = unzigzag(read_number(&mut account)?).wrapping_add(before.0);
            let intended_ns = unzigzag(read_number(&mut account)?).wrapping_add(before.1);
            let count = read_number(&mut account)?;
            before = (number, intended_ns);
            messages += count;
            match place {
                Some(place) => {
                    self.seen.add(MessageId::of_parts(*place, number, intended_ns), count);
                }
                // As a single sink does when it knows too many texts.
                None => self.totals.without_id += count,
            }
        }
        let whole = messages + totals.without_id == totals.messages && account.fill_buf()?.is_empty();
        self.totals.merge(totals);
        if whole { Ok(()) } else { Err(broken()) }
    }

    /// The sum; with `ids` it writes out every id.
    pub fn totals(self, ids: bool) -> Totals {
        Totals {
            unique: self.seen.unique(),
            duplicates: self.seen.messages() - self.seen.unique(),
            ids: ids.then(|| crate::ledger::id_counts(&self.seen, &self.ids)),
            ..self.totals
        }
    }

    /// The place that a shard's text has among ours; `None`: there are too many.
    fn place_of_text(&mut self, account: &mut impl BufRead) -> io::Result<Option<u32>> {
        let mut text = vec![0; read_bounded(MAX_ID_BYTES as u64, account)? as usize];
        account.read_exact(&mut text)?;
        let text = std::str::from_utf8(&text).map_err(|_| broken())?;
        Ok(self.ids.place(text))
    }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it is not whole")
}

fn write_number(mut number: u64, out: &mut impl Write) -> io::Result<()> {
    let mut bytes = [0; NUMBER_BYTES_MAX];
    let mut length = 0;
    loop {
        bytes[length] = (number & 0x7f) as u8;
        length += 1;
        number >>= 7;
        if number == 0 {
            return out.write_all(&bytes[..length]);
        }
        bytes[length - 1] |= 0x80;
    }
}

fn read_number(from: &mut impl BufRead) -> io::Result<u64> {
    let mut number = 0;
    for place in 0..NUMBER_BYTES_MAX {
        let Some(&byte) = from.fill_buf()?.first() else { return Err(broken()) };
        from.consume(1);
        number |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(broken())
}

fn read_bounded(most: u64, from: &mut impl BufRead) -> io::Result<u64> {
    let number = read_number(from)?;
    if number <= most { Ok(number) } else { Err(broken()) }
}

/// 0, -1, 1, -2 ... as 0, 1, 2, 3 ...
fn zigzag(difference: u64) -> u64 {
    let sign = (difference.cast_signed() >> 63).cast_unsigned();
    (difference << 1) ^ sign
}

fn unzigzag(number: u64) -> u64 {
    (number >> 1) ^ (number & 1).wrapping_neg()
}

/// Of 64 bits by seven.
const NUMBER_BYTES_MAX: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::{Answered, Delivery};

    fn accept(ledger: &mut Ledger, value: &str) {
        let id = ledger.ids.id(value.as_bytes());
        let delivery = Delivery { id, ..Delivery::new(1, false) };
        let answered = Answered { delivery, accepted: true, code: 250, size_bytes: 10, bare_newline: false };
        ledger.accepted(&answered, 1);
    }

    fn account(ledger: &Ledger) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&ledger.totals(false, 0.5, 0.25), ledger, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn accounts_of_shards_add_up_to_that_of_a_single_sink() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut single = Ledger::default();
        let mut shards: [Ledger; 3] = Default::default();
        for round in 0..20_000u64 {
            let value = match random.u8(..10) {
                0 => format!("odd-{}", random.u8(..20)),
                1 => String::new(),
                2 => format!("r{}/{}/{}", random.u8(..3), random.u64(..), random.u64(..)),
                3 => format!("r0/{}/7", random.u64(..round + 1)),
                _ => format!("r{}/{round}/{}", random.u8(..3), 1_000_000 + round * 333),
            };
            accept(&mut single, &value);
            accept(&mut shards[random.usize(..3)], &value);
        }
        let mut sum = Sum::new(3);
        for shard in &shards {
            sum.add(account(shard).as_slice()).unwrap();
        }
        let (mut wanted, mut found) = (single.totals(true, 1.5, 0.75), sum.totals(true));
        for totals in [&mut wanted, &mut found] {
            // Texts have other places, so the order is another one.
            totals.ids.as_mut().unwrap().0.sort_unstable();
        }
        assert!(wanted.duplicates > 1000 && wanted.without_id > 1000);
        assert_eq!(found, wanted);
    }

    #[test]
    fn a_message_takes_few_bytes_and_an_account_that_is_cut_or_longer_is_refused() {
        let mut ledger = Ledger::default();
        for number in 0..200u64 {
            accept(&mut ledger, &format!("run/{number}/{}", 5_000_000_000 + number * 100_000));
        }
        accept(&mut ledger, &format!("run/{}/{}", u64::MAX - 1, u64::MAX));
        let bytes = account(&ledger);
        let json = bytes.iter().position(|&byte| byte == b'\n').unwrap();
        assert!(bytes.len() - json < 200 * 7, "{} bytes", bytes.len() - json);
        Sum::new(2).add(bytes.as_slice()).unwrap();
        for cut in (0..bytes.len()).step_by(3) {
            assert!(Sum::new(2).add(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        let longer = [bytes.as_slice(), b"\0"].concat();
        assert!(Sum::new(2).add(longer.as_slice()).is_err());
    }
}
