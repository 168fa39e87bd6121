//! What a person at a terminal sees of a sink: the live line, and the log.

use indicatif::{ProgressBar, ProgressStyle};
use sink::{Live, Show};
use std::time::Instant;
use tracing::Level;

/// One line that is written over ten times a second: connections, rate, refusals by code.
pub fn live_line() -> Show {
    let style = ProgressStyle::with_template("{spinner} {msg}").expect("the template is well-formed");
    let line = ProgressBar::new_spinner().with_style(style);
    let mut before: Option<(Instant, u64, f64)> = None;
    Box::new(move |live| {
        let now = Instant::now();
        let (rate, cpu) = match before {
            Some((then, accepted, cpu_s)) => {
                let seconds = now.duration_since(then).as_secs_f64();
                ((live.accepted - accepted) as f64 / seconds, (live.cpu_s - cpu_s) / seconds)
            }
            None => (0.0, 0.0),
        };
        // A second's worth, so that the eye can follow.
        if before.is_none_or(|(then, ..)| now.duration_since(then).as_secs_f64() >= 1.0) {
            before = Some((now, live.accepted, live.cpu_s));
            line.set_message(text(live, rate, cpu));
        }
        line.tick();
        Ok(())
    })
}

fn text(live: &Live, rate: f64, cpu: f64) -> String {
    let mut text = format!(
        "{} connections, {} messages, {rate:.0} msg/s, CPU {:.0} %",
        live.connections_open,
        live.accepted,
        cpu * 100.0
    );
    if live.duplicates > 0 {
        text += &format!(", {} came again", live.duplicates);
    }
    if let Some(error_us) = live.timer_error_p99_us {
        text += &format!(", delays late by {:.2} ms (p99)", error_us / 1000.0);
    }
    if !live.refused.is_empty() {
        let codes: Vec<String> =
            live.refused.iter().map(|(code, count)| format!("{code}: {count}")).collect();
        text += &format!("; refused {}", codes.join(", "));
    }
    text
}

/// Logs to standard error from now on.
pub fn start_logging(level: Level) {
    tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).with_target(false).init();
}
