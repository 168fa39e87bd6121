//! How people write settings: durations, sizes and strict TOML.
//!
//! The one place where a unit is parsed, so that `20ms` and `4KiB` mean the same in a configuration file, in a
//! profile and on a command line. It knows no key of any file: what a file may say is its reader's own type.

pub mod duration;
mod error;
mod nearest;
mod number;
mod place;
pub mod size;
mod strict;

pub use error::Error;
pub use nearest::nearest;
pub use strict::{MAX_FILE_BYTES, parse_toml, read_text, read_toml};
