//! The step that every driver repeats: give the session what came in, learn what it needs next.

use smtp::Stage;
use smtp::client::{Event, Outcome, Session};
use std::time::Instant;

/// What the driver has to do before it can go on.
#[derive(Debug)]
pub enum Step {
    /// Write what is in `out`, then read; no later than the session's deadline.
    NeedInput,
    /// Feed the message with `send_body` and `finish_body`.
    SendBody,
    /// The transaction is over; the session may begin another unless it says that it is closed.
    Done(Outcome),
    /// The session is over: drop the connection.
    Closed,
}

/// Runs the session over `input` until it needs something. Returns how many bytes it took.
///
/// `on_ready` is called when the host has answered EHLO (or HELO) and a transaction can start.
pub fn advance(
    session: &mut Session,
    input: &[u8],
    now: Instant,
    out: &mut Vec<u8>,
    mut on_ready: impl FnMut(),
) -> (usize, Step) {
    let mut taken = 0;
    loop {
        let (count, event) = session.next(&input[taken..], now, out);
        taken += count;
        match event {
            None => return (taken, Step::NeedInput),
            Some(Event::Reply { stage: Stage::Ehlo, .. }) => on_ready(),
            Some(Event::Reply { .. }) => {}
            Some(Event::StartTls) => session.tls_failed("this agent has no TLS", now),
            Some(Event::SendBody) => return (taken, Step::SendBody),
            Some(Event::Done(outcome)) => return (taken, Step::Done(outcome)),
            Some(Event::Closed(_)) => return (taken, Step::Closed),
        }
    }
}
