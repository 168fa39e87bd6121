//! Which messages were accepted, each with how often: 8 bytes for a message that came once, in whatever order.
//!
//! A load generator numbers its messages from 1, so a run's messages are kept as pages of their intended times by
//! number. What does not come so (other senders' ids, the same number with another time, numbers far beyond what has
//! come) is kept whole. It must not know where ids come from.

use crate::message_id::{Ids, MessageId, Whole};
use std::collections::HashMap;

/// Every id that was accepted.
#[derive(Default)]
pub struct Seen {
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
    /// `id` was accepted; says whether for the first time.
    pub fn accept(&mut self, id: MessageId) -> bool {
        self.messages += 1;
        let first = self.is_first(id);
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

    /// Each id and how often it was accepted, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (MessageId, u64)> {
        let paged = self.runs.iter().enumerate().flat_map(|(place, run)| run.ids(place as u32));
        let counted = paged.map(|id| (id, self.again.get(&id).copied().unwrap_or(1)));
        counted.chain(self.others.iter().map(|(&id, &count)| (id, count)))
    }

    /// Takes in what another sink has seen, whose ids have their text in `ids`; `ours` has the texts of this one.
    pub fn merge(&mut self, other: &Seen, ids: &Ids, ours: &mut Ids) {
        for (id, count) in other.iter() {
            let Some(id) = ours.id(ids.text(id).to_string().as_bytes()) else { continue };
            (0..count).for_each(|_| {
                self.accept(id);
            });
        }
    }

    fn is_first(&mut self, id: MessageId) -> bool {
        if let Some(slot) = self.slot(id) {
            match *slot {
                0 => {
                    *slot = id.intended_ns() + 1;
                    return true;
                }
                time if time == id.intended_ns() + 1 => {
                    *self.again.entry(id).or_insert(1) += 1;
                    return false;
                }
                _ => {}
            }
        }
        let count = self.others.entry(id).or_insert(0);
        *count += 1;
        *count == 1
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
        if page as u64 > PAGES_AHEAD + run.messages / (PAGE_MESSAGES as u64 / FILLED_PART) {
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

impl Run {
    fn ids(&self, run: u32) -> impl Iterator<Item = MessageId> {
        let pages = self.pages.iter().enumerate().filter_map(|(at, page)| Some((at, page.as_ref()?)));
        pages.flat_map(move |(at, page)| {
            let first = (at * PAGE_MESSAGES) as u64;
            let taken = page.iter().enumerate().filter(|&(_, &time)| time > 0);
            taken.map(move |(offset, &time)| MessageId::numbered(run, first + offset as u64, time - 1))
        })
    }
}

/// 8 KiB: an allocation that takes no time, in the memory of a sink that has seen next to nothing.
const PAGE_MESSAGES: usize = 1024;
/// Pages that may be made before anything has come.
const PAGES_AHEAD: u64 = 64;
/// Beyond, at least this part of all pages up to a new one must have been filled: one in so many.
const FILLED_PART: u64 = 4;
/// Runs that have pages; others' ids are kept whole.
const RUNS_MAX: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn what_was_seen_is_counted_as_by_a_plain_map() {
        let mut random = fastrand::Rng::with_seed(1);
        let (mut ids, mut seen, mut plain) = (Ids::default(), Seen::default(), BTreeMap::new());
        for round in 0..200_000u64 {
            let value = match random.u8(..10) {
                0 => format!("r{}/{}/{}", random.u8(..3), random.u64(..), random.u8(..2)),
                1 => format!("other-{}", random.u8(..50)),
                2 => format!("r1/{}/0", random.u64(..round + 1)),
                3 => format!("r1/{round}/{}", u64::MAX - u64::from(random.u8(..2))),
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

        let (mut ours, mut merged) = (Ids::default(), Seen::default());
        merged.merge(&seen, &ids, &mut ours);
        merged.merge(&seen, &ids, &mut ours);
        assert_eq!((merged.messages(), merged.unique()), (2 * seen.messages(), seen.unique()));
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
