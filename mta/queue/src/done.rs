//! Taking in what the threads that wait for the disk have done.

use crate::manager::{Manager, epoch_now};
use crate::writer::Done;
use delivery::{Envelope, QueueId, RecipientState};
use spool::{Status, Stored};
use std::io;

impl Manager {
    pub(crate) fn take_done(&mut self) -> io::Result<()> {
        let mut answers = Vec::new();
        for done in self.writer.take_done() {
            match done {
                Done::Committed { message, envelope, size_bytes, result } => {
                    if let Some(intake) = &mut self.intake {
                        intake.committed(message, &result, &mut answers);
                    }
                    if let Ok(id) = result {
                        self.log.queued(id, &envelope.reverse_path, size_bytes, envelope.recipients.len());
                        self.admit_new(id, envelope);
                    }
                }
                Done::Bounced { original, recipients, envelope, size_bytes, result } => {
                    self.bounces -= 1;
                    if let Some(message) = self.mail.message_mut(original) {
                        message.bounces -= 1;
                    }
                    match result {
                        Ok(id) => {
                            self.log.queued(
                                id,
                                &envelope.reverse_path,
                                size_bytes,
                                envelope.recipients.len(),
                            );
                            self.admit_new(id, envelope);
                            self.mark_bounced(original, &recipients);
                        }
                        Err(error) => self.bounce_failed(original, &recipients, &error),
                    }
                }
                Done::Imported { client, begun, stored, result } => {
                    self.imported(client, begun, stored, result);
                }
                Done::ReadAgain { agent, request, content } => self.give_again(agent, request, content),
                Done::Alarm { error } => {
                    self.alarms += 1;
                    self.log.event(&error.to_string());
                }
                Done::Failed { id, doing, error } => {
                    self.log
                        .event(&format!("queue_id={id} {doing} failed, it may be delivered again: {error}"));
                }
            }
        }
        if let Some(intake) = &mut self.intake
            && let Err(error) = intake.send(answers, &self.poller)
        {
            self.log.event(&format!("reception: {error}"));
        }
        Ok(())
    }

    fn admit_new(&mut self, id: QueueId, envelope: Envelope) {
        let states = vec![RecipientState::Pending; envelope.recipients.len()];
        let due = envelope.received.min(epoch_now());
        let status = Status { states, attempts: 0, due, held: false };
        self.admit_or_bounce(id, Stored { envelope, status, content_bytes: 0 });
    }
}
