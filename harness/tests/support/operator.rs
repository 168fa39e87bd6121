//! `mailrig queue` as an operator uses it, on the MTA or the spool of a folder.

use super::mailrig;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Output;
use std::time::{SystemTime, UNIX_EPOCH};

pub fn queue(folder: &Path, words: &[&str]) -> Output {
    let (command, rest) = words.split_first().unwrap();
    let config = folder.join("mta.toml");
    let mut run = mailrig();
    run.args(["queue", command, "--config"]).arg(config).args(rest).output().unwrap()
}

pub fn said(folder: &Path, words: &[&str]) -> String {
    let output = queue(folder, words);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{words:?}: {out}{err}");
    out.into_owned()
}

/// The senders of the messages that a filter means.
pub fn senders(folder: &Path, filter: &[&str]) -> Vec<String> {
    let text = said(folder, &[&["list", "--json"], filter].concat());
    let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    rows.map(|row| row["from"].as_str().unwrap().to_owned()).collect()
}

pub fn id_of(folder: &Path, sender: &str) -> String {
    let text = said(folder, &["list", "--json", "--sender", sender]);
    let row: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    row["id"].as_str().unwrap().to_owned()
}

/// A message as an export has it, before its content.
pub fn row<To: AsRef<str>>(number: usize, from: &str, to: &[To], size_bytes: usize) -> Value {
    let to: Vec<Value> = to.iter().map(|to| json!({"address": to.as_ref(), "state": "pending"})).collect();
    // old enough to be due, and not too old
    let received_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64 - 1000;
    json!({
        "id": format!("{number:012x}"), "status": "due", "held": false, "from": from, "recipients": to.len(), "to": to,
        "received_ms": received_ms, "due_ms": received_ms, "attempts": 0, "size_bytes": size_bytes,
        "eight_bit": false,
    })
}
