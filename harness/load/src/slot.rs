//! One of the run's connections, for as long as the run lasts: connects, sends, says goodbye, connects again.
//!
//! A slot never ends because of an error: a message that could not be put to the server is kept for the next connection,
//! and only the run as a whole is given up. So the number of connections stays what was asked for.

use crate::backoff::{Backoff, FAILURES_MAX, Verdict};
use crate::connection::Connection;
use crate::deadline::Deadline;
use crate::run::Run;
use crate::schedule::Claim;
use smtp::client::{Cause, Disposition, HopStatus, Outcome};
use smtp::{ReplyCode, Stage};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::time::Instant;
use tokio::net::TcpStream;

/// Sends messages until none are left or the run is stopped.
pub async fn slot(run: Rc<Run>) {
    let mut deadline = Deadline::new();
    let mut backoff = Backoff::default();
    let mut held = None;
    while let Some(claim) = held.take().or_else(|| run.claim()) {
        let mut visit = Visit { claim: Some(claim), answered: 0 };
        let end = visit.run(&run, &mut deadline).await;
        if visit.answered > 0 {
            backoff.succeeded();
        }
        if let End::TurnedAway(reason) = end {
            match backoff.failed(run.answered.get(), fastrand::f64()) {
                Verdict::Wait(wait) => tokio::time::sleep(wait).await,
                Verdict::GiveUp => {
                    run.stop(format!("gave up after {FAILURES_MAX} failures in a row: {reason}"))
                }
            }
        }
        held = visit.claim;
        if run.is_stopped() {
            return;
        }
    }
}

/// One connection's life.
struct Visit {
    /// A message that waits to be started.
    claim: Option<Claim>,
    /// Messages that the server answered on this connection.
    answered: u64,
}

enum End {
    /// All is well, and the slot may go on at once.
    Over,
    /// The server could not be reached or did not want us.
    TurnedAway(String),
}

impl Visit {
    async fn run(&mut self, run: &Run, deadline: &mut Deadline) -> End {
        let stream = match connect(run, deadline).await {
            Ok(stream) => stream,
            Err(reason) => {
                run.statistics.borrow_mut().error(Stage::Connect, None, &reason);
                return End::TurnedAway(format!("connecting to {}: {reason}", run.sources.target()));
            }
        };
        let mut connection = Connection::new(run, deadline, stream);
        loop {
            if let Err(cause) = connection.ready().await {
                return self.closed(run, cause);
            }
            // Nothing new is started after a stop, not even what this slot holds already.
            let claim = self.claim.take().filter(|_| !run.is_stopped()).or_else(|| run.claim());
            let Some(claim) = claim else { break };
            run.statistics.borrow_mut().in_flight += 1;
            let outcome = connection.send(claim).await;
            let statistics = &mut *run.statistics.borrow_mut();
            statistics.in_flight -= 1;
            statistics.message_ended(&outcome, claim.intended, Instant::now());
            if outcome.hop == HopStatus::Throttle {
                return End::TurnedAway(first_failure(&outcome));
            }
            self.answered += 1;
            run.answered.set(run.answered.get() + 1);
            if run.messages_per_connection == Some(self.answered) {
                break;
            }
        }
        connection.quit().await;
        End::Over
    }

    /// The session ended between two messages, or before the first.
    fn closed(&self, run: &Run, cause: Cause) -> End {
        let (stage, code, text) = describe(&cause);
        run.statistics.borrow_mut().error(stage, code, &text);
        match cause {
            // A server may close whenever it has answered; one that does so before is not working.
            Cause::PeerClosed { .. } if self.answered > 0 => End::Over,
            _ => End::TurnedAway(failure(stage, code, &text)),
        }
    }
}

async fn connect(run: &Run, deadline: &mut Deadline) -> Result<TcpStream, String> {
    let started = Instant::now();
    let mut connecting = pin!(run.sources.connect());
    let connected = poll_fn(|context| match connecting.as_mut().poll(context) {
        std::task::Poll::Ready(result) => std::task::Poll::Ready(Some(result)),
        std::task::Poll::Pending => {
            deadline.poll(context, Some(started + run.connect_timeout)).map(|()| None)
        }
    })
    .await;
    match connected {
        Some(Ok(stream)) => {
            let statistics = &mut *run.statistics.borrow_mut();
            statistics.connections_opened += 1;
            statistics.stage(Stage::Connect, started.elapsed());
            Ok(stream)
        }
        Some(Err(error)) => Err(error.kind().to_string()),
        None => Err(format!("no answer within {}", settings::duration::format(run.connect_timeout))),
    }
}

fn describe(cause: &Cause) -> (Stage, Option<ReplyCode>, String) {
    match cause {
        Cause::Quit => (Stage::Quit, None, "closed after QUIT".to_owned()),
        Cause::PeerClosed { stage } => (*stage, None, "connection closed by the server".to_owned()),
        Cause::LostAfterFinalDot => (Stage::Dot, None, "connection lost after the final dot".to_owned()),
        Cause::Timeout { stage } => (*stage, None, "no reply in time".to_owned()),
        Cause::Protocol { stage, error } => (*stage, None, error.clone()),
        Cause::Refused { stage, reply } => {
            let line = reply.one_line();
            // The code has a column of its own.
            (*stage, Some(reply.code), line.split_once(' ').map_or("", |(_code, text)| text).to_owned())
        }
        Cause::Unusable { stage, reason } | Cause::Abandoned { stage, reason } => {
            (*stage, None, reason.clone())
        }
    }
}

fn first_failure(outcome: &Outcome) -> String {
    let failed = outcome.recipients.iter().find(|status| status.disposition != Disposition::Delivered);
    failed.map_or_else(String::new, |status| failure(status.stage, status.code, &status.text))
}

fn failure(stage: Stage, code: Option<ReplyCode>, text: &str) -> String {
    let code = code.map_or(String::new(), |code| format!("{} ", code.get()));
    format!("{}: {code}{text}", stage.as_str())
}
