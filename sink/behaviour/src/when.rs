//! Under which circumstances a rule holds.

use crate::pattern::Pattern;
use smtp::{ForwardPath, ReversePath};
use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// All that is given must hold; nothing given always holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct When {
    pub client: Option<Network>,
    pub hello: Option<Pattern>,
    /// The null reverse-path is `<>`.
    pub sender: Option<Pattern>,
    /// At RCPT the recipient itself, at the dot of LMTP the one that is answered, elsewhere any that was accepted.
    pub recipient: Option<Pattern>,
    pub tls: Option<bool>,
    /// Whether AUTH has succeeded.
    pub auth: Option<bool>,
    /// Messages of the connection, from 1.
    pub message: Option<Count>,
    /// Connections of the sink, from 1.
    pub connection: Option<Count>,
}

/// What is known of a client.
#[derive(Debug, Clone)]
pub struct Client {
    pub address: IpAddr,
    /// Of the sink's connections, from 1.
    pub connection: u64,
    pub tls: bool,
    pub auth: bool,
    /// Of the connection, from 1: the one under way, or the next.
    pub message: u64,
    /// `None` while no rule asks for it.
    pub words: Option<Box<Words>>,
}

/// What a client has said, kept only for rules that ask.
#[derive(Debug, Clone, Default)]
pub struct Words {
    pub hello: String,
    pub sender: Option<ReversePath>,
    /// The accepted ones of the transaction.
    pub recipients: Vec<ForwardPath>,
}

impl When {
    /// Whether it holds for `client`; `recipient` is the one that the occasion is about, if it is about one.
    pub fn holds(&self, client: &Client, recipient: Option<&ForwardPath>) -> bool {
        let counts =
            |count: &Option<Count>, number| count.as_ref().is_none_or(|count| count.0.contains(&number));
        self.client.as_ref().is_none_or(|network| network.contains(client.address))
            && self.tls.is_none_or(|tls| tls == client.tls)
            && self.auth.is_none_or(|auth| auth == client.auth)
            && counts(&self.message, client.message)
            && counts(&self.connection, client.connection)
            && (!self.needs_words() || self.fits(client.words.as_deref(), recipient))
    }

    fn fits(&self, words: Option<&Words>, recipient: Option<&ForwardPath>) -> bool {
        let fits = |pattern: &Option<Pattern>, text: Option<&str>| {
            pattern.as_ref().is_none_or(|pattern| text.is_some_and(|text| pattern.fits(text)))
        };
        let hello = words.map(|words| words.hello.as_str());
        let sender = words.and_then(|words| words.sender.as_ref()).map(|path| match path {
            ReversePath::Null => "<>",
            ReversePath::Mailbox(mailbox) => mailbox.as_str(),
        });
        let any = || {
            let recipients = words.map_or(&[][..], |words| &words.recipients);
            recipients.iter().any(|recipient| fits(&self.recipient, Some(recipient.as_str())))
        };
        fits(&self.hello, hello)
            && fits(&self.sender, sender)
            && match (recipient, &self.recipient) {
                (_, None) => true,
                (Some(recipient), _) => fits(&self.recipient, Some(recipient.as_str())),
                (None, Some(_)) => any(),
            }
    }

    /// Whether what the client said must be kept for it.
    pub fn needs_words(&self) -> bool {
        self.hello.is_some() || self.sender.is_some() || self.recipient.is_some()
    }
}

/// Numbers from one to another, or without end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count(RangeInclusive<u64>);

impl Count {
    /// Reads `3`, `3..` or `3..5` (both included).
    ///
    /// # Errors
    /// Anything else, or a range without a number in it.
    pub fn parse(text: &str) -> Result<Count, String> {
        let number = |text: &str| text.trim().parse::<u64>().ok().filter(|&number| number > 0);
        let range = match text.split_once("..") {
            None => number(text).map(|only| only..=only),
            Some((from, "")) => number(from).map(|from| from..=u64::MAX),
            Some((from, to)) => number(from).zip(number(to)).map(|(from, to)| from..=to),
        };
        match range {
            Some(range) if !range.is_empty() => Ok(Count(range)),
            _ => Err(format!("`{text}` is not a number from 1, nor a range such as 3.. or 3..5")),
        }
    }
}

/// An address and those that begin alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix_bits: u32,
}

impl Network {
    /// Reads `127.0.0.1`, `127.0.0.0/8` or `::1/128`.
    ///
    /// # Errors
    /// Anything else.
    pub fn parse(text: &str) -> Result<Network, String> {
        let (address, bits) =
            text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let network = address.trim().parse().ok().and_then(|address: IpAddr| {
            let all_bits = if address.is_ipv4() { 32 } else { 128 };
            let prefix_bits = bits.map_or(Some(all_bits), |bits| bits.trim().parse().ok())?;
            (prefix_bits <= all_bits).then_some(Network { address, prefix_bits })
        });
        network.ok_or_else(|| format!("`{text}` is not a network; write an address, such as 127.0.0.0/8"))
    }

    fn contains(&self, address: IpAddr) -> bool {
        let differing = match (self.address, address.to_canonical()) {
            (IpAddr::V4(one), IpAddr::V4(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
            (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
            _ => return false,
        };
        differing >= self.prefix_bits
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_and_counts_hold_what_they_say() {
        for (network, address, within) in [
            ("127.0.0.0/8", "127.255.0.1", true),
            ("127.0.0.0/8", "128.0.0.1", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("0.0.0.0/0", "10.1.2.3", true),
            ("::1", "::1", true),
            ("::/0", "127.0.0.1", false),
            ("127.0.0.1", "::ffff:127.0.0.1", true),
        ] {
            let contains = Network::parse(network).unwrap().contains(address.parse().unwrap());
            assert_eq!(contains, within, "{network} {address}");
        }
        for text in ["127.0.0.1/33", "localhost", "127.0.0.1/", "::1/129", ""] {
            assert!(Network::parse(text).is_err(), "{text}");
        }
        let holds = |text: &str, number| Count::parse(text).unwrap().0.contains(&number);
        assert!(
            holds("3", 3)
                && !holds("3", 4)
                && holds("3..", u64::MAX)
                && holds("3..5", 5)
                && !holds("3..5", 6)
        );
        for text in ["0", "", "..", "..3", "5..3", "x", "1..x", "-1"] {
            assert!(Count::parse(text).is_err(), "{text}");
        }
    }
}
