//! Sinks on real sockets, spoken to in plain text.

mod accounts;
mod bounds;
mod delays;
mod dialogues;
mod docs;
mod peer;
mod player;
mod refusals;
mod rig;
mod script;
