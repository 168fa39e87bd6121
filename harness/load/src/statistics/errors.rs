//! Kinds of errors and how often each happened: a bounded number of kinds, whatever a server says.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smtp::{ReplyCode, Stage};
use std::collections::BTreeMap;

/// Errors by stage and code.
#[derive(Default)]
pub struct Errors {
    kinds: BTreeMap<Kind, Count>,
    total: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    stage: Stage,
    code: Option<u16>,
    /// Empty where there is a code: replies to one command differ in their text by queue ids and the like.
    reason: String,
}

struct Count {
    text: String,
    count: u64,
}

/// One kind of error and how often it happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorRow {
    /// Where in the dialogue.
    #[serde(with = "stage_name")]
    pub stage: Stage,
    /// The server's reply code; none where there was no reply.
    pub code: Option<u16>,
    /// The first reply of this kind, or what happened instead of one.
    pub text: String,
    /// How often.
    pub count: u64,
}

impl Errors {
    /// Counts one error.
    pub fn count(&mut self, stage: Stage, code: Option<ReplyCode>, text: &str) {
        self.add(stage, code.map(ReplyCode::get), text, 1);
    }

    /// Counts `count` errors of one kind.
    pub fn add(&mut self, stage: Stage, code: Option<u16>, text: &str, count: u64) {
        self.total += count;
        let reason = match code {
            Some(_) => String::new(),
            None => text.to_owned(),
        };
        let mut kind = Kind { stage, code, reason };
        if self.kinds.len() >= KINDS_MAX && !self.kinds.contains_key(&kind) {
            kind.reason = "other errors".to_owned();
            kind.code = None;
        }
        let first = if kind.reason.is_empty() { text } else { &kind.reason }.to_owned();
        self.kinds.entry(kind).or_insert(Count { text: first, count: 0 }).count += count;
    }

    /// Adds those of `other`.
    pub fn add_all(&mut self, other: &Errors) {
        for (kind, error) in &other.kinds {
            self.add(kind.stage, kind.code, &error.text, error.count);
        }
    }

    /// Errors of all kinds.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The kinds of errors, the most frequent first.
    pub fn rows(&self) -> Vec<ErrorRow> {
        let mut rows: Vec<ErrorRow> = self
            .kinds
            .iter()
            .map(|(kind, error)| ErrorRow {
                stage: kind.stage,
                code: kind.code,
                text: error.text.clone(),
                count: error.count,
            })
            .collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.count));
        rows
    }
}

impl Serialize for Errors {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.rows())
    }
}

impl<'de> Deserialize<'de> for Errors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Errors, D::Error> {
        let mut errors = Errors::default();
        for row in Vec::<ErrorRow>::deserialize(deserializer)? {
            errors.add(row.stage, row.code, &row.text, row.count);
        }
        Ok(errors)
    }
}

mod stage_name {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use smtp::Stage;

    pub fn serialize<S: Serializer>(stage: &Stage, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(stage.as_str())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Stage, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A server that invents a new code or text each time can't fill the memory.
const KINDS_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_bounded_and_no_error_goes_uncounted() {
        let mut errors = Errors::default();
        for number in 0..1000 {
            errors.add(Stage::Dot, None, &format!("reason {number}"), 1);
            errors.add(Stage::Rcpt, Some(550), &format!("no user {number}"), 2);
        }
        let rows = errors.rows();
        assert_eq!((errors.total(), rows.iter().map(|row| row.count).sum::<u64>()), (3000, 3000));
        // The stages' "other errors" come on top.
        assert!(rows.len() <= KINDS_MAX + Stage::ALL.len());
        assert_eq!((rows[0].code, rows[0].count, rows[0].text.as_str()), (Some(550), 2000, "no user 0"));
    }
}
