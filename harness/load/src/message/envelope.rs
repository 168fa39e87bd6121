//! A message's sender and recipients.

use super::address::{Addresses, forward_path, reverse_path};
use distribution::Distribution;
use fastrand::Rng;
use smtp::{ForwardPath, ReversePath};
use std::fmt::Write;
use std::rc::Rc;

/// Where senders and recipients are drawn from.
pub struct Envelope {
    /// None: the null reverse-path.
    from: Option<Addresses>,
    to: Vec<Addresses>,
    recipients: Option<Distribution>,
    /// What every draw gives, where there is no choice.
    fixed: Option<Drawn>,
}

/// One message's sender and recipients.
#[derive(Clone, Debug)]
pub struct Drawn {
    pub reverse_path: ReversePath,
    pub recipients: Vec<ForwardPath>,
    /// The header fields From and To.
    pub lines: Rc<str>,
}

impl Envelope {
    /// Reads the sets of addresses. With `recipients` so many are drawn, each from one of `to`, none twice; else one from
    /// each of `to`.
    ///
    /// # Errors
    /// The option that has a value that can't be, and why.
    pub fn new(
        from: &str,
        to: &[String],
        recipients: Option<Distribution>,
    ) -> Result<Envelope, (&'static str, String)> {
        let from = match from {
            "" => None,
            text => Some(Addresses::parse(text).map_err(|problem| ("--from", problem))?),
        };
        let parse = |text: &String| Addresses::parse(text).map_err(|problem| ("--to", problem));
        let to = to.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        if to.is_empty() {
            return Err(("--to", "must be given at least once".to_owned()));
        }
        if let Some(largest) = recipients.as_ref().and_then(Distribution::largest)
            && largest > RECIPIENTS_MAX as f64
        {
            return Err(("--recipients", format!("at most {RECIPIENTS_MAX}")));
        }
        let mut envelope = Envelope { from, to, recipients, fixed: None };
        let choice = |addresses: &Addresses| addresses.only().is_none();
        if envelope.recipients.is_none() && !envelope.from.iter().chain(&envelope.to).any(choice) {
            envelope.fixed = Some(envelope.draw(&mut Rng::with_seed(0)));
        }
        Ok(envelope)
    }

    /// One message's sender and recipients.
    pub fn draw(&self, chance: &mut Rng) -> Drawn {
        if let Some(fixed) = &self.fixed {
            return fixed.clone();
        }
        const CHECKED: &str = "every address of a set was checked when it was read";
        let reverse_path = match &self.from {
            None => ReversePath::Null,
            Some(from) => reverse_path(&from.draw(chance)).expect(CHECKED),
        };
        let addresses = match &self.recipients {
            None => self.to.iter().map(|set| set.draw(chance)).collect(),
            Some(count) => self.some(count.draw(chance), chance),
        };
        let recipients: Vec<ForwardPath> =
            addresses.iter().map(|address| forward_path(address).expect(CHECKED)).collect();
        let lines = lines(&reverse_path, &recipients).into();
        Drawn { reverse_path, recipients, lines }
    }

    /// So many different recipients, or as many as a few tries for each find.
    fn some(&self, count: f64, chance: &mut Rng) -> Vec<String> {
        let count = (count.round() as usize).clamp(1, RECIPIENTS_MAX);
        let mut found = Vec::with_capacity(count);
        let mut known = std::collections::HashSet::with_capacity(count);
        for _ in 0..TRIES * count {
            if found.len() == count {
                break;
            }
            let address = self.to[chance.usize(..self.to.len())].draw(chance);
            if known.insert(address.clone()) {
                found.push(address);
            }
        }
        found
    }
}

/// The header fields From and To. A list of many is not what a header of real mail has.
fn lines(from: &ReversePath, to: &[ForwardPath]) -> String {
    const TEXT: &str = "a String accepts every write";
    let mut lines = format!("From: <{from}>\r\nTo: ");
    if to.len() > SHOWN_MAX {
        lines.push_str("undisclosed-recipients:;");
    } else {
        for (index, path) in to.iter().enumerate() {
            let separator = if index == 0 { "" } else { ",\r\n " };
            write!(lines, "{separator}<{path}>").expect(TEXT);
        }
    }
    lines + "\r\n"
}

/// RFC 5321 §4.5.3.1.8: a server takes at least 100; some take thousands.
const RECIPIENTS_MAX: usize = 10_000;
const SHOWN_MAX: usize = 20;
const TRIES: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(to: &[&str], recipients: Option<Distribution>) -> Envelope {
        let to: Vec<String> = to.iter().map(|&text| text.to_owned()).collect();
        Envelope::new("s{9}@a.test", &to, recipients).expect("good")
    }

    #[test]
    fn one_recipient_from_each_set_or_so_many_from_all() {
        let mut chance = Rng::with_seed(1);
        let each = envelope(&["x@b.test", "u{5}@c.test"], None).draw(&mut chance);
        assert_eq!((each.recipients.len(), each.recipients[0].as_str()), (2, "x@b.test"));
        let many = envelope(&["u{1000}@c.test"], Some(Distribution::Fixed(50.0))).draw(&mut chance);
        let different: std::collections::BTreeSet<&str> =
            many.recipients.iter().map(ForwardPath::as_str).collect();
        assert_eq!(different.len(), 50);
        assert!(many.lines.ends_with("To: undisclosed-recipients:;\r\n"), "{}", many.lines);
        let few = envelope(&["u{3}@c.test"], Some(Distribution::Fixed(50.0))).draw(&mut chance);
        assert_eq!(few.recipients.len(), 3, "there are no more");
    }

    #[test]
    fn a_choice_of_one_is_made_once() {
        let envelope = Envelope::new("", &["x@b.test".to_owned()], None).expect("good");
        assert!(envelope.fixed.is_some());
        let drawn = envelope.draw(&mut Rng::with_seed(1));
        assert_eq!(&*drawn.lines, "From: <>\r\nTo: <x@b.test>\r\n");
        assert!(matches!(Envelope::new("", &[], None), Err(("--to", _))));
        let many = Some(Distribution::Fixed(1e9));
        assert!(matches!(Envelope::new("", &["x@b.test".to_owned()], many), Err(("--recipients", _))));
    }
}
