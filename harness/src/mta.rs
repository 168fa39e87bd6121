//! `mailrig mta`: the mail transfer agent in the foreground, and its reload.

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
    /// Have the running one read its configuration again; what is wrong there changes nothing
    Reload(ReloadArgs),
}

#[derive(clap::Args)]
struct ReloadArgs {
    /// The configuration that it runs with
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
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
    let result = match args.command {
        Command::Run(RunArgs { config: file, with_parent }) => {
            // without it the MTA is only slower
            let _ = mta::restart_without_rseq();
            mta::Config::read(&file).and_then(|config| mta::run(config, &file, with_parent, ready))
        }
        Command::Reload(ReloadArgs { config: file }) => {
            mta::Config::read(&file).and_then(|config| mta::operate::reload(&config)).map(|()| 0)
        }
    };
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
