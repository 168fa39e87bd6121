//! Taking in messages that were exported elsewhere, each once.
//!
//! A client writes down the id of each message before the message is kept, and that it is kept before it confirms that.
//! Until then the message is held: it can't be delivered and gone. So whoever goes on after a stop, of client or MTA,
//! finds out of the last message whether it was taken in, and knows it of the others.

use crate::control::{Id, Imported, Piece};
use crate::manager::Manager;
use crate::operate::refused;
use crate::view::{self, Row};
use crate::writer::Job;
use delivery::QueueId;
use serde_json::{Value, json};
use spool::SpoolError;
use spool::{Status, Stored};

impl Manager {
    pub(crate) fn import(&mut self, client: u64, piece: Piece) {
        let answer = match piece {
            Piece::Begin(row) => self.begin_import(client, &row),
            Piece::Data(text) => self.import_data(client, &text),
            Piece::End => match self.imports.begun.remove(&client) {
                Some(Imported { incoming, stored }) => {
                    self.imports.writing.insert(incoming.id());
                    self.writer.submit(Job::Import { client, incoming, stored });
                    return;
                }
                None => Err("no import has begun".to_owned()),
            },
            Piece::Confirm => match self.imports.unconfirmed.remove(&client) {
                Some((id, stored)) => {
                    if !stored.status.held {
                        self.writer.submit(Job::Update { id, status: stored.status.clone() });
                    }
                    self.admit_imported(id, stored);
                    Ok(json!({"ok": true}))
                }
                None => Err("there is no import to be confirmed".to_owned()),
            },
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
        stored: Stored,
        result: Result<QueueId, SpoolError>,
    ) {
        self.imports.writing.remove(&begun);
        match result {
            Ok(id) => {
                self.imports.unconfirmed.insert(client, (id, stored));
                if self.control.has(client) {
                    self.control.answer(client, &json!({"ok": true, "id": id.to_string()}));
                }
                // also when the answer found nobody
                if !self.control.has(client) {
                    self.importer_gone(client);
                }
            }
            Err(error) => self.control.answer(client, &refused(error)),
        }
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
        let unroutable = self.mail.admit(id, stored);
        self.unroutable(id, unroutable);
    }
}
