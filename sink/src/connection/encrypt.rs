//! The TLS handshake of a connection, at its beginning or after STARTTLS.

use super::{Connection, Lost};
use crate::clock;
use crate::tls::{self, Fault};
use crate::wire::Wire;
use behaviour::Then;
use smtp::Stage;
use std::io;
use std::mem;
use std::time::Duration;
use tokio::time::timeout;

impl Connection {
    /// Shakes hands as the site has it. Everything that the client wrote before it must have been SMTP.
    pub(super) async fn encrypt(&mut self) -> Result<(), Lost> {
        self.shared.books.borrow_mut().ledger.handshake_begun();
        // What came in the clear behind STARTTLS must not be heard as if it had come through TLS (CVE-2011-0411).
        if !self.input.is_empty() {
            return Err(Lost::Handshake(Then::Close));
        }
        let (Some(server), Wire::Plain(mut stream)) =
            (self.tls.clone(), mem::replace(&mut self.wire, Wire::Gone))
        else {
            return Err(Lost::Closed);
        };
        let step = self.conversation.at_handshake(&self.shared.sites);
        self.shared.delay(step.delay).await;
        let limit = self.shared.silence.min(HANDSHAKE_MAX);
        if let Some(act) = &step.act
            && let Some(fault) = Fault::of(act)
        {
            let failed = timeout(limit, tls::fail(&mut stream, &server, &fault)).await;
            self.wire = Wire::Plain(stream);
            bounded(failed)?;
            return Err(self.end_shaking(if act.then == Then::GoOn { Then::Silence } else { act.then }));
        }
        let (wire, version) = bounded(timeout(limit, tls::accept(stream, &server)).await)?;
        self.wire = wire;
        self.active_ns = clock::now_ns();
        let books = &mut *self.shared.books.borrow_mut();
        self.conversation.tls_established(version, books, self.active_ns);
        if let Some(then) = step.act.map(|act| act.then).filter(|&then| then != Then::GoOn) {
            return Err(self.end_shaking(then));
        }
        Ok(())
    }

    /// The site ends the connection on purpose.
    fn end_shaking(&self, then: Then) -> Lost {
        self.conversation.ends_at(Stage::Handshake, then, &mut self.shared.books.borrow_mut());
        Lost::Handshake(then)
    }
}

fn bounded<T>(end: Result<io::Result<T>, tokio::time::error::Elapsed>) -> Result<T, Lost> {
    match end {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(_)) => Err(Lost::Closed),
        Err(_) => Err(Lost::Silent),
    }
}

/// As long as a client may take for the greeting (RFC 5321 §4.5.3.2.1).
const HANDSHAKE_MAX: Duration = Duration::from_secs(300);
