//! What the person in front sees while trials run: a bar on a terminal, lines elsewhere, nothing when quiet.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use measure::RunRow;
use profile::Trial;
use std::io::IsTerminal;
use std::time::Duration;

pub struct Progress {
    display: Display,
    trials: usize,
}

enum Display {
    Nothing,
    Lines,
    Bar(ProgressBar),
}

impl Progress {
    /// For a run of `trials`; a bar where standard error is a terminal.
    pub fn new(trials: usize, quiet: bool) -> Progress {
        let display = if quiet {
            Display::Nothing
        } else if std::io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(Some(trials as u64), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {elapsed} {msg}");
            bar.set_style(style.expect("the template is a constant"));
            bar.enable_steady_tick(Duration::from_millis(250));
            Display::Bar(bar)
        } else {
            Display::Lines
        };
        Progress { display, trials }
    }

    /// A sentence that stays.
    pub fn say(&self, text: &str) {
        match &self.display {
            Display::Nothing => {}
            Display::Lines => eprintln!("{text}"),
            Display::Bar(bar) => bar.println(text),
        }
    }

    /// Something that went wrong: shown also when quiet.
    pub fn complain(&self, text: &str) {
        match &self.display {
            Display::Bar(bar) => bar.suspend(|| eprintln!("mailrig: {text}")),
            _ => eprintln!("mailrig: {text}"),
        }
    }

    pub fn begins(&self, trial: &Trial) {
        if let Display::Bar(bar) = &self.display {
            bar.set_message(name(trial));
        }
    }

    /// A trial's step, as "loading 5000 messages": on the bar only.
    pub fn step(&self, trial: &Trial, step: &str) {
        if let Display::Bar(bar) = &self.display {
            bar.set_message(format!("{}: {step}", name(trial)));
        }
    }

    pub fn ends(&self, trial: &Trial, row: &RunRow) {
        self.say(&format!("trial {}/{}: {}: {}", trial.order, self.trials, name(trial), figures(row)));
        if let Display::Bar(bar) = &self.display {
            bar.inc(1);
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Display::Bar(bar) = &self.display {
            bar.finish_and_clear();
        }
    }
}

fn name(trial: &Trial) -> String {
    format!("{}, concurrency {}, repeat {}", trial.subject.name, trial.concurrency, trial.repeat)
}

fn figures(row: &RunRow) -> String {
    let mut words = Vec::new();
    words.extend(row.throughput_msg_per_s.map(|rate| format!("{rate:.0} msg/s")));
    words.extend(row.delivery_p50_ms.map(|time| format!("p50 {time:.0} ms")));
    words.extend(row.in_flight_peak.map(|peak| format!("{peak} in flight")));
    words.extend(row.invalid_reason.map(|reason| format!("not valid: {}", reason.as_str())));
    words.join(", ")
}
