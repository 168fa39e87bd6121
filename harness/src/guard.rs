//! `mailrig guard`: processes that the harness needs beside itself. Hidden, since only the harness starts them.
//!
//! Without more it is the guard, which cleans up after a harness that died; `mailrig guard enter` is the first step
//! of every child of a trial, which takes its session, control groups and cores and then becomes the program.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use subject::enter::Place;

/// How the harness calls the guard and the first step of a child.
pub const GUARD: &[&str] = &["guard"];
pub const ENTER: &[&str] = &["guard", "enter"];

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    step: Option<Step>,
}

#[derive(clap::Subcommand)]
enum Step {
    /// Start a session, join control groups, bind to cores and become a program
    Enter {
        /// Directory of a control group; one for each hierarchy
        #[arg(long = "group", value_name = "DIR")]
        groups: Vec<PathBuf>,
        /// Core to be bound to, by number; several may be given
        #[arg(long = "core", value_name = "N")]
        cores: Vec<usize>,
        /// The program and its arguments
        #[arg(last = true, required = true, value_name = "PROGRAM")]
        program: Vec<OsString>,
    },
}

/// Exit status of the guard: 0 there was nothing to do or all is clean; 1 something is left, with a line for each.
pub fn main(args: Args) -> ExitCode {
    match args.step {
        Some(Step::Enter { groups, cores, program }) => {
            let (program, arguments) = program.split_first().expect("clap requires the program");
            let problem = subject::enter::enter(&Place { groups, cores }, program, arguments);
            eprintln!("mailrig: {problem}");
            ExitCode::from(2)
        }
        None => {
            let problems = subject::guard::watch(std::io::stdin().lock(), std::io::stdout());
            for problem in &problems {
                eprintln!("mailrig: cleaning up after a run that died: {problem}");
            }
            ExitCode::from(u8::from(!problems.is_empty()))
        }
    }
}
