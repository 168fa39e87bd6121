//! The session of the side that sends mail: what to write, what a reply means, when to give up.
//!
//! ```text
//! greeting -> EHLO (-> HELO) [-> STARTTLS -> handshake -> EHLO] [-> AUTH] -> idle
//! idle -> [RSET] MAIL RCPT.. DATA -> body -> dot -> idle          (or MAIL RCPT.. BDAT with the body)
//! idle -> QUIT
//! ```
//!
//! The driver owns the connection, the input buffer and the clock. It must not know sockets, queues or retries.

mod auth;
mod body;
mod ending;
mod envelope;
mod extensions;
mod framing;
mod hello;
mod options;
mod outcome;
mod session;
mod tls;

pub use auth::Credentials;
pub use extensions::Extensions;
pub use options::{Options, Timeouts, Tls};
pub use outcome::{Cause, Disposition, HopStatus, Outcome, RecipientStatus, Transaction, connect_failed};
pub use session::{Event, Session};
