//! Where each message is: about 13 bytes for each of millions.
//!
//! Ids rise by one, so the 256 that have all but their last byte in common share a page. Knows no file.

use delivery::QueueId;
use std::collections::BTreeMap;

/// No state record: the message is as it came.
pub(super) const NO_SEGMENT: u32 = 0;

const SIZE_BITS: u32 = 12;
const UNIT: u32 = super::record::UNIT as u32;

/// The largest record that a place can tell the size of.
pub(super) const RECORD_BYTES_MAX: u32 = ((1 << SIZE_BITS) - 1) * UNIT;
/// The largest segment that a place can tell the offset in.
pub(super) const SEGMENT_BYTES_MAX: u32 = (1 << (32 - SIZE_BITS)) * UNIT;

/// A segment number, [`super::record::OWN_FILE`] for a file of its own; then offset and size in units of 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) segment: u32,
    packed: u32,
}

impl Place {
    pub(super) fn new(segment: u32, offset: u32, space: u32) -> Place {
        Place { segment, packed: ((offset / UNIT) << SIZE_BITS) | (space / UNIT) }
    }

    pub(super) fn own_file() -> Place {
        Place { segment: super::record::OWN_FILE, packed: 0 }
    }

    pub(super) fn offset(self) -> u32 {
        (self.packed >> SIZE_BITS) * UNIT
    }

    pub(super) fn space(self) -> u32 {
        (self.packed & ((1 << SIZE_BITS) - 1)) * UNIT
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Slot {
    pub(super) place: Place,
    /// The segment of its latest state record, or [`NO_SEGMENT`].
    pub(super) state_segment: u32,
}

/// Sorted by the last byte of the id.
#[derive(Default)]
struct Page {
    lows: Vec<u8>,
    slots: Vec<Slot>,
}

#[derive(Default)]
pub(super) struct Index {
    pages: BTreeMap<u64, Page>,
}

fn split(id: QueueId) -> (u64, u8) {
    (id.0 >> 8, id.0 as u8)
}

impl Index {
    #[cfg(test)]
    fn messages(&self) -> u64 {
        self.pages.values().map(|page| page.lows.len() as u64).sum()
    }

    pub(super) fn get(&self, id: QueueId) -> Option<Slot> {
        let (page, low) = split(id);
        let page = self.pages.get(&page)?;
        page.lows.binary_search(&low).ok().map(|at| page.slots[at])
    }

    pub(super) fn get_mut(&mut self, id: QueueId) -> Option<&mut Slot> {
        let (page, low) = split(id);
        let page = self.pages.get_mut(&page)?;
        page.lows.binary_search(&low).ok().map(|at| &mut page.slots[at])
    }

    pub(super) fn insert(&mut self, id: QueueId, slot: Slot) {
        let (page, low) = split(id);
        let page = self.pages.entry(page).or_default();
        match page.lows.binary_search(&low) {
            Ok(at) => page.slots[at] = slot,
            Err(at) => {
                page.lows.insert(at, low);
                page.slots.insert(at, slot);
            }
        }
    }

    pub(super) fn remove(&mut self, id: QueueId) -> Option<Slot> {
        let (number, low) = split(id);
        let page = self.pages.get_mut(&number)?;
        let at = page.lows.binary_search(&low).ok()?;
        page.lows.remove(at);
        let slot = page.slots.remove(at);
        if page.lows.is_empty() {
            self.pages.remove(&number);
        } else if page.lows.len() * 4 < page.lows.capacity() {
            page.lows.shrink_to(page.lows.len() * 2);
            page.slots.shrink_to(page.slots.len() * 2);
        }
        Some(slot)
    }

    /// Up to `count` ids behind `after`, in their order.
    pub(super) fn ids_after(&self, after: Option<QueueId>, count: usize) -> Vec<QueueId> {
        let first = after.map_or(0, |id| id.0.saturating_add(1));
        let pages = self.pages.range(first >> 8..);
        let ids =
            pages.flat_map(|(number, page)| page.lows.iter().map(move |low| number << 8 | u64::from(*low)));
        ids.skip_while(|id| *id < first).take(count).map(QueueId).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_a_map_and_gives_ids_in_order() {
        let mut random = 1u64;
        let (mut index, mut model) = (Index::default(), BTreeMap::new());
        for step in 0..20_000u32 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let id = QueueId(random >> 53);
            let slot = Slot { place: Place::new(step, step % 1000 * 64, 128), state_segment: step };
            if random & 3 == 0 {
                assert_eq!(index.remove(id), model.remove(&id));
            } else {
                index.insert(id, slot);
                model.insert(id, slot);
            }
            assert_eq!(index.get(id), model.get(&id).copied());
            assert_eq!(index.messages(), model.len() as u64);
        }
        let all = index.ids_after(None, usize::MAX);
        assert_eq!(all, model.keys().copied().collect::<Vec<_>>());
        assert_eq!(index.ids_after(Some(all[10]), 3), all[11..14]);
    }

    #[test]
    fn a_place_holds_the_largest_record_at_the_end_of_the_largest_segment() {
        let (offset, space) = (SEGMENT_BYTES_MAX - UNIT, RECORD_BYTES_MAX);
        let place = Place::new(9, offset, space);
        assert_eq!((place.offset(), place.space()), (offset, space));
    }
}
