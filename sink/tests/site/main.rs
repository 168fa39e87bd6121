//! Sinks on real sockets, spoken to in plain text.

mod accounts;
mod bounds;
mod delays;
mod peer;
mod refusals;
mod rig;
