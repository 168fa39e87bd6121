//! Reads the segments at the start: which messages are queued, where they are, and what is damaged.
//!
//! Of a segment with a summary that is read, of another every record, and its checksum checked. Afterwards the envelopes
//! are read again, since only then is it known which messages are gone; this way the memory that it takes is what the
//! index takes, and about 50 bytes for each message that has a status of its own.

use super::index::Place;
use super::log::{file_name, file_number, spare_number};
use super::record::{Header, Kind, decode_status};
use super::scan::{Found, scan};
use super::summary::{self, Entry, Summary};
use super::table::{Segment, Summarized};
use super::{SegmentSpool, lock};
use crate::disk::DiskFile;
use crate::{Damage, Durability, Quarantined, Recovery, Spool, SpoolError, Status, Stored, message};
use delivery::{EpochMs, QueueId, RecipientState};
use std::collections::HashMap;
use std::sync::Arc;

/// The latest status, without what few have.
struct Latest {
    order: u64,
    due: EpochMs,
    segment: u32,
    attempts: u16,
    recipients: u16,
}

#[derive(Default)]
struct Gathered {
    latest: HashMap<QueueId, Latest>,
    /// Of those that are held or have final recipients.
    special: HashMap<QueueId, (bool, Vec<RecipientState>)>,
    /// Messages of segments without a summary, and the other segments.
    unsummarized: Vec<QueueId>,
    summarized: Vec<u32>,
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
    let summaries: Vec<u32> = names.iter().filter_map(|name| summary::file_number(name)).collect();
    let mut numbers: Vec<u32> = names.iter().filter_map(|name| file_number(name)).collect();
    numbers.sort_unstable();
    for number in &numbers {
        read_segment(spool, *number, &mut gathered)?;
    }
    gathered.note_removals(spool);
    {
        let mut log = lock(&spool.log);
        for number in summaries.iter().filter(|number| numbers.binary_search(number).is_err()) {
            // what could not be removed keeps its number from being used again
            let _ = spool.disk.remove(&summary::file_name(*number));
        }
        // what is already spare may still have an unsynced old name: it must not be found again
        spool.disk.sync_names().map_err(|error| SpoolError::io("sync the folder", &folder, error))?;
        // a spare file is full of records of its earlier lives, whose numbers must not come again
        let used = spare.iter().filter_map(|name| spare_number(name)).chain(numbers.last().copied());
        let used = used.chain(summaries);
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
    for number in std::mem::take(&mut gathered.summarized) {
        give_summarized(spool, &mut gathered, number, each)?;
    }
    give_others(spool, &mut gathered, each)?;
    Ok(gathered.recovery)
}

fn read_segment(spool: &SegmentSpool, number: u32, gathered: &mut Gathered) -> Result<(), SpoolError> {
    let path = spool.options.path.join("segments").join(file_name(number));
    let read_error = |error| SpoolError::io("read", &path, error);
    let file = spool.disk.open(&file_name(number)).map_err(read_error)?;
    // what can't be read of it costs only time
    let summary = read_summary(spool, &*file, number);
    let mut segment = Segment::new(file.clone());
    segment.is_sealed = true;
    segment.summary = if summary.is_some() { Summarized::Yes } else { Summarized::No };
    lock(&spool.table).segments.insert(number, segment);
    if let Some(summary) = summary {
        gathered.summarized.push(number);
        gathered.recovery.summaries += 1;
        summary.entries(number).for_each(|one| {
            gathered.take(spool, number, one.offset, &one.header, one.body);
        });
    } else {
        scan_segment(spool, &*file, number, gathered)?;
    }
    // what the last process had not synced counts from now on
    let synced = if spool.options.durability == Durability::Full { file.sync() } else { Ok(()) };
    if synced.is_err() {
        let mut table = lock(&spool.table);
        let segment = table.segments.get_mut(&number).expect("inserted above");
        (segment.has_shadows, segment.is_lost) = (true, true);
    }
    Ok(())
}

fn read_summary(spool: &SegmentSpool, segment: &dyn DiskFile, number: u32) -> Option<Summary> {
    Summary::read(&*spool.disk, segment, number, spool.options.segment_bytes).ok().flatten()
}

fn scan_segment(
    spool: &SegmentSpool,
    file: &dyn DiskFile,
    number: u32,
    gathered: &mut Gathered,
) -> Result<(), SpoolError> {
    let path = spool.options.path.join("segments").join(file_name(number));
    let mut damaged: Vec<(u32, Vec<u8>, Option<QueueId>, Damage)> = Vec::new();
    scan(file, number, spool.options.segment_bytes, &mut |found| match found {
        Found::Record { header, offset, body } => {
            if gathered.take(spool, number, offset, &header, body) {
                gathered.unsummarized.push(header.id);
            }
        }
        Found::Damaged { offset, bytes, id, damage } => damaged.push((offset, bytes.to_vec(), id, damage)),
    })
    .map_err(|error| SpoolError::io("read", &path, error))?;
    for (offset, bytes, id, damage) in damaged {
        let name = id.map_or_else(|| format!("segment-{number:08X}-{offset:08X}"), |id| id.to_string());
        let aside = spool.quarantine.put_aside(&name, &bytes)?;
        if aside.is_new {
            gathered.recovery.quarantined.push(Quarantined { moved_to: aside.path, damage });
        }
    }
    Ok(())
}

impl Gathered {
    /// True: it is a message, and this is where it is.
    fn take(&mut self, spool: &SegmentSpool, number: u32, offset: u32, header: &Header, body: &[u8]) -> bool {
        self.order_max = self.order_max.max(header.order);
        let mut table = lock(&spool.table);
        match header.kind {
            Kind::Message => {
                if table.index.get(header.id).is_some() {
                    // a copy whose sync may have failed; the original is certainly on stable storage
                    table.segments.get_mut(&number).expect("it is being read").has_shadows = true;
                    return false;
                }
                table.insert(header.id, Place::new(number, offset, header.space()));
                true
            }
            Kind::State => {
                table.segments.get_mut(&number).expect("it is being read").has_states = true;
                let newer = self.latest.get(&header.id).is_none_or(|known| known.order <= header.order);
                if let Some(status) = decode_status(body).ok().filter(|_| newer) {
                    self.take_status(header, number, status);
                }
                false
            }
            Kind::Removed(target) => {
                self.removed.entry(header.id).or_default().push((number, target));
                false
            }
        }
    }

    fn take_status(&mut self, header: &Header, segment: u32, status: Status) {
        let Status { states, attempts, due, held } = status;
        // as many as a message may have
        let Ok(recipients) = u16::try_from(states.len()) else { return };
        let latest = Latest { order: header.order, due, segment, attempts, recipients };
        self.latest.insert(header.id, latest);
        if held || states.iter().any(|state| *state != RecipientState::Pending) {
            self.special.insert(header.id, (held, states));
        } else {
            self.special.remove(&header.id);
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

    fn status(&mut self, spool: &SegmentSpool, id: QueueId) -> Option<Status> {
        let Latest { due, segment, attempts, recipients, .. } = self.latest.remove(&id)?;
        lock(&spool.table).note_state(id, segment);
        let pending = || (false, vec![RecipientState::Pending; usize::from(recipients)]);
        let (held, states) = self.special.remove(&id).unwrap_or_else(pending);
        Some(Status { states, attempts, due, held })
    }

    /// True: it is gone, and now forgotten.
    fn forget_removed(&mut self, spool: &SegmentSpool, id: QueueId) -> bool {
        let removed = self.removed.contains_key(&id);
        if removed {
            self.recovery.finished += 1;
            lock(&spool.table).remove(id);
        }
        removed
    }

    /// What could not be understood of a message was put aside; any other error ends the start.
    fn note_damage(&mut self, error: SpoolError) -> Result<(), SpoolError> {
        let SpoolError::Corrupt { moved_to, damage, .. } = error else { return Err(error) };
        self.recovery.quarantined.push(Quarantined { moved_to, damage });
        Ok(())
    }
}

/// Gives the messages of a segment from its summary.
fn give_summarized(
    spool: &SegmentSpool,
    gathered: &mut Gathered,
    number: u32,
    each: &mut dyn FnMut(QueueId, Stored),
) -> Result<(), SpoolError> {
    let file = Arc::clone(&lock(&spool.table).segments[&number].file);
    let Some(summary) = read_summary(spool, &*file, number) else {
        // it was readable a moment ago
        gathered.unsummarized.extend(spool.ids_in(number));
        return Ok(());
    };
    for Entry { header, offset, body } in summary.entries(number) {
        let (id, place) = (header.id, Place::new(number, offset, header.space()));
        let is_here = header.kind == Kind::Message && lock(&spool.table).is_at(id, place);
        if !is_here || gathered.forget_removed(spool, id) {
            continue;
        }
        let decoded = message::Header::decode(body, id, u64::from(header.body_bytes))
            .and_then(|header| message::decode(&header, body));
        match decoded {
            Ok((stored, _)) => give(spool, gathered, id, stored, each)?,
            Err(damage) => gathered.note_damage(spool.damaged(id, place, damage))?,
        }
    }
    Ok(())
}

/// Gives the messages of the other segments, in the order of their ids.
fn give_others(
    spool: &SegmentSpool,
    gathered: &mut Gathered,
    each: &mut dyn FnMut(QueueId, Stored),
) -> Result<(), SpoolError> {
    let mut ids = std::mem::take(&mut gathered.unsummarized);
    ids.sort_unstable();
    for id in ids {
        if lock(&spool.table).index.get(id).is_none() || gathered.forget_removed(spool, id) {
            continue;
        }
        match spool.head(id, super::LOAD_READ_BYTES) {
            Ok(Some(stored)) => give(spool, gathered, id, stored, each)?,
            Ok(None) => {}
            Err(error) => gathered.note_damage(error)?,
        }
    }
    Ok(())
}

fn give(
    spool: &SegmentSpool,
    gathered: &mut Gathered,
    id: QueueId,
    mut stored: Stored,
    each: &mut dyn FnMut(QueueId, Stored),
) -> Result<(), SpoolError> {
    let recipients = stored.envelope.recipients.len();
    if let Some(status) = gathered.status(spool, id).filter(|status| status.states.len() == recipients) {
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
