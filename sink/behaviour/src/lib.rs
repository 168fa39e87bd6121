//! What a site says and when: the sink's mind without its sockets.
//!
//! A [`Site`] is asked at each occasion of a dialogue "what do you do here, for this connection?" and answers
//! with a [`Step`]: how long to wait, then which reply. All chance comes from a seed and the connection's number,
//! so that a run can be repeated. It must not know sockets, clocks or the thread's random numbers: whoever asks
//! does the waiting and the writing.
//!
//! | module | for |
//! |---|---|
//! | [`delay`] | how long: fixed, uniform, exponential |
//! | [`refusal`] | the words of a 4xx or 5xx |
//! | [`rule`] | one stage's delay or reply, as it is written on a command line |
//! | [`site`] | the rules of one site put together, and a connection's dialogue with it |

pub mod delay;
pub mod refusal;
pub mod rule;
pub mod site;

pub use delay::Delay;
pub use rule::{DelayRule, ReplyRule, Scope};
pub use site::{Answer, Dialogue, Occasion, Site, Step};
