//! The configuration of one trial's MTA, as the text of `mailrig mta run --config`.

use super::tarpits;
use profile::{Dial, LoadModel, Trial};
use settings::duration::format;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

/// How the subject calls itself.
const HOSTNAME: &str = "subject.mailrig.test";

/// The configuration of mailrig with this dial: it listens where the kernel finds a free port and relays everything to `sink`.
///
/// # Errors
/// A path is not UTF-8, which TOML can't hold.
pub fn mta_toml(
    trial: &Trial,
    dial: &Dial,
    sink: SocketAddr,
    spool: &Path,
    control: &Path,
) -> Result<String, String> {
    let subject = &trial.subject;
    let paused = trial.load.model == LoadModel::Preload;
    let mut text = String::new();
    let top = [
        ("listen", "[\"127.0.0.1:0\"]".to_owned()),
        ("hostname", quote(HOSTNAME)),
        ("spool", quote_path(spool)?),
        ("control", quote_path(control)?),
        ("relayhost", quote(&sink.to_string())),
        ("store", quote(dial.spool.as_str())),
        ("durability", quote(dial.durability.as_str())),
        ("paused", paused.to_string()),
    ];
    let delivery = [
        ("driver", quote(dial.driver.as_str())),
        ("agents_max", dial.agents_max.to_string()),
        ("connections_per_agent", dial.connections_per_agent.to_string()),
        ("spawn", quote(dial.spawn.as_str())),
        ("max_use", dial.max_use.to_string()),
        ("max_idle", quote(&format(dial.max_idle))),
        ("messages_per_connection", subject.messages_per_connection.to_string()),
        ("pipelining", subject.pipelining.to_string()),
    ];
    let queue = &dial.queue;
    let or_trials = |concurrency: Option<u32>| concurrency.unwrap_or(trial.concurrency).to_string();
    let mut queue_keys = vec![
        ("destination_concurrency", or_trials(queue.destination_concurrency)),
        // the trial's concurrency from the first message on: slow start is not what is measured
        ("initial_destination_concurrency", or_trials(queue.initial_destination_concurrency)),
        ("minimal_backoff", quote(&format(dial.queue.minimal_backoff))),
        ("maximal_backoff", quote(&format(dial.queue.maximal_backoff))),
        ("lifetime", quote(&format(dial.queue.lifetime))),
    ];
    let given = [
        ("scheduler", queue.scheduler.map(|scheduler| quote(scheduler.as_str()))),
        ("slow_after", queue.slow_after.map(|after| quote(&format(after)))),
        ("retry_share", queue.retry_share.map(|share| format!("{share:?}"))),
        ("slow_share", queue.slow_share.map(|share| format!("{share:?}"))),
        ("unproven_share", queue.unproven_share.map(|share| format!("{share:?}"))),
    ];
    queue_keys.extend(given.into_iter().filter_map(|(key, value)| Some((key, value?))));
    let transports = trial.tarpits.map(|tarpits| tarpits::transports(&tarpits, sink.port()));
    let transports: Vec<(&str, String)> =
        transports.iter().flatten().map(|(domain, hop)| (domain.as_str(), quote(hop))).collect();
    let tables = [
        ("", &top[..]),
        ("\n[transport]\n", &transports[..]),
        ("\n[delivery]\n", &delivery[..]),
        ("\n[queue]\n", &queue_keys[..]),
    ];
    for (table, entries) in tables {
        text.push_str(table);
        for (key, value) in entries {
            writeln!(text, "{key} = {value}").expect("a String accepts every write");
        }
    }
    Ok(text)
}

fn quote_path(path: &Path) -> Result<String, String> {
    path.to_str().map(quote).ok_or_else(|| format!("the path {} is not UTF-8", path.display()))
}

/// A JSON string is a TOML basic string too: both escape with `\"`, `\\`, `\n` and `\uXXXX`.
fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
