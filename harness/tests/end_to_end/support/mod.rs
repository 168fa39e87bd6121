//! What the tests stand on: child processes, an SMTP client and a site of their own, the control socket, the log.
//!
//! Nothing here uses the SMTP code of the project: an error that encoder and decoder share would cancel itself out.

pub mod client;
pub mod control;
pub mod log;
pub mod message;
pub mod mta;
pub mod patience;
pub mod process;
pub mod sink;
pub mod site;

/// The two architectures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Driver {
    Blocking,
    Event,
}

impl Driver {
    pub fn as_str(self) -> &'static str {
        match self {
            Driver::Blocking => "blocking",
            Driver::Event => "event",
        }
    }
}

/// Makes a test for each driver out of a function that takes one.
macro_rules! with_both_drivers {
    ($($story:ident),+ $(,)?) => {
        mod blocking {
            $(#[test] fn $story() { super::$story(crate::support::Driver::Blocking) })+
        }
        mod event {
            $(#[test] fn $story() { super::$story(crate::support::Driver::Event) })+
        }
    };
}
pub(crate) use with_both_drivers;
