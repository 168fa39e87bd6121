//! Jobs that were taken at once, as one call of the spool.

use super::{Done, Job};
use delivery::{Envelope, QueueId};
use spool::{Change, Incoming, Spool, SpoolError, Stored};

/// What is to be said of a change when it is made.
enum Asked {
    Commit { message: u64, envelope: Envelope, size_bytes: u64 },
    Bounce { original: QueueId, envelope: Envelope, size_bytes: u64, recipients: Vec<u16> },
    Import { client: u64, begun: QueueId, stored: Stored },
    Release { client: u64, id: QueueId },
    Other { id: QueueId, doing: &'static str },
}

pub(super) fn perform(spool: &dyn Spool, jobs: Vec<Job>) -> Vec<Done> {
    let mut done = Vec::new();
    let mut releases = Vec::new();
    let (mut asked, mut changes) = (Vec::with_capacity(jobs.len()), Vec::with_capacity(jobs.len()));
    for job in jobs {
        match job {
            Job::Commit { message, incoming, envelope, size_bytes } => {
                asked.push(Asked::Commit { message, envelope, size_bytes });
                changes.push(Change::Commit(incoming));
            }
            Job::Bounce { original, envelope, content, recipients } => {
                let size_bytes = content.len() as u64;
                match receive(spool, envelope.clone(), &content) {
                    Ok(incoming) => {
                        asked.push(Asked::Bounce { original, envelope, size_bytes, recipients });
                        changes.push(Change::Commit(incoming));
                    }
                    Err(error) => {
                        let result = Err(error);
                        done.push(Done::Bounced { original, recipients, envelope, size_bytes, result });
                    }
                }
            }
            Job::Import { client, incoming, stored } => {
                asked.push(Asked::Import { client, begun: incoming.id(), stored });
                changes.push(Change::Commit(incoming));
            }
            Job::Release { client, id, status } => {
                if let Some(status) = status {
                    asked.push(Asked::Release { client, id });
                    changes.push(Change::Update { id, status });
                } else {
                    releases.push((client, id));
                }
            }
            Job::Update { id, status } => {
                asked.push(Asked::Other { id, doing: "noting what became of it" });
                changes.push(Change::Update { id, status });
            }
            Job::Remove { id } => {
                asked.push(Asked::Other { id, doing: "removing" });
                changes.push(Change::Remove { id });
            }
        }
    }
    for (asked, result) in asked.into_iter().zip(spool.apply(changes)) {
        done.extend(match asked {
            Asked::Commit { message, envelope, size_bytes } => {
                Some(Done::Committed { message, envelope, size_bytes, result })
            }
            Asked::Bounce { original, envelope, size_bytes, recipients } => {
                Some(Done::Bounced { original, recipients, envelope, size_bytes, result })
            }
            Asked::Import { client, begun, stored } => {
                Some(Done::Imported { client, begun, stored: Some(stored), result })
            }
            Asked::Release { client, id } => match result {
                Ok(_) => {
                    releases.push((client, id));
                    None
                }
                result => Some(Done::Imported { client, begun: id, stored: None, result }),
            },
            Asked::Other { id, doing } => result.err().map(|error| Done::Failed { id, doing, error }),
        });
    }
    if !releases.is_empty() {
        // what does not fit on the disk waits in memory
        let full = || SpoolError::Full { doing: "note a release in", path: "the spool".into() };
        let synced = spool.sync().and_then(|()| if spool.awaits_sync() { Err(full()) } else { Ok(()) });
        let released = |(client, begun)| {
            let result = synced.as_ref().map(|()| begun).map_err(SpoolError::again);
            Done::Imported { client, begun, stored: None, result }
        };
        done.extend(releases.into_iter().map(released));
        let alarm = synced.err().filter(|error| !matches!(error, SpoolError::Full { .. }));
        done.extend(alarm.map(|error| Done::Alarm { error }));
    }
    done
}

fn receive(spool: &dyn Spool, envelope: Envelope, content: &[u8]) -> Result<Incoming, SpoolError> {
    let mut incoming = spool.begin(envelope)?;
    incoming.write(content)?;
    Ok(incoming)
}
