//! The report as a table for people.

use super::Report;
use super::condition::Judgement;
use super::latency::{COLUMNS, Latency};

impl Report {
    /// The table for people, several lines, each ended.
    pub fn table(&self) -> String {
        self.latency_lines()
            + &self.totals()
            + &self.lag_lines()
            + &self.error_lines()
            + &self.condition_lines()
    }

    fn latency_lines(&self) -> String {
        let mut lines: Vec<String> = self
            .latencies
            .iter()
            .filter(|row| !row.stage.ends_with("_lag"))
            .map(|row| line(row.stage, row.outcome, &row.latency))
            .collect();
        if !lines.is_empty() {
            lines.insert(0, head());
            if lines.iter().any(|line| line.starts_with("message ")) {
                lines.push(format!("{}\n", self.legend()));
            }
            lines.push("\n".to_owned());
        }
        lines.concat()
    }

    /// Which of the two latencies is which.
    fn legend(&self) -> &'static str {
        match self.model {
            "open" => {
                "message: from the intended start, so that a server that stalls can't hide it; service: from MAIL"
            }
            _ => "message: from when its connection was free; service: from MAIL",
        }
    }

    fn totals(&self) -> String {
        let mut text = format!(
            "messages: {} asked for, {} accepted, {} deferred, {} refused, {} failed, {} not started\n",
            self.messages, self.accepted, self.deferred, self.refused, self.failed, self.not_started
        );
        if self.warm_up > 0 {
            text += &format!("warm-up: {} messages, left out of all other figures\n", self.warm_up);
        }
        if let (Some(elapsed_s), Some(throughput)) = (self.elapsed_s, self.throughput_msg_per_s) {
            let (connections, cpu_s) = (self.connections_opened, self.cpu_s);
            text += &format!(
                "throughput: {throughput:.0} msg/s over {elapsed_s:.3} s, {connections} connections, {cpu_s:.3} s CPU\n"
            );
        }
        text
    }

    fn lag_lines(&self) -> String {
        let mut text = String::new();
        if self.model == "open" {
            let ms = |us: Option<f64>| us.map_or("-".to_owned(), |us| format!("{:.3} ms", us / 1000.0));
            text += &format!(
                "open loop: {} offered, {} started, {} missed; start lag p99 {}, of which the generator's own {}\n",
                self.offered,
                self.started,
                self.missed,
                ms(self.start_lag.p99_us),
                ms(self.generator_lag.p99_us)
            );
        }
        if let Some(reason) = &self.invalid_because {
            text += &format!("INVALID: {reason}\n");
        }
        text
    }

    fn condition_lines(&self) -> String {
        let line = |judgement: &Judgement| {
            let word = if judgement.is_true == Some(false) { "passed" } else { "FAILED" };
            format!("{word}: fail if {judgement}\n")
        };
        self.fail_if.iter().map(line).collect()
    }

    fn error_lines(&self) -> String {
        let mut text = String::new();
        if !self.errors.is_empty() {
            text += &format!("\n{:<10}{:>6}{:>10}  first text\n", "error at", "code", "count");
        }
        for row in &self.errors {
            let code = row.code.map_or("-".to_owned(), |code| code.to_string());
            text += &format!("{:<10}{code:>6}{:>10}  {}\n", row.stage.as_str(), row.count, row.text);
        }
        text
    }
}

fn head() -> String {
    let cells: String = COLUMNS.iter().map(|name| format!("{name:>11}")).collect();
    format!("{:<10}{:<9}{:>10}{cells}\n", "ms", "outcome", "count")
}

fn line(stage: &str, outcome: &str, latency: &Latency) -> String {
    let cell = |us: Option<f64>| us.map_or(String::new(), |us| format!("{:.3}", us / 1000.0));
    let cells: String = latency.columns().map(cell).iter().map(|cell| format!("{cell:>11}")).collect();
    format!("{stage:<10}{outcome:<9}{:>10}{cells}\n", latency.count)
}
