//! One site: what it offers, and its rules put together by stage.

use crate::act::{Act, Pace, Step};
use crate::delay::Delay;
use crate::offer::Offer;
use crate::pattern::Pattern;
use crate::rule::{Rule, Scope};
use crate::when::{Client, When};
use fastrand::Rng;
use smtp::{ForwardPath, Stage};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// How one site behaves. Immutable: what a connection has lived through is in its [`crate::Dialogue`].
#[derive(Debug, Clone)]
pub struct Site {
    pub name: String,
    pub offer: Offer,
    /// Where it is; empty: at every address.
    pub listen: Vec<SocketAddr>,
    /// Its share of the connections to its address, in proportion to the others'. Above 0.
    pub weight: f64,
    /// From the first recipient that fits one of these a transaction is this site's, wherever it came in. A site without
    /// them gets connections; one with them gets none.
    pub recipients: Vec<Pattern>,
    pub(crate) stages: [Vec<Entry>; Stage::ALL.len()],
}

/// A piece of a message's body.
#[derive(Debug, Clone, Copy)]
pub struct Grown {
    /// Bytes of the body before it.
    pub before: u64,
    /// Bytes with it.
    pub now: u64,
    /// It came with BDAT.
    pub in_chunk: bool,
}

/// One rule at one stage.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    when: When,
    percent: Option<f64>,
    after_bytes: Option<u64>,
    delay: Option<Delay>,
    pace: Option<Pace>,
    act: Option<Arc<Act>>,
}

/// A rule that does not go with those before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contradiction {
    /// Its place among the rules.
    pub rule: usize,
    pub message: String,
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Contradiction {}

/// What a rule can change; a stage's own rules for one of these put those of `each` for the same out of force.
#[derive(Clone, Copy)]
enum Kind {
    Delay,
    Pace,
    Act,
}

impl Site {
    /// A site of these rules at every address.
    ///
    /// # Errors
    /// Rules that contradict each other; see [`Site::set_rules`].
    pub fn new(name: impl Into<String>, rules: &[Rule]) -> Result<Site, Contradiction> {
        let mut site = Site {
            name: name.into(),
            offer: Offer::default(),
            listen: Vec::new(),
            weight: 1.0,
            recipients: Vec::new(),
            stages: Default::default(),
        };
        site.set_rules(rules)?;
        Ok(site)
    }

    /// Puts rules in the place of those that there were. The first that holds decides; a rule for `each` holds at the
    /// stages that have no rule for the same of their own.
    ///
    /// # Errors
    /// A rule that can never hold because an earlier one always does, or shares of more than 100 percent at a stage.
    pub fn set_rules(&mut self, rules: &[Rule]) -> Result<(), Contradiction> {
        for stage in Stage::ALL {
            let places = rules.iter().enumerate();
            let entries: Vec<(usize, Entry)> =
                places.filter_map(|(place, rule)| Some((place, entry(rule, stage, rules)?))).collect();
            check(stage, &entries)?;
            self.stages[stage as usize] = entries.into_iter().map(|(_, entry)| entry).collect();
        }
        Ok(())
    }

    /// What the site does at `stage`; one draw decides about all shares.
    pub fn step(
        &self,
        stage: Stage,
        client: &Client,
        recipient: Option<&ForwardPath>,
        random: &mut Rng,
    ) -> Step {
        let mut step = Step::default();
        let entries = &self.stages[stage as usize];
        if !entries.is_empty() {
            // Marks in a body are passed in its middle, not where a chunk of it is answered.
            let holding = entries
                .iter()
                .filter(|entry| entry.after_bytes.is_none() && entry.when.holds(client, recipient));
            decide(holding, random, &mut step);
        }
        step
    }

    /// What the site does when the body of a message grows. Pieces of a BDAT chunk have no rules of their own but
    /// those for a mark: the others are for its end, [`Site::step`].
    pub fn step_at_body(&self, grown: Grown, client: &Client, random: &mut Rng) -> Step {
        let mut step = Step::default();
        let entries = &self.stages[Stage::Body as usize];
        if !entries.is_empty() {
            let holding = entries.iter().filter(|entry| {
                let concerned = match entry.after_bytes {
                    None => !grown.in_chunk,
                    Some(after) => grown.before < after.max(1) && after <= grown.now,
                };
                concerned && entry.when.holds(client, None)
            });
            decide(holding, random, &mut step);
        }
        step
    }

    /// Whether there is anything to be asked at `stage`.
    pub fn has_rules(&self, stage: Stage) -> bool {
        !self.stages[stage as usize].is_empty()
    }

    /// Whether what clients say must be kept for its rules.
    pub fn needs_words(&self) -> bool {
        self.stages.iter().flatten().any(|entry| entry.when.needs_words())
    }
}

impl Entry {
    fn changes(&self, kind: Kind) -> bool {
        match kind {
            Kind::Delay => self.delay.is_some(),
            Kind::Pace => self.pace.is_some(),
            Kind::Act => self.act.is_some(),
        }
    }

    fn always_holds(&self) -> bool {
        self.percent.is_none() && self.after_bytes.is_none() && self.when == When::default()
    }
}

/// The part of a rule that is in force at `stage`.
fn entry(rule: &Rule, stage: Stage, rules: &[Rule]) -> Option<Entry> {
    if !rule.scope.covers(stage) {
        return None;
    }
    let own = |changes: fn(&Rule) -> bool| {
        rule.scope != Scope::Each
            || !rules.iter().any(|rule| rule.scope == Scope::Stage(stage) && changes(rule))
    };
    let entry = Entry {
        when: rule.when.clone(),
        percent: rule.percent,
        after_bytes: rule.after_bytes,
        delay: rule.delay.clone().filter(|_| own(|rule| rule.delay.is_some())),
        pace: rule.pace.filter(|_| own(|rule| rule.pace.is_some())),
        act: rule.act.clone().filter(|_| own(|rule| rule.act.is_some())),
    };
    let changes = [Kind::Delay, Kind::Pace, Kind::Act].into_iter().any(|kind| entry.changes(kind));
    changes.then_some(entry)
}

fn decide<'a>(holding: impl Iterator<Item = &'a Entry>, random: &mut Rng, step: &mut Step) {
    let (mut drawn_percent, mut up_to_percent) = (None, 0.0);
    let (mut delay, mut act) = (None, None);
    for entry in holding {
        if let Some(percent) = entry.percent {
            let drawn = *drawn_percent.get_or_insert_with(|| random.f64() * 100.0);
            let from = up_to_percent;
            up_to_percent += percent;
            if drawn < from || drawn >= up_to_percent {
                continue;
            }
        }
        delay = delay.or(entry.delay.as_ref());
        step.pace = step.pace.or(entry.pace);
        act = act.or(entry.act.as_ref());
    }
    step.delay = delay.map_or(Duration::ZERO, |delay| delay.draw(random));
    step.act = act.cloned();
}

fn check(stage: Stage, entries: &[(usize, Entry)]) -> Result<(), Contradiction> {
    for (kind, name) in [(Kind::Delay, "delay"), (Kind::Pace, "pace"), (Kind::Act, "reply")] {
        let mut of_kind = entries.iter().filter(|(_, entry)| entry.changes(kind));
        if of_kind.any(|(_, entry)| entry.always_holds())
            && let Some(&(rule, _)) = of_kind.next()
        {
            let message = format!("this {name} for {stage} never holds, for one before it always does");
            return Err(Contradiction { rule, message });
        }
    }
    let mut percent = 0.0;
    for (rule, entry) in entries.iter().filter(|(_, entry)| entry.when == When::default()) {
        percent += entry.percent.unwrap_or(0.0);
        if percent > 100.0 + ROUNDING_PERCENT {
            let message = format!("the shares at {stage} come to {percent} percent; at most 100 are there");
            return Err(Contradiction { rule: *rule, message });
        }
    }
    Ok(())
}

/// Shares such as 33.3 + 33.3 + 33.4 may miss 100 by this much.
const ROUNDING_PERCENT: f64 = 1e-9;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::{DelayRule, ReplyRule};

    fn site(delays: &[&str], replies: &[&str]) -> Result<Site, Contradiction> {
        let none = |_: &str| Err("no files".to_owned());
        let delays = delays.iter().map(|text| DelayRule::parse(text, &none).unwrap().into());
        let replies = replies.iter().map(|text| ReplyRule::parse(text).unwrap().into());
        Site::new("site", &delays.chain(replies).collect::<Vec<Rule>>())
    }

    fn client() -> Client {
        Client {
            address: [127, 0, 0, 1].into(),
            connection: 1,
            tls: false,
            auth: false,
            message: 1,
            words: None,
        }
    }

    fn code(step: &Step) -> u16 {
        match step.act.as_deref() {
            None => 0,
            Some(Act { say: crate::act::Say::Reply(reply), .. }) => reply.code.get(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_holds_where_a_stage_has_no_rule_of_its_own() {
        let site =
            site(&["each=20ms", "dot=1s", "connect=5ms"], &["each=451", "mail=550@99.99999999"]).unwrap();
        let mut random = Rng::with_seed(1);
        for stage in Stage::ALL {
            let step = site.step(stage, &client(), None, &mut random);
            let (delay_ms, wanted) = match stage {
                Stage::Connect => (5, 0),
                Stage::Handshake | Stage::Body | Stage::Quit => (0, 0),
                Stage::Dot => (1000, 451),
                Stage::Mail => (20, 550),
                _ => (20, 451),
            };
            assert_eq!((step.delay, code(&step)), (Duration::from_millis(delay_ms), wanted), "{stage}");
        }
    }

    #[test]
    fn the_first_rule_that_holds_decides_for_what_it_changes() {
        let rule = |scope: &str| Rule::new(Scope::parse(scope).unwrap());
        let reply = |text: &str| Rule::from(ReplyRule::parse(text).unwrap());
        let for_full = When { recipient: Some(Pattern::parse("full@*").unwrap()), ..When::default() };
        let rules = [
            Rule { when: for_full, ..reply("rcpt=452 4.2.2 Full") },
            Rule { percent: None, delay: Some(Delay::Fixed(Duration::from_millis(7))), ..rule("rcpt") },
            reply("rcpt=450"),
        ];
        let site = Site::new("site", &rules).unwrap();
        let at = |recipient: &str| {
            let path = ForwardPath::parse(recipient).unwrap();
            let step = site.step(Stage::Rcpt, &client(), Some(&path), &mut Rng::with_seed(1));
            (step.delay.as_millis(), code(&step))
        };
        assert_eq!((at("full@x.test"), at("other@x.test")), ((7, 452), (7, 450)));
        assert!(site.needs_words());
    }

    #[test]
    fn the_body_is_asked_about_once_where_it_passes_a_mark() {
        let act = Arc::new(Act::reply(crate::refusal::parse(Stage::Body, "552").unwrap()));
        let body = Rule::new(Scope::Stage(Stage::Body));
        let rules = [
            Rule { after_bytes: Some(1000), act: Some(act), ..body.clone() },
            Rule { delay: Some(Delay::Fixed(Duration::from_millis(3))), ..body },
        ];
        let site = Site::new("site", &rules).unwrap();
        let mut random = Rng::with_seed(1);
        let steps: Vec<(u128, u16)> = [(0, 999), (999, 1000), (1000, 1001), (0, 5000)]
            .into_iter()
            .map(|(before, now)| {
                let step = site.step_at_body(Grown { before, now, in_chunk: false }, &client(), &mut random);
                (step.delay.as_millis(), code(&step))
            })
            .collect();
        assert_eq!(steps, [(3, 0), (3, 552), (3, 0), (3, 552)]);
        let in_chunk =
            site.step_at_body(Grown { before: 0, now: 5000, in_chunk: true }, &client(), &mut random);
        let at_its_end = site.step(Stage::Body, &client(), None, &mut random);
        assert_eq!((in_chunk.delay.as_millis(), code(&in_chunk)), (0, 552));
        assert_eq!((at_its_end.delay.as_millis(), code(&at_its_end)), (3, 0));
    }

    #[test]
    fn rules_that_contradict_each_other_are_refused() {
        for (delays, replies, rule, part) in [
            (&["dot=1s", "dot=2s"][..], &[][..], 1, "delay for dot never holds"),
            (&["each=1s", "each=2s"], &[], 1, "never holds"),
            (&["dot=1s"], &["rcpt=450", "rcpt=550@10"], 2, "reply for rcpt never holds"),
            (&[], &["rcpt=450@60", "mail=450", "rcpt=550@60"], 2, "come to 120 percent"),
        ] {
            let contradiction = site(delays, replies).unwrap_err();
            assert_eq!(contradiction.rule, rule, "{contradiction}");
            assert!(contradiction.message.contains(part), "{contradiction}");
        }
        assert!(site(&[], &["rcpt=450@33.3", "rcpt=451@33.3", "rcpt=550@33.4"]).is_ok());
        assert!(site(&[], &["rcpt=450@10", "rcpt=550"]).is_ok());
    }
}
