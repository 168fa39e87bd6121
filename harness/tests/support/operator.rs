//! `mailrig queue` as an operator uses it, on the MTA or the spool of a folder.

use super::mailrig;
use serde_json::Value;
use std::path::Path;
use std::process::Output;

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

/// The subjects of the messages that a filter means, by their contents' size, which is different for each.
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
