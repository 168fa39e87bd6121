//! `mailrig doctor`: what this machine is like, seen through the rig's own parts.

use crate::run::agent_memory::{self, Look};
use profile::{Driver, HoldState};
use std::io::Write;
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(arg_required_else_help = true)]
pub struct Args {
    /// The pages that a delivery agent has for itself, by mapping, while it holds deliveries
    #[arg(long, required = true)]
    agent_memory: bool,
    /// blocking, threads or event; may be given several times [default: all]
    #[arg(long, value_name = "DRIVER", value_parser = parse_driver)]
    driver: Vec<Driver>,
    /// What the deliveries wait for: banner_wait, mid_data or dot_wait
    #[arg(long, value_name = "STATE", default_value = "dot_wait", value_parser = parse_state)]
    state: HoldState,
}

pub fn main(args: &Args) -> ExitCode {
    let drivers = if args.driver.is_empty() { Driver::ALL.to_vec() } else { args.driver.clone() };
    match agent_memory::look(&Look { drivers, state: args.state }) {
        Ok(text) => {
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("mailrig: {problem}");
            ExitCode::from(1)
        }
    }
}

fn parse_driver(text: &str) -> Result<Driver, String> {
    word(text, Driver::ALL, |driver| driver.as_str())
}

fn parse_state(text: &str) -> Result<HoldState, String> {
    word(text, HoldState::ALL, |state| state.as_str())
}

pub fn word<T: Copy>(text: &str, all: &[T], as_str: impl Fn(T) -> &'static str) -> Result<T, String> {
    let words = || all.iter().map(|one| as_str(*one)).collect::<Vec<_>>().join(", ");
    all.iter().copied().find(|one| as_str(*one) == text).ok_or_else(|| format!("write one of {}", words()))
}
