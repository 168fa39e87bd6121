//! A site file as it is written: names and types of its keys, nothing checked beyond them.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    #[serde(default)]
    pub seed: Option<u64>,
    #[serde(default)]
    pub site: Vec<Site>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Site {
    pub name: String,
    #[serde(default)]
    pub listen: Vec<String>,
    pub weight: Option<f64>,
    #[serde(default)]
    pub recipients: Vec<String>,
    pub hostname: Option<String>,
    pub protocol: Option<Protocol>,
    pub max_recipients: Option<u32>,
    #[serde(default, deserialize_with = "settings::size::deserialize_option")]
    pub max_message_size: Option<u64>,
    pub max_errors: Option<u32>,
    #[serde(default, deserialize_with = "settings::size::deserialize_option")]
    pub window: Option<u64>,
    #[serde(default, deserialize_with = "settings::size::deserialize_option")]
    pub chunk: Option<u64>,
    pub trap: Option<String>,
    #[serde(default)]
    pub delay: BTreeMap<String, String>,
    #[serde(default)]
    pub reply: BTreeMap<String, OneOrMany>,
    pub extensions: Option<Extensions>,
    #[serde(default)]
    pub users: BTreeMap<String, String>,
    pub tls: Option<Tls>,
    #[serde(default)]
    pub rule: Vec<Rule>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Smtp,
    Lmtp,
}

/// `"a"` or `["a", "b"]`.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "write a string or a list of strings")]
pub enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extensions {
    pub ehlo: Option<bool>,
    pub pipelining: Option<bool>,
    pub size: Option<bool>,
    #[serde(rename = "8bitmime")]
    pub eight_bit_mime: Option<bool>,
    pub enhancedstatuscodes: Option<bool>,
    pub smtputf8: Option<bool>,
    pub chunking: Option<bool>,
    pub dsn: Option<bool>,
    pub requiretls: Option<bool>,
    pub auth: Option<Vec<String>>,
    pub limits: Option<Limits>,
    #[serde(default)]
    pub keywords: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub rcptmax: Option<NonZeroU32>,
    pub mailmax: Option<NonZeroU32>,
    pub rcptdomainmax: Option<NonZeroU32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    #[serde(default)]
    pub mode: TlsMode,
    pub versions: Option<Vec<String>>,
    pub certificate: Option<String>,
    pub key: Option<String>,
    pub tickets: Option<bool>,
    pub close_notify: Option<bool>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsMode {
    #[default]
    StartTls,
    Implicit,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    pub at: OneOrMany,
    #[serde(default)]
    pub when: When,
    pub percent: Option<f64>,
    #[serde(default, deserialize_with = "settings::size::deserialize_option")]
    pub after: Option<u64>,
    pub delay: Option<String>,
    pub pace: Option<Pace>,
    pub reply: Option<String>,
    pub raw: Option<String>,
    pub endless: Option<String>,
    #[serde(default, deserialize_with = "settings::duration::deserialize_option")]
    pub every: Option<Duration>,
    pub fault: Option<String>,
    pub accepts: Option<bool>,
    pub cut: Option<usize>,
    pub also: Option<String>,
    #[serde(default, deserialize_with = "settings::duration::deserialize_option")]
    pub also_after: Option<Duration>,
    pub then: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct When {
    pub client: Option<String>,
    pub hello: Option<String>,
    pub sender: Option<String>,
    pub recipient: Option<String>,
    pub tls: Option<bool>,
    pub auth: Option<bool>,
    pub message: Option<Count>,
    pub connection: Option<Count>,
}

/// `3` or `"3..5"`.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "write a number, or a range such as \"3..5\"")]
pub enum Count {
    Number(u64),
    Range(String),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pace {
    pub bytes: Option<usize>,
    #[serde(deserialize_with = "settings::duration::deserialize")]
    pub every: Duration,
}

impl OneOrMany {
    pub fn as_slice(&self) -> &[String] {
        match self {
            OneOrMany::One(one) => std::slice::from_ref(one),
            OneOrMany::Many(many) => many,
        }
    }
}
