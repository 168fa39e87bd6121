//! One of several processes that share a load: the same command line again, with its share at the end.

use load::Options;
use load::shards::{Assignment, end_to_parent, parts_to_parent};
use std::env;
use std::io;
use std::process::Command;
use std::sync::Arc;

/// What a shard was told.
pub fn parse(text: &str) -> Result<Arc<Assignment>, String> {
    serde_json::from_str(text).map(Arc::new).map_err(|error| error.to_string())
}

/// Starts a shard with this assignment.
///
/// # Errors
/// This executable has gone.
pub fn command(assignment: &str) -> io::Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    command.args(env::args_os().skip(1)).args(["--shard", assignment]);
    Ok(command)
}

/// Sends this shard's share and tells what it found.
///
/// # Errors
/// What kept it from that.
pub fn run(mut options: Options, assignment: &Assignment) -> Result<(), String> {
    options.plan = assignment.plan.clone();
    options.connections = assignment.connections;
    options.message.run.clone_from(&assignment.run);
    options.start_ns = Some(assignment.start_ns);
    let mut watch = parts_to_parent(assignment);
    let summary = load::measure(&options, &mut watch).map_err(|error| error.to_string())?;
    watch.finish()?;
    end_to_parent(&summary).map_err(|error| format!("telling the results: {error}"))
}
