//! `mailrig queue`: queued mail, of an MTA that runs or of its spool when none does.

mod export;
mod progress;
mod shape;
mod show;

use ::mta::Config;
use ::mta::operate::{Act, Filter, Queue, Row, Standing, Tally};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// List messages
    List {
        #[command(flatten)]
        queue: Where,
        #[command(flatten)]
        which: Which,
    },
    /// Say all that is known of a message
    Show {
        #[command(flatten)]
        queue: Where,
        #[arg(value_name = "ID", required = true)]
        ids: Vec<String>,
    },
    /// Write a message as it was received
    Cat {
        #[command(flatten)]
        queue: Where,
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Try everything that is deferred, or what is named, now
    Flush(Change),
    /// Keep messages from delivery
    Hold(Change),
    /// End a hold: messages are due when they were
    Release(Change),
    /// Make messages due now, also held ones
    Requeue(Change),
    /// Delete messages; their senders are told nothing
    Delete(Change),
    /// Count recipients by domain and age in minutes, as qshape(1) does
    Shape {
        #[command(flatten)]
        queue: Where,
        #[command(flatten)]
        which: Which,
    },
    /// Write messages to a file that `import` reads
    Export {
        #[command(flatten)]
        queue: Where,
        #[command(flatten)]
        which: Which,
        /// Where to; - is standard output
        #[arg(value_name = "FILE", default_value = "-")]
        file: PathBuf,
    },
    /// Take in messages that `export` wrote; they get new ids
    Import {
        #[command(flatten)]
        queue: Where,
        /// Where from; - is standard input
        #[arg(value_name = "FILE", default_value = "-")]
        file: PathBuf,
    },
}

#[derive(clap::Args)]
struct Where {
    /// The MTA's configuration, which says where its spool and control socket are
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Change {
    #[command(flatten)]
    queue: Where,
    #[command(flatten)]
    which: Which,
    /// Messages by their ids
    #[arg(value_name = "ID", conflicts_with = "Which")]
    ids: Vec<String>,
    /// Every message
    #[arg(long, conflicts_with_all = ["ids", "Which"])]
    all: bool,
}

/// Several together mean messages for which each holds.
#[derive(clap::Args)]
#[group(id = "Which", multiple = true)]
struct Which {
    /// From this address; "" is the null reverse-path
    #[arg(long, value_name = "ADDRESS")]
    sender: Option<String>,
    /// Still to be delivered to this address
    #[arg(long, value_name = "ADDRESS")]
    recipient: Option<String>,
    /// Still to be delivered to somebody at this domain
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
    /// Received longer ago, for example 2h
    #[arg(long, value_name = "DURATION", value_parser = settings::duration::parse)]
    older_than: Option<Duration>,
    /// Received less long ago
    #[arg(long, value_name = "DURATION", value_parser = settings::duration::parse)]
    younger_than: Option<Duration>,
    /// active, due, deferred or held
    #[arg(long, value_name = "STATUS", value_parser = standing)]
    status: Option<Standing>,
}

fn standing(text: &str) -> Result<Standing, String> {
    match text {
        "active" => Ok(Standing::Active),
        "due" => Ok(Standing::Due),
        "deferred" => Ok(Standing::Deferred),
        "held" => Ok(Standing::Held),
        _ => Err("a status is active, due, deferred or held".to_owned()),
    }
}

impl Which {
    fn filter(&self) -> Filter {
        Filter {
            sender: self.sender.clone(),
            recipient: self.recipient.clone(),
            domain: self.domain.clone(),
            older_than_s: self.older_than.map(|age| age.as_secs()),
            younger_than_s: self.younger_than.map(|age| age.as_secs()),
            status: self.status,
        }
    }
}

pub fn main(args: Args) -> ExitCode {
    match run(args.command) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("mailrig: queue: {error}");
            ExitCode::from(2)
        }
    }
}

fn open(queue: &Where) -> Result<Queue, String> {
    Queue::open(&Config::read(&queue.config)?)
}

fn run(command: Command) -> Result<ExitCode, String> {
    let out = &mut std::io::stdout().lock();
    let written = match command {
        Command::List { queue, which } => show::list(&mut open(&queue)?, &which.filter(), queue.json, out),
        Command::Show { queue, ids } => {
            let mut opened = open(&queue)?;
            ids.iter().try_for_each(|id| show::one(&opened.show(id)?, queue.json, out))
        }
        Command::Cat { queue, id } => open(&queue)?.content(&id, out),
        Command::Flush(change) => return flush(change, out),
        Command::Hold(change) => return act(Act::Hold, &change, out),
        Command::Release(change) => return act(Act::Release, &change, out),
        Command::Requeue(change) => return act(Act::Requeue, &change, out),
        Command::Delete(change) => return act(Act::Delete, &change, out),
        Command::Shape { queue, which } => shape::print(&mut open(&queue)?, &which.filter(), queue.json, out),
        Command::Export { queue, which, file } => export::export(&mut open(&queue)?, &which.filter(), &file),
        Command::Import { queue, file } => {
            let config = Config::read(&queue.config)?;
            let spool = std::path::absolute(&config.spool).unwrap_or_else(|_| config.spool.clone());
            export::import(&mut Queue::open(&config)?, &file, &spool, out)
        }
    };
    // a reader that has seen enough (`| head`) is no failure
    if written.as_ref().is_err_and(|error| error == BROKEN_PIPE) {
        return Ok(ExitCode::SUCCESS);
    }
    written.map(|()| ExitCode::SUCCESS)
}

const BROKEN_PIPE: &str = "nobody reads";

fn line(out: &mut dyn Write, text: &str) -> Result<(), String> {
    writeln!(out, "{text}").map_err(|error| match error.kind() {
        std::io::ErrorKind::BrokenPipe => BROKEN_PIPE.to_owned(),
        _ => format!("writing: {error}"),
    })
}

fn flush(mut change: Change, out: &mut dyn Write) -> Result<ExitCode, String> {
    let everything = change.ids.is_empty() && change.which.filter() == Filter::default();
    if everything {
        open(&change.queue)?.flush()?;
        return Ok(ExitCode::SUCCESS);
    }
    if change.ids.is_empty() {
        // what is held stays held
        change.which.status = change.which.status.or(Some(Standing::Deferred));
    }
    act(Act::Requeue, &change, out)
}

fn act(act: Act, change: &Change, out: &mut dyn Write) -> Result<ExitCode, String> {
    let filter = change.which.filter();
    if change.ids.is_empty() && filter == Filter::default() && !change.all {
        return Err("name messages by id or by what they have in common, or write --all".to_owned());
    }
    let mut queue = open(&change.queue)?;
    let mut ids = change.ids.clone();
    if ids.is_empty() {
        queue.list(&filter, &mut |Row { id, .. }| {
            ids.push(id);
            Ok(())
        })?;
    }
    let Tally { done, busy, missing } = queue.act(act, &ids)?;
    let text = if change.queue.json {
        serde_json::json!({"done": done, "busy": busy, "missing": missing}).to_string()
    } else {
        let word = format!("{act:?}").to_lowercase();
        format!("{word}: {done} messages, {busy} left alone, {missing} not found")
    };
    line(out, &text)?;
    Ok(if missing > 0 || busy > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
