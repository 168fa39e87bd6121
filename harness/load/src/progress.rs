//! What is seen of a run while it lasts.

use crate::schedule::Plan;
use crate::statistics::errors::Errors;
use crate::statistics::histograms::Series;
use crate::statistics::outcome::Ending;
use crate::statistics::summary::Interval;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, Write};
use std::time::Duration;

/// How a run is shown on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Display {
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
    ended: u64,
    errors: Errors,
    /// Seconds of the run at the last line.
    shown_s: f64,
}

/// What tells how much of a run is done.
#[derive(Clone, Copy)]
enum Extent {
    Messages(u64),
    Time(Duration),
}

impl Progress {
    /// Shows a run of this plan.
    pub fn new(display: Display, plan: &Plan) -> Progress {
        let extent = match plan.stop.after {
            Some(messages) => Extent::Messages(messages),
            None => Extent::Time(
                [plan.stop.at, plan.model.length()].into_iter().flatten().min().unwrap_or_default(),
            ),
        };
        let (length, template) = match extent {
            Extent::Messages(messages) => (messages, MESSAGES_BAR),
            Extent::Time(length) => (length.as_millis() as u64, TIME_BAR),
        };
        let bar = match display {
            Display::Bar => ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr()),
            Display::Lines => ProgressBar::hidden(),
        };
        let style = ProgressStyle::with_template(template).expect("the template is one of indicatif's");
        Progress {
            display,
            bar: bar.with_style(style),
            extent,
            ended: 0,
            errors: Errors::default(),
            shown_s: 0.0,
        }
    }

    /// How often something is to be seen.
    pub fn every(&self) -> Duration {
        match self.display {
            Display::Bar => Duration::from_millis(250),
            Display::Lines => LINE_EVERY,
        }
    }

    /// Shows what happened since the last time.
    pub fn show(&mut self, interval: &Interval) {
        let counts = &interval.figures.counts;
        let ended = counts.messages.ended() + counts.warm_up_ended;
        self.ended += ended;
        self.errors.add_all(&interval.figures.errors);
        let rate = ended as f64 / (interval.to_s - interval.from_s).max(0.001);
        let mut figures = format!("{rate:.0} msg/s, {} in flight", interval.in_flight);
        if let Some(histogram) = interval.figures.histograms.get(Series::Message, Ending::Ok) {
            let ms = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e6;
            figures += &format!(", p50 {:.1} ms, p99 {:.1} ms", ms(0.5), ms(0.99));
        }
        figures += &error_words(&self.errors);
        match self.display {
            Display::Lines if interval.to_s - self.shown_s < LINE_EVERY.as_secs_f64() * 0.9 => {}
            Display::Lines => {
                self.shown_s = interval.to_s;
                let done = match self.extent {
                    Extent::Messages(messages) => format!("{} of {messages} messages", self.ended),
                    Extent::Time(length) => {
                        format!("{:.0} of {} s, {} messages", interval.to_s, length.as_secs(), self.ended)
                    }
                };
                // Nobody reading is no reason to stop.
                let _ = writeln!(io::stderr(), "{done}, {figures}");
            }
            Display::Bar => {
                self.bar.set_message(figures);
                self.bar.set_position(match self.extent {
                    Extent::Messages(_) => self.ended,
                    Extent::Time(_) => (interval.to_s * 1000.0) as u64,
                });
            }
        }
    }

    /// The run is over: the bar goes, so that the report stands alone.
    pub fn finish(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// The most frequent errors by stage and code.
fn error_words(errors: &Errors) -> String {
    if errors.total() == 0 {
        return String::new();
    }
    let words: Vec<String> = errors
        .rows()
        .iter()
        .take(ERRORS_SHOWN)
        .map(|row| {
            let code = row.code.map_or("unanswered".to_owned(), |code| code.to_string());
            format!("{} {code} x{}", row.stage, row.count)
        })
        .collect();
    format!(", {} errors ({})", errors.total(), words.join(", "))
}

const LINE_EVERY: Duration = Duration::from_secs(2);
const ERRORS_SHOWN: usize = 3;
const MESSAGES_BAR: &str = "{bar:30} {pos}/{len} {elapsed} {msg}";
const TIME_BAR: &str = "{bar:30} {elapsed} {msg}";
