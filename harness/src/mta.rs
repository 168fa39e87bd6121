//! `mailrig mta run`: the mail transfer agent in the foreground.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Receive, queue and relay mail until SIGTERM
    Run(RunArgs),
}

#[derive(clap::Args)]
struct RunArgs {
    /// The configuration, TOML
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// End when the process that started this one ends
    #[arg(long, hide = true)]
    with_parent: bool,
}

pub fn main(args: Args) -> ExitCode {
    let Command::Run(args) = args.command;
    let result = mta::Config::read(&args.config).and_then(|config| mta::run(config, args.with_parent, ready));
    match result {
        Ok(status) => ExitCode::from(u8::try_from(status).unwrap_or(1)),
        Err(error) => {
            eprintln!("mailrig: mta: {error}");
            ExitCode::from(2)
        }
    }
}

fn ready(address: SocketAddr) {
    println!("ready {address}");
    // whoever waits for this line may be a pipe
    let _ = std::io::stdout().flush();
}
