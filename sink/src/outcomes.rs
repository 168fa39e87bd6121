//! What the sink said and did, counted by stage and code.

use behaviour::Then;
use serde::{Deserialize, Serialize};
use smtp::Stage;

/// Counts of replies, and of connections that a site ended in its own way.
#[derive(Clone)]
pub struct Outcomes {
    /// By stage, then by code from 200.
    replies: Box<[[u64; CODES]; Stage::ALL.len()]>,
    /// What was no reply that can be read.
    unreadable: [u64; Stage::ALL.len()],
    ends: [[u64; Then::ALL.len()]; Stage::ALL.len()],
}

/// One kind of outcome and how often it was.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OutcomeCount {
    /// By the stage's name.
    pub stage: String,
    /// Of the reply; none for what was no reply, or an end.
    pub code: Option<u16>,
    /// `reply`, `malformed` (bytes that are no reply) or how the connection was ended: `close`, `reset`,
    /// `half_close`, `silence`, `stall`.
    pub outcome: String,
    pub count: u64,
}

impl Outcomes {
    /// Something was said; 0: what is no reply.
    pub fn replied(&mut self, stage: Stage, code: u16) {
        let place = usize::from(code).checked_sub(CODE_FIRST).filter(|&place| place < CODES);
        match place {
            Some(place) => self.replies[stage as usize][place] += 1,
            None => self.unreadable[stage as usize] += 1,
        }
    }

    /// A site ended a connection at `stage`, as its rules say.
    pub fn ended(&mut self, stage: Stage, then: Then) {
        self.ends[stage as usize][then as usize] += 1;
    }

    /// How often each refusal was said, at whatever stage: pairs of code and count.
    pub fn refusals(&self) -> impl Iterator<Item = (u16, u64)> {
        let codes = (CODE_FIRST..CODE_FIRST + CODES).skip(REFUSAL_FIRST - CODE_FIRST);
        let counted =
            codes.map(|code| (code as u16, self.replies.iter().map(|stage| stage[code - CODE_FIRST]).sum()));
        counted.filter(|&(_, count)| count > 0)
    }

    /// Everything that happened at all, by stage and code.
    pub fn counts(&self) -> Vec<OutcomeCount> {
        let mut counts = Vec::new();
        for stage in Stage::ALL {
            let mut add = |code, outcome: &str, count| {
                if count > 0 {
                    let (stage, outcome) = (stage.as_str().to_owned(), outcome.to_owned());
                    counts.push(OutcomeCount { stage, code, outcome, count });
                }
            };
            for (place, &count) in self.replies[stage as usize].iter().enumerate() {
                add(Some((CODE_FIRST + place) as u16), "reply", count);
            }
            add(None, "malformed", self.unreadable[stage as usize]);
            for then in Then::ALL {
                add(None, then.as_str(), self.ends[stage as usize][then as usize]);
            }
        }
        counts
    }
}

impl Default for Outcomes {
    fn default() -> Outcomes {
        Outcomes {
            replies: Box::new([[0; CODES]; Stage::ALL.len()]),
            unreadable: Default::default(),
            ends: Default::default(),
        }
    }
}

/// Adds the counts of another sink, which are in the order of [`Outcomes::counts`] or any other.
pub fn merge(counts: &mut Vec<OutcomeCount>, others: Vec<OutcomeCount>) {
    for other in others {
        let alike = |one: &&mut OutcomeCount| {
            (&one.stage, one.code, &one.outcome) == (&other.stage, other.code, &other.outcome)
        };
        match counts.iter_mut().find(alike) {
            Some(one) => one.count += other.count,
            None => counts.push(other),
        }
    }
    let place = |stage: &str| Stage::ALL.iter().position(|one| one.as_str() == stage);
    counts.sort_by(|one, other| {
        (place(&one.stage), one.code.is_none(), one.code, &one.outcome).cmp(&(
            place(&other.stage),
            other.code.is_none(),
            other.code,
            &other.outcome,
        ))
    });
}

const CODE_FIRST: usize = 200;
const REFUSAL_FIRST: usize = 400;
/// 200 to 599.
const CODES: usize = 400;
