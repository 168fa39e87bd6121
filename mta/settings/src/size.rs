//! Sizes as people write them: `4KiB`, `1.5MiB`, `64KB` (64 000 bytes), `512B`, `512`.

use crate::number::{NANO, split};
use serde::{Deserializer, de};
use std::fmt;

/// Parses a number of bytes with an optional unit: B, KB, MB, GB, KiB, MiB, GiB (capitals do not matter).
///
/// # Errors
/// What is wrong and what to write instead, without naming the file: the caller knows where the text stood.
pub fn parse(text: &str) -> Result<u64, String> {
    let Some((value, unit)) = split(text) else {
        return Err(format!("`{text}` is not a size; write bytes, or a number with a unit, such as 4KiB"));
    };
    let unit_bytes = match UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)) {
        Some((_, unit_bytes)) => *unit_bytes,
        None if unit.is_empty() => 1,
        None => {
            return Err(format!("`{unit}` is not a unit of size; write one of B, KB, MB, GB, KiB, MiB, GiB"));
        }
    };
    let bytes = value * unit_bytes;
    if !bytes.is_multiple_of(NANO) {
        return Err(format!("`{text}` is not a whole number of bytes"));
    }
    match u64::try_from(bytes / NANO) {
        Ok(bytes) if bytes <= LARGEST => Ok(bytes),
        _ => Err(format!("`{text}` is larger than {}", format(LARGEST))),
    }
}

/// Writes a size in the largest binary unit that divides it; `parse` reads it back exactly.
pub fn format(bytes: u64) -> String {
    let whole = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)]
        .into_iter()
        .find(|(_, unit_bytes): &(_, u64)| bytes > 0 && bytes.is_multiple_of(*unit_bytes));
    match whole {
        Some((unit, unit_bytes)) => format!("{}{unit}", bytes / unit_bytes),
        None => format!("{bytes}B"),
    }
}

/// For `#[serde(deserialize_with = "settings::size::deserialize")]`; takes a string or a whole number of bytes.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    struct Text;
    impl de::Visitor<'_> for Text {
        type Value = u64;
        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("a size such as \"4KiB\"")
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
            parse(text).map_err(E::custom)
        }
        fn visit_i64<E: de::Error>(self, number: i64) -> Result<u64, E> {
            parse(&number.to_string()).map_err(E::custom)
        }
        fn visit_u64<E: de::Error>(self, number: u64) -> Result<u64, E> {
            parse(&number.to_string()).map_err(E::custom)
        }
    }
    deserializer.deserialize_any(Text)
}

/// As [`deserialize`], for a key that may be missing; stands with `#[serde(default)]`.
pub fn deserialize_option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    deserialize(deserializer).map(Some)
}

/// A pebibyte: beyond any use, and sums of sizes do not overflow.
pub const LARGEST: u64 = 1 << 50;

const UNITS: [(&str, u128); 7] = [
    ("B", 1),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, bytes, written) in [
            ("0", 0, "0B"),
            ("512", 512, "512B"),
            ("512 B", 512, "512B"),
            ("4KiB", 4096, "4KiB"),
            ("4kib", 4096, "4KiB"),
            ("64KB", 64_000, "64000B"),
            ("1.5MiB", 1_572_864, "1536KiB"),
            ("2GiB", 2 << 30, "2GiB"),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
            assert_eq!(format(bytes), written, "{text}");
            assert_eq!(parse(&format(bytes)), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn refuses_what_could_be_misread() {
        for (text, part) in [
            ("4K", "`K` is not a unit of size"),
            ("4 kilo", "`kilo` is not a unit of size"),
            ("1.5B", "not a whole number of bytes"),
            ("-4KiB", "not a size"),
            ("big", "not a size"),
            ("99999999GiB", "larger than"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
