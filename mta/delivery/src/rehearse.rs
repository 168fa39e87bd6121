//! A delivery without a site, for what happens the first time only.

use crate::{Step, advance};
use smtp::client::{Options, Session, Transaction};
use smtp::{ForwardPath, ReversePath};
use std::sync::Arc;
use std::time::Instant;

/// What a site would say to one transaction.
const SITE: &[u8] = b"220 a\r\n250-a\r\n250 PIPELINING\r\n250 Ok\r\n250 Ok\r\n354 Go on\r\n";

/// Delivers a message to nobody. Whatever the libraries set up at their first use (which instructions the processor has,
/// where the clock is) is then set up in the parent of all agents, and no agent needs a page of its own for it.
pub fn rehearse(now: Instant) {
    let mut session = Session::new(Arc::new(Options::new("a")), now);
    let mut out = Vec::new();
    let transaction = Transaction {
        reverse_path: ReversePath::parse("a@a.test").expect("a literal path"),
        recipients: vec![ForwardPath::parse("b@a.test").expect("a literal path")],
        size_bytes: Some(0),
        eight_bit: false,
        smtp_utf8: false,
    };
    session.begin(transaction, now, &mut out);
    let (_, step) = advance(&mut session, SITE, now, &mut out, || {});
    debug_assert!(matches!(step, Step::SendBody), "{step:?}");
    session.send_body(b"a: b\r\n\r\n.\r\n", &mut out);
    session.finish_body(now, &mut out);
    let (_, step) = advance(&mut session, b"250 Ok\r\n", now, &mut out, || {});
    debug_assert!(matches!(step, Step::Done(_)), "{step:?}");
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_rehearsal_comes_to_its_end() {
        super::rehearse(std::time::Instant::now());
    }
}
