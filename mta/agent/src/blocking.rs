//! The agent's loop: a request, a delivery, a report; again until the queue manager closes the socket.

use crate::connection::{Connection, connect};
use crate::requests::{Next, Received, Requests};
use delivery::{AgentFrame, AgentOptions, DeliveryReport, NextHop, StageTimes};
use std::io;
use std::os::unix::net::UnixStream;

/// A connection kept for the next message to the same next hop.
struct Open {
    next_hop: NextHop,
    connection: Connection,
}

/// Runs until the queue manager closes `socket`. Returns the exit status.
pub fn run(socket: UnixStream, options: &AgentOptions) -> i32 {
    match serve(Requests::new(socket), options) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("mailrig agent: giving up: {error}");
            1
        }
    }
}

fn serve(mut requests: Requests, options: &AgentOptions) -> io::Result<()> {
    requests.send(&AgentFrame::Ready)?;
    let mut open: Option<Open> = None;
    loop {
        let patience = open.as_ref().map(|_| options.session_idle);
        match requests.next(patience)? {
            Next::Closed => {
                close(open.take());
                return Ok(());
            }
            Next::Quiet => close(open.take()),
            Next::Request(mut received) => open = deliver(&mut requests, &mut received, open, options)?,
        }
    }
}

fn deliver(
    requests: &mut Requests,
    received: &mut Received,
    open: Option<Open>,
    options: &AgentOptions,
) -> io::Result<Option<Open>> {
    let started_ns = sys::clock::monotonic_ns();
    let request = &received.request;
    let reused = match open {
        Some(open) if open.next_hop == request.next_hop && open.connection.quiet() => Some(open.connection),
        other => {
            close(other);
            None
        }
    };
    let mut connection = match reused.map_or_else(|| connect(request, options), Ok) {
        Ok(connection) => connection,
        Err(error) => {
            let times = StageTimes { started_ns, ready_ns: 0, done_ns: sys::clock::monotonic_ns() };
            let report = DeliveryReport::unconnected(request, &error.to_string(), times);
            requests.send(&AgentFrame::Report(report))?;
            return Ok(None);
        }
    };
    let report = connection.deliver(received, started_ns);
    let open = if connection.reusable(options) {
        requests.send(&AgentFrame::Report(report))?;
        Some(Open { next_hop: received.request.next_hop.clone(), connection })
    } else {
        // the connection ends before the report, so that the queue manager never counts one too few
        connection.quit();
        requests.send(&AgentFrame::Report(report))?;
        None
    };
    Ok(open)
}

fn close(open: Option<Open>) {
    if let Some(open) = open {
        open.connection.quit();
    }
}
