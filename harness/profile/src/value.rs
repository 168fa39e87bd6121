//! The checks that every key may need: words, numbers, names, addresses, axes; each refusal at the key's own line.

use settings::Error;

/// A profile's text, for messages that point into it.
pub(crate) struct Checker<'a> {
    pub file: &'a str,
    pub text: &'a str,
}

impl Checker<'_> {
    pub fn error(&self, key: &str, message: impl Into<String>) -> Error {
        Error::at(self.file, self.text, key, message.into())
    }

    pub fn word<T: Copy>(
        &self,
        key: &str,
        given: Option<&str>,
        default: &str,
        all: &[T],
        as_str: impl Fn(T) -> &'static str,
    ) -> Result<T, Error> {
        let given_word = given.unwrap_or(default);
        if let Some(word) = all.iter().find(|word| as_str(**word) == given_word) {
            return Ok(*word);
        }
        let name = key.rsplit('.').next().unwrap_or(key);
        let known: Vec<&str> = all.iter().map(|word| as_str(*word)).collect();
        let choice = format!("write {}", known.join(" or "));
        if LATER.contains(&(name, given_word)) {
            let message = format!("`{name}` = \"{given_word}\" is not there yet");
            return Err(self.error(key, message).with_hint(choice));
        }
        let hint = match settings::nearest(given_word, known.iter().copied()) {
            Some(right) => format!("did you mean `{right}`?"),
            None => choice,
        };
        Err(self.error(key, format!("unknown value `{given_word}` for `{name}`")).with_hint(hint))
    }

    pub fn number<T: Copy + PartialOrd + std::fmt::Display>(
        &self,
        key: &str,
        given: Option<T>,
        default: T,
        range: std::ops::RangeInclusive<T>,
    ) -> Result<T, Error> {
        let number = given.unwrap_or(default);
        if range.contains(&number) {
            return Ok(number);
        }
        let name = key.rsplit('.').next().unwrap_or(key);
        let message = format!("`{name}` = {number} is not from {} to {}", range.start(), range.end());
        Err(self.error(key, message))
    }

    /// Names become folders and cells, so they stay plain.
    pub fn name(&self, key: &str, name: &str) -> Result<(), Error> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let good = name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.chars().all(plain)
            && name.len() <= NAME_MAX;
        if good {
            return Ok(());
        }
        let hint =
            format!("use letters, digits, - _ and . only, a letter or digit first, {NAME_MAX} at most");
        Err(self.error(key, format!("`{}` cannot be a name", name.escape_debug())).with_hint(hint))
    }

    pub fn address(&self, key: &str, given: Option<&str>, default: &str) -> Result<String, Error> {
        let address = given.unwrap_or(default);
        let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '<' | '>' | '@');
        let good = address.split_once('@').is_some_and(|(local, domain)| {
            [local, domain].iter().all(|part| !part.is_empty() && part.len() <= 64 && part.chars().all(plain))
        });
        if good {
            return Ok(address.to_owned());
        }
        let message = format!("`{}` is not a mail address", address.escape_debug());
        Err(self.error(key, message).with_hint("write one such as someone@example.test, without < and >"))
    }

    /// An axis has a value, and none twice: equal points would be told apart by nothing in the CSV.
    pub fn sweep<T: PartialEq + std::fmt::Debug>(&self, key: &str, values: &[T]) -> Result<(), Error> {
        let name = key.rsplit('.').next().unwrap_or(key);
        if values.is_empty() {
            return Err(self.error(key, format!("`{name}` has no value, so there is no point to measure")));
        }
        match (1..values.len()).find(|at| values[..*at].contains(&values[*at])) {
            Some(at) => Err(self.error(&format!("{key}.{at}"), format!("`{name}` has this value twice"))),
            None => Ok(()),
        }
    }

    pub fn not_twice(&self, also: bool, key: &str, other: &str) -> Result<(), Error> {
        if !also {
            return Ok(());
        }
        Err(self
            .error(key, format!("`{key}` and `{other}` say the same thing"))
            .with_hint("leave one of them out"))
    }
}

/// Words that are understood and refused by name: keys and the values that a later version will take.
const LATER: &[(&str, &str)] = &[
    ("mta", "postfix"),
    ("mta", "exim"),
    ("mta", "opensmtpd"),
    ("mta", "kumomta"),
    ("tls", "starttls"),
    ("model", "open"),
];

const NAME_MAX: usize = 40;
