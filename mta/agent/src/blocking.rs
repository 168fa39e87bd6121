//! The blocking driver's loop: a request, a delivery, a report; again until the queue manager closes the socket.

use crate::deliver::{Open, deliver};
use crate::requests::{Next, Requests, send};
use delivery::{AgentFrame, AgentOptions};
use std::io;
use std::os::unix::net::UnixStream;

/// Runs until the queue manager closes `socket`. Returns the exit status.
pub fn run(socket: UnixStream, options: &AgentOptions) -> i32 {
    match serve(&socket, options) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("mailrig agent: giving up: {error}");
            1
        }
    }
}

fn serve(socket: &UnixStream, options: &AgentOptions) -> io::Result<()> {
    let mut requests = Requests::new(socket)?;
    send(socket, &AgentFrame::Ready)?;
    let mut open: Option<Open> = None;
    loop {
        let patience = open.as_ref().map(|_| options.session_idle);
        match requests.next(patience)? {
            end @ (Next::Closed | Next::Quiet) => {
                if let Some(open) = open.take() {
                    open.close();
                }
                if matches!(end, Next::Closed) {
                    return Ok(());
                }
            }
            Next::Request(mut received) => {
                let report;
                (report, open) = deliver(&mut received, open, options);
                send(socket, &AgentFrame::Report(report))?;
            }
        }
    }
}
