//! Changes of many messages at once: what is written for them, in which order, and what becomes of what can't be written.

use super::index::Place;
use super::log::{Failure, Item, Log, Note, fitting};
use super::record::{self, Kind, OWN_FILE};
use super::{SegmentSpool, lock};
use crate::{Change, Incoming, Spool, SpoolError};
use delivery::{QueueId, RecipientState};

/// What one call of `apply` has to write.
#[derive(Default)]
struct Batch {
    /// Record, message image, and the place among the results.
    commits: Vec<(QueueId, Vec<u8>, usize)>,
    notes: Vec<Note>,
    results: Vec<Result<QueueId, SpoolError>>,
}

pub(super) fn apply(spool: &SegmentSpool, changes: Vec<Change>) -> Vec<Result<QueueId, SpoolError>> {
    let mut batch = Batch::default();
    // these have syncs of their own, for which the others are not to wait
    let changes: Vec<_> = changes.into_iter().map(|change| spool.keep_large(change)).collect();
    let mut log = lock(&spool.log);
    for change in changes {
        match change {
            Ok(change) => spool.plan(&mut log, &mut batch, change),
            Err(result) => batch.results.push(result),
        }
    }
    log.backlog.append(&mut batch.notes);
    // a lost segment is told of by whoever waits, or else by the next sync
    let _ = spool.write_notes(&mut log);
    spool.write_commits(&mut log, &mut batch);
    let _ = spool.write_notes(&mut log);
    batch.results
}

impl SegmentSpool {
    /// Keeps a large message at once; gives any other change back.
    fn keep_large(&self, change: Change) -> Result<Change, Result<QueueId, SpoolError>> {
        match change {
            Change::Commit(incoming) if incoming.is_large() => Err(self.keep_file(incoming)),
            change => Ok(change),
        }
    }

    fn keep_file(&self, incoming: Incoming) -> Result<QueueId, SpoolError> {
        self.files.commit(incoming).inspect(|id| lock(&self.table).insert(*id, Place::own_file()))
    }

    /// Takes a change in, as far as that is possible without writing.
    fn plan(&self, log: &mut Log, batch: &mut Batch, change: Change) {
        let result = match change {
            Change::Commit(incoming) => {
                let id = incoming.id();
                match incoming.into_image(self.options.image_bytes_max()) {
                    Ok(image) => {
                        batch.commits.push((id, image, batch.results.len()));
                        Ok(id)
                    }
                    Err(incoming) => self.keep_file(incoming),
                }
            }
            Change::Update { id, status } => {
                let mut table = lock(&self.table);
                if table.index.get(id).is_some() {
                    let is_final = status.states.iter().any(|state| *state != RecipientState::Pending);
                    table.set_states(id, &status);
                    batch.notes.push(log.note(Kind::State, id, record::encode_status(&status), is_final));
                    Ok(id)
                } else {
                    Err(SpoolError::Missing(id))
                }
            }
            Change::Remove { id } => {
                let removed = lock(&self.table).remove(id);
                let Some(slot) = removed else {
                    batch.results.push(Err(SpoolError::Missing(id)));
                    return;
                };
                batch.notes.push(log.note(Kind::Removed(slot.place.segment), id, Vec::new(), true));
                if slot.place.segment == OWN_FILE { self.files.remove(id) } else { Ok(id) }
            }
        };
        batch.results.push(result);
    }

    /// Writes small changes of queued messages. What can't be written waits in memory.
    pub(super) fn write_notes(&self, log: &mut Log) -> Result<(), SpoolError> {
        while !log.backlog.is_empty() {
            let count = {
                let table = lock(&self.table);
                // what became of a message that is gone with its segment interests nobody
                log.backlog.retain(|note| match note.header.kind {
                    Kind::Removed(target) => target == OWN_FILE || table.segments.contains_key(&target),
                    Kind::State | Kind::Message => table.index.get(note.header.id).is_some(),
                });
                fitting(log.backlog.iter().map(|note| note.body.len()), self.options.group_bytes())
            };
            let count = count.min(log.backlog.len());
            let rest = log.backlog.split_off(count);
            let notes = std::mem::replace(&mut log.backlog, rest);
            let items: Vec<_> =
                notes.iter().map(|note| Item { header: note.header, body: &note.body }).collect();
            match log.append(&self.table, &items) {
                Ok(places) => {
                    self.note_places(&notes, &places);
                    log.remember(notes);
                }
                Err(failure) => {
                    let rest = std::mem::replace(&mut log.backlog, notes);
                    log.backlog.extend(rest);
                    return match failure {
                        Failure::Full => Ok(()),
                        Failure::Lost { error, .. } => Err(error),
                    };
                }
            }
        }
        Ok(())
    }

    fn note_places(&self, notes: &[Note], places: &[Place]) {
        let mut table = lock(&self.table);
        for (note, place) in notes.iter().zip(places) {
            match note.header.kind {
                Kind::State => table.note_state(note.header.id, place.segment),
                Kind::Removed(target) => table.note_removal(place.segment, target),
                Kind::Message => {}
            }
        }
    }

    /// Writes messages, as many in one go as a group holds, each go with its sync.
    fn write_commits(&self, log: &mut Log, batch: &mut Batch) {
        let mut commits = std::mem::take(&mut batch.commits);
        while !commits.is_empty() {
            let count = fitting(commits.iter().map(|(_, image, _)| image.len()), self.options.group_bytes());
            let rest = commits.split_off(count);
            let group = std::mem::replace(&mut commits, rest);
            let items: Vec<_> = group
                .iter()
                .map(|(id, image, _)| Item { header: log.header(Kind::Message, *id, image), body: image })
                .collect();
            match log.append_large(&self.table, &items) {
                Ok(places) => {
                    let mut table = lock(&self.table);
                    group.iter().zip(places).for_each(|((id, ..), place)| table.insert(*id, place));
                }
                Err(failure) => self.refuse(log, batch, &group, failure),
            }
        }
    }

    fn refuse(
        &self,
        log: &mut Log,
        batch: &mut Batch,
        group: &[(QueueId, Vec<u8>, usize)],
        failure: Failure,
    ) {
        let path = || self.options.path.join("segments");
        for (id, _, at) in group {
            batch.results[*at] = Err(match &failure {
                Failure::Full => SpoolError::Full { doing: "write a message to", path: path() },
                Failure::Lost { number, wrote, error } => {
                    if *wrote {
                        // part of it may be there, whole and good: it must not come back
                        let note = log.note(Kind::Removed(*number), *id, Vec::new(), false);
                        log.backlog.push(note);
                    }
                    error.again()
                }
            });
        }
    }
}
