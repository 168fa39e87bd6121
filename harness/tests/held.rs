//! Deliveries that are held while memory is read, what the machine must be able to hold, and what follows from the
//! slopes, through the built executable.

mod support;

use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Output};
use support::mailrig;

const PROFILE: &str = r#"name = "held"
placement = "shared"
repeats = 1
[load]
model = "preload"
connections = 4
[[subject]]
name = "process"
driver = "blocking"
agents_max = "concurrency"
connections_per_agent = 1
max_use = 0
durability = "none"
[points]
concurrency = [4, 12]
hold = [
    { state = "dot_wait" },
    { state = "banner_wait", concurrency = [5] },
    { state = "mid_data", concurrency = [2] },
]
"#;

fn rows(file: &Path) -> Vec<HashMap<String, String>> {
    csv::Reader::from_path(file).unwrap().deserialize().collect::<Result<_, _>>().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn every_delivery_is_held_in_its_state_and_then_arrives() {
    let folder = tempfile::tempdir().unwrap();
    let (profile, out) = (folder.path().join("held.toml"), folder.path().join("out"));
    std::fs::write(&profile, PROFILE).unwrap();
    let done = mailrig().arg("run").arg(&profile).arg("--out").arg(&out).output().unwrap();
    assert_eq!(done.status.code(), Some(0), "{}", said(&done));
    let runs = rows(&out.join("runs.csv"));
    assert_eq!(runs.len(), 4);
    for run in &runs {
        assert_eq!(
            (run["valid"].as_str(), &run["messages_delivered"]),
            ("true", &run["concurrency"]),
            "{run:?}"
        );
        assert_eq!(run["in_flight_peak"], run["concurrency"], "all at once: {run:?}");
    }
    let memory = rows(&out.join("memory.csv"));
    for run in &runs {
        for moment in ["ready", "held", "drained"] {
            let of = |role: &str| {
                let found = memory.iter().find(|row| {
                    row["order"] == run["order"] && row["moment"] == moment && row["role"] == role
                });
                found.unwrap_or_else(|| panic!("no {moment} {role}: {run:?}")).clone()
            };
            assert_eq!(of("agents")["processes"], run["concurrency"], "{moment} of {run:?}");
            assert!(of("queue")["uss_bytes"].parse::<u64>().unwrap() > 100_000);
        }
    }
    let fits = rows(&out.join("memfit.csv"));
    let fit = fits.iter().find(|fit| fit["kind"] == "uss").expect("a line through two levels");
    assert_eq!((fit["state"].as_str(), fit["levels"].as_str()), ("dot_wait", "4 12"));
    let slope: f64 = fit["slope_bytes_per_connection"].parse().unwrap();
    assert!((8192.0..2_000_000.0).contains(&slope), "a process has pages of its own: {slope}");
    assert!(fits.iter().all(|fit| fit["state"] == "dot_wait"), "one level determines no line");
}

#[test]
fn a_machine_that_cannot_hold_it_is_told_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let profile = Path::new(env!("CARGO_MANIFEST_DIR")).join("../profiles/thousands-of-agents.toml");
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "ulimit -n 6000 && exec \"$0\" run \"$1\" --out \"$2\"",
        env!("CARGO_BIN_EXE_mailrig"),
    ]);
    let refused = command.arg(&profile).arg(&out).output().unwrap();
    let words = said(&refused);
    assert_eq!(refused.status.code(), Some(2), "{words}");
    assert!(words.contains("9900") && words.contains("6000 files") && words.contains("ulimit -n"), "{words}");
    assert!(!out.exists());
}

#[test]
fn an_agents_own_pages_are_told_by_mapping() {
    let looked = mailrig().args(["doctor", "--agent-memory", "--driver", "blocking"]).output().unwrap();
    let words = said(&looked);
    assert!(looked.status.success(), "{words}");
    let line = |start: &str| {
        let found = words.lines().find(|line| line.starts_with(start));
        found.unwrap_or_else(|| panic!("no {start} in\n{words}")).to_owned()
    };
    assert!(line("mapping").contains("blocking zygote") && line("mapping").contains("blocking exec"));
    let numbers =
        |line: String| -> Vec<f64> { line.split_whitespace().filter_map(|word| word.parse().ok()).collect() };
    let (stack, all) = (numbers(line("[stack]")), numbers(line("all")));
    assert!(stack.len() == 2 && all.len() == 2, "{words}");
    assert!(stack.iter().zip(&all).all(|(stack, all)| *stack >= 4.0 && all > stack), "{words}");
}

#[test]
fn the_size_of_a_load_follows_from_the_slopes_with_the_arithmetic_shown() {
    let folder = tempfile::tempdir().unwrap();
    let fit = |subject: &str, driver: &str, kind: &str, slope: u32, intercept: u32| {
        format!("p,{subject},{driver},zygote,dot_wait,{kind},{slope},1,2,{intercept},1,100 1000\n")
    };
    let header = "profile,subject,driver,spawn,state,kind,slope_bytes_per_connection,slope_ci_low_bytes,\
                  slope_ci_high_bytes,intercept_bytes,r2,levels\n";
    let text = [
        header.to_owned(),
        fit("process", "blocking", "uss", 50_000, 1_000_000),
        fit("process", "blocking", "kernel", 100_000, 2_000_000),
        fit("event", "event", "uss", 3000, 500_000),
        fit("event", "event", "kernel", 4000, 500_000),
    ]
    .concat();
    std::fs::write(folder.path().join("memfit.csv"), text).unwrap();
    let size = |from: &Path, state: &str| {
        let arguments =
            ["size", "--rate", "50/s", "--latency", "30s", "--memory", "100MiB", "--state", state];
        mailrig().args(arguments).arg("--from").arg(from).output().unwrap()
    };
    let answered = size(folder.path(), "dot_wait");
    let words = said(&answered);
    assert!(answered.status.success(), "{words}");
    for expected in [
        "50/s x 30 s = 1500 connections",
        "process: 1500 x (50000 user + 100000 kernel) B + 1000000 + 2000000 B = 217.4 MiB",
        "event: 1500 x (3000 user + 4000 kernel) B + 500000 + 500000 B = 11.0 MiB",
        "beyond what was measured",
    ] {
        assert!(words.contains(expected), "no `{expected}` in\n{words}");
    }
    let row = |subject: &str| {
        words.lines().find(|line| line.starts_with(&format!("{subject} "))).unwrap().to_owned()
    };
    assert!(row("process").contains("1500") && row("process").contains("no"), "{words}");
    assert!(row("event").contains("yes"), "{words}");
    for (from, state) in [(folder.path(), "mid_data"), (Path::new("/nonexistent"), "dot_wait")] {
        let refused = size(from, state);
        assert_eq!(refused.status.code(), Some(2));
        assert!(said(&refused).contains("hint: "), "{}", said(&refused));
    }
}
