//! The main job through the built executable: a profile goes in, checked CSVs come out, nothing else stays.

mod support;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use support::{Process, eventually, kill, mailrig};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn run(arguments: &[&str], out: &Path) -> Output {
    mailrig().current_dir(root()).arg("run").args(arguments).arg("--out").arg(out).output().unwrap()
}

fn rows(file: &Path) -> Vec<HashMap<String, String>> {
    csv::Reader::from_path(file).unwrap().deserialize().collect::<Result<_, _>>().unwrap()
}

/// Processes of a run that writes to `out`, by their command line or environment.
fn processes_of(out: &Path) -> Vec<i32> {
    let needle = out.to_str().unwrap().as_bytes();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if line.windows(needle.len()).any(|part| part == needle) {
            found.push(pid);
        }
    }
    found
}

/// Control groups of ours, in any hierarchy.
fn groups() -> Vec<PathBuf> {
    fn below(folder: &Path, depth: u8, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if entry.file_name().to_string_lossy().starts_with("mailrig") {
                found.push(entry.path());
            } else if depth > 0 {
                below(&entry.path(), depth - 1, found);
            }
        }
    }
    let mut found = Vec::new();
    below(Path::new("/sys/fs/cgroup"), 6, &mut found);
    found
}

const ALWAYS_FILLED: [&str; 9] = [
    "messages_offered",
    "messages_delivered",
    "messages_deferred",
    "messages_bounced",
    "messages_lost",
    "messages_duplicated",
    "throughput_msg_per_s",
    "in_flight_peak",
    "littles_law_ratio",
];

// one test: trials that run beside each other would be measured against each other
#[test]
fn profiles_are_measured_compared_and_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let profiles =
        [("tiny", "preload"), ("tiny-concurrent", "concurrent"), ("tiny-architectures", "preload")];
    for (profile, load_model) in profiles {
        let out = folder.path().join(profile);
        let done = run(&[&format!("profiles/{profile}.toml")], &out);
        let said =
            format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        let runs = rows(&out.join("runs.csv"));
        let all_valid = runs.iter().all(|row| row["valid"] == "true");
        assert!(done.status.code() == Some(0) || !all_valid, "{said}");
        let subjects: Vec<_> = runs.iter().map(|row| row["subject"].as_str()).collect();
        assert!(subjects.contains(&"process") && subjects.contains(&"event"), "{subjects:?}");
        let mut valid = 0;
        for row in &runs {
            assert_eq!((row["load_model"].as_str(), row["schema_version"].as_str()), (load_model, "1"));
            assert_eq!(
                (row["messages_lost"].as_str(), row["messages_duplicated"].as_str()),
                ("0", "0"),
                "{row:?}"
            );
            // this machine may be busy with other tests: a trial may be invalid, but only for its timing
            if row["valid"] == "true" {
                valid += 1;
                assert!(ALWAYS_FILLED.iter().all(|column| !row[*column].is_empty()), "{row:?}");
                assert_eq!(row["messages_delivered"], row["messages_offered"], "{row:?}");
                let has_mta = row["mta"] != "wire";
                for column in ["driver", "agents_max", "cpu_queue_s"] {
                    assert_eq!(row[column].is_empty(), !has_mta, "{column}: {row:?}");
                }
                let ratio: f64 = row["littles_law_ratio"].parse().unwrap();
                assert!((0.9..=1.1).contains(&ratio), "{row:?}");
            } else {
                assert_eq!(row["invalid_reason"], "littles_law", "{row:?}");
            }
        }
        assert!(valid > 0, "{said}");
        for file in ["samples.csv", "summary.csv"] {
            assert!(!rows(&out.join(file)).is_empty(), "{file}");
        }
        let manifest: serde_json::Value =
            serde_json::from_slice(&std::fs::read(out.join("manifest.json")).unwrap()).unwrap();
        assert_eq!(manifest["profile"], profile);
        let compared = mailrig().arg("compare").arg(&out).output().unwrap();
        let table = String::from_utf8_lossy(&compared.stdout).into_owned();
        assert!(compared.status.success() && table.contains("process") && table.contains("event"), "{table}");
        let left: Vec<_> =
            std::fs::read_dir(&out).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(left.len(), 4, "only results stay: {left:?}");
        assert!(processes_of(&out).is_empty());
    }

    let out = folder.path().join("dry");
    let planned = run(&["profiles/quick.toml", "--dry-run"], &out);
    assert!(planned.status.success() && String::from_utf8_lossy(&planned.stdout).contains("500"));
    assert!(!out.exists(), "a dry run makes nothing");

    let bad = folder.path().join("bad.toml");
    let text = std::fs::read_to_string(root().join("profiles/tiny.toml")).unwrap();
    std::fs::write(&bad, text.replace("[load]", "[load]\nmodell = 1")).unwrap();
    let refused = run(&[bad.to_str().unwrap()], &out);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("bad.toml:") && said.contains("model") && !out.exists(), "{said}");

    for signal in ["INT", "KILL"] {
        let out = folder.path().join(signal);
        let mut command = mailrig();
        command
            .current_dir(root())
            .args(["run", "profiles/quick.toml", "--only", "process", "--out"])
            .arg(&out);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut harness = Process { child };
        eventually("a trial is under way", || processes_of(&out).len() > 3);
        kill(harness.pid(), signal);
        assert!(!harness.wait().success());
        eventually("every process of the run ends", || processes_of(&out).is_empty());
        eventually("its control groups go", || groups().is_empty());
        let folders =
            || std::fs::read_dir(&out).into_iter().flatten().flatten().filter(|e| e.path().is_dir()).count();
        eventually("its trial folders go", || folders() == 0);
    }
}
