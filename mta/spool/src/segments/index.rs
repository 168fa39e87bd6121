//! Where each message is, for millions of them. Ids rise by one, so those that have all but their last byte in common
//! share a page; the segments are named once a page. Knows no file.
//!
//! A message takes 6 bytes, and a page about 130 beside: half a byte each when it is full.

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

/// Ids of a page.
const PAGE: usize = 256;
/// Different segments that a byte can tell apart.
const NARROW_SEGMENTS: usize = 256;

/// A slot whose segments are numbers in its page's list.
#[derive(Clone, Copy)]
struct Narrow {
    packed: [u8; 4],
    segment: u8,
    state_segment: u8,
}

enum Slots {
    Narrow {
        segments: Vec<u32>,
        slots: Vec<Narrow>,
    },
    /// The page had more different segments than fit in a list.
    Wide(Vec<Slot>),
}

/// Room for one more, and little besides: most pages are filled once and stay as they are.
fn make_room<T>(items: &mut Vec<T>) {
    if items.len() == items.capacity() {
        items.reserve_exact((items.len() / 4).max(4).min(PAGE - items.len()));
    }
}

fn give_room_back<T>(items: &mut Vec<T>) {
    if items.len() * 2 < items.capacity() {
        items.shrink_to(items.len() + items.len() / 4);
    }
}

impl Slots {
    /// As small as these can be kept.
    fn pack(all: Vec<Slot>) -> Slots {
        let mut segments = Vec::new();
        for slot in &all {
            for segment in [slot.place.segment, slot.state_segment] {
                if !segments.contains(&segment) {
                    segments.push(segment);
                }
            }
            if segments.len() > NARROW_SEGMENTS {
                return Slots::Wide(all);
            }
        }
        // the next new one must not come here again at once
        segments.shrink_to((segments.len() + 1).next_power_of_two());
        let mut packed = Slots::Narrow { segments, slots: Vec::with_capacity(all.len()) };
        all.into_iter().enumerate().for_each(|(at, slot)| packed.insert(at, slot));
        packed
    }

    fn unpack(&self) -> Vec<Slot> {
        (0..self.len()).map(|at| self.get(at)).collect()
    }

    fn len(&self) -> usize {
        match self {
            Slots::Narrow { slots, .. } => slots.len(),
            Slots::Wide(slots) => slots.len(),
        }
    }

    fn get(&self, at: usize) -> Slot {
        match self {
            Slots::Narrow { segments, slots } => {
                let Narrow { packed, segment, state_segment } = slots[at];
                let place =
                    Place { segment: segments[usize::from(segment)], packed: u32::from_le_bytes(packed) };
                Slot { place, state_segment: segments[usize::from(state_segment)] }
            }
            Slots::Wide(slots) => slots[at],
        }
    }

    /// The slot as it is kept here; `None`: the list of segments is full, perhaps of some that are of no use.
    fn narrow(segments: &mut Vec<u32>, slot: Slot) -> Option<Narrow> {
        let mut number = |segment: u32| {
            let known = segments.iter().position(|known| *known == segment);
            let at = known.or_else(|| {
                let has_room = segments.len() < segments.capacity().min(NARROW_SEGMENTS);
                has_room.then(|| {
                    segments.push(segment);
                    segments.len() - 1
                })
            });
            at.map(|at| at as u8)
        };
        let (segment, state_segment) = (number(slot.place.segment)?, number(slot.state_segment)?);
        Some(Narrow { packed: slot.place.packed.to_le_bytes(), segment, state_segment })
    }

    fn set(&mut self, at: usize, slot: Slot) {
        match self {
            Slots::Narrow { segments, slots } => match Slots::narrow(segments, slot) {
                Some(narrow) => slots[at] = narrow,
                None => {
                    let mut all = self.unpack();
                    all[at] = slot;
                    *self = Slots::pack(all);
                }
            },
            Slots::Wide(slots) => slots[at] = slot,
        }
    }

    fn insert(&mut self, at: usize, slot: Slot) {
        match self {
            Slots::Narrow { segments, slots } => match Slots::narrow(segments, slot) {
                Some(narrow) => {
                    make_room(slots);
                    slots.insert(at, narrow);
                }
                None => {
                    let mut all = self.unpack();
                    all.insert(at, slot);
                    *self = Slots::pack(all);
                }
            },
            Slots::Wide(slots) => {
                make_room(slots);
                slots.insert(at, slot);
            }
        }
    }

    fn remove(&mut self, at: usize) -> Slot {
        let removed = self.get(at);
        match self {
            Slots::Narrow { slots, .. } => {
                slots.remove(at);
                give_room_back(slots);
            }
            Slots::Wide(slots) => {
                slots.remove(at);
                // each has two segments: so few can't have too many
                if slots.len() * 2 <= NARROW_SEGMENTS {
                    *self = Slots::pack(std::mem::take(slots));
                }
            }
        }
        removed
    }
}

/// The messages whose ids differ in their last byte, in its order.
struct Page {
    /// A bit for each last byte.
    present: [u64; 4],
    slots: Slots,
}

impl Page {
    fn new() -> Page {
        Page { present: [0; 4], slots: Slots::pack(Vec::new()) }
    }

    /// Where its slot is, or would be.
    fn find(&self, low: u8) -> Result<usize, usize> {
        let (word, bit) = (usize::from(low >> 6), 1u64 << (low & 63));
        let before: u32 = self.present[..word].iter().map(|word| word.count_ones()).sum();
        let at = (before + (self.present[word] & (bit - 1)).count_ones()) as usize;
        if self.present[word] & bit == 0 { Err(at) } else { Ok(at) }
    }

    fn flip(&mut self, low: u8) {
        self.present[usize::from(low >> 6)] ^= 1 << (low & 63);
    }

    fn lows(&self) -> impl Iterator<Item = u8> {
        let present = self.present;
        (0..=u8::MAX).filter(move |low| present[usize::from(low >> 6)] & 1 << (low & 63) != 0)
    }
}

#[derive(Default)]
pub(super) struct Index {
    /// Boxed, since a tree that is filled in order is half empty.
    pages: BTreeMap<u64, Box<Page>>,
}

fn split(id: QueueId) -> (u64, u8) {
    (id.0 >> 8, id.0 as u8)
}

impl Index {
    #[cfg(test)]
    fn messages(&self) -> usize {
        self.pages.values().map(|page| page.slots.len()).sum()
    }

    pub(super) fn get(&self, id: QueueId) -> Option<Slot> {
        let (page, low) = split(id);
        let page = self.pages.get(&page)?;
        page.find(low).ok().map(|at| page.slots.get(at))
    }

    /// Changes what is known of a message; gives what it was before.
    pub(super) fn change(&mut self, id: QueueId, change: impl FnOnce(&mut Slot)) -> Option<Slot> {
        let (page, low) = split(id);
        let page = self.pages.get_mut(&page)?;
        let at = page.find(low).ok()?;
        let before = page.slots.get(at);
        let mut slot = before;
        change(&mut slot);
        page.slots.set(at, slot);
        Some(before)
    }

    pub(super) fn insert(&mut self, id: QueueId, slot: Slot) {
        let (page, low) = split(id);
        let page = self.pages.entry(page).or_insert_with(|| Box::new(Page::new()));
        match page.find(low) {
            Ok(at) => page.slots.set(at, slot),
            Err(at) => {
                page.slots.insert(at, slot);
                page.flip(low);
            }
        }
    }

    pub(super) fn remove(&mut self, id: QueueId) -> Option<Slot> {
        let (number, low) = split(id);
        let page = self.pages.get_mut(&number)?;
        let at = page.find(low).ok()?;
        let slot = page.slots.remove(at);
        page.flip(low);
        if page.slots.len() == 0 {
            self.pages.remove(&number);
        }
        Some(slot)
    }

    /// Up to `count` ids behind `after`, in their order.
    pub(super) fn ids_after(&self, after: Option<QueueId>, count: usize) -> Vec<QueueId> {
        let first = after.map_or(0, |id| id.0.saturating_add(1));
        let pages = self.pages.range(first >> 8..);
        let ids = pages.flat_map(|(number, page)| page.lows().map(move |low| number << 8 | u64::from(low)));
        ids.skip_while(|id| *id < first).take(count).map(QueueId).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With few segments, with about as many as a page has room for in its list, and with one of its own for each.
    #[test]
    fn agrees_with_a_map_and_gives_ids_in_order() {
        for segments in [3, 250, 600, 100_000] {
            let mut random = fastrand::Rng::with_seed(u64::from(segments));
            let (mut index, mut model) = (Index::default(), BTreeMap::new());
            let mut was_wide = false;
            for step in 0..50_000u32 {
                // so full that every page is, then nearly empty, then full again
                let fills = step / 10_000 % 2 == 0;
                let id = QueueId(random.u64(0..1024));
                let place = Place::new(random.u32(1..=segments), step % 1000 * 64, 128);
                let slot = Slot { place, state_segment: random.u32(0..=segments) };
                match random.u32(0..8) {
                    0..=3 if fills => {
                        index.insert(id, slot);
                        model.insert(id, slot);
                    }
                    0..=3 => assert_eq!(index.remove(id), model.remove(&id)),
                    4 => assert_eq!(index.remove(id), model.remove(&id)),
                    _ => {
                        let before = model.get(&id).copied();
                        model.entry(id).and_modify(|known| *known = slot);
                        assert_eq!(index.change(id, |known| *known = slot), before);
                    }
                }
                assert_eq!(index.get(id), model.get(&id).copied());
                assert_eq!(index.messages(), model.len());
                was_wide |= index.pages.values().any(|page| matches!(page.slots, Slots::Wide(_)));
                if step % 2000 == 0 {
                    assert!(model.iter().all(|(id, slot)| index.get(*id) == Some(*slot)));
                }
            }
            assert_eq!(was_wide, segments > 250, "{segments} segments");
            let all = index.ids_after(None, usize::MAX);
            assert_eq!(all, model.keys().copied().collect::<Vec<_>>());
            assert_eq!(index.ids_after(Some(all[10]), 3), all[11..14]);
        }
    }

    #[test]
    fn a_message_of_a_full_page_takes_six_bytes_whatever_segments_there_were() {
        let mut index = Index::default();
        let ids = || (0..512).map(QueueId);
        ids().for_each(|id| {
            index.insert(id, Slot { place: Place::new(1, 0, 64), state_segment: NO_SEGMENT });
        });
        // each message is deferred again and again
        for state_segment in 2..1000 {
            for id in ids() {
                index.change(id, |slot| slot.state_segment = state_segment);
            }
        }
        for page in index.pages.values() {
            let Slots::Narrow { segments, slots } = &page.slots else { panic!("two segments are few") };
            assert_eq!(slots.capacity() * size_of::<Narrow>(), 256 * 6);
            assert!(segments.capacity() <= 4, "{}", segments.capacity());
        }
    }

    #[test]
    fn a_place_holds_the_largest_record_at_the_end_of_the_largest_segment() {
        let (offset, space) = (SEGMENT_BYTES_MAX - UNIT, RECORD_BYTES_MAX);
        let place = Place::new(9, offset, space);
        assert_eq!((place.offset(), place.space()), (offset, space));
    }
}
