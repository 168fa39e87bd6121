//! Gives space back: segments with nothing of use at once, those with little after copying it to the newest. Those that
//! stay get a summary.
//!
//! One segment at a time, and its file is gone before another's goes: a removal is remembered only as long as the
//! segment lives that it was removed from, so no older copy may be anywhere.

use super::index::Place;
use super::log::{Failure, Item, Note};
use super::record::{HEADER_BYTES, Header, Kind, OWN_FILE, Seen, space};
use super::scan::{Found, scan};
use super::table::Summarized;
use super::{SegmentSpool, is_full, lock, summary};
use crate::disk::DiskFile;
use crate::{Durability, Spool, SpoolError};
use delivery::QueueId;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Sealed segments that may be there whatever is in them.
const SEALED_FREE_OF_CARE: usize = 4;
/// A segment with less of use than this share of its size is worth copying.
const LIVE_SHARE: u64 = 4;
/// The newest sealed segments have no summary: where mail only passes through, they are dead before it is of use.
const UNSUMMARIZED: usize = 2;
/// Copied in one step.
const STEP_BYTES: usize = 256 * 1024;

/// What is left to copy of one segment.
pub(super) struct Compaction {
    segment: u32,
    file: Arc<dyn DiskFile>,
    /// Offset, and the header that is there; last first.
    rest: Vec<(u32, Header)>,
}

/// One bounded step; true when there is more to do.
pub(super) fn step(spool: &SegmentSpool) -> Result<bool, SpoolError> {
    let mut compaction = lock(&spool.compaction);
    if let Some(one) = compaction.as_mut() {
        let done = copy_some(spool, one);
        if !matches!(done, Ok(false)) {
            *compaction = None;
        }
        return done.map(|done| !done || choose(spool).is_some());
    }
    let has_space = has_space(spool);
    if !has_space && lock(&spool.log).remove_spare()? {
        return Ok(true);
    }
    if let Err(Failure::Lost { error, .. }) = lock(&spool.log).seal_if_useless(&spool.table, has_space) {
        return Err(error);
    }
    match choose(spool) {
        None => Ok(false),
        Some(Choice::Dead(number)) => free(spool, number),
        Some(Choice::Plain(number)) => summarize(spool, number),
        Some(Choice::Sparse(number)) => {
            *compaction = Some(begin(spool, number)?);
            Ok(true)
        }
    }
}

/// Whether files may be kept that are of no use now: where space is short they would keep it short, and all mail away.
/// It is short a segment's size before mail is refused, so that they have gone by then.
fn has_space(spool: &SegmentSpool) -> bool {
    let min_bytes = spool.min_free_bytes.load(Ordering::Relaxed);
    let enough = min_bytes.saturating_add(spool.options.segment_bytes.into());
    spool.files.free_bytes().map_or(true, |free| free >= enough)
}

enum Choice {
    Dead(u32),
    Sparse(u32),
    /// It is to get a summary.
    Plain(u32),
}

fn choose(spool: &SegmentSpool) -> Option<Choice> {
    let table = lock(&spool.table);
    let mut sealed = table.segments.iter().filter(|(_, segment)| segment.is_sealed);
    if let Some((number, segment)) = sealed.clone().find(|(_, segment)| segment.has_shadows) {
        let dead = table.is_dead(*number, segment);
        return Some(if dead { Choice::Dead(*number) } else { Choice::Sparse(*number) });
    }
    if let Some((number, _)) = sealed.clone().find(|(number, segment)| table.is_dead(**number, segment)) {
        return Some(Choice::Dead(*number));
    }
    let count = sealed.clone().count();
    let mut older = sealed.clone().take(count.saturating_sub(UNSUMMARIZED));
    let plain = older.find(|(_, segment)| segment.summary == Summarized::No && !segment.is_lost);
    let plain = plain.map(|(number, _)| Choice::Plain(*number));
    if count <= SEALED_FREE_OF_CARE {
        return plain;
    }
    let worth = u64::from(spool.options.segment_bytes) / LIVE_SHARE;
    let live = |segment: &super::table::Segment| {
        segment.live_bytes + u64::from(segment.live_states) * super::record::UNIT as u64
    };
    sealed.find(|(_, segment)| live(segment) < worth).map(|(number, _)| Choice::Sparse(*number)).or(plain)
}

/// Writes what a start has to know of a segment, so that it need not read it.
fn summarize(spool: &SegmentSpool, number: u32) -> Result<bool, SpoolError> {
    let file = lock(&spool.table).segments[&number].file.clone();
    let sync = spool.options.durability == Durability::Full;
    let set = |summarized| {
        let mut table = lock(&spool.table);
        table.segments.get_mut(&number).expect("only this thread gives it back").summary = summarized;
    };
    let refuse = || {
        // half of one is not trusted, so it does no harm where it can't be removed
        let _ = spool.disk.remove(&summary::file_name(number));
        set(Summarized::Refused);
    };
    let draft = summary::write(&*spool.disk, &*file, number, spool.options.segment_bytes);
    let finished = match draft {
        Ok(draft) => {
            // before it counts: a start that believes it would never find what it leaves out
            spool.put_missing_aside(number, &draft.messages).inspect_err(|_| refuse())?;
            draft.finish(&*spool.disk, number, sync)
        }
        Err(error) => Err(error),
    };
    match finished {
        Ok(()) => {
            set(Summarized::Yes);
            Ok(true)
        }
        Err(error) => {
            refuse();
            let path = spool.options.path.join("segments").join(summary::file_name(number));
            if is_full(&error) { Ok(true) } else { Err(SpoolError::io("write the summary", &path, error)) }
        }
    }
}

/// Removals of files of their own are of use until those files can't come back.
/// False: not now.
fn free(spool: &SegmentSpool, number: u32) -> Result<bool, SpoolError> {
    let of_files = lock(&spool.table).segments[&number].removals.contains_key(&OWN_FILE);
    if of_files {
        spool.files.sync_removals()?;
    }
    let has_space = has_space(spool);
    let mut log = lock(&spool.log);
    // older statuses must not go before newer ones are written
    if !log.backlog.is_empty() && lock(&spool.table).segments[&number].has_states {
        return Ok(false);
    }
    // what makes the segment dead must not be less durable than its end
    match log.sync(&spool.table) {
        Ok(()) | Err(Failure::Full) => {}
        Err(Failure::Lost { error, .. }) => return Err(error),
    }
    log.free(&spool.table, number, has_space)?;
    Ok(true)
}

/// Finds what is of use in a segment.
fn begin(spool: &SegmentSpool, number: u32) -> Result<Compaction, SpoolError> {
    let file = lock(&spool.table).segments[&number].file.clone();
    let (mut messages, mut whole) = (Vec::new(), Vec::new());
    let mut states: HashMap<QueueId, (u32, Header)> = HashMap::new();
    scan(&*file, number, spool.options.segment_bytes, &mut |found| {
        let Found::Record { header, offset, .. } = found else { return };
        if header.kind == Kind::Message {
            whole.push((header.id, Place::new(number, offset, header.space())));
        }
        match header.kind {
            Kind::State => {
                let latest = states.entry(header.id).or_insert((offset, header));
                if latest.1.order <= header.order {
                    *latest = (offset, header);
                }
            }
            Kind::Message | Kind::Removed(_) => messages.push((offset, header)),
        }
    })
    .map_err(|error| spool.unreadable(Place::new(number, 0, 0), error))?;
    spool.put_missing_aside(number, &whole)?;
    let mut rest: Vec<_> = messages.into_iter().chain(states.into_values()).collect();
    rest.sort_unstable_by_key(|(offset, _)| std::cmp::Reverse(*offset));
    Ok(Compaction { segment: number, file, rest })
}

/// True when the segment is done and gone.
fn copy_some(spool: &SegmentSpool, compaction: &mut Compaction) -> Result<bool, SpoolError> {
    let number = compaction.segment;
    let mut log = lock(&spool.log);
    let mut copies: Vec<(Place, Note)> = Vec::new();
    let mut bytes = 0;
    while let Some((offset, header)) = compaction.rest.last().copied() {
        let place = Place::new(number, offset, header.space());
        if !is_of_use(spool, number, place, &header) {
            compaction.rest.pop();
            continue;
        }
        bytes += space(header.body_bytes as usize);
        let limit = STEP_BYTES.min(spool.options.group_bytes() as usize);
        if bytes > limit && !copies.is_empty() {
            break;
        }
        compaction.rest.pop();
        let mut record = vec![0; HEADER_BYTES + header.body_bytes as usize];
        compaction
            .file
            .read_exact_at(&mut record, u64::from(offset))
            .map_err(|error| spool.unreadable(place, error))?;
        let is_same = Header::decode(&record, number, offset) == Seen::Record(header);
        if !is_same || crc32fast::hash(&record[HEADER_BYTES..]) != header.body_checksum {
            if header.kind == Kind::Message {
                // names it, puts it aside and forgets it
                let _ = spool.damaged(header.id, place, crate::Damage::RecordChecksum);
            }
            continue;
        }
        record.drain(..HEADER_BYTES);
        let mut header = header;
        if let Kind::Removed(target) = header.kind {
            header.kind = Kind::Removed(lock(&spool.table).removal_target(header.id, target));
        }
        copies.push((place, Note { header, body: record, is_final: false }));
    }
    if copies.is_empty() {
        drop(log);
        if free(spool, number)? {
            return Ok(true);
        }
        // what waits in memory for space is to be written first
        return Err(SpoolError::Full { doing: "give back segments of", path: spool.options.path.clone() });
    }
    let items: Vec<_> =
        copies.iter().map(|(_, copy)| Item { header: copy.header, body: &copy.body }).collect();
    match log.append_large(&spool.table, &items) {
        Ok(places) => {
            let mut table = lock(&spool.table);
            table.segments.get_mut(&number).expect("it is being copied").has_shadows = true;
            for ((from, copy), to) in copies.iter().zip(places) {
                match copy.header.kind {
                    Kind::Message => table.relocate(copy.header.id, *from, to),
                    Kind::State => table.note_state(copy.header.id, to.segment),
                    Kind::Removed(target) => table.note_removal(to.segment, target),
                }
            }
            Ok(false)
        }
        Err(Failure::Full) => {
            Err(SpoolError::Full { doing: "compact", path: spool.options.path.join("segments") })
        }
        Err(Failure::Lost { error, .. }) => Err(error),
    }
}

fn is_of_use(spool: &SegmentSpool, number: u32, place: Place, header: &Header) -> bool {
    let table = lock(&spool.table);
    let slot = table.index.get(header.id);
    match header.kind {
        Kind::Message => slot.is_some_and(|slot| slot.place == place),
        Kind::State => slot.is_some_and(|slot| slot.state_segment == number),
        Kind::Removed(target) => {
            let target = table.removal_target(header.id, target);
            target != OWN_FILE && table.is_needed(number, target)
        }
    }
}
