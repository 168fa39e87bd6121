//! The operator's commands about queued messages, while mail flows. Each is bounded: a list goes in pages.

use crate::manager::{Manager, epoch_now};
use crate::view::{self, Act, Filter, RECIPIENTS_LISTED, Row};
use crate::writer::Job;
use delivery::{EpochMs, QueueId};
use scheduler::{EntryId, Standing};
use serde_json::{Value, json};
use spool::{SpoolError, Status, Stored};
use std::collections::HashMap;

/// Messages looked at for one page, and shown on it.
const PAGE: usize = 500;
/// A page is not made longer than this.
const PAGE_BYTES: usize = 64 * 1024;
/// Bytes of content in one answer.
pub const PIECE_BYTES: usize = 16 * 1024;

/// The scheduler's entries of one message.
#[derive(Default)]
struct Queued {
    entries: Vec<EntryId>,
    standing: Option<view::Standing>,
    attempts: u16,
    due: EpochMs,
}

/// What one act did, in messages.
#[derive(Default)]
struct Tally {
    done: u64,
    /// Being delivered.
    busy: u64,
    missing: u64,
}

pub(crate) fn refused(error: impl std::fmt::Display) -> Value {
    json!({"ok": false, "error": error.to_string()})
}

impl Manager {
    /// The entries of these messages. One look at all entries, however many are asked for.
    fn queued(&self, ids: &[QueueId]) -> HashMap<QueueId, Queued> {
        let mut found: HashMap<QueueId, Queued> = ids.iter().map(|id| (*id, Queued::default())).collect();
        let now = epoch_now();
        self.mail.scheduler.each(&mut |name, entry, standing| {
            let Some(queued) = found.get_mut(&entry.id) else { return };
            queued.entries.push(name);
            let standing = match standing {
                Standing::Active => view::Standing::Active,
                Standing::Held => view::Standing::Held,
                Standing::Due => view::Standing::Due,
                // its time has come, and the scheduler has not looked yet
                Standing::Deferred if entry.due <= now => view::Standing::Due,
                Standing::Deferred => view::Standing::Deferred,
            };
            // a message of several entries is what the liveliest of them is
            let rank = |standing| match standing {
                view::Standing::Active => 3,
                view::Standing::Held => 2,
                view::Standing::Due => 1,
                view::Standing::Deferred => 0,
            };
            if queued.standing.is_none_or(|before| rank(standing) > rank(before)) {
                (queued.standing, queued.attempts, queued.due) = (Some(standing), entry.attempts, entry.due);
            }
        });
        found
    }

    /// What is kept of a message, with the schedule as it is now.
    fn stored(&self, id: QueueId, queued: &Queued) -> Result<Stored, SpoolError> {
        let mut stored = self.spool.load(id)?;
        if let Some(message) = self.mail.message(id) {
            stored.status.clone_from(&message.status);
        }
        (stored.status.attempts, stored.status.due) = (queued.attempts, queued.due);
        stored.status.held = queued.standing == Some(view::Standing::Held);
        Ok(stored)
    }

    pub(crate) fn list(&self, after: Option<QueueId>, filter: &Filter) -> Value {
        let ids = self.spool.ids_after(after, PAGE);
        let queued = self.queued(&ids);
        let (now, mut rows, mut bytes) = (epoch_now(), Vec::new(), 0);
        let mut next = if ids.len() == PAGE { ids.last().copied() } else { None };
        for (at, id) in ids.iter().enumerate() {
            let one = &queued[id];
            // without an entry it is on its way in or out
            let Some(standing) = one.standing else { continue };
            let Ok(stored) = self.stored(*id, one) else { continue };
            if filter.matches(&stored, standing, now) {
                let row = serde_json::to_value(Row::new(*id, &stored, standing, RECIPIENTS_LISTED));
                let row = row.expect("a row is JSON");
                bytes += row.to_string().len();
                rows.push(row);
                if bytes > PAGE_BYTES && at + 1 < ids.len() {
                    next = Some(*id);
                    break;
                }
            }
        }
        json!({"ok": true, "messages": rows, "next": next.map(|id| id.to_string())})
    }

    pub(crate) fn show(&self, id: QueueId) -> Value {
        let queued = self.queued(&[id]).remove(&id).expect("asked for");
        match (queued.standing, self.stored(id, &queued)) {
            (Some(standing), Ok(stored)) => {
                json!({"ok": true, "message": Row::new(id, &stored, standing, usize::MAX)})
            }
            (None, Ok(_)) => refused(SpoolError::Missing(id)),
            (_, Err(error)) => refused(error),
        }
    }

    /// A piece of a message's content.
    pub(crate) fn read_content(&self, id: QueueId, offset: u64) -> Value {
        let piece = |bytes: &[u8], total: u64| json!({"ok": true, "content": view::text_of(bytes), "size_bytes": total});
        match self.spool.content(id) {
            Ok(spool::Content::Inline(bytes)) => {
                let from = (offset as usize).min(bytes.len());
                piece(&bytes[from..bytes.len().min(from + PIECE_BYTES)], bytes.len() as u64)
            }
            Ok(spool::Content::File { file, offset: start, length }) => {
                let mut bytes = vec![0; length.saturating_sub(offset).min(PIECE_BYTES as u64) as usize];
                match rustix::io::pread(&file, &mut bytes, start + offset.min(length)) {
                    Ok(count) => piece(&bytes[..count], length),
                    Err(error) => refused(error),
                }
            }
            Err(error) => refused(error),
        }
    }

    pub(crate) fn act(&mut self, act: Act, ids: &[QueueId]) -> Value {
        let mut tally = Tally::default();
        for (id, queued) in self.queued(ids) {
            if queued.entries.is_empty() {
                tally.missing += 1;
            } else if self.act_on(act, id, &queued) {
                tally.done += 1;
            } else {
                tally.busy += 1;
            }
        }
        let Tally { done, busy, missing } = tally;
        self.log.event(&format!("operator: {act:?} of {done} messages").to_lowercase());
        json!({"ok": true, "done": done, "busy": busy, "missing": missing})
    }

    /// False: it is being delivered, or its bounce written.
    fn act_on(&mut self, act: Act, id: QueueId, queued: &Queued) -> bool {
        let now = epoch_now();
        let is_busy = queued.standing == Some(view::Standing::Active)
            || self.mail.message(id).is_some_and(|message| message.bounces > 0);
        if is_busy && act == Act::Delete {
            return false;
        }
        let mut changed = false;
        for entry in &queued.entries {
            changed |= match act {
                Act::Hold => self.mail.scheduler.hold(*entry),
                Act::Release => self.mail.scheduler.release(now, *entry),
                Act::Requeue => self.mail.scheduler.requeue(now, *entry),
                Act::Delete => {
                    self.mail.remove_batch(*entry);
                    self.mail.scheduler.remove(*entry)
                }
            };
        }
        match act {
            Act::Delete => {
                self.mail.forget(id);
                self.writer.submit(Job::Remove { id });
            }
            Act::Requeue if !changed => return false,
            Act::Hold | Act::Release | Act::Requeue => self.note_held(act, id, queued, now),
        }
        true
    }

    /// A restart is to find it as the operator left it.
    fn note_held(&mut self, act: Act, id: QueueId, queued: &Queued, now: EpochMs) {
        let status = match self.mail.message(id) {
            Some(message) => Some(message.status.clone()),
            None => self.spool.load(id).ok().map(|stored| Status {
                attempts: queued.attempts,
                due: queued.due,
                ..stored.status
            }),
        };
        let Some(mut status) = status else { return };
        status.held = act == Act::Hold;
        if act == Act::Requeue {
            status.due = now;
        }
        if let Some(message) = self.mail.message_mut(id) {
            message.status.clone_from(&status);
        }
        self.writer.submit(Job::Update { id, status });
    }
}
