//! The operator's log: one line per recipient and attempt, in the form that readers of Postfix's log know.

use delivery::{EpochMs, QueueId, StageTimes};
use smtp::client::{Disposition, RecipientStatus};
use smtp::{ForwardPath, ReversePath};
use std::fmt::Write;

/// Lines are written together at the end of a turn of the loop, or earlier when there are this many bytes.
const FLUSH_BYTES: usize = 64 * 1024;

#[derive(Default)]
pub struct Log {
    lines: String,
}

/// When a delivery was decided and what the agent timed.
#[derive(Clone, Copy)]
pub struct Timing {
    pub received: EpochMs,
    /// On the wall clock and on CLOCK_MONOTONIC: the delivery was handed out.
    pub handed: EpochMs,
    pub handed_ns: u64,
    pub times: StageTimes,
}

impl Timing {
    /// Seconds before hand-out, until the agent began, of connecting, of transmission (Postfix's a/b/c/d).
    fn delays_s(&self) -> [f64; 4] {
        let seconds = |from: u64, to: u64| if from == 0 { 0.0 } else { to.saturating_sub(from) as f64 / 1e9 };
        let StageTimes { started_ns, ready_ns, done_ns } = self.times;
        [
            self.handed.since(self.received).as_secs_f64(),
            seconds(self.handed_ns, started_ns),
            seconds(started_ns, if ready_ns == 0 { done_ns } else { ready_ns }),
            seconds(ready_ns, done_ns),
        ]
    }
}

impl Log {
    pub fn event(&mut self, text: &str) {
        self.lines.push_str("mailrig queue: ");
        self.lines.push_str(text);
        self.end_line();
    }

    pub fn queued(&mut self, id: QueueId, reverse_path: &ReversePath, size_bytes: u64, recipients: usize) {
        let from = reverse_path.as_str();
        let _ =
            write!(self.lines, "queue_id={id} from=<{from}> size={size_bytes} nrcpt={recipients} (queued)");
        self.end_line();
    }

    pub fn outcome(
        &mut self,
        id: QueueId,
        to: &ForwardPath,
        relay: &str,
        timing: &Timing,
        status: &RecipientStatus,
    ) {
        let [a, b, c, d] = timing.delays_s();
        let word = match status.disposition {
            Disposition::Delivered => "sent",
            Disposition::Deferred => "deferred",
            Disposition::Bounced => "bounced",
        };
        let code = status.code.map(|code| format!("{} ", code.get())).unwrap_or_default();
        let _ = write!(
            self.lines,
            "queue_id={id} to=<{}> relay={relay} delay={:.3} delays={a:.3}/{b:.3}/{c:.3}/{d:.3} dsn={} \
             status={word} ({code}{})",
            to.as_str(),
            a + b + c + d,
            status.enhanced,
            status.text,
        );
        self.end_line();
    }

    fn end_line(&mut self) {
        self.lines.push('\n');
        if self.lines.len() >= FLUSH_BYTES {
            self.flush();
        }
    }

    /// Writes what has come together. A log that can't be written must not stop the mail.
    pub fn flush(&mut self) {
        if !self.lines.is_empty() {
            let _ = std::io::Write::write_all(&mut std::io::stderr(), self.lines.as_bytes());
            self.lines.clear();
        }
    }
}
