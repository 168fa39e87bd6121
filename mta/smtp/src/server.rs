//! The session of the side that takes mail: which command is allowed when, and what to answer.
//!
//! The driver answers each event with [`Session::accept`] (the default) or [`Session::reply`]. It must not know
//! sockets, spools or what a site's policy is.

mod answer;
mod auth;
mod chunk;
mod content;
mod event;
mod hello;
mod options;
mod refusal;
mod sequence;
mod session;
mod transaction;

pub use auth::{Credentials, Mechanism, Mechanisms};
pub use event::Event;
pub use options::{AdvertisedLimits, Extensions, Limits, Options};
pub use session::Session;
