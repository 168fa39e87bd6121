//! What stands around the subject, the same for each: the sink, the load generator, their places and their end.

use super::cast::{Paths, START_BOUND};
use super::hold;
use super::results::{self, Sent};
use super::rig::{Rig, Scratch};
use super::tarpits;
use super::trouble::Trouble;
use measure::InvalidReason;
use profile::LoadModel;
use profile::Trial;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;
use subject::child::{Child, Output, Stopped};
use subject::cores::Cores;
use subject::enter::Place;
use subject::groups::RoleGroups;
use subject::live::Live;
use subject::role::Role;

/// A child that listens.
pub struct Outside {
    pub child: Child,
    pub live: Live,
    pub address: SocketAddr,
}

/// The cores, and the role's group where there are groups.
pub fn place(groups: Option<&RoleGroups>, role: Role, cores: &[usize]) -> Place {
    let group = groups.and_then(|groups| groups.of(role));
    Place { groups: group.map_or(Vec::new(), |group| group.directories().to_vec()), cores: cores.to_vec() }
}

/// The sink, ready. On a core that neither subject nor load generator needs meanwhile, it does not sleep while it
/// is busy.
pub fn start_sink(
    rig: &Rig,
    trial: &Trial,
    place: &Place,
    scratch: &Scratch,
    paths: &Paths,
    cores: &Cores,
) -> Result<Outside, Trouble> {
    let failed = Trouble::of(InvalidReason::SinkFailed);
    let log = scratch.dir.join("sink.log");
    let arguments = sink_arguments(trial, cores, paths, &scratch.dir.join("site.toml")).map_err(|error| {
        Trouble::new(InvalidReason::SinkFailed, format!("writing its site file: {error}"))
    })?;
    let mut child = rig.launcher.start("sink", place, &arguments, Output::Piped, &log).map_err(&failed)?;
    let live = Live::read(child.stdout().expect("standard output is piped"));
    let address = live.ready(&mut child, START_BOUND, &rig.interrupt).map_err(&failed)?;
    Ok(Outside { child, live, address })
}

/// So long a sink stays awake after the last packet: longer than a busy subject lets it wait.
const BUSY_POLL: &str = "200us";

fn sink_arguments(
    trial: &Trial,
    cores: &Cores,
    paths: &Paths,
    site: &Path,
) -> std::io::Result<Vec<OsString>> {
    let mut arguments: Vec<OsString> = vec!["sink".into()];
    match &trial.tarpits {
        Some(tarpits) => arguments.extend(tarpits::sink_arguments(trial, tarpits, site)?),
        None => {
            arguments.extend(["--listen".into(), "127.0.0.1:0".into()]);
            arguments.extend(trial.sink.arguments().into_iter().map(OsString::from));
        }
    }
    if let Some(state) = trial.hold {
        arguments.extend(hold::sink_arguments(state, site)?);
    }
    if cores.are_apart() && trial.load.model == LoadModel::Preload {
        arguments.extend(["--busy-poll".into(), BUSY_POLL.into()]);
    }
    arguments.extend([
        "--seed".into(),
        trial.seed.to_string().into(),
        "--live".into(),
        "--with-parent".into(),
    ]);
    arguments.extend(["--ledger".into(), paths.ledger.clone().into()]);
    arguments.extend(["--trace".into(), paths.trace.clone().into()]);
    Ok(arguments)
}

/// `mailrig send` of all the trial's mail to `target`.
pub fn load_arguments(
    trial: &Trial,
    target: SocketAddr,
    connections: u32,
    run: &str,
    paths: &Paths,
) -> Vec<OsString> {
    let load = &trial.load;
    let mut arguments: Vec<OsString> = vec!["send".into(), target.to_string().into()];
    let options = [
        ("--connections", connections.to_string()),
        ("--messages", load.messages.to_string()),
        ("--size", load.size_bytes.to_string()),
        ("--from", load.sender.clone()),
        ("--to", load.recipient.clone()),
        ("--run", run.to_owned()),
    ];
    for (option, value) in options {
        arguments.extend([option.into(), value.into()]);
    }
    arguments.extend(["--json".into(), paths.sent.clone().into(), "--quiet".into(), "--with-parent".into()]);
    arguments
}

/// The report of a load generator that has ended; every message must have been accepted.
pub fn read_sent(load: &mut Child, status: ExitStatus, paths: &Paths) -> Result<Sent, Trouble> {
    let failed = |what: String| Trouble::new(InvalidReason::LoadFailed, what);
    let sent: Sent = results::read(&paths.sent).map_err(|problem| {
        failed(format!("the load generator ended with {status}; {problem}; {}", load.last_lines()))
    })?;
    if sent.accepted < sent.messages {
        let (accepted, messages, errors) = (sent.accepted, sent.messages, sent.errors_text());
        return Err(failed(format!("only {accepted} of {messages} messages were accepted: {errors}")));
    }
    Ok(sent)
}

/// Asks a child to end; a line if it had to be killed or ended badly.
pub fn stop(child: &mut Child, grace: Duration, hurried: bool) -> Option<String> {
    match child.stop(grace) {
        Ok(Stopped::Itself(status)) if status.success() => None,
        Ok(Stopped::Itself(status)) => {
            Some(format!("the {} ended with {status}: {}", child.name(), child.last_lines()))
        }
        Ok(Stopped::Killed) if hurried => None,
        Ok(Stopped::Killed) => {
            let (name, grace_s) = (child.name(), grace.as_secs());
            Some(format!("the {name} did not end within {grace_s} s and was killed"))
        }
        Err(error) => Some(error.to_string()),
    }
}

/// Takes a trial's groups away. A line for processes that were left in them.
pub fn remove_groups(groups: Option<&RoleGroups>, hurried: bool) -> Vec<String> {
    let Some(groups) = groups else { return Vec::new() };
    let mut problems = Vec::new();
    for role in Role::STARTED {
        let left = groups.of(role).map_or(0, |group| group.processes().len());
        if left > 0 && !hurried {
            let role = role.as_str();
            problems.push(format!("{left} processes of the role {role} outlived the trial and were killed"));
        }
    }
    problems.extend(groups.remove().err().map(|error| error.to_string()));
    problems
}
