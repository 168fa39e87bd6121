//! Sets of addresses as people write them, and drawing one.
//!
//! ```text
//! SET = "user@one.test"                 this address
//!     | "user{1000}@one.test"           numbered from 1 to 1000, all alike
//!     | "user{1000}@d{50~1.1}.test"     the second number by Zipf's law: the k-th is drawn in proportion to 1/k^1.1
//!     | "file(NAME)"                    a line each: an address, and a weight where it is not 1
//! ```

use fastrand::Rng;
use smtp::{ForwardPath, ReversePath};
use std::path::Path;

/// A set of addresses.
#[derive(Debug)]
pub struct Addresses(Kind);

#[derive(Debug)]
enum Kind {
    Pattern(Vec<Part>),
    List { addresses: Vec<String>, choice: Choice },
}

#[derive(Debug)]
enum Part {
    Text(String),
    Number(Choice),
}

/// A choice of a number from 0 on.
#[derive(Debug)]
enum Choice {
    Alike(u64),
    /// The sum of the weights up to and including each.
    Weighted(Vec<f64>),
}

impl Addresses {
    /// Reads a set; each address must be one that MAIL and RCPT take.
    ///
    /// # Errors
    /// What is wrong with the text or the file.
    pub fn parse(text: &str) -> Result<Addresses, String> {
        let set = match text.strip_prefix("file(").and_then(|rest| rest.strip_suffix(')')) {
            Some(path) => Addresses::read(Path::new(path))?,
            None => Addresses(Kind::Pattern(pattern(text)?)),
        };
        match &set.0 {
            Kind::Pattern(parts) => check(&last(parts))?,
            Kind::List { addresses, .. } => addresses.iter().try_for_each(|address| check(address))?,
        }
        Ok(set)
    }

    /// The only address of the set, if there is one only.
    pub fn only(&self) -> Option<String> {
        match &self.0 {
            Kind::Pattern(parts) => match parts[..] {
                [] => Some(String::new()),
                [Part::Text(ref text)] => Some(text.clone()),
                _ => None,
            },
            Kind::List { .. } => None,
        }
    }

    /// One of the addresses.
    pub fn draw(&self, chance: &mut Rng) -> String {
        match &self.0 {
            Kind::Pattern(parts) => {
                let word = |part: &Part| match part {
                    Part::Text(text) => text.clone(),
                    Part::Number(choice) => (choice.draw(chance) + 1).to_string(),
                };
                parts.iter().map(word).collect()
            }
            Kind::List { addresses, choice } => addresses[choice.draw(chance) as usize].clone(),
        }
    }

    fn read(path: &Path) -> Result<Addresses, String> {
        let text = settings::read_text(path).map_err(|error| error.to_string())?;
        let (mut addresses, mut weights) = (Vec::new(), Vec::new());
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (address, weight) = line.split_once([' ', '\t']).unwrap_or((line, "1"));
            match weight.trim().parse::<f64>() {
                Ok(weight) if weight.is_finite() && weight > 0.0 => weights.push(weight),
                _ => {
                    let place = format!("{}:{}", path.display(), index + 1);
                    return Err(format!("{place}: `{}` is not a weight above 0", weight.trim()));
                }
            }
            addresses.push(address.to_owned());
        }
        match addresses.is_empty() {
            true => Err(format!("{}: no address in it", path.display())),
            false => Ok(Addresses(Kind::List { choice: Choice::weighted(weights), addresses })),
        }
    }
}

impl Choice {
    fn weighted(weights: impl IntoIterator<Item = f64>) -> Choice {
        let mut sum = 0.0;
        let sums = weights.into_iter().map(|weight| {
            sum += weight;
            sum
        });
        Choice::Weighted(sums.collect())
    }

    fn draw(&self, chance: &mut Rng) -> u64 {
        match self {
            Choice::Alike(count) => chance.u64(..count),
            Choice::Weighted(sums) => {
                let share = chance.f64() * sums.last().copied().unwrap_or(0.0);
                sums.partition_point(|&sum| sum <= share).min(sums.len() - 1) as u64
            }
        }
    }

    fn last(&self) -> u64 {
        match self {
            Choice::Alike(count) => *count,
            Choice::Weighted(sums) => sums.len() as u64,
        }
    }
}

fn pattern(text: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((inside, after)) = after.split_once('}') else {
            return Err(format!("`{text}` has no closing brace"));
        };
        if !before.is_empty() {
            parts.push(Part::Text(before.to_owned()));
        }
        parts.push(Part::Number(choice(inside)?));
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    Ok(parts)
}

fn choice(text: &str) -> Result<Choice, String> {
    let (count, exponent) = text.split_once('~').map_or((text, None), |(count, by)| (count, Some(by)));
    let count = match count.parse::<u64>() {
        Ok(count) if (1..=NUMBERS_MAX).contains(&count) => count,
        _ => return Err(format!("`{{{text}}}`: write a number from 1 to {NUMBERS_MAX}")),
    };
    let Some(exponent) = exponent else { return Ok(Choice::Alike(count)) };
    match exponent.parse::<f64>() {
        Ok(exponent) if (0.0..=10.0).contains(&exponent) => {
            Ok(Choice::weighted((1..=count).map(|rank| (rank as f64).powf(-exponent))))
        }
        _ => Err(format!("`{{{text}}}`: write the exponent of Zipf's law after ~, such as {{50~1.1}}")),
    }
}

/// The longest address of a pattern.
fn last(parts: &[Part]) -> String {
    let word = |part: &Part| match part {
        Part::Text(text) => text.clone(),
        Part::Number(choice) => choice.last().to_string(),
    };
    parts.iter().map(word).collect()
}

fn check(address: &str) -> Result<(), String> {
    forward_path(address).map(|_| ()).map_err(|error| format!("{address:?}: {error}"))
}

/// An address as RCPT's argument.
pub fn forward_path(address: &str) -> Result<ForwardPath, smtp::PathError> {
    ForwardPath::parse_utf8(address)
}

/// An address as MAIL's argument.
pub fn reverse_path(address: &str) -> Result<ReversePath, smtp::PathError> {
    ReversePath::parse_utf8(address)
}

/// Weights of as many take a few megabytes.
const NUMBERS_MAX: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn counts(text: &str, draws: usize) -> BTreeMap<String, usize> {
        let set = Addresses::parse(text).expect(text);
        let mut chance = Rng::with_seed(5);
        let mut counts = BTreeMap::new();
        for _ in 0..draws {
            *counts.entry(set.draw(&mut chance)).or_default() += 1;
        }
        counts
    }

    #[test]
    fn numbers_are_drawn_alike_or_by_zipfs_law() {
        assert_eq!(counts("a@b.test", 3), BTreeMap::from([("a@b.test".to_owned(), 3)]));
        let alike = counts("u{4}@b.test", 4000);
        assert_eq!(alike.len(), 4);
        assert!(alike.values().all(|count| (900..1100).contains(count)), "{alike:?}");
        // With exponent 1 the first of three gets 6/11, the second 3/11, the third 2/11.
        let zipf = counts("u@d{3~1}.test", 11_000);
        for (address, expected) in [("u@d1.test", 6000), ("u@d2.test", 3000), ("u@d3.test", 2000)] {
            assert!((zipf[address] as i64 - expected).abs() < 200, "{zipf:?}");
        }
        assert!(counts("u{2}@d{2}.test", 100).len() == 4);
    }

    #[test]
    fn a_file_has_addresses_with_weights() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("addresses");
        let text = format!("file({})", path.display());
        std::fs::write(&path, "# ours\na@x.test 3\n\nb@x.test\n").expect("a file");
        let drawn = counts(&text, 4000);
        assert!((2850..3150).contains(&drawn["a@x.test"]) && drawn.len() == 2, "{drawn:?}");
        for (content, words) in [
            ("", "no address"),
            ("a@x.test 0", ":1: `0` is not a weight"),
            ("a@x.test\nb@x.test many", ":2: `many`"),
            ("nobody", "\"nobody\": "),
        ] {
            std::fs::write(&path, content).expect("a file");
            let error = Addresses::parse(&text).expect_err(content);
            assert!(error.contains(words), "{error}");
        }
        assert!(Addresses::parse("file(/nonexistent)").is_err());
    }

    #[test]
    fn what_is_no_set_of_addresses_is_refused() {
        for text in [
            "",
            "nobody",
            "a{@b.test",
            "a{0}@b.test",
            "a{x}@b.test",
            "a{9~}@b.test",
            "a{9999999}@b.test",
            "a{2~99}@b.test",
            "a@b\r\nRSET",
        ] {
            assert!(Addresses::parse(text).is_err(), "{text:?}");
        }
        assert!(Addresses::parse("jürgen{2}@b.test").is_ok());
    }
}
