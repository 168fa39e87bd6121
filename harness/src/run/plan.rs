//! What a run is about to do, for people: `--dry-run` shows it and starts nothing.

use measure::Table;
use profile::{Dial, Experiment, Trial};
use std::fmt::Write;
use std::path::Path;

/// The experiment's trials in their order.
pub fn text(experiment: &Experiment, folder: &Path) -> String {
    let mut text = format!("{}: {}\n", experiment.name, experiment.purpose);
    let (trials, repeats) = (experiment.trials.len(), experiment.repeats);
    let string = "a String accepts every write";
    writeln!(
        text,
        "{trials} trials in {repeats} blocks, seed {}, results in {}",
        experiment.seed,
        folder.display()
    )
    .expect(string);
    for note in &experiment.notes {
        writeln!(text, "note: {note}").expect(string);
    }
    let mut table = Table::new(&[
        "trial",
        "block",
        "subject",
        "driver",
        "agents",
        "connections each",
        "concurrency",
        "load",
        "messages",
        "size",
        "sink",
    ]);
    for trial in &experiment.trials {
        table.row(cells(trial));
    }
    text.push('\n');
    text.push_str(&table.render());
    text
}

fn cells(trial: &Trial) -> [String; 11] {
    let (subject, load) = (&trial.subject, &trial.load);
    let dial = subject.mta.dial();
    // the wire has none
    let of_dial = |cell: fn(&Dial) -> String| dial.map_or(String::new(), cell);
    [
        trial.order.to_string(),
        trial.repeat.to_string(),
        subject.name.clone(),
        of_dial(|dial| dial.driver.as_str().to_owned()),
        of_dial(|dial| dial.agents_max.to_string()),
        of_dial(|dial| dial.connections_per_agent.to_string()),
        trial.concurrency.to_string(),
        load.model.as_str().to_owned(),
        load.messages.to_string(),
        settings::size::format(load.size_bytes),
        format!("{} {}", trial.sink.delay_words(), trial.sink.reply_words()).trim().to_owned(),
    ]
}
