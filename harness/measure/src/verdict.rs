//! Whether a row counts: every message accounted for, everything measured, nothing contradictory.

use crate::littles_law;
use crate::row::{Point, RunRow};
use crate::word::InvalidReason;
use std::collections::BTreeMap;

/// Where the messages of a trial are at its end, each kind from its own source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// Accepted from the load generator, by the load generator's count.
    pub offered: u64,
    /// Different messages that the sink accepted, by its ledger.
    pub delivered: u64,
    /// Acceptances by the sink beyond the first of each message.
    pub duplicated: u64,
    /// Given up with a bounce, by the subject's count.
    pub bounced: u64,
    /// Still queued, by the subject's count.
    pub deferred: u64,
}

impl Account {
    /// Messages that are nowhere; 0 also where more are found than were offered.
    pub fn lost(&self) -> u64 {
        self.offered.saturating_sub(self.found())
    }

    /// Messages found beyond those offered: something was counted in two places.
    pub fn surplus(&self) -> u64 {
        self.found().saturating_sub(self.offered)
    }

    fn found(&self) -> u64 {
        self.delivered.saturating_add(self.bounced).saturating_add(self.deferred)
    }
}

impl RunRow {
    /// Fills the `messages_` columns, and the throughput where `elapsed_s` is there already.
    pub fn set_account(&mut self, account: &Account) {
        self.messages_offered = Some(account.offered);
        self.messages_delivered = Some(account.delivered);
        self.messages_deferred = Some(account.deferred);
        self.messages_bounced = Some(account.bounced);
        self.messages_lost = Some(account.lost());
        self.messages_duplicated = Some(account.duplicated);
        let elapsed_s = self.elapsed_s.filter(|elapsed_s| *elapsed_s > 0.0);
        self.throughput_msg_per_s = elapsed_s.map(|elapsed_s| account.delivered as f64 / elapsed_s);
    }

    /// Sets `valid` and `invalid_reason` from the row's own cells; `trouble` is what the harness saw go wrong.
    pub fn judge(&mut self, trouble: Option<InvalidReason>) {
        self.invalid_reason = trouble.or_else(|| self.fault(true));
        self.valid = self.invalid_reason.is_none();
    }

    /// As [`RunRow::judge`], for a trial whose deliveries were held: none of its time is steady, so Little's law says
    /// nothing of it.
    pub fn judge_held(&mut self, trouble: Option<InvalidReason>) {
        self.invalid_reason = trouble.or_else(|| self.fault(false));
        self.valid = self.invalid_reason.is_none();
    }

    fn fault(&self, steady: bool) -> Option<InvalidReason> {
        let Some(account) = self.account() else { return Some(InvalidReason::NotMeasured) };
        if account.lost() > 0 {
            return Some(InvalidReason::MailLost);
        }
        if account.duplicated > 0 {
            return Some(InvalidReason::MailDuplicated);
        }
        if account.surplus() > 0 {
            return Some(InvalidReason::Unbalanced);
        }
        let measured = self.throughput_msg_per_s.is_some() && self.in_flight_peak.is_some();
        match self.littles_law_ratio.filter(|_| measured) {
            None if steady || !measured => Some(InvalidReason::NotMeasured),
            Some(ratio) if steady && !littles_law::holds(ratio) => Some(InvalidReason::LittlesLaw),
            _ => None,
        }
    }

    fn account(&self) -> Option<Account> {
        Some(Account {
            offered: self.messages_offered?,
            delivered: self.messages_delivered?,
            duplicated: self.messages_duplicated?,
            bounced: self.messages_bounced?,
            deferred: self.messages_deferred?,
        })
    }
}

/// Why a run ends with status 1, one line each: mail lost or duplicated, or a point of a subject without a valid
/// repeat. Empty for a good run.
pub fn complaints(rows: &[RunRow]) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut cells: BTreeMap<(&str, Point), Vec<&RunRow>> = BTreeMap::new();
    for row in rows {
        let trial = format!("`{}` at {}, repeat {}", row.subject, row.point(), row.repeat);
        if let Some(lost) = row.messages_lost.filter(|lost| *lost > 0) {
            complaints.push(format!("{trial}: {lost} messages were lost"));
        }
        if let Some(duplicated) = row.messages_duplicated.filter(|duplicated| *duplicated > 0) {
            complaints.push(format!("{trial}: {duplicated} messages were delivered more than once"));
        }
        cells.entry((&row.subject, row.point())).or_default().push(row);
    }
    for ((subject, point), rows) in cells {
        if rows.iter().any(|row| row.valid) {
            continue;
        }
        let mut reasons: Vec<&str> =
            rows.iter().filter_map(|row| row.invalid_reason).map(InvalidReason::as_str).collect();
        reasons.dedup();
        complaints.push(format!("`{subject}` at {point}: no valid repeat ({})", reasons.join(", ")));
    }
    complaints
}
