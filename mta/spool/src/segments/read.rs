//! Reading: a message's record, checked, and what to do when it is damaged.

use super::index::Place;
use super::record::{HEADER_BYTES, Header, OWN_FILE, Seen};
use super::{SegmentSpool, lock, log};
use crate::{Damage, SpoolError, Status, Stored, message};
use delivery::QueueId;
use std::collections::HashSet;
use std::io;

/// Messages looked at in one go.
const PAGE: usize = 4096;

impl SegmentSpool {
    /// The header and body of the record that the message has now.
    pub(super) fn read_record(&self, id: QueueId, limit: usize) -> Result<(Place, Vec<u8>), SpoolError> {
        // a compaction may give the segment back between look-up and read: then the message is elsewhere
        loop {
            let (place, file) = {
                let table = lock(&self.table);
                let slot = table.index.get(id).ok_or(SpoolError::Missing(id))?;
                let Some(segment) = table.segments.get(&slot.place.segment) else {
                    return Ok((slot.place, Vec::new()));
                };
                (slot.place, segment.file.clone())
            };
            let mut bytes = vec![0; (place.space() as usize).min(limit)];
            let read = file.read_exact_at(&mut bytes, u64::from(place.offset()));
            if lock(&self.table).index.get(id).is_some_and(|slot| slot.place != place) {
                continue;
            }
            return match read {
                Ok(()) => Ok((place, bytes)),
                Err(error) => Err(self.unreadable(place, error)),
            };
        }
    }

    pub(super) fn unreadable(&self, place: Place, error: io::Error) -> SpoolError {
        let path = self.options.path.join("segments").join(log::file_name(place.segment));
        SpoolError::io("read", &path, error)
    }

    /// Sets a damaged record aside and forgets its message.
    pub(super) fn damaged(&self, id: QueueId, place: Place, damage: Damage) -> SpoolError {
        let whole = self.read_record(id, usize::MAX);
        let moved_to = whole.and_then(|(_, bytes)| self.quarantine.put_aside(&id.to_string(), &bytes));
        match moved_to {
            Ok(moved_to) => {
                let mut table = lock(&self.table);
                if table.index.get(id).is_some_and(|slot| slot.place == place) {
                    table.remove(id);
                }
                SpoolError::Corrupt { id, moved_to: moved_to.path, damage }
            }
            Err(error) => error,
        }
    }

    /// Puts messages aside that should be in this segment and were not `found` when all of it was read, each where it
    /// was found. The error is the first message's, or the disk's.
    pub(super) fn put_missing_aside(
        &self,
        number: u32,
        found: &[(QueueId, Place)],
    ) -> Result<(), SpoolError> {
        let in_use = || lock(&self.table).segments[&number].live_bytes;
        let before = in_use();
        let mut found_bytes = 0;
        for some in found.chunks(PAGE) {
            let table = lock(&self.table);
            let live = some.iter().filter(|(id, place)| table.is_at(*id, *place));
            found_bytes += live.map(|(_, place)| u64::from(place.space())).sum::<u64>();
        }
        // both times: a removal in between could hide that one is missing, and brings us further in vain
        if before == found_bytes && in_use() == found_bytes {
            return Ok(());
        }
        let found: HashSet<u32> = found.iter().map(|(_, place)| place.offset()).collect();
        let mut first = None;
        for id in self.ids_in(number) {
            let place = lock(&self.table).index.get(id).map(|slot| slot.place);
            if let Some(place) = place
                && place.segment == number
                && !found.contains(&place.offset())
            {
                match self.damaged(id, place, Damage::RecordChecksum) {
                    error @ SpoolError::Corrupt { .. } => drop(first.get_or_insert(error)),
                    error => return Err(error),
                }
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// The messages that are in a segment, in the order of their ids. Looks at all messages that there are.
    pub(super) fn ids_in(&self, number: u32) -> Vec<QueueId> {
        let (mut ids, mut after) = (Vec::new(), None);
        loop {
            let table = lock(&self.table);
            let page = table.index.ids_after(after, PAGE);
            let Some(last) = page.last() else { return ids };
            after = Some(*last);
            let is_in = |id: &QueueId| table.index.get(*id).is_some_and(|slot| slot.place.segment == number);
            ids.extend(page.into_iter().filter(is_in));
        }
    }

    /// The message's image: the whole record is read and checked.
    pub(super) fn image(&self, id: QueueId) -> Result<Option<Vec<u8>>, SpoolError> {
        let (place, mut bytes) = self.read_record(id, usize::MAX)?;
        if place.segment == OWN_FILE {
            return Ok(None);
        }
        let header = match Header::decode(&bytes, place.segment, place.offset()) {
            Seen::Record(header) if header.id == id && header.space() == place.space() => header,
            Seen::Record(_) | Seen::Damaged | Seen::Other => {
                return Err(self.damaged(id, place, Damage::RecordHeader));
            }
        };
        bytes.truncate(HEADER_BYTES + header.body_bytes as usize);
        if crc32fast::hash(&bytes[HEADER_BYTES..]) != header.body_checksum {
            return Err(self.damaged(id, place, Damage::RecordChecksum));
        }
        bytes.drain(..HEADER_BYTES);
        Ok(Some(bytes))
    }

    /// What is before the content, from as little of the record as will do.
    pub(super) fn head(&self, id: QueueId, first: usize) -> Result<Option<Stored>, SpoolError> {
        let mut limit = first;
        loop {
            let (place, bytes) = self.read_record(id, limit)?;
            if place.segment == OWN_FILE {
                return Ok(None);
            }
            let image = bytes.get(HEADER_BYTES..).unwrap_or_default();
            let Seen::Record(record) = Header::decode(&bytes, place.segment, place.offset()) else {
                return Err(self.damaged(id, place, Damage::RecordHeader));
            };
            let header = message::Header::decode(image, id, u64::from(record.body_bytes));
            let header = header.map_err(|damage| self.damaged(id, place, damage))?;
            if (image.len() as u64) < header.content_offset() {
                limit = HEADER_BYTES + header.content_offset() as usize;
                continue;
            }
            let decoded = message::decode(&header, image);
            return decoded.map(|(stored, _)| Some(stored)).map_err(|damage| self.damaged(id, place, damage));
        }
    }

    pub(super) fn with_states(&self, id: QueueId, status: &mut Status) {
        if let Some(states) = lock(&self.table).partial.get(&id) {
            status.states.clone_from(states);
        }
    }
}
