//! One site: its rules by stage, and the dialogue that a connection has with it.

use crate::delay::Delay;
use crate::refusal;
use crate::rule::{DelayRule, ReplyRule, Scope};
use fastrand::Rng;
use smtp::{ForwardPath, Reply, Stage};
use std::sync::Arc;
use std::time::Duration;

/// How one site behaves. Immutable: what a connection has lived through is in its [`Dialogue`].
#[derive(Debug, Clone)]
pub struct Site {
    seed: u64,
    stages: [Manners; Stage::ALL.len()],
}

/// What a site does at one stage.
#[derive(Debug, Clone, Default)]
struct Manners {
    delay: Delay,
    refusals: Vec<Refusal>,
}

#[derive(Debug, Clone)]
struct Refusal {
    reply: Arc<Reply>,
    /// A draw from 0 to 100 below this, and not below the one before, means this refusal.
    up_to_percent: f64,
}

/// One connection's side of the site: its own random stream.
#[derive(Debug, Clone)]
pub struct Dialogue {
    random: Rng,
}

/// What the site is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Occasion<'a> {
    pub stage: Stage,
    /// The recipient of a RCPT.
    pub recipient: Option<&'a ForwardPath>,
}

/// What the site does: it waits for `delay`, then gives `answer`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub delay: Duration,
    pub answer: Answer,
}

/// What the site says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The reply that the protocol has for it.
    Accept,
    Reply(Arc<Reply>),
}

impl Site {
    /// Puts rules together. A rule for `each` holds at the stages that have no rule of that kind of their own.
    ///
    /// # Errors
    /// Two delays for one stage, or refusals of more than 100 percent at one.
    pub fn new(seed: u64, delays: &[DelayRule], replies: &[ReplyRule]) -> Result<Site, String> {
        let mut site = Site { seed, stages: Default::default() };
        for stage in Stage::ALL {
            let manners = &mut site.stages[stage as usize];
            manners.delay = match own(stage, delays, |rule| rule.scope).as_slice() {
                [] => Delay::None,
                [rule] => rule.delay,
                _ => return Err(format!("more than one delay for {stage}; give one")),
            };
            let mut percent = 0.0;
            for rule in own(stage, replies, |rule| rule.scope) {
                percent += rule.percent;
                let reply = Arc::new(refusal::reply(stage, rule.code));
                manners.refusals.push(Refusal { reply, up_to_percent: percent });
            }
            if percent > 100.0 + ROUNDING_PERCENT {
                return Err(format!(
                    "the replies for {stage} come to {percent} percent; at most 100 are there"
                ));
            }
        }
        Ok(site)
    }

    /// A connection's dialogue. The same seed, number and occasions give the same steps.
    pub fn dialogue(&self, connection: u64) -> Dialogue {
        Dialogue { random: Rng::with_seed(mix(self.seed ^ mix(connection))) }
    }

    /// What the site does on this occasion.
    pub fn step(&self, dialogue: &mut Dialogue, occasion: Occasion<'_>) -> Step {
        let manners = &self.stages[occasion.stage as usize];
        Step { delay: manners.delay.draw(&mut dialogue.random), answer: manners.answer(&mut dialogue.random) }
    }
}

impl Manners {
    fn answer(&self, random: &mut Rng) -> Answer {
        if self.refusals.is_empty() {
            return Answer::Accept;
        }
        let drawn_percent = random.f64() * 100.0;
        let refusal = self.refusals.iter().find(|refusal| drawn_percent < refusal.up_to_percent);
        refusal.map_or(Answer::Accept, |refusal| Answer::Reply(Arc::clone(&refusal.reply)))
    }
}

/// The rules that hold at a stage: its own, else those for `each`.
fn own<R>(stage: Stage, rules: &[R], scope: impl Fn(&R) -> Scope) -> Vec<&R> {
    let of = |wanted: Scope| rules.iter().filter(|rule| scope(rule) == wanted).collect::<Vec<_>>();
    let own = of(Scope::Stage(stage));
    if own.is_empty() && Scope::EACH.contains(&stage) { of(Scope::Each) } else { own }
}

/// The finalizer of splitmix64: neighbouring connection numbers get streams that have nothing in common.
fn mix(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Shares such as 33.3 + 33.3 + 33.4 may miss 100 by this much.
const ROUNDING_PERCENT: f64 = 1e-9;

#[cfg(test)]
mod tests {
    use super::*;

    fn site(seed: u64, delays: &[&str], replies: &[&str]) -> Result<Site, String> {
        let delays: Vec<DelayRule> = delays.iter().map(|text| text.parse().unwrap()).collect();
        let replies: Vec<ReplyRule> = replies.iter().map(|text| text.parse().unwrap()).collect();
        Site::new(seed, &delays, &replies)
    }

    fn code(step: &Step) -> u16 {
        match &step.answer {
            Answer::Accept => 0,
            Answer::Reply(reply) => reply.code.get(),
        }
    }

    fn codes(site: &Site, connection: u64, stage: Stage, count: usize) -> Vec<u16> {
        let mut dialogue = site.dialogue(connection);
        let occasion = Occasion { stage, recipient: None };
        (0..count).map(|_| code(&site.step(&mut dialogue, occasion))).collect()
    }

    #[test]
    fn a_seed_repeats_and_connections_differ() {
        let first = site(7, &[], &["rcpt=450@30", "rcpt=550@20"]).unwrap();
        let again = site(7, &[], &["rcpt=450@30", "rcpt=550@20"]).unwrap();
        let other = site(8, &[], &["rcpt=450@30", "rcpt=550@20"]).unwrap();
        let drawn = codes(&first, 1, Stage::Rcpt, 100);
        assert_eq!(drawn, codes(&again, 1, Stage::Rcpt, 100));
        assert_ne!(drawn, codes(&first, 2, Stage::Rcpt, 100));
        assert_ne!(drawn, codes(&other, 1, Stage::Rcpt, 100));

        // The mix is what was asked for, over one long connection and over the first draw of many.
        let long = codes(&first, 3, Stage::Rcpt, 100_000);
        let short: Vec<u16> = (0..100_000).flat_map(|number| codes(&first, number, Stage::Rcpt, 1)).collect();
        for drawn in [long, short] {
            let share = |wanted| drawn.iter().filter(|&&code| code == wanted).count();
            assert!((29_000..31_000).contains(&share(450)), "{}", share(450));
            assert!((19_000..21_000).contains(&share(550)), "{}", share(550));
        }
    }

    #[test]
    fn each_holds_where_a_stage_has_no_rule_of_its_own() {
        let site = site(0, &["each=20ms", "dot=1s", "connect=5ms"], &["each=451", "mail=550@100"]).unwrap();
        let mut dialogue = site.dialogue(1);
        for stage in Stage::ALL {
            let step = site.step(&mut dialogue, Occasion { stage, recipient: None });
            let (delay_ms, wanted) = match stage {
                Stage::Connect => (5, 0),
                Stage::Body | Stage::Quit => (0, 0),
                Stage::Dot => (1000, 451),
                Stage::Mail => (20, 550),
                _ => (20, 451),
            };
            assert_eq!((step.delay, code(&step)), (Duration::from_millis(delay_ms), wanted), "{stage}");
        }
    }

    #[test]
    fn rules_that_contradict_each_other_are_refused() {
        assert!(site(0, &["dot=1s", "dot=2s"], &[]).unwrap_err().contains("more than one delay for dot"));
        assert!(site(0, &["each=1s", "each=2s"], &[]).is_err());
        assert!(site(0, &[], &["rcpt=450@60", "rcpt=550@60"]).unwrap_err().contains("120 percent"));
        assert!(site(0, &[], &["rcpt=450@33.3", "rcpt=451@33.3", "rcpt=550@33.4"]).is_ok());
    }
}
