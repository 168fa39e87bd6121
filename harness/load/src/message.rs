//! What is sent, and to whom.
//!
//! | module | for |
//! |---|---|
//! | [`template`] | messages of one exact size that differ only in their header section |

pub mod template;

/// Name of the header field by which sinks recognise a message: `RUN/NUMBER/INTENDED_NS`.
pub const ID_FIELD: &str = "X-Mailrig-Id";

/// Longest run name: it stands in a header line beside the number and the time.
pub const RUN_NAME_MAX: usize = 64;

/// What is sent, and to whom.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The first part of each message's id.
    pub run: String,
    /// Size of each message in bytes, as sent, before dot-stuffing.
    pub size_bytes: u64,
    /// Argument of MAIL; empty for the null reverse-path.
    pub from: String,
    /// Arguments of RCPT, at least one.
    pub to: Vec<String>,
}

/// A name for a run that nobody gave a name: 64 random bits in hexadecimal.
pub fn random_run_name() -> String {
    format!("{:016x}", fastrand::u64(..))
}

/// Whether `run` can stand in an id and in a Message-ID.
///
/// # Errors
/// Says what is allowed.
pub fn check_run_name(run: &str) -> Result<(), String> {
    // The name is also the right half of a Message-ID: letters, digits, hyphen, dot, underscore (RFC 5322 §3.2.3 has more).
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let dots_stand_between = run.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(fits));
    match run.len() <= RUN_NAME_MAX && dots_stand_between {
        true => Ok(()),
        false => Err(format!(
            "run name {run:?} is not 1 to {RUN_NAME_MAX} letters, digits, hyphens and underscores, with dots between"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_break_a_header_are_refused() {
        for name in ["", "a b", "a\r\nBcc: x", "a/b", "ü", ".a", "a.", "a..b", &"x".repeat(65)] {
            assert!(check_run_name(name).is_err(), "{name:?}");
        }
        let name = random_run_name();
        assert_eq!(check_run_name(&name), Ok(()));
    }
}
