//! What is seen of a run while it lasts.

use crate::statistics::Statistics;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// How a run is shown on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Display {
    /// Not at all.
    Nothing,
    /// A line now and then, for files and pipes.
    Lines,
    /// A bar, for terminals.
    Bar,
}

/// Shows a run.
pub struct Progress {
    display: Display,
    bar: ProgressBar,
    messages: u64,
    shown: Option<(Instant, u64)>,
}

impl Progress {
    /// Shows a run of `messages`.
    pub fn new(display: Display, messages: u64) -> Progress {
        let bar = match display {
            Display::Bar => ProgressBar::with_draw_target(Some(messages), ProgressDrawTarget::stderr()),
            Display::Nothing | Display::Lines => ProgressBar::hidden(),
        };
        let style = ProgressStyle::with_template(BAR).expect("the template is one of indicatif's");
        Progress { display, bar: bar.with_style(style), messages, shown: None }
    }

    /// How often [`Progress::show`] is to be called.
    pub fn every(&self) -> Duration {
        match self.display {
            Display::Bar => Duration::from_millis(100),
            Display::Lines => Duration::from_secs(2),
            Display::Nothing => Duration::from_secs(3600),
        }
    }

    /// Shows where the run stands.
    pub fn show(&mut self, statistics: &Statistics) {
        let now = Instant::now();
        let ended = statistics.outcomes.ended();
        let (since, before) = self.shown.replace((now, ended)).unwrap_or((now, 0));
        let elapsed = now.saturating_duration_since(since);
        if elapsed.is_zero() {
            return;
        }
        let rate = (ended - before) as f64 / elapsed.as_secs_f64();
        let figures = format!(
            "{rate:.0} msg/s, {} in flight, {} errors",
            statistics.in_flight,
            statistics.errors_total()
        );
        match self.display {
            Display::Nothing => {}
            Display::Lines => {
                // Nobody reading is no reason to stop.
                let _ = writeln!(io::stderr(), "{ended} of {} messages, {figures}", self.messages);
            }
            Display::Bar => {
                self.bar.set_message(figures);
                self.bar.set_position(ended);
            }
        }
    }

    /// The run is over: the bar goes, so that the report stands alone.
    pub fn finish(&mut self) {
        self.bar.finish_and_clear();
    }
}

const BAR: &str = "{bar:30} {pos}/{len} {elapsed} {msg}";
