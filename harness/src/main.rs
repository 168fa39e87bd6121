//! `mailrig`: every role of the rig as a subcommand of one executable.
//!
//! One file a subcommand; this one only says which there are and turns their result into an exit status.

use clap::{Parser, Subcommand};
use std::process::ExitCode;

mod compare;
mod doctor;
mod guard;
mod mta;
mod queue;
mod run;
mod send;
mod simulate;
mod sink;
mod size;

#[derive(Parser)]
#[command(
    name = "mailrig",
    version,
    about = "Measures mail delivery architectures: a complete MTA, sinks, load generators and a harness"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run benchmark profiles and write their result CSVs
    Run(run::Args),
    /// Put two runs, or one run's subjects, side by side
    Compare(compare::Args),
    /// Say how many agents and how much memory a load of mail needs
    Size(size::Args),
    /// Look at this machine, and at what the parts of the rig cost on it
    Doctor(doctor::Args),
    /// Run the queue under virtual time: days in seconds
    Simulate(simulate::Args),
    /// Load an SMTP server
    Send(Box<send::Args>),
    /// Be the remote site: accept, delay or refuse mail and keep a ledger of it
    Sink(Box<sink::Args>),
    /// The mail transfer agent
    Mta(mta::Args),
    /// Look at queued mail, and hold, release, requeue or delete it
    Queue(queue::Args),
    /// Clean up after a harness that died
    #[command(hide = true)]
    Guard(guard::Args),
}

fn main() -> ExitCode {
    // before any argument is parsed: an agent begins as often as its reuse limit says
    if let Some(status) = ::mta::agent_process(std::env::args_os()) {
        return ExitCode::from(u8::try_from(status).unwrap_or(1));
    }
    run_command()
}

/// A function of its own: the parser's room on the stack would be that of every agent.
#[inline(never)]
fn run_command() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => run::main(args),
        Command::Compare(args) => compare::main(args),
        Command::Size(args) => size::main(&args),
        Command::Doctor(args) => doctor::main(&args),
        Command::Simulate(args) => simulate::main(args),
        Command::Send(args) => send::main(*args),
        Command::Sink(args) => sink::main(*args),
        Command::Mta(args) => mta::main(args),
        Command::Queue(args) => queue::main(args),
        Command::Guard(args) => guard::main(args),
    }
}
