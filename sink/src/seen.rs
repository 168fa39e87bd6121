//! Which messages were accepted, each with how often: 8 bytes for a message that came once, in whatever order.
//!
//! A load generator numbers its messages from 1, so a run's messages are kept as pages of their intended times by
//! number. What does not come so (other senders' ids, the same number with another time, numbers far beyond what has
//! come) is kept whole. It must not know where ids come from.

use crate::message_id::{MessageId, Whole};
use std::collections::HashMap;

/// Every id that was accepted.
pub struct Seen {
    /// Pages may be made for every so manieth message.
    filled_part: u64,
    runs: Vec<Run>,
    /// Ids that have no place in a page: how often each came.
    others: HashMap<MessageId, u64>,
    /// Ids that have a place in a page and came again: how often in all.
    again: HashMap<MessageId, u64>,
    unique: u64,
    messages: u64,
}

/// The messages of one run, by number.
#[derive(Default)]
struct Run {
    pages: Vec<Option<Box<Page>>>,
    messages: u64,
}

/// Intended times, plus 1: 0 is a number that has not come.
type Page = [u64; PAGE_MESSAGES];

impl Seen {
    /// For what `shards` sinks have seen of the same runs, one after the other and each in the order of
    /// [`Seen::iter`]: the first one's messages are only a part of those that will fill the pages.
    pub fn of_shards(shards: u32) -> Seen {
        let filled_part = FILLED_PART * u64::from(shards.clamp(1, SHARDS_SPARSE_MAX));
        Seen { filled_part, ..Seen::default() }
    }

    /// `id` was accepted; says whether for the first time.
    pub fn accept(&mut self, id: MessageId) -> bool {
        self.add(id, 1)
    }

    /// `id` was accepted `times` times, at least once; says whether the first of them was the first of all.
    pub fn add(&mut self, id: MessageId, times: u64) -> bool {
        self.messages += times;
        let first = self.count(id, times);
        self.unique += u64::from(first);
        first
    }

    /// Accepted in all.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Different ids.
    pub fn unique(&self) -> u64 {
        self.unique
    }

    /// Each id and how often it was accepted: those of the pages by run and number, then the others likewise.
    pub fn iter(&self) -> impl Iterator<Item = (MessageId, u64)> {
        let paged = self.runs.iter().enumerate().flat_map(|(place, run)| run.ids(place as u32));
        let counted = paged.map(|id| (id, self.again.get(&id).copied().unwrap_or(1)));
        let mut others: Vec<_> = self.others.iter().map(|(&id, &count)| (id, count)).collect();
        others.sort_unstable();
        counted.chain(others)
    }

    fn count(&mut self, id: MessageId, times: u64) -> bool {
        // First: its page may have come since it found none.
        if !self.others.is_empty()
            && let Some(count) = self.others.get_mut(&id)
        {
            *count += times;
            return false;
        }
        if let Some(slot) = self.slot(id) {
            match *slot {
                0 => {
                    *slot = id.intended_ns() + 1;
                    if times > 1 {
                        self.again.insert(id, times);
                    }
                    return true;
                }
                time if time == id.intended_ns() + 1 => {
                    *self.again.entry(id).or_insert(1) += times;
                    return false;
                }
                _ => {}
            }
        }
        self.others.insert(id, times);
        true
    }

    /// Where a page has the time of this number.
    fn slot(&mut self, id: MessageId) -> Option<&mut u64> {
        let Whole::Numbered { run, number, intended_ns } = id.whole() else { return None };
        let place = run as usize;
        if intended_ns == u64::MAX || place >= RUNS_MAX {
            return None;
        }
        if place >= self.runs.len() {
            self.runs.resize_with(place + 1, Run::default);
        }
        let run = &mut self.runs[place];
        let page = usize::try_from(number / PAGE_MESSAGES as u64).ok()?;
        // Far numbers would take a page each.
        if page as u64 > PAGES_AHEAD + run.messages * self.filled_part / PAGE_MESSAGES as u64 {
            return None;
        }
        if page >= run.pages.len() {
            run.pages.resize_with(page + 1, || None);
        }
        run.messages += 1;
        let page = run.pages[page].get_or_insert_with(|| Box::new([0; PAGE_MESSAGES]));
        Some(&mut page[(number % PAGE_MESSAGES as u64) as usize])
    }
}

impl Default for Seen {
    fn default() -> Seen {
        Seen {
            filled_part: FILLED_PART,
            runs: Vec::new(),
            others: HashMap::new(),
            again: HashMap::new(),
            unique: 0,
            messages: 0,
        }
    }
}

impl Run {
    fn ids(&self, run: u32) -> impl Iterator<Item = MessageId> {
        let pages = self.pages.iter().enumerate().filter_map(|(at, page)| Some((at, page.as_ref()?)));
        pages.flat_map(move |(at, page)| {
            let first = (at * PAGE_MESSAGES) as u64;
            let taken = page.iter().enumerate().filter(|&(_, &time)| time > 0);
            taken.map(move |(offset, &time)| MessageId::of_parts(run, first + offset as u64, time - 1))
        })
    }
}

/// 8 KiB: an allocation that takes no time, in the memory of a sink that has seen next to nothing.
const PAGE_MESSAGES: usize = 1024;
/// Pages that may be made before anything has come.
const PAGES_AHEAD: u64 = 64;
/// Beyond, at least this part of all pages up to a new one must have been filled: one in so many.
const FILLED_PART: u64 = 4;
/// Shards that are allowed for in pages; with more, an id may be kept whole.
const SHARDS_SPARSE_MAX: u32 = 32;
/// Runs that have pages; others' ids are kept whole.
const RUNS_MAX: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message_id::Ids;
    use std::collections::BTreeMap;

    #[test]
    fn what_was_seen_is_counted_as_by_a_plain_map() {
        let mut random = fastrand::Rng::with_seed(1);
        let (mut ids, mut seen, mut plain) = (Ids::default(), Seen::default(), BTreeMap::new());
        for round in 0..100_000u64 {
            let value = match random.u8(..10) {
                0 => format!("r{}/{}/{}", random.u8(..3), random.u64(..), random.u8(..2)),
                1 => format!("other-{}", random.u8(..50)),
                2 => format!("r1/{}/0", random.u64(..round + 1)),
                3 => format!("r1/{round}/{}", u64::MAX - u64::from(random.u8(..2))),
                4 => format!("far/{}/0", 60_000 + random.u64(..40_000)),
                _ => format!("r{}/{round}/{round}", random.u8(..3)),
            };
            let Some(id) = ids.id(value.as_bytes()) else { continue };
            let count = plain.entry(value).or_insert(0u64);
            *count += 1;
            assert_eq!(seen.accept(id), *count == 1);
        }
        let found: BTreeMap<String, u64> =
            seen.iter().map(|(id, count)| (ids.text(id).to_string(), count)).collect();
        assert!(found == plain, "the counts differ");
        assert_eq!((seen.messages(), seen.unique()), (plain.values().sum(), plain.len() as u64));

        let mut doubled = Seen::default();
        for (id, count) in seen.iter().chain(seen.iter()) {
            doubled.add(id, count);
        }
        assert_eq!((doubled.messages(), doubled.unique()), (2 * seen.messages(), seen.unique()));
        let counts: BTreeMap<_, _> = seen.iter().map(|(id, count)| (id, 2 * count)).collect();
        assert!(doubled.iter().collect::<BTreeMap<_, _>>() == counts, "the counts are not twice as many");
    }

    #[test]
    fn messages_spread_over_shards_come_together_in_pages() {
        const SHARDS: u64 = 8;
        let mut ids = Ids::default();
        let mut merged = Seen::of_shards(SHARDS as u32);
        for shard in 0..SHARDS {
            let mut seen = Seen::default();
            for number in (shard..200_000).step_by(SHARDS as usize) {
                seen.accept(ids.id(format!("r/{number}/{number}").as_bytes()).unwrap());
            }
            seen.iter().for_each(|(id, count)| assert!(merged.add(id, count)));
        }
        assert_eq!((merged.unique(), merged.others.len()), (200_000, 0));
    }

    #[test]
    fn hostile_numbers_take_no_pages() {
        let (mut ids, mut seen) = (Ids::default(), Seen::default());
        for number in 0..1000u64 {
            seen.accept(ids.id(format!("r/{}/1", number << 40).as_bytes()).unwrap());
        }
        assert_eq!((seen.unique(), seen.runs[0].pages.len()), (1000, 1));
    }
}
