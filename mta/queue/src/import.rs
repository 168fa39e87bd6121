//! Taking in messages that were exported elsewhere, each once.
//!
//! A client writes down the id of each message before the message is kept, and that it is kept before it confirms that.
//! Until then the message is held: it can't be delivered and gone. So whoever goes on after a stop, of client or MTA,
//! finds out of the last message whether it was taken in, and knows it of the others.

use crate::control::{Id, Imported, Piece};
use crate::manager::Manager;
use crate::operate::refused;
use crate::view::{self, Act, Row};
use crate::writer::Job;
use delivery::QueueId;
use serde_json::{Value, json};
use spool::SpoolError;
use spool::{Status, Stored};

impl Manager {
    pub(crate) fn import(&mut self, client: u64, piece: Piece) {
        let answer = match piece {
            // what it has in hand stays as it is
            Piece::Begin(_) if self.imports.begun.contains_key(&client) || self.imports.is_busy(client) => {
                let error = "this connection imports a message already: end and confirm it, or take another connection";
                return self.control.answer(client, &refused(error));
            }
            Piece::End | Piece::Release(_) if self.imports.is_busy(client) => {
                let error = "the message before is not confirmed: confirm it first";
                return self.control.answer(client, &refused(error));
            }
            Piece::Begin(row) => self.begin_import(client, &row),
            Piece::Data(text) => self.import_data(client, &text),
            Piece::End => match self.imports.begun.remove(&client) {
                Some(Imported { incoming, stored }) => {
                    self.imports.writing.insert(client, incoming.id());
                    self.writer.submit(Job::Import { client, incoming, stored });
                    return;
                }
                None => Err("no import has begun".to_owned()),
            },
            Piece::Confirm => match self.imports.unconfirmed.remove(&client) {
                Some((id, stored)) => {
                    if !stored.status.held {
                        let status = Some(stored.status.clone());
                        self.imports.releasing.insert(client, (id, Some(stored)));
                        self.writer.submit(Job::Release { client, id, status });
                        return;
                    }
                    self.admit_imported(id, stored);
                    Ok(json!({"ok": true}))
                }
                None => Err("there is no import to be confirmed".to_owned()),
            },
            Piece::Release(Id(id)) => {
                self.act(Act::Release, &[id]);
                self.imports.releasing.insert(client, (id, None));
                self.writer.submit(Job::Release { client, id, status: None });
                return;
            }
            Piece::Known(Id(id)) if self.imports.has_in_hand(id) => Ok(json!({"ok": true, "wait": true})),
            Piece::Known(Id(id)) => match self.spool.load(id) {
                Ok(_) => Ok(json!({"ok": true, "known": true})),
                Err(SpoolError::Missing(_)) => Ok(json!({"ok": true, "known": false})),
                Err(error) => Err(error.to_string()),
            },
        };
        if answer.is_err() {
            self.imports.begun.remove(&client);
        }
        self.control.answer(client, &answer.unwrap_or_else(refused));
    }

    fn begin_import(&mut self, client: u64, row: &Row) -> Result<Value, String> {
        let stored = row.stored()?;
        let begun = self.spool.begin(stored.envelope.clone());
        let mut incoming = begun.map_err(|error| error.to_string())?;
        incoming.set_status(&Status { held: true, ..stored.status.clone() });
        let id = incoming.id();
        self.imports.begun.insert(client, Imported { incoming, stored });
        Ok(json!({"ok": true, "id": id.to_string()}))
    }

    fn import_data(&mut self, client: u64, text: &str) -> Result<Value, String> {
        let import = self.imports.begun.get_mut(&client).ok_or("no import has begun")?;
        let bytes = view::bytes_of(text).ok_or("content has characters above 255")?;
        import.stored.content_bytes = import.incoming.content_bytes() + bytes.len() as u64;
        import.incoming.write(&bytes).map_err(|error| error.to_string())?;
        Ok(json!({"ok": true}))
    }

    pub(crate) fn imported(
        &mut self,
        client: u64,
        begun: QueueId,
        stored: Option<Stored>,
        result: Result<QueueId, SpoolError>,
    ) {
        let Some(stored) = stored else { return self.released(client, result) };
        self.imports.writing.retain(|_, one| *one != begun);
        match result {
            Ok(id) => {
                self.imports.unconfirmed.insert(client, (id, stored));
                if self.control.has(client) {
                    self.control.answer(client, &json!({"ok": true, "id": id.to_string()}));
                } else {
                    self.importer_gone(client);
                }
            }
            Err(error) => self.control.answer(client, &refused(error)),
        }
    }

    /// Its client has noted that it is kept: it is delivered, also when a stop now would find it held. Then the client
    /// asks again.
    fn released(&mut self, client: u64, result: Result<QueueId, SpoolError>) {
        if let Some((id, Some(stored))) = self.imports.releasing.remove(&client) {
            self.admit_imported(id, stored);
        }
        let answer = result.map_or_else(refused, |id| json!({"ok": true, "id": id.to_string()}));
        self.control.answer(client, &answer);
    }

    /// What it has begun is forgotten; what it has not confirmed is held for whoever goes on.
    pub(crate) fn importer_gone(&mut self, client: u64) {
        self.imports.begun.remove(&client);
        if let Some((id, mut stored)) = self.imports.unconfirmed.remove(&client) {
            stored.status.held = true;
            self.admit_imported(id, stored);
        }
    }

    fn admit_imported(&mut self, id: QueueId, stored: Stored) {
        let Stored { envelope, content_bytes, .. } = &stored;
        self.log.queued(id, &envelope.reverse_path, *content_bytes, envelope.recipients.len());
        self.admit_or_bounce(id, stored);
    }
}
