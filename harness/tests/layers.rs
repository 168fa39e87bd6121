//! What may depend on what, held against the manifests and sources of the workspace itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Each crate of the workspace: its folder and its direct dependencies, those for tests left out.
fn crates() -> BTreeMap<String, (PathBuf, BTreeSet<String>)> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("cargo metadata answers in JSON");
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap().iter();
    let crates: BTreeMap<_, _> = packages
        .map(|package| {
            let dependencies = package["dependencies"].as_array().unwrap().iter();
            let direct =
                dependencies.filter(|one| one["kind"].is_null()).map(|one| text(&one["name"])).collect();
            let folder = PathBuf::from(text(&package["manifest_path"])).parent().unwrap().to_owned();
            (text(&package["name"]), (folder, direct))
        })
        .collect();
    assert!(crates.len() > 15, "the workspace has more crates than {:?}", crates.keys());
    crates
}

#[test]
fn arrows_only_point_where_architecture_md_says() {
    let crates = crates();
    let of = |name: &str| &crates[name].1;
    let only = |name: &str, allowed: &[&str]| {
        for dependency in of(name) {
            assert!(allowed.contains(&dependency.as_str()), "{name} must not depend on {dependency}");
        }
    };
    only("smtp", &["itoa", "memchr"]);
    only("delivery", &["smtp"]);
    // no clock and no randomness either: time comes with each change
    only("spool", &["delivery", "crc32fast", "rustix"]);
    only("scheduler", &["smtp", "delivery", "fastrand"]);
    only("behaviour", &["smtp", "settings", "distribution", "fastrand", "serde"]);
    only("distribution", &["fastrand", "serde"]);
    only("timer", &["rustix", "tokio"]);
    // the scheduler under virtual time: no more than what it and its sites are made of
    only(
        "simulate",
        &[
            "scheduler",
            "delivery",
            "smtp",
            "behaviour",
            "distribution",
            "measure",
            "settings",
            "fastrand",
            "serde",
        ],
    );
    only("sys", &["libc", "rustix"]);
    only("supervisor", &["delivery", "sys", "rustix"]);
    // every page of the lean agent is measured: a new name here needs a reason
    only("agent", &["smtp", "delivery", "sys", "rustix"]);
    for (one, other) in
        [("scheduler", "spool"), ("spool", "scheduler"), ("agent", "event"), ("event", "agent")]
    {
        assert!(!of(one).contains(other), "{one} must not know {other}");
    }
    let rooms = |folder: &str| -> BTreeSet<&String> {
        let folder = root().join(folder);
        crates.iter().filter(|(_, (path, _))| path.starts_with(&folder)).map(|(name, _)| name).collect()
    };
    let (sinks, harness) = (rooms("sink"), rooms("harness"));
    for name in rooms("mta") {
        for dependency in of(name) {
            assert!(!sinks.contains(dependency) && !harness.contains(dependency), "{name} -> {dependency}");
        }
    }
    for name in ["profile", "measure", "subject"] {
        assert!(
            of(name).is_disjoint(&["scheduler", "spool", "queue", "agent", "event"].map(String::from).into())
        );
    }
    let tokio = ["event", "server", "timer", "sink", "load"];
    for (name, (_, dependencies)) in &crates {
        assert!(
            !dependencies.contains("tokio") || tokio.contains(&name.as_str()),
            "{name} must not use tokio"
        );
    }
}

#[test]
fn the_lean_agent_is_made_of_nothing_but_these() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--package", "agent", "--edges", "normal", "--prefix", "none", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8_lossy(&output.stdout);
    let found: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    // the four of ours, and what finds line ends, writes a number and makes system calls
    let allowed =
        ["agent", "smtp", "delivery", "sys", "itoa", "memchr", "libc", "rustix", "bitflags", "linux-raw-sys"];
    assert_eq!(found, BTreeSet::from(allowed), "whatever comes in here is in the memory that is measured");
}

/// Every Rust source of a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found = Vec::new();
    for path in entries {
        if path.is_dir() && !path.ends_with("target") {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

#[test]
fn unsafe_stays_fenced_pure_crates_stay_pure_and_files_stay_short() {
    let root = root();
    let all: Vec<PathBuf> =
        ["mta", "sink", "harness", "benches"].iter().flat_map(|folder| sources(&root.join(folder))).collect();
    assert!(all.len() > 100);
    let me = Path::new(file!()).file_name().unwrap();
    for path in all.iter().filter(|path| path.file_name() != Some(me)) {
        let text = std::fs::read_to_string(path).unwrap();
        let shown = path.strip_prefix(&root).unwrap();
        assert!(text.lines().count() <= 500, "{} is longer than 500 lines", shown.display());
        for elsewhere in ["/work/", "/home/", "/root/", "shared/"] {
            assert!(!text.contains(elsewhere), "a path of one machine in {}: {elsewhere}", shown.display());
        }
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let uses_unsafe = code.clone().any(|line| line.contains("unsafe {") || line.contains("unsafe fn"));
        assert!(!uses_unsafe || shown.starts_with("mta/sys"), "unsafe in {}", shown.display());
        let pure = [
            "mta/smtp/src",
            "mta/delivery/src",
            "mta/scheduler/src",
            "sink/behaviour/src",
            "sink/distribution/src",
            "harness/simulate/src",
        ];
        if pure.iter().any(|folder| shown.starts_with(folder)) {
            let product = text.split("#[cfg(test)]").next().unwrap();
            for banned in ["std::net::Tcp", "std::fs", "std::thread", "Instant::now", "SystemTime::now"] {
                assert!(!product.contains(banned), "{banned} in {}", shown.display());
            }
        }
    }
}
