//! The queue of an MTA that does not run: its spool, locked as long as this works on it.

use super::{Act, Filter, Row, Standing, Step, Tally, in_pieces};
use crate::config::Config;
use delivery::{EpochMs, QueueId};
use queue::view::RECIPIENTS_LISTED;
use spool::{Content, Spool, SpoolError, Status, Stored};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

const PIECE_BYTES: usize = 64 * 1024;

pub struct Stopped {
    spool: Arc<dyn Spool>,
    messages: BTreeMap<QueueId, Status>,
}

fn now() -> EpochMs {
    EpochMs(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64)
}

fn said(error: SpoolError) -> String {
    error.to_string()
}

impl Stopped {
    pub(super) fn open(config: &Config) -> Result<Stopped, String> {
        if !config.spool.join("format").exists() {
            return Err(format!("{} is not a spool yet, and no MTA runs", config.spool.display()));
        }
        if let Some(name) = config.user.as_deref().filter(|_| sys::privilege::is_root()) {
            // what is written here must be the queue manager's
            let user = sys::privilege::find_user(name).map_err(|error| format!("user: {error}"))?;
            sys::privilege::become_user(&user).map_err(|error| format!("becoming user {name}: {error}"))?;
        }
        let spool = crate::run::open_spool(config).map_err(said)?;
        let mut messages = BTreeMap::new();
        let recovery = spool.recover(&mut |id, stored| drop(messages.insert(id, stored.status)));
        for one in recovery.map_err(said)?.quarantined {
            eprintln!("mailrig: queue: damaged, moved to {}: {}", one.moved_to.display(), one.damage);
        }
        Ok(Stopped { spool, messages })
    }

    fn stored(&self, id: QueueId) -> Result<Stored, String> {
        let status = self.messages.get(&id).ok_or_else(|| said(SpoolError::Missing(id)))?;
        let stored = self.spool.load(id).map_err(said)?;
        Ok(Stored { status: status.clone(), ..stored })
    }

    pub(super) fn list(
        &mut self,
        filter: &Filter,
        each: &mut dyn FnMut(Row) -> Result<(), String>,
    ) -> Result<(), String> {
        let now = now();
        for id in self.messages.keys() {
            let stored = self.stored(*id)?;
            let standing = standing(&stored.status, now);
            if filter.matches(&stored, standing, now) {
                each(Row::new(*id, &stored, standing, RECIPIENTS_LISTED))?;
            }
        }
        Ok(())
    }

    pub(super) fn show(&mut self, id: &str) -> Result<Row, String> {
        let id = parse(id)?;
        let stored = self.stored(id)?;
        Ok(Row::new(id, &stored, standing(&stored.status, now()), usize::MAX))
    }

    pub(super) fn content(&mut self, id: &str, out: &mut dyn Write) -> Result<(), String> {
        let written = match self.spool.content(parse(id)?).map_err(said)? {
            Content::Inline(bytes) => out.write_all(&bytes),
            Content::File { file, offset, length } => {
                let mut piece = vec![0; PIECE_BYTES];
                let mut starts = (0..length).step_by(PIECE_BYTES);
                starts.try_for_each(|start| {
                    let count = (length - start).min(PIECE_BYTES as u64) as usize;
                    file.read_exact_at(&mut piece[..count], offset + start)?;
                    out.write_all(&piece[..count])
                })
            }
        };
        written.map_err(|error| format!("writing: {error}"))
    }

    pub(super) fn act(&mut self, act: Act, ids: &[String]) -> Result<Tally, String> {
        let mut tally = Tally::default();
        for id in ids {
            let id = parse(id)?;
            let Some(status) = self.messages.get_mut(&id) else {
                tally.missing += 1;
                continue;
            };
            match act {
                Act::Hold => status.held = true,
                Act::Release => status.held = false,
                Act::Requeue => (status.held, status.due) = (false, now()),
                Act::Delete => {
                    self.spool.remove(id).map_err(said)?;
                    self.messages.remove(&id);
                    tally.done += 1;
                    continue;
                }
            }
            self.spool.update(id, status.clone()).map_err(said)?;
            tally.done += 1;
        }
        self.spool.sync().map_err(said)?;
        Ok(tally)
    }

    pub(super) fn flush(&mut self) -> Result<(), String> {
        for (id, status) in self.messages.iter_mut().filter(|(_, status)| !status.held) {
            status.due = now();
            self.spool.update(*id, status.clone()).map_err(said)?;
        }
        self.spool.sync().map_err(said)
    }

    pub(super) fn import(
        &mut self,
        row: &Row,
        content: &mut dyn Read,
        step: &mut dyn FnMut(Step<'_>) -> Result<(), String>,
    ) -> Result<String, String> {
        let Stored { envelope, status, .. } = row.stored()?;
        let mut incoming = self.spool.begin(envelope).map_err(said)?;
        incoming.set_status(&Status { held: true, ..status.clone() });
        let id = incoming.id();
        step(Step::Begun(&id.to_string()))?;
        in_pieces(content, row.size_bytes, PIECE_BYTES, |piece| incoming.write(piece).map_err(said))?;
        self.spool.commit(incoming).map_err(said)?;
        step(Step::Kept)?;
        if !status.held {
            self.spool.update(id, status.clone()).map_err(said)?;
            // nobody asks for it again once all are done
            self.spool.sync().map_err(said)?;
        }
        self.messages.insert(id, status);
        Ok(id.to_string())
    }

    pub(super) fn was_imported(&mut self, id: &str) -> Result<bool, String> {
        Ok(self.messages.contains_key(&parse(id)?))
    }
}

fn parse(id: &str) -> Result<QueueId, String> {
    id.parse().map_err(|error: delivery::BadQueueId| error.to_string())
}

fn standing(status: &Status, now: EpochMs) -> Standing {
    match status {
        Status { held: true, .. } => Standing::Held,
        Status { due, .. } if *due > now => Standing::Deferred,
        Status { .. } => Standing::Due,
    }
}
