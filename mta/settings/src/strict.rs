//! TOML read strictly: what is not understood is an error that names the line and the nearest right key.

use crate::error::Error;
use crate::nearest::nearest;
use crate::place::{self, Step};
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Reads a TOML file into a type whose structs have `#[serde(deny_unknown_fields)]`.
///
/// # Errors
/// A file that cannot be read or is larger than [`MAX_FILE_BYTES`], and all that [`parse_toml`] refuses.
pub fn read_toml<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    parse_toml(&read_text(path)?, &path.display().to_string())
}

/// Parses a TOML text; `name` is the file's name in error messages.
///
/// # Errors
/// Syntax, unknown or missing keys, wrong types and values, each with its line, column and key.
pub fn parse_toml<T: DeserializeOwned>(text: &str, name: &str) -> Result<T, Error> {
    toml::from_str(text).map_err(|error| explain(text, name, &error))
}

/// Reads the text of a settings file, for who keeps it beside what it says.
///
/// # Errors
/// A file that cannot be read, is not UTF-8 or is larger than [`MAX_FILE_BYTES`].
pub fn read_text(path: &Path) -> Result<String, Error> {
    let name = path.display().to_string();
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text));
    match read {
        Err(error) => Err(Error::whole(&name, format!("cannot be read: {error}"))),
        Ok(bytes) if bytes as u64 > MAX_FILE_BYTES => {
            Err(Error::whole(&name, format!("is larger than {}", crate::size::format(MAX_FILE_BYTES))))
        }
        Ok(_) => Ok(text),
    }
}

fn explain(text: &str, name: &str, error: &toml::de::Error) -> Error {
    let span = error.span().unwrap_or(0..0);
    // An empty span is the document as a whole, not the key at its first byte.
    let path = if span.is_empty() { Vec::new() } else { place::path_at(text, &span) };
    let message = error.message().trim_end().replace('\n', "; ");
    let message = if let Some((key, known)) = unknown("unknown field ", &message) {
        let table = table_name(path.split_last().map_or(&[], |(_, table)| table));
        suggest(format!("unknown key `{key}` {table}"), key, &known)
    } else if let Some((word, known)) = unknown("unknown variant ", &message) {
        suggest(format!("unknown value `{word}` for {}", key_name(&path)), word, &known)
    } else if let Some(key) = message.strip_prefix("missing field ") {
        format!("missing key {key} {}", table_name(&path))
    } else if path.is_empty() {
        message
    } else {
        format!("{}: {message}", key_name(&path))
    };
    Error::at_offset(name, text, span.start, message)
}

/// Takes serde's "unknown field `a`, expected one of `b`, `c`" apart.
fn unknown<'a>(what: &str, message: &'a str) -> Option<(&'a str, Vec<&'a str>)> {
    let mut quoted = message.strip_prefix(what)?.split('`').skip(1).step_by(2);
    Some((quoted.next()?, quoted.collect()))
}

fn suggest(message: String, word: &str, known: &[&str]) -> String {
    match nearest(word, known.iter().copied()) {
        Some(right) => format!("{message}; did you mean `{right}`?"),
        None if known.is_empty() => message,
        None => format!("{message}; expected one of {}", known.join(", ")),
    }
}

/// `in [points]`, `in [[subject]]`, `at the top level`.
fn table_name(path: &[Step]) -> String {
    let keys = joined(path);
    match path.last() {
        None => "at the top level".to_owned(),
        Some(Step::Key(_)) => format!("in [{keys}]"),
        Some(Step::Element(_)) => format!("in [[{keys}]]"),
    }
}

/// `` `delay` in [sink] ``.
fn key_name(path: &[Step]) -> String {
    // An element of an array of values is named by the array.
    let mut path = path;
    while let [rest @ .., Step::Element(_)] = path {
        path = rest;
    }
    match path {
        [] => "the file".to_owned(),
        [Step::Key(key)] => format!("`{key}`"),
        [table @ .., last] => format!("`{}` {}", joined(std::slice::from_ref(last)), table_name(table)),
    }
}

fn joined(path: &[Step]) -> String {
    let keys: Vec<&str> = path
        .iter()
        .filter_map(|step| match step {
            Step::Key(key) => Some(key.as_str()),
            Step::Element(_) => None,
        })
        .collect();
    keys.join(".")
}

/// No settings file is anywhere near this; a device or a mail file given by mistake is.
pub const MAX_FILE_BYTES: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use std::time::Duration;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Document {
        #[allow(dead_code)]
        name: String,
        points: Points,
        #[serde(default)]
        subject: Vec<Subject>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Points {
        concurrency: Vec<u32>,
        #[serde(default, deserialize_with = "crate::duration::deserialize")]
        delay: Duration,
        #[serde(default, deserialize_with = "crate::size::deserialize_option")]
        size: Option<u64>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Subject {
        #[allow(dead_code)]
        driver: Driver,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Driver {
        Blocking,
        Event,
    }

    const GOOD: &str = "name = \"x\"\n[points]\nconcurrency = [1, 2]\ndelay = \"20ms\"\nsize = \"4KiB\"\n\
        [[subject]]\ndriver = \"event\"\n";

    #[test]
    fn reads_a_good_file() {
        let document: Document = parse_toml(GOOD, "x.toml").expect("good");
        assert_eq!(document.points.concurrency, [1, 2]);
        assert_eq!(document.points.delay, Duration::from_millis(20));
        assert_eq!(document.points.size, Some(4096));
        assert_eq!(document.subject.len(), 1);
    }

    #[test]
    fn names_the_place_and_the_right_key() {
        for (from, to, expected) in [
            (
                "concurrency",
                "concurency",
                "x.toml:3:1: unknown key `concurency` in [points]; did you mean `concurrency`?",
            ),
            ("name =", "nome =", "x.toml:1:1: unknown key `nome` at the top level; did you mean `name`?"),
            (
                "size",
                "colour",
                "x.toml:5:1: unknown key `colour` in [points]; expected one of concurrency, delay, size",
            ),
            ("driver", "drivr", "x.toml:7:1: unknown key `drivr` in [[subject]]; did you mean `driver`?"),
            (
                "\"event\"",
                "\"evnet\"",
                "x.toml:7:10: unknown value `evnet` for `driver` in [[subject]]; did you mean `event`?",
            ),
            ("name = \"x\"\n", "", "x.toml:1:1: missing key `name` at the top level"),
            ("driver = \"event\"\n", "", "x.toml:6:1: missing key `driver` in [[subject]]"),
            ("\"20ms\"", "20", "x.toml:4:9: `delay` in [points]: `20` has no unit; write 20ms or 20s"),
            ("\"4KiB\"", "\"4Kb?\"", "x.toml:5:8: `size` in [points]: `Kb?` is not a unit of size"),
            (
                "[1, 2]",
                "[1, \"ä\"]",
                "x.toml:3:19: `concurrency` in [points]: invalid type: string \"ä\", expected u32",
            ),
            (
                "[1, 2]",
                "[1, -2]",
                "x.toml:3:19: `concurrency` in [points]: invalid value: integer `-2`, expected u32",
            ),
            ("\"x\"", "x", "x.toml:1:8: "),
            ("name = \"x\"", "name = \"x\"\nname = \"y\"", "x.toml:2:1: "),
        ] {
            let text = GOOD.replacen(from, to, 1);
            let error = parse_toml::<Document>(&text, "x.toml").expect_err(to).to_string();
            assert!(error.starts_with(expected), "{to}\n     got: {error}\nexpected: {expected}");
        }
    }

    #[test]
    fn points_at_a_key_for_a_later_check() {
        for (key, place) in [
            ("points.concurrency", "x.toml:3:1: "),
            ("points.concurrency.1", "x.toml:3:19: "),
            ("subject.0.driver", "x.toml:7:1: "),
            ("subject.0.agents_max", "x.toml:6:1: "),
            ("points.absent", "x.toml:2:2: "),
            ("driver", "x.toml:7:1: "),
            ("absent", "x.toml: "),
        ] {
            let error = Error::at("x.toml", GOOD, key, "too many".to_owned()).to_string();
            assert_eq!(error, format!("{place}too many"), "{key}");
        }
    }

    #[test]
    fn names_a_file_that_cannot_be_read() {
        let error = read_toml::<Document>(Path::new("/nonexistent/x.toml")).expect_err("absent").to_string();
        assert!(error.starts_with("/nonexistent/x.toml: cannot be read: "), "{error}");
    }
}
