//! A queued message as the operator sees it, and which of them are meant. The same for a running MTA and a spool that
//! nobody has open. Knows neither.

use delivery::{Envelope, EpochMs, QueueId, RecipientState};
use serde::{Deserialize, Serialize};
use smtp::ForwardPath;
use spool::{Status, Stored};

/// Recipients that a list shows of one message; `show` has all.
pub const RECIPIENTS_LISTED: usize = 20;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Waits for a later time.
    Deferred,
    /// May be delivered now.
    Due,
    /// Being delivered.
    Active,
    /// Held by the operator.
    Held,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    Pending,
    Delivered,
    Bounced,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Recipient {
    pub address: String,
    pub state: Fate,
}

impl Recipient {
    pub fn is_pending(&self) -> bool {
        self.state == Fate::Pending
    }
}

/// What an operator does to messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    /// Not to be delivered until released.
    Hold,
    Release,
    /// Due now, also when it was held.
    Requeue,
    /// Without a bounce.
    Delete,
}

/// One message. Times are milliseconds since 1970-01-01 UTC.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Row {
    pub id: String,
    pub status: Standing,
    pub held: bool,
    pub from: String,
    pub to: Vec<Recipient>,
    /// How many there are, listed or not.
    pub recipients: usize,
    pub received_ms: u64,
    pub due_ms: u64,
    pub attempts: u16,
    /// Bytes of content.
    pub size_bytes: u64,
    pub eight_bit: bool,
}

/// Which messages are meant: those for which everything holds that is said.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// The reverse-path, without brackets; empty: the null one.
    pub sender: Option<String>,
    /// An address of which it is not yet final.
    pub recipient: Option<String>,
    /// The domain of a recipient of which it is not yet final.
    pub domain: Option<String>,
    /// Received longer ago.
    pub older_than_s: Option<u64>,
    /// Received less long ago.
    pub younger_than_s: Option<u64>,
    pub status: Option<Standing>,
}

impl Filter {
    pub fn matches(&self, row: &Stored, standing: Standing, now: EpochMs) -> bool {
        let Stored { envelope, status, .. } = row;
        let same = |wanted: &Option<String>, is: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(is))
        };
        let age_s = now.since(envelope.received).as_secs();
        let pending = || {
            let states = envelope.recipients.iter().zip(&status.states);
            states.filter(|(_, state)| **state == RecipientState::Pending).map(|(recipient, _)| recipient)
        };
        same(&self.sender, envelope.reverse_path.as_str())
            && (self.recipient.is_none() || pending().any(|one| same(&self.recipient, one.as_str())))
            && (self.domain.is_none() || pending().any(|one| same(&self.domain, one.domain().unwrap_or(""))))
            && self.older_than_s.is_none_or(|least| age_s > least)
            && self.younger_than_s.is_none_or(|most| age_s < most)
            && self.status.is_none_or(|wanted| wanted == standing)
    }
}

impl Row {
    pub fn new(id: QueueId, stored: &Stored, standing: Standing, recipients_max: usize) -> Row {
        let Stored { envelope, status, content_bytes } = stored;
        let fate = |state: &RecipientState| match state {
            RecipientState::Pending => Fate::Pending,
            RecipientState::Delivered => Fate::Delivered,
            RecipientState::Bounced => Fate::Bounced,
        };
        let to = envelope.recipients.iter().zip(&status.states).take(recipients_max);
        let to = to.map(|(recipient, state)| Recipient {
            address: recipient.as_str().to_owned(),
            state: fate(state),
        });
        Row {
            id: id.to_string(),
            status: standing,
            held: status.held,
            from: envelope.reverse_path.as_str().to_owned(),
            to: to.collect(),
            recipients: envelope.recipients.len(),
            received_ms: envelope.received.0,
            due_ms: status.due.0,
            attempts: status.attempts,
            size_bytes: *content_bytes,
            eight_bit: envelope.eight_bit,
        }
    }

    /// The message that it tells of, for an import. It must list every recipient.
    pub fn stored(&self) -> Result<Stored, String> {
        let reverse_path = smtp::ReversePath::parse(&self.from);
        let reverse_path = reverse_path.map_err(|_| format!("`{}` is no reverse-path", self.from))?;
        let recipients = self.to.iter().map(|to| {
            ForwardPath::parse(&to.address).map_err(|_| format!("`{}` is no forward-path", to.address))
        });
        let recipients = recipients.collect::<Result<Vec<_>, _>>()?;
        let states = self.to.iter().map(|to| match to.state {
            Fate::Pending => RecipientState::Pending,
            Fate::Delivered => RecipientState::Delivered,
            Fate::Bounced => RecipientState::Bounced,
        });
        let (attempts, due, held) = (self.attempts, EpochMs(self.due_ms), self.held);
        let status = Status { states: states.collect(), attempts, due, held };
        if status.is_final() {
            return Err("no recipient is pending".to_owned());
        }
        let received = EpochMs(self.received_ms);
        let envelope = Envelope { received, reverse_path, recipients, eight_bit: self.eight_bit };
        Ok(Stored { envelope, status, content_bytes: self.size_bytes })
    }
}

/// Content as JSON can carry it: each byte as the character of its number.
pub fn text_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// [`text_of`] undone; `None`: it is not of that kind.
pub fn bytes_of(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|character| u8::try_from(u32::from(character)).ok()).collect()
}
