//! What is seen of a run while it lasts.

use crate::run::Run;
use crate::schedule::Plan;
use crate::statistics::histograms::Series;
use crate::statistics::outcome::Ending;
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
    extent: Extent,
    start: Instant,
    shown: Option<(Instant, u64)>,
}

/// What tells how much of a run is done.
#[derive(Clone, Copy)]
enum Extent {
    Messages(u64),
    Time(Duration),
}

impl Progress {
    /// Shows a run that begins now.
    pub(crate) fn new(display: Display, plan: &Plan, run: &Run) -> Progress {
        let start = Instant::now();
        let extent = match (plan.stop.after, run.schedule.borrow().end()) {
            (Some(messages), _) => Extent::Messages(messages),
            (None, end) => {
                Extent::Time(end.map_or(Duration::ZERO, |end| end.saturating_duration_since(start)))
            }
        };
        let (length, template) = match extent {
            Extent::Messages(messages) => (messages, MESSAGES_BAR),
            Extent::Time(length) => (length.as_millis() as u64, TIME_BAR),
        };
        let bar = match display {
            Display::Bar => ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr()),
            Display::Nothing | Display::Lines => ProgressBar::hidden(),
        };
        let style = ProgressStyle::with_template(template).expect("the template is one of indicatif's");
        Progress { display, bar: bar.with_style(style), extent, start, shown: None }
    }

    /// How often [`Progress::show`] is to be called.
    pub fn every(&self) -> Duration {
        match self.display {
            Display::Bar => Duration::from_millis(200),
            Display::Lines => Duration::from_secs(2),
            Display::Nothing => Duration::from_secs(3600),
        }
    }

    /// Shows where the run stands.
    pub(crate) fn show(&mut self, run: &Run) {
        if self.display == Display::Nothing {
            return;
        }
        let now = Instant::now();
        let statistics = run.statistics.borrow();
        let counts = statistics.counts();
        let ended = counts.messages.ended() + counts.warm_up_ended;
        let (since, before) = self.shown.replace((now, ended)).unwrap_or((now, 0));
        let elapsed = now.saturating_duration_since(since);
        if elapsed.is_zero() {
            return;
        }
        let rate = (ended - before) as f64 / elapsed.as_secs_f64();
        let mut figures = format!("{rate:.0} msg/s, {} in flight", statistics.in_flight);
        if let Some(histogram) = statistics.histogram(Series::Message, Ending::Ok) {
            let ms = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e6;
            figures += &format!(", p50 {:.1} ms, p99 {:.1} ms", ms(0.5), ms(0.99));
        }
        figures += &error_words(&statistics.errors());
        match self.display {
            Display::Nothing => {}
            Display::Lines => {
                let done = match self.extent {
                    Extent::Messages(messages) => format!("{ended} of {messages} messages"),
                    Extent::Time(length) => {
                        let (passed, length) = ((now - self.start).as_secs(), length.as_secs());
                        format!("{passed} of {length} s, {ended} messages")
                    }
                };
                // Nobody reading is no reason to stop.
                let _ = writeln!(io::stderr(), "{done}, {figures}");
            }
            Display::Bar => {
                self.bar.set_message(figures);
                self.bar.set_position(match self.extent {
                    Extent::Messages(_) => ended,
                    Extent::Time(_) => (now - self.start).as_millis() as u64,
                });
            }
        }
    }

    /// The run is over: the bar goes, so that the report stands alone.
    pub fn finish(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// The most frequent errors by code, or by stage where there is none.
fn error_words(errors: &[crate::statistics::errors::ErrorRow]) -> String {
    let total: u64 = errors.iter().map(|row| row.count).sum();
    let words: Vec<String> = errors
        .iter()
        .take(ERRORS_SHOWN)
        .map(|row| {
            let code = row.code.map_or("lost".to_owned(), |code| code.to_string());
            format!("{} {code} x{}", row.stage, row.count)
        })
        .collect();
    match total {
        0 => String::new(),
        _ => format!(", {total} errors ({})", words.join(", ")),
    }
}

const ERRORS_SHOWN: usize = 3;
const MESSAGES_BAR: &str = "{bar:30} {pos}/{len} {elapsed} {msg}";
const TIME_BAR: &str = "{bar:30} {elapsed} {msg}";
