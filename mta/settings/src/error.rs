//! What is wrong with a settings file, and where.

use crate::place;
use std::fmt;

/// Names the file, the place in it and what is wrong; what to do may stand beside it as a hint.
///
/// Displays as `profiles/x.toml:12:3: unknown key ...`, without the hint: a command line shows that on a line of
/// its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    file: String,
    /// Line and column from 1, columns in characters; `None` where the file as a whole is meant.
    position: Option<(usize, usize)>,
    message: String,
    hint: Option<String>,
}

impl Error {
    /// For a check made after parsing: points at the line of `key` in `text`, which is the content of `file`.
    ///
    /// `key` is the way to it, `points.concurrency` or `subject.1.agents_max` (array elements from 0); the last part
    /// that exists is shown. A single name that is not at the top is looked for in all tables.
    pub fn at(file: &str, text: &str, key: &str, message: String) -> Error {
        let offset = place::of_key(text, key);
        Error { position: offset.map(|at| place::position(text, at)), ..Error::whole(file, message) }
    }

    /// About the file as a whole, such as one that cannot be read.
    pub fn whole(file: &str, message: String) -> Error {
        Error { file: file.to_owned(), position: None, message, hint: None }
    }

    /// Says what to do about it.
    pub fn with_hint(self, hint: impl Into<String>) -> Error {
        Error { hint: Some(hint.into()), ..self }
    }

    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    pub(crate) fn at_offset(file: &str, text: &str, offset: usize, message: String) -> Error {
        Error { position: Some(place::position(text, offset)), ..Error::whole(file, message) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.position {
            Some((line, column)) => write!(f, "{}:{line}:{column}: {}", self.file, self.message),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

impl std::error::Error for Error {}
