//! What a site says and when: the sink's mind without its sockets.
//!
//! [`Sites`] are asked at each occasion of a dialogue "what do you do here, for this connection?" and answer with a
//! [`Step`]: how long to wait, what to say and at what pace, and what becomes of the connection. All chance comes from a
//! seed and the connection's number, so that a run can be repeated. It must not know sockets, files, clocks or the
//! thread's random numbers: whoever asks does the reading, the waiting and the writing.
//!
//! | module | for |
//! |---|---|
//! | [`delay`] | how long: fixed, drawn from a distribution, or measured elsewhere |
//! | [`act`] | what is said and done |
//! | [`fault`] | faults of servers by name |
//! | [`refusal`], [`octets`] | words of a reply; bytes that are none |
//! | [`when`], [`pattern`] | for whom |
//! | [`rule`] | one of these for a stage, as it is written on a command line |
//! | [`site`], [`offer`] | the rules of one site put together; what it offers |
//! | [`sites`] | all sites of a sink, and a connection's dialogue with them |
//! | [`file`] | the file that they are written in (`raw`: its keys, `offer_file`: what a site offers, `reach`: what could never hold) |

pub mod act;
pub mod delay;
pub mod fault;
pub mod file;
pub mod octets;
pub mod offer;
mod offer_file;
pub mod pattern;
mod raw;
mod reach;
pub mod refusal;
pub mod rule;
pub mod site;
pub mod sites;
pub mod when;

pub use act::{Act, Pace, Say, Step, Then};
pub use delay::Delay;
pub use file::SiteFile;
pub use offer::{Offer, Tls};
pub use rule::{DelayRule, ReplyRule, Rule, Scope};
pub use site::{Contradiction, Grown, Site};
pub use sites::{Dialogue, Heard, Sites};
