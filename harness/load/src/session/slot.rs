//! One of the run's connections, for as long as the run lasts: connects, sends, says goodbye, connects again.
//!
//! A slot never ends because of an error: a message that could not be put to the server is kept for the next connection,
//! and only the run as a whole is given up. So the number of connections stays what was asked for. In the open loop a slot
//! without a connection ends when nothing is due, and another one begins when it is needed.

use super::backoff::{Backoff, FAILURES_MAX, Verdict};
use super::connection::Connection;
use super::deadline::Deadline;
use super::stream::Stream;
use crate::dispatch::Order;
use crate::run::Run;
use crate::schedule::{Claim, Next};
use crate::statistics::Times;
use crate::statistics::outcome::Ending;
use smtp::client::{Cause, Disposition, HopStatus, Outcome};
use smtp::{ReplyCode, Severity, Stage};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Sends messages, `held` first, until there is none to be sent just now or the run is stopped.
pub async fn slot(run: Rc<Run>, mut held: Option<Claim>) {
    let mut deadline = Deadline::new();
    let mut backoff = Backoff::default();
    if let Some(claim) = &held {
        run.started(claim);
    }
    while let Some(claim) = held.take().or_else(|| run.claim_now()) {
        let mut visit = Visit { claim: Some(claim), answered: 0 };
        let end = visit.run(&run, &mut deadline).await;
        if visit.answered > 0 {
            backoff.succeeded();
        }
        match end {
            End::Over => {}
            End::Unusable(reason) if run.answered.get() == 0 => run.stop(format!("gave up: {reason}")),
            End::TurnedAway(reason) | End::Unusable(reason) => {
                match backoff.failed(run.answered.get(), fastrand::f64()) {
                    Verdict::Wait(wait) => tokio::time::sleep(wait).await,
                    Verdict::GiveUp => {
                        run.stop(format!("gave up after {FAILURES_MAX} failures in a row: {reason}"))
                    }
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
    /// The server will never do what the run asks of it.
    Unusable(String),
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
            let claim = match self.claim.take().filter(|_| !run.is_stopped()) {
                Some(claim) => claim,
                None => match self.next(run, &mut connection).await {
                    Ok(Some(claim)) => claim,
                    Ok(None) => break,
                    Err(cause) => return self.closed(run, cause),
                },
            };
            if let Some(reason) = self.send(run, &mut connection, claim).await {
                return End::TurnedAway(reason);
            }
            if run.messages_per_connection == Some(self.answered) {
                break;
            }
            if let Some(pause) = run.think(claim.number)
                && let Err(cause) = connection.rest(run.timer.sleep_until(Instant::now() + pause)).await
            {
                return self.closed(run, cause);
            }
        }
        connection.quit().await;
        End::Over
    }

    /// The next message for this connection, once one is due; none when no more are to be started.
    async fn next(&mut self, run: &Run, connection: &mut Connection<'_>) -> Result<Option<Claim>, Cause> {
        let (claim, closed) = match run.claim() {
            Next::Start(claim) => (Some(claim), None),
            Next::End => (None, None),
            Next::Wait(_) => {
                let place = run.idle.sit();
                let (order, closed) = match connection.rest(place.order()).await {
                    Ok(order) => (Some(order), None),
                    Err(cause) => (place.given(), Some(cause)),
                };
                match order {
                    Some(Order::Start(claim)) => (Some(claim), closed),
                    Some(Order::Leave) | None => (None, closed),
                }
            }
        };
        if let Some(claim) = &claim {
            run.started(claim);
        }
        match closed {
            None => Ok(claim),
            Some(cause) => {
                // The message is for the next connection.
                self.claim = claim;
                Err(cause)
            }
        }
    }

    /// Sends one message; a reason if the server does not want us any more.
    async fn send(&mut self, run: &Run, connection: &mut Connection<'_>, claim: Claim) -> Option<String> {
        let began = Instant::now();
        let under_way = run.begin(claim);
        let outcome = connection.send(claim, began).await;
        under_way.end();
        let times = Times { intended: claim.intended, began, ended: Instant::now() };
        run.statistics.borrow_mut().message_ended(&claim, &outcome, times);
        if outcome.hop == HopStatus::Throttle {
            return Some(first_failure(&outcome));
        }
        self.answered += 1;
        run.answered.set(run.answered.get() + 1);
        None
    }

    /// The session ended between two messages, or before the first.
    fn closed(&self, run: &Run, cause: Cause) -> End {
        let (stage, code, text) = describe(&cause);
        run.statistics.borrow_mut().error(stage, code, &text);
        match cause {
            // A server may close whenever it has answered; one that does so before is not working.
            Cause::PeerClosed { .. } if self.answered > 0 => End::Over,
            Cause::Unusable { .. } => End::Unusable(failure(stage, code, &text)),
            // A password that is wrong now is wrong the next time, and servers shut out those who go on trying.
            Cause::Refused { stage: Stage::Auth, ref reply }
                if reply.code.severity() == Severity::Permanent =>
            {
                End::Unusable(failure(stage, code, &text))
            }
            _ => End::TurnedAway(failure(stage, code, &text)),
        }
    }
}

async fn connect(run: &Run, deadline: &mut Deadline) -> Result<Stream, String> {
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
            let measured = run.schedule.borrow().is_measured(started);
            run.statistics.borrow_mut().connected(measured, started.elapsed());
            Ok(stream)
        }
        Some(Err(error)) => {
            connect_failed(run, started.elapsed());
            Err(error.kind().to_string())
        }
        None => {
            connect_failed(run, started.elapsed());
            Err(format!("no answer within {}", settings::duration::format(run.connect_timeout)))
        }
    }
}

fn connect_failed(run: &Run, elapsed: Duration) {
    run.statistics.borrow_mut().stage(Stage::Connect, Ending::Failed, elapsed);
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
