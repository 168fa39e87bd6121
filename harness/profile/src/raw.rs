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
    pub points: RawPoints,
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
    #[serde(default)]
    pub delay: RawDelays,
    #[serde(default)]
    pub reply: RawReplies,
}

/// A delay by stage; a struct rather than a map, so that a wrong stage is an unknown key.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawDelays {
    pub each: Option<String>,
    pub connect: Option<String>,
    pub banner: Option<String>,
    pub ehlo: Option<String>,
    pub mail: Option<String>,
    pub rcpt: Option<String>,
    pub data: Option<String>,
    pub dot: Option<String>,
    pub rset: Option<String>,
    pub noop: Option<String>,
    pub quit: Option<String>,
}

/// Replies by stage, each a text or a list of them.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawReplies {
    pub each: Option<Texts>,
    pub banner: Option<Texts>,
    pub ehlo: Option<Texts>,
    pub mail: Option<Texts>,
    pub rcpt: Option<Texts>,
    pub data: Option<Texts>,
    pub dot: Option<Texts>,
    pub rset: Option<Texts>,
    pub noop: Option<Texts>,
    pub quit: Option<Texts>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawSubject {
    pub name: String,
    pub mta: Option<String>,
    pub driver: String,
    pub agents_max: Count,
    pub connections_per_agent: Count,
    pub spawn: Option<String>,
    pub max_use: Option<u32>,
    #[serde(default, deserialize_with = "settings::duration::deserialize_option")]
    pub max_idle: Option<Duration>,
    pub durability: Option<String>,
    #[serde(default)]
    pub queue: RawQueue,
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
    pub messages_max: Option<u64>,
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
