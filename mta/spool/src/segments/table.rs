//! What is where in the segments, and what of them is still of use. Knows files only to hand them on.

use super::index::{Index, NO_SEGMENT, Place, Slot};
use super::record::OWN_FILE;
use crate::Status;
use crate::disk::DiskFile;
use delivery::{QueueId, RecipientState};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Whether a segment has its summary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Summarized {
    No,
    Yes,
    /// It could not be written, and is not tried again before the next start.
    Refused,
}

#[derive(Debug)]
pub(super) struct Segment {
    pub(super) file: Arc<dyn DiskFile>,
    /// Of messages that are queued.
    pub(super) live_bytes: u64,
    /// State records that are the latest of a queued message.
    pub(super) live_states: u32,
    /// Removals that are written here, by the segment that has what they remove.
    pub(super) removals: BTreeMap<u32, u32>,
    /// Nothing is appended any more.
    pub(super) is_sealed: bool,
    /// It has older copies of messages that are queued elsewhere. It must go before any other does, since the
    /// removal of such a message is remembered only as long as the segment lives that it was removed from.
    pub(super) has_shadows: bool,
    /// A sync of it failed: its file is not used again.
    pub(super) is_lost: bool,
    /// There is or was a state record in it.
    pub(super) has_states: bool,
    pub(super) summary: Summarized,
}

#[derive(Default)]
pub(super) struct Table {
    pub(super) index: Index,
    pub(super) segments: BTreeMap<u32, Segment>,
    /// Messages of which some recipients are final.
    pub(super) partial: HashMap<QueueId, Vec<RecipientState>>,
    /// Removed messages that the start found in another segment than their removal names.
    pub(super) found_in: HashMap<QueueId, u32>,
}

impl Segment {
    pub(super) fn new(file: Arc<dyn DiskFile>) -> Segment {
        Segment {
            file,
            live_bytes: 0,
            live_states: 0,
            removals: BTreeMap::new(),
            is_sealed: false,
            has_shadows: false,
            is_lost: false,
            has_states: false,
            summary: Summarized::No,
        }
    }
}

impl Table {
    pub(super) fn insert(&mut self, id: QueueId, place: Place) {
        if let Some(segment) = self.segments.get_mut(&place.segment) {
            segment.live_bytes += u64::from(place.space());
        }
        self.index.insert(id, Slot { place, state_segment: NO_SEGMENT });
    }

    /// The message's states from now on, wherever they will be written.
    pub(super) fn set_states(&mut self, id: QueueId, status: &Status) {
        if status.states.iter().all(|state| *state == RecipientState::Pending) {
            self.partial.remove(&id);
        } else {
            self.partial.insert(id, status.states.clone());
        }
    }

    /// The latest state record of this message is in `segment` now.
    pub(super) fn note_state(&mut self, id: QueueId, segment: u32) {
        let Some(before) = self.index.change(id, |slot| slot.state_segment = segment) else { return };
        self.drop_state(before.state_segment);
        if let Some(segment) = self.segments.get_mut(&segment) {
            segment.live_states += 1;
            segment.has_states = true;
        }
    }

    /// A removal is written in `segment` of what is in `target`.
    pub(super) fn note_removal(&mut self, segment: u32, target: u32) {
        if let Some(segment) = self.segments.get_mut(&segment) {
            *segment.removals.entry(target).or_default() += 1;
        }
    }

    pub(super) fn remove(&mut self, id: QueueId) -> Option<Slot> {
        let slot = self.index.remove(id)?;
        self.partial.remove(&id);
        self.drop_state(slot.state_segment);
        self.drop_message(slot.place);
        Some(slot)
    }

    pub(super) fn is_at(&self, id: QueueId, place: Place) -> bool {
        self.index.get(id).is_some_and(|slot| slot.place == place)
    }

    /// The message was copied, if it still is where the copy was made from.
    pub(super) fn relocate(&mut self, id: QueueId, from: Place, to: Place) {
        if !self.is_at(id, from) {
            return;
        }
        self.index.change(id, |slot| slot.place = to);
        self.drop_message(from);
        if let Some(segment) = self.segments.get_mut(&to.segment) {
            segment.live_bytes += u64::from(to.space());
        }
    }

    fn drop_state(&mut self, segment: u32) {
        if let Some(segment) = self.segments.get_mut(&segment) {
            segment.live_states -= 1;
        }
    }

    fn drop_message(&mut self, place: Place) {
        if let Some(segment) = self.segments.get_mut(&place.segment) {
            segment.live_bytes -= u64::from(place.space());
        }
    }

    /// The segment that the message would come back from without its removal.
    pub(super) fn removal_target(&self, id: QueueId, target: u32) -> u32 {
        self.found_in.get(&id).copied().unwrap_or(target)
    }

    /// Whether this removal still keeps a message from coming back.
    pub(super) fn is_needed(&self, holder: u32, target: u32) -> bool {
        target == OWN_FILE || (target != holder && self.segments.contains_key(&target))
    }

    /// Nothing in this segment is of use; `OWN_FILE` removals count as of none.
    pub(super) fn is_dead(&self, number: u32, segment: &Segment) -> bool {
        segment.live_bytes == 0
            && segment.live_states == 0
            && segment.removals.keys().all(|target| *target == OWN_FILE || !self.is_needed(number, *target))
    }
}
