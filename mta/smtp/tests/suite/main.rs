//! The tests of the SMTP core: dialogues from files, round trips, and a client talking to a server in memory.

mod client_player;
mod conversation;
mod dialogues;
mod model;
mod round_trips;
mod script;
mod server_player;
mod sizes;
