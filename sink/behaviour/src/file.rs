//! From the text of a site file to the sites it describes. docs/SINK.md lists the keys.

use crate::act::{Act, Also, Pace, Say, Then};
use crate::delay::{self, Delay, ReadFile};
use crate::fault;
use crate::octets;
use crate::offer_file;
use crate::pattern::Pattern;
use crate::raw;
use crate::reach;
use crate::refusal;
use crate::rule::{self, DelayRule, ReplyRule, Rule, Scope};
use crate::site::{Contradiction, Site};
use crate::sites::Sites;
use crate::when::{Count, Network, When};
use settings::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// What a site file says.
#[derive(Debug)]
pub struct SiteFile {
    pub seed: Option<u64>,
    pub sites: Vec<Site>,
}

impl SiteFile {
    /// Reads a site file; `name` is its own in messages, `read` reads the files of measured latencies that it names.
    ///
    /// # Errors
    /// The line and column of whatever is not understood, contradicts itself or can't be, and what to write instead.
    pub fn parse(text: &str, name: &str, read: ReadFile<'_>) -> Result<SiteFile, Error> {
        let raw: raw::File = settings::parse_toml(text, name)?;
        if raw.site.is_empty() {
            return Err(Error::whole(
                name,
                "no site in it; begin with [[site]] and name = \"...\"".to_owned(),
            ));
        }
        let sites = raw.site.iter().enumerate().map(|(place, raw)| {
            site(raw, read)
                .map_err(|(key, message)| Error::at(name, text, &format!("site.{place}.{key}"), message))
        });
        let sites = sites.collect::<Result<Vec<Site>, Error>>()?;
        Sites::new(0, sites.clone()).map_err(|message| Error::whole(name, message))?;
        Ok(SiteFile { seed: raw.seed, sites })
    }
}

/// The key where something is wrong, and what.
pub type Wrong = (String, String);

fn site(raw: &raw::Site, read: ReadFile<'_>) -> Result<Site, Wrong> {
    reach::site(raw)?;
    // Each rule with the key that it stands at. Those in short come last: where a rule holds, it decides.
    let mut rules: Vec<Rule> = Vec::new();
    let mut keys: Vec<String> = Vec::new();
    for (place, raw) in raw.rule.iter().enumerate() {
        let wrong = |(key, message): Wrong| (format!("rule.{place}.{key}"), message);
        rules.extend(self::rules(raw, read).map_err(wrong)?);
        keys.resize(rules.len(), format!("rule.{place}"));
    }
    for (stage, replies) in &raw.reply {
        let key = format!("reply.{stage}");
        for reply in replies.as_slice() {
            let rule = ReplyRule::parse(&format!("{stage}={reply}"));
            rules.push(rule.map_err(at(&key))?.into());
        }
        keys.resize(rules.len(), key);
    }
    for (stage, delay) in &raw.delay {
        let key = format!("delay.{stage}");
        let rule = DelayRule::parse(&format!("{stage}={delay}"), read);
        rules.push(rule.map_err(at(&key))?.into());
        keys.push(key);
    }
    let contradiction =
        |contradiction: Contradiction| (keys[contradiction.rule].clone(), contradiction.message);
    let mut site = Site::new(&raw.name, &rules).map_err(contradiction)?;
    site.offer = offer_file::offer(raw, read)?;
    site.weight = raw.weight.unwrap_or(1.0);
    if !(site.weight > 0.0 && site.weight.is_finite()) {
        return Err(at("weight")(format!("a weight of {} is not a number above 0", site.weight)));
    }
    let address = |text: &String| {
        text.parse::<SocketAddr>()
            .map_err(|_| format!("`{text}` is not ADDRESS:PORT, such as 127.0.0.2:2525"))
    };
    site.listen = raw.listen.iter().map(address).collect::<Result<_, String>>().map_err(at("listen"))?;
    let patterns = raw.recipients.iter().map(|text| Pattern::parse(text));
    site.recipients = patterns.collect::<Result<_, String>>().map_err(at("recipients"))?;
    Ok(site)
}

/// One rule for each stage that it is at: the words of a reply are the stage's own.
fn rules(raw: &raw::Rule, read: ReadFile<'_>) -> Result<Vec<Rule>, Wrong> {
    let delay = raw.delay.as_deref().map(|text| Delay::parse(text, read)).transpose().map_err(at("delay"))?;
    let percent = match raw.percent {
        None => None,
        Some(percent) => Some(rule::percent(&percent.to_string()).map_err(at("percent"))?),
    };
    let when = when(&raw.when)?;
    let pace = raw.pace.as_ref().map(pace).transpose().map_err(at("pace"))?;
    let mut rules = Vec::new();
    for name in raw.at.as_slice() {
        let scope = Scope::parse(name).map_err(at("at"))?;
        reach::rule(raw, scope)?;
        let act = act(raw, scope)?.map(Arc::new);
        if delay.is_none() && pace.is_none() && act.is_none() {
            return Err(at("at")(
                "the rule changes nothing; give it a delay, a pace, a reply, a fault or an end".to_owned(),
            ));
        }
        rules.push(Rule {
            when: when.clone(),
            percent,
            after_bytes: raw.after,
            delay: delay.clone(),
            pace,
            act,
            ..Rule::new(scope)
        });
    }
    Ok(rules)
}

fn act(raw: &raw::Rule, scope: Scope) -> Result<Option<Act>, Wrong> {
    let said = [
        ("reply", raw.reply.is_some()),
        ("raw", raw.raw.is_some()),
        ("endless", raw.endless.is_some()),
        ("fault", raw.fault.is_some()),
    ];
    let mut given = said.iter().filter(|(_, given)| *given);
    if let (Some((first, _)), Some((second, _))) = (given.next(), given.next()) {
        return Err(at(second)(format!("`{first}` and `{second}` are two ways to answer; give one")));
    }
    let stage = scope.stage();
    let bytes = |key: &str, text: &str| octets::parse(text).map(Arc::<[u8]>::from).map_err(at(key));
    let then = raw.then.as_deref().map(then).transpose().map_err(at("then"))?;
    let ends = then.is_some_and(|then| then != Then::GoOn);
    let mut act = match (&raw.reply, &raw.raw, &raw.endless, &raw.fault) {
        (Some(text), ..) if text == USUAL => {
            rule::can_reply(scope).map_err(at("reply"))?;
            usual()
        }
        (Some(text), ..) => {
            rule::can_reply(scope).map_err(at("reply"))?;
            Act::reply(refusal::parse(stage, text).map_err(|message| at("reply")(share_hint(text, message)))?)
        }
        (_, Some(text), ..) => Act { say: Say::Raw(bytes("raw", text)?), ..nothing() },
        (_, _, Some(text), _) => {
            let every = raw.every.unwrap_or(Duration::ZERO);
            delay_bound(every).map_err(at("every"))?;
            let bytes = bytes("endless", text)?;
            if bytes.is_empty() {
                return Err(at("endless")(
                    "nothing, however often it is said, is nothing; write then = \"silence\"".to_owned(),
                ));
            }
            Act { say: Say::Endless { bytes, every }, ..nothing() }
        }
        (.., Some(name)) => fault::act(name, stage).map_err(at("fault"))?,
        // With something after or instead of the reply it is the usual one; an end alone says nothing.
        _ if raw.also.is_some() || raw.cut.is_some() => usual(),
        _ if ends || raw.accepts.is_some() => nothing(),
        _ if then.is_some() => return Err(at("then")("the dialogue goes on anyway".to_owned())),
        _ => return Ok(None),
    };
    if let Some(text) = &raw.also {
        let after = raw.also_after.unwrap_or(Duration::ZERO);
        delay_bound(after).map_err(at("also_after"))?;
        act.also = Some(Also { bytes: bytes("also", text)?, after });
    } else if raw.also_after.is_some() {
        return Err(at("also_after")("there is no `also` to come after the reply".to_owned()));
    }
    if raw.every.is_some() && raw.endless.is_none() {
        return Err(at("every")("it belongs to `endless`".to_owned()));
    }
    act.accepts = raw.accepts.or(act.accepts);
    act.cut = raw.cut.or(act.cut);
    act.then = then.unwrap_or(act.then);
    Ok(Some(act))
}

/// Here the share of a reply stands beside it.
fn share_hint(text: &str, message: String) -> String {
    match text.rsplit_once('@') {
        Some((reply, share)) if rule::percent(share).is_ok() => {
            format!(
                "{message}; here a share is written percent = {}, beside reply = \"{}\"",
                share.trim(),
                reply.trim()
            )
        }
        _ => message,
    }
}

fn usual() -> Act {
    Act { say: Say::Usual, ..nothing() }
}

fn nothing() -> Act {
    Act { say: Say::Nothing, accepts: None, cut: None, also: None, then: Then::GoOn }
}

fn when(raw: &raw::When) -> Result<When, Wrong> {
    let pattern = |key: &str, text: &Option<String>| {
        text.as_deref().map(Pattern::parse).transpose().map_err(at(&format!("when.{key}")))
    };
    let count = |key: &str, count: &Option<raw::Count>| {
        let read = |count: &raw::Count| match count {
            raw::Count::Number(number) => Count::parse(&number.to_string()),
            raw::Count::Range(range) => Count::parse(range),
        };
        count.as_ref().map(read).transpose().map_err(at(&format!("when.{key}")))
    };
    Ok(When {
        client: raw.client.as_deref().map(Network::parse).transpose().map_err(at("when.client"))?,
        hello: pattern("hello", &raw.hello)?,
        sender: pattern("sender", &raw.sender)?,
        recipient: pattern("recipient", &raw.recipient)?,
        tls: raw.tls,
        auth: raw.auth,
        message: count("message", &raw.message)?,
        connection: count("connection", &raw.connection)?,
    })
}

fn pace(raw: &raw::Pace) -> Result<Pace, String> {
    let bytes = raw.bytes.unwrap_or(1);
    delay_bound(raw.every)?;
    match bytes {
        0 => Err("no byte at all would be said; write bytes = 1".to_owned()),
        _ if raw.every.is_zero() => Err("without a time between the bytes there is no pace".to_owned()),
        _ => Ok(Pace { bytes, every: raw.every }),
    }
}

fn delay_bound(duration: Duration) -> Result<(), String> {
    delay::duration(&settings::duration::format(duration)).map(drop)
}

fn then(text: &str) -> Result<Then, String> {
    let found = Then::ALL.into_iter().find(|then| then.as_str() == text);
    found.ok_or_else(|| format!("`{text}` is no end; write one of {}", Then::ALL.map(Then::as_str).join(" ")))
}

/// Names the key that a message is about.
pub fn at(key: &str) -> impl Fn(String) -> Wrong + use<> {
    let key = key.to_owned();
    move |message| (key.clone(), message)
}

/// `reply = "usual"`: what the protocol has, whatever rules come after.
const USUAL: &str = "usual";
