//! Which of the two protocols a session speaks, whichever side of it one is.

/// Which of the two is spoken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// RFC 5321.
    #[default]
    Smtp,
    /// RFC 2033: LHLO, and at the end of data one reply for each accepted recipient.
    Lmtp,
}
