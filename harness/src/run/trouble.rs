//! Why a trial does not count, with the words for whoever has to find out more.

use measure::InvalidReason;
use subject::Error;

#[derive(Debug)]
pub struct Trouble {
    pub reason: InvalidReason,
    pub what: String,
}

impl Trouble {
    pub fn new(reason: InvalidReason, what: impl Into<String>) -> Trouble {
        Trouble { reason, what: what.into() }
    }

    /// For `map_err`: an interrupt is an interrupt wherever it comes; anything else is `reason`.
    pub fn of(reason: InvalidReason) -> impl Fn(Error) -> Trouble {
        move |error| match error {
            Error::Interrupted => Trouble::new(InvalidReason::Interrupted, "interrupted"),
            error => Trouble::new(reason, error.to_string()),
        }
    }
}
