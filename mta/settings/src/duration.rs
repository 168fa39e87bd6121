//! Durations as people write them: `20ms`, `1.5s`, `300us`, `5m`, `2h`, `5d`, `0`.

use crate::number::{NANO, decimal, split};
use serde::{Deserializer, de};
use std::fmt;
use std::time::Duration;

/// Parses a number with one of the units ns, us, ms, s, m, h, d. Only zero may stand without a unit.
///
/// # Errors
/// What is wrong and what to write instead, without naming the file: the caller knows where the text stood.
pub fn parse(text: &str) -> Result<Duration, String> {
    let Some((value, unit)) = split(text) else {
        return Err(format!(
            "`{text}` is not a duration; write a number with a unit, such as 20ms, 1.5s or 5m"
        ));
    };
    let unit_ns = match unit {
        "" if value == 0 => return Ok(Duration::ZERO),
        "" => {
            let number = text.trim();
            return Err(format!("`{number}` has no unit; write {number}ms or {number}s"));
        }
        _ => match UNITS.iter().find(|(name, _)| *name == unit) {
            Some((_, unit_ns)) => *unit_ns,
            None => {
                return Err(format!("`{unit}` is not a unit of time; write one of ns, us, ms, s, m, h, d"));
            }
        },
    };
    let ns = value * unit_ns;
    if !ns.is_multiple_of(NANO) {
        return Err(format!("`{text}` is finer than a nanosecond"));
    }
    match u64::try_from(ns / NANO).map(Duration::from_nanos) {
        Ok(duration) if duration <= LONGEST => Ok(duration),
        _ => Err(format!("`{text}` is longer than {}", format(LONGEST))),
    }
}

/// Writes a duration in the largest unit that suits it; `parse` reads it back exactly.
pub fn format(duration: Duration) -> String {
    let ns = duration.as_nanos();
    if ns == 0 {
        return "0".to_owned();
    }
    // Days, hours and minutes only where they are whole: `90s` says more than `1.5m`.
    let whole = UNITS.iter().rev().take(3).find(|(_, unit_ns)| ns.is_multiple_of(*unit_ns));
    let decimal_unit = UNITS[..4].iter().rev().find(|(_, unit_ns)| ns >= *unit_ns);
    let (unit, unit_ns) =
        whole.or(decimal_unit).expect("a nanosecond is the smallest unit and divides everything");
    if whole.is_some() { format!("{}{unit}", ns / unit_ns) } else { decimal(ns, *unit_ns) + unit }
}

/// For `#[serde(deserialize_with = "settings::duration::deserialize")]`.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    struct Text;
    impl de::Visitor<'_> for Text {
        type Value = Duration;
        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("a duration such as \"20ms\"")
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
            parse(text).map_err(E::custom)
        }
        fn visit_i64<E: de::Error>(self, number: i64) -> Result<Duration, E> {
            parse(&number.to_string()).map_err(E::custom)
        }
        fn visit_u64<E: de::Error>(self, number: u64) -> Result<Duration, E> {
            parse(&number.to_string()).map_err(E::custom)
        }
    }
    deserializer.deserialize_any(Text)
}

/// As [`deserialize`], for a key that may be missing; stands with `#[serde(default)]`.
pub fn deserialize_option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    deserialize(deserializer).map(Some)
}

/// Far beyond any use, and small enough that adding it to a clock never overflows.
pub const LONGEST: Duration = Duration::from_secs(3650 * 86_400);

const UNITS: [(&str, u128); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", NANO),
    ("m", 60 * NANO),
    ("h", 3_600 * NANO),
    ("d", 86_400 * NANO),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, ns, written) in [
            ("0", 0, "0"),
            ("0s", 0, "0"),
            ("20ms", 20_000_000, "20ms"),
            ("1.5s", 1_500_000_000, "1.5s"),
            ("0.3 ms", 300_000, "300us"),
            ("300us", 300_000, "300us"),
            ("90s", 90_000_000_000, "90s"),
            ("5m", 300_000_000_000, "5m"),
            ("60m", 3_600_000_000_000, "1h"),
            ("5d", 432_000_000_000_000, "5d"),
            ("1.000000001s", 1_000_000_001, "1.000000001s"),
        ] {
            let duration = Duration::from_nanos(ns);
            assert_eq!(parse(text), Ok(duration), "{text}");
            assert_eq!(format(duration), written, "{text}");
            assert_eq!(parse(&format(duration)), Ok(duration), "{text}");
        }
    }

    #[test]
    fn refuses_what_could_be_misread() {
        for (text, part) in [
            ("20", "write 20ms or 20s"),
            ("20 sec", "`sec` is not a unit of time"),
            ("20MS", "`MS` is not a unit of time"),
            ("fast", "not a duration"),
            ("", "not a duration"),
            ("-1s", "not a duration"),
            ("1..5s", "not a duration"),
            (".5s", "not a duration"),
            ("1.s", "not a duration"),
            ("0.5ns", "finer than a nanosecond"),
            ("99999d", "longer than 3650d"),
            ("99999999999999999999s", "not a duration"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
