//! A profile as it is written: the only types of this crate that serde fills, close to the text, nothing checked.

use serde::{Deserialize, Deserializer, de};
use std::fmt;
use std::time::Duration;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawProfile {
    pub name: String,
    #[serde(default)]
    pub purpose: String,
    pub seed: Option<u64>,
    pub repeats: Option<u32>,
    pub placement: Option<String>,
    #[serde(default, deserialize_with = "settings::duration::deserialize_option")]
    pub drain_timeout: Option<Duration>,
    pub tls: Option<String>,
    #[serde(default)]
    pub load: RawLoad,
    #[serde(default)]
    pub sink: RawSink,
    #[serde(default)]
    pub subject: Vec<RawSubject>,
    pub tarpits: Option<RawTarpits>,
    pub points: RawPoints,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawTarpits {
    pub destinations: u32,
    #[serde(deserialize_with = "settings::duration::deserialize")]
    pub every: Duration,
    pub messages_per_second: f64,
    #[serde(default, deserialize_with = "settings::duration::deserialize_option")]
    pub warm_up: Option<Duration>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawLoad {
    pub model: Option<String>,
    #[serde(default, deserialize_with = "settings::size::deserialize_option")]
    pub size: Option<u64>,
    pub connections: Option<u32>,
    pub sender: Option<String>,
    pub recipient: Option<String>,
    pub messages_per_connection: Option<u32>,
    pub pipelining: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawSink {
    pub delay: Option<RawStages<String>>,
    /// Each a text or a list of them.
    pub reply: Option<RawStages<Texts>>,
}

/// A rule by stage; a struct rather than a map, so that a wrong stage is an unknown key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawStages<T> {
    pub each: Option<T>,
    pub connect: Option<T>,
    pub banner: Option<T>,
    pub ehlo: Option<T>,
    pub starttls: Option<T>,
    pub handshake: Option<T>,
    pub auth: Option<T>,
    pub mail: Option<T>,
    pub rcpt: Option<T>,
    pub data: Option<T>,
    pub body: Option<T>,
    pub dot: Option<T>,
    pub rset: Option<T>,
    pub noop: Option<T>,
    pub quit: Option<T>,
}

impl<T> RawStages<T> {
    /// What is given, by the name of the stage.
    pub fn given(&self) -> impl Iterator<Item = (&'static str, &T)> {
        let all = [
            ("each", &self.each),
            ("connect", &self.connect),
            ("banner", &self.banner),
            ("ehlo", &self.ehlo),
            ("starttls", &self.starttls),
            ("handshake", &self.handshake),
            ("auth", &self.auth),
            ("mail", &self.mail),
            ("rcpt", &self.rcpt),
            ("data", &self.data),
            ("body", &self.body),
            ("dot", &self.dot),
            ("rset", &self.rset),
            ("noop", &self.noop),
            ("quit", &self.quit),
        ];
        all.into_iter().filter_map(|(stage, given)| Some((stage, given.as_ref()?)))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawSubject {
    pub name: String,
    pub mta: Option<String>,
    pub driver: Option<String>,
    pub agents_max: Option<Count>,
    pub connections_per_agent: Option<Count>,
    pub spawn: Option<String>,
    pub max_use: Option<u32>,
    #[serde(default, deserialize_with = "settings::duration::deserialize_option")]
    pub max_idle: Option<Duration>,
    pub durability: Option<String>,
    pub spool: Option<String>,
    pub queue: Option<RawQueue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawQueue {
    #[serde(default, deserialize_with = "settings::duration::deserialize_option")]
    pub minimal_backoff: Option<Duration>,
    #[serde(default, deserialize_with = "settings::duration::deserialize_option")]
    pub maximal_backoff: Option<Duration>,
    #[serde(default, deserialize_with = "settings::duration::deserialize_option")]
    pub lifetime: Option<Duration>,
    pub scheduler: Option<String>,
    pub destination_concurrency: Option<u32>,
    pub initial_destination_concurrency: Option<u32>,
    #[serde(default, deserialize_with = "settings::duration::deserialize_option")]
    pub slow_after: Option<Duration>,
    pub retry_share: Option<f64>,
    pub slow_share: Option<f64>,
    pub unproven_share: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawPoints {
    pub concurrency: Vec<u32>,
    pub size: Option<Vec<Size>>,
    pub delay: Option<Vec<String>>,
    #[serde(default, deserialize_with = "settings::duration::deserialize_option")]
    pub duration: Option<Duration>,
    pub messages: Option<u64>,
    pub messages_min: Option<u64>,
    pub messages_max: Option<u64>,
    pub hold: Option<Vec<RawHold>>,
    pub tarpit_percent: Option<Vec<u32>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawHold {
    pub state: String,
    pub concurrency: Option<Vec<u32>>,
}

/// A number, or the point's concurrency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    Number(u32),
    Concurrency,
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Count, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = Count;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a number or \"concurrency\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Count, E> {
                match text {
                    "concurrency" => Ok(Count::Concurrency),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Count, E> {
                u32::try_from(number)
                    .map(Count::Number)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(number), &self))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Count, E> {
                u32::try_from(number)
                    .map(Count::Number)
                    .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(number), &self))
            }
        }
        deserializer.deserialize_any(Text)
    }
}

/// `"450@10"` or `["450@10", "550@5"]`.
#[derive(Debug)]
pub(crate) struct Texts(pub Vec<String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Texts, D::Error> {
        struct Reply;
        impl<'de> de::Visitor<'de> for Reply {
            type Value = Texts;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a reply such as \"450@10\", or a list of them")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Texts, E> {
                Ok(Texts(vec![text.to_owned()]))
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Texts, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                Ok(Texts(texts))
            }
        }
        deserializer.deserialize_any(Reply)
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(transparent)]
pub(crate) struct Size(#[serde(deserialize_with = "settings::size::deserialize")] pub u64);
