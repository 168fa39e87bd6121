//! Reads the segments at the start: which messages are queued, where they are, and what is damaged.
//!
//! Every record is read once and its checksum checked. Afterwards the envelopes are read again, in the order of their
//! ids, since only then is it known which messages are gone; this way the memory that it takes is what the index
//! takes, and about 40 bytes for each message that has a status of its own.

use super::index::Place;
use super::log::{file_name, file_number, spare_number};
use super::record::{HEADER_BYTES, Header, Kind, OWN_FILE, Seen, decode_status};
use super::scan::{Found, scan};
use super::table::Segment;
use super::{SegmentSpool, lock};
use crate::{Damage, Durability, Quarantined, Recovery, Spool, SpoolError, Status, Stored};
use delivery::QueueId;
use std::collections::HashMap;
use std::sync::Arc;

/// Ids looked at in one go.
const PAGE: usize = 4096;

struct Latest {
    order: u64,
    segment: u32,
    offset: u32,
    space: u32,
}

#[derive(Default)]
struct Gathered {
    latest: HashMap<QueueId, Latest>,
    /// With the segment that has the removal, and the one that it names.
    removed: HashMap<QueueId, Vec<(u32, u32)>>,
    recovery: Recovery,
    order_max: u64,
}

pub(super) fn run(
    spool: &SegmentSpool,
    each: &mut dyn FnMut(QueueId, Stored),
) -> Result<Recovery, SpoolError> {
    let mut gathered = Gathered::default();
    let folder = spool.options.path.join("segments");
    let names = spool.disk.names();
    let names = names.map_err(|error| SpoolError::io("list the folder", &folder, error))?;
    let (spare, names): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| spare_number(name).is_some());
    let mut numbers: Vec<u32> = names.iter().filter_map(|name| file_number(name)).collect();
    numbers.sort_unstable();
    for number in &numbers {
        read_segment(spool, *number, &mut gathered)?;
    }
    gathered.note_removals(spool);
    {
        let mut log = lock(&spool.log);
        // what is already spare may still have an unsynced old name: it must not be found again
        spool.disk.sync_names().map_err(|error| SpoolError::io("sync the folder", &folder, error))?;
        // a spare file is full of records of its earlier lives, whose numbers must not come again
        let used = spare.iter().filter_map(|name| spare_number(name)).chain(numbers.last().copied());
        log.next_number = used.max().map_or(1, |last| last + 1);
        log.next_order = gathered.order_max + 1;
        log.take_spare(spare);
    }
    let mut own_files = Vec::new();
    let recovered = spool.files.recover(&mut |id, stored| own_files.push((id, stored)))?;
    gathered.recovery.half_written += recovered.half_written;
    gathered.recovery.finished += recovered.finished;
    gathered.recovery.rescheduled += recovered.rescheduled;
    gathered.recovery.quarantined.extend(recovered.quarantined);
    for (id, stored) in own_files {
        if gathered.removed.contains_key(&id) {
            gathered.recovery.finished += 1;
            spool.files.remove(id)?;
            continue;
        }
        lock(&spool.table).insert(id, Place::own_file());
        give(spool, &mut gathered, id, stored, each)?;
    }
    give_all(spool, &mut gathered, each)?;
    Ok(gathered.recovery)
}

fn read_segment(spool: &SegmentSpool, number: u32, gathered: &mut Gathered) -> Result<(), SpoolError> {
    let path = spool.options.path.join("segments").join(file_name(number));
    let read_error = |error| SpoolError::io("read", &path, error);
    let file = spool.disk.open(&file_name(number)).map_err(read_error)?;
    let mut segment = Segment::new(file.clone());
    segment.is_sealed = true;
    lock(&spool.table).segments.insert(number, segment);
    let mut end = 0;
    let mut damaged: Vec<(u32, Vec<u8>, Option<QueueId>, Damage)> = Vec::new();
    scan(&*file, number, spool.options.segment_bytes, &mut |found| match found {
        Found::Record { header, offset } => {
            end = offset + header.space();
            gathered.take(spool, number, offset, &header);
        }
        Found::Damaged { offset, bytes, id, damage } => {
            end = offset + bytes.len() as u32;
            damaged.push((offset, bytes.to_vec(), id, damage));
        }
    })
    .map_err(read_error)?;
    for (offset, bytes, id, damage) in damaged {
        let name = id.map_or_else(|| format!("segment-{number:08X}-{offset:08X}"), |id| id.to_string());
        let aside = spool.quarantine.put_aside(&name, &bytes)?;
        if aside.is_new {
            gathered.recovery.quarantined.push(Quarantined { moved_to: aside.path, damage });
        }
    }
    // what the last process had not synced counts from now on
    let synced = if spool.options.durability == Durability::Full { file.sync() } else { Ok(()) };
    let mut table = lock(&spool.table);
    let segment = table.segments.get_mut(&number).expect("inserted above");
    segment.end = end;
    if synced.is_err() {
        (segment.has_shadows, segment.is_lost) = (true, true);
    }
    Ok(())
}

impl Gathered {
    fn take(&mut self, spool: &SegmentSpool, number: u32, offset: u32, header: &Header) {
        self.order_max = self.order_max.max(header.order);
        let mut table = lock(&spool.table);
        match header.kind {
            Kind::Message => {
                if table.index.get(header.id).is_some() {
                    // a copy whose sync may have failed; the original is certainly on stable storage
                    table.segments.get_mut(&number).expect("it is being read").has_shadows = true;
                    return;
                }
                table.insert(header.id, Place::new(number, offset, header.space()));
            }
            Kind::State => {
                table.segments.get_mut(&number).expect("it is being read").has_states = true;
                let newer = self.latest.get(&header.id).is_none_or(|known| known.order <= header.order);
                if newer {
                    let latest =
                        Latest { order: header.order, segment: number, offset, space: header.space() };
                    self.latest.insert(header.id, latest);
                }
            }
            Kind::Removed(target) => {
                self.removed.entry(header.id).or_default().push((number, target));
            }
        }
    }

    /// A message may have been copied since it was removed, or the copy be what is gone.
    fn note_removals(&self, spool: &SegmentSpool) {
        let mut table = lock(&spool.table);
        for (id, removals) in &self.removed {
            let found = table.index.get(*id).map(|slot| slot.place.segment);
            for (holder, named) in removals {
                table.note_removal(*holder, found.unwrap_or(*named));
                if let Some(found) = found.filter(|found| found != named) {
                    table.found_in.insert(*id, found);
                }
            }
        }
    }

    /// The latest status, read again; damage that came in between costs an early retry.
    fn status(&mut self, spool: &SegmentSpool, id: QueueId) -> Result<Option<Status>, SpoolError> {
        let Some(latest) = self.latest.remove(&id) else { return Ok(None) };
        let file = Arc::clone(&lock(&spool.table).segments[&latest.segment].file);
        let mut bytes = vec![0; latest.space as usize];
        let place = Place::new(latest.segment, latest.offset, latest.space);
        file.read_exact_at(&mut bytes, u64::from(latest.offset))
            .map_err(|error| spool.unreadable(place, error))?;
        let seen = Header::decode(&bytes, latest.segment, latest.offset);
        let Seen::Record(header) = seen else { return Ok(None) };
        let body = &bytes[HEADER_BYTES..HEADER_BYTES + header.body_bytes as usize];
        lock(&spool.table).note_state(id, latest.segment);
        Ok(decode_status(body).ok())
    }
}

/// Gives every message that is in a segment.
fn give_all(
    spool: &SegmentSpool,
    gathered: &mut Gathered,
    each: &mut dyn FnMut(QueueId, Stored),
) -> Result<(), SpoolError> {
    let mut after = None;
    loop {
        let ids = spool.ids_after(after, PAGE);
        let Some(last) = ids.last() else { return Ok(()) };
        after = Some(*last);
        for id in ids {
            let Some(slot) = lock(&spool.table).index.get(id) else { continue };
            if slot.place.segment == OWN_FILE {
                continue;
            }
            if gathered.removed.contains_key(&id) {
                gathered.recovery.finished += 1;
                lock(&spool.table).remove(id);
                continue;
            }
            match spool.head(id, super::LOAD_READ_BYTES) {
                Ok(Some(stored)) => give(spool, gathered, id, stored, each)?,
                Ok(None) => {}
                Err(SpoolError::Corrupt { moved_to, damage, .. }) => {
                    gathered.recovery.quarantined.push(Quarantined { moved_to, damage });
                }
                Err(error) => return Err(error),
            }
        }
    }
}

fn give(
    spool: &SegmentSpool,
    gathered: &mut Gathered,
    id: QueueId,
    mut stored: Stored,
    each: &mut dyn FnMut(QueueId, Stored),
) -> Result<(), SpoolError> {
    let recipients = stored.envelope.recipients.len();
    if let Some(status) = gathered.status(spool, id)?.filter(|status| status.states.len() == recipients) {
        stored.status = status;
    }
    lock(&spool.table).set_states(id, &stored.status);
    if stored.status.is_final() {
        gathered.recovery.finished += 1;
        return spool.remove(id).map(drop);
    }
    gathered.recovery.messages += 1;
    each(id, stored);
    Ok(())
}
