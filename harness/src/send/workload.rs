//! `--workload FILE`: options from a file, for loads that are worth keeping.
//!
//! A key is an option's name with `_` for `-`, and its value what would stand behind the option; `true` alone is an option
//! without a value. What stands on the command line wins, also over a key that it has no place beside.

use super::Args;
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Args as _, Command, FromArgMatches};
use serde::Deserialize;
use settings::Error;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

/// What a key may be.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a text, a number, true, false, or a list of texts")]
enum Value {
    Switch(bool),
    Number(i64),
    Text(String),
    List(Vec<String>),
}

/// The command line once more, completed from a file.
///
/// # Errors
/// What is wrong with the file, with its place.
pub fn complete(path: &Path, line: impl Iterator<Item = OsString>) -> Result<Args, String> {
    let text = settings::read_text(path).map_err(|error| error.to_string())?;
    let name = path.display().to_string();
    let mut line: Vec<OsString> = line.collect();
    let command = Args::augment_args(Command::new("send"));
    let given = command.clone().try_get_matches_from(&line).map_err(|error| error.to_string())?;
    line.extend(additions(&command, &given, &text, &name).map_err(|error| error.to_string())?);
    let matches =
        command.try_get_matches_from(line).map_err(|error| format!("{name}: {}", problem(&error)))?;
    Args::from_arg_matches(&matches).map_err(|error| error.to_string())
}

/// The options that a file adds to those that are given.
fn additions(command: &Command, given: &ArgMatches, text: &str, name: &str) -> Result<Vec<OsString>, Error> {
    let keys: BTreeMap<String, Value> = settings::parse_toml(text, name)?;
    let mut additions = Vec::new();
    for (key, value) in &keys {
        let at = |problem: String| Error::at(name, text, key, problem);
        if key == PURPOSE {
            continue;
        }
        let known: Vec<&str> = allowed(command).collect();
        if !known.contains(&key.as_str()) {
            let hint = match settings::nearest(key, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("expected one of {}", known.join(", ")),
            };
            return Err(at(format!("unknown key `{key}`; {hint}")));
        }
        let options = options(command, key, value).map_err(at)?;
        // Each is tried alone, so that what is wrong with it has a place.
        let alone = ["send".into(), "127.0.0.1:25".into()].into_iter().chain(options.iter().cloned());
        match command.clone().try_get_matches_from(alone) {
            Ok(_) => {}
            Err(error) if error.kind() == clap::error::ErrorKind::MissingRequiredArgument => {}
            Err(error) => return Err(at(problem(&error))),
        }
        let has = |id: &str| given.value_source(id) == Some(ValueSource::CommandLine);
        if !has(key) && !rivals(key).any(has) {
            additions.extend(options);
        }
    }
    Ok(additions)
}

/// Options that a file may have: all but those of one machine, one evening or one secret.
fn allowed(command: &Command) -> impl Iterator<Item = &str> {
    const NOT: [&str; 18] = [
        "target",
        "workload",
        "json",
        "csv",
        "hdr",
        "latency_plot",
        "quiet",
        "shard",
        "shards",
        "with_parent",
        "dry_run",
        "i_own_this_host",
        "max_rate",
        "auth",
        "auth_file",
        "run",
        "source",
        "help",
    ];
    command.get_arguments().map(|argument| argument.get_id().as_str()).filter(|id| !NOT.contains(id))
}

/// Options that say another thing instead: given one, the file's other has no place.
fn rivals(key: &str) -> impl Iterator<Item = &'static str> {
    const SETS: [&[&str]; 4] = [
        &["rate", "stages", "think", "find_capacity"],
        &["messages", "duration"],
        &["tls", "starttls"],
        &["mime", "text", "mail"],
    ];
    let rivals = SETS.into_iter().filter(move |set| set.contains(&key)).flatten().copied();
    let search = ["messages", "duration", "warmup", "fail_if", "rate", "stages", "think"].contains(&key);
    rivals.chain(search.then_some("find_capacity"))
}

/// A key and its value as they would stand on a command line.
fn options(command: &Command, key: &str, value: &Value) -> Result<Vec<OsString>, String> {
    let option = format!("--{}", key.replace('_', "-"));
    let takes_none = command
        .get_arguments()
        .any(|argument| argument.get_id() == key && matches!(argument.get_action(), ArgAction::SetTrue));
    let with = |value: &str| vec![OsString::from(format!("{option}={value}"))];
    match value {
        Value::Switch(on) if takes_none => Ok(if *on { vec![option.into()] } else { Vec::new() }),
        _ if takes_none => Err(format!("`{key}` is true or false")),
        Value::Switch(on) => Ok(with(if *on { "on" } else { "off" })),
        Value::Number(number) => Ok(with(&number.to_string())),
        Value::Text(text) => Ok(with(text)),
        Value::List(texts) => Ok(texts.iter().flat_map(|text| with(text)).collect()),
    }
}

/// What is wrong, in one line.
fn problem(error: &clap::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or("").trim_start_matches("error: ");
    line.to_owned()
}

/// A sentence on what the load stands for.
const PURPOSE: &str = "purpose";
