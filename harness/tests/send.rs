//! `mailrig send` as its users see it: what it prints, what it writes, how it ends.

mod support;

use serde_json::Value;
use std::process::Output;
use support::{Sink, mailrig};

struct Sent {
    output: Output,
    report: Value,
}

impl Sent {
    fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    fn code(&self) -> Option<i32> {
        self.output.status.code()
    }
}

/// Runs `mailrig send` with its report on standard output.
fn send(address: &str, arguments: &[&str]) -> Sent {
    let output =
        mailrig().args(["send", address, "--quiet", "--json", "-"]).args(arguments).output().unwrap();
    let report = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    Sent { output, report }
}

#[test]
fn thresholds_decide_and_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start(folder.path(), "sink", &["--reply", "rcpt=550@20", "--seed", "3"]);
    let many = ["--messages", "200", "--connections", "4"];
    let run = |conditions: &[&str]| {
        let options: Vec<&str> = conditions.iter().flat_map(|it| ["--fail-if", it]).collect();
        send(&sink.address, &[&many[..], &options].concat())
    };
    assert_eq!(run(&[]).code(), Some(1), "refusals fail a run that says nothing else");
    let passed = run(&["errors > 60%", "p99(message) > 20s"]);
    assert_eq!(passed.code(), Some(0), "{}", passed.report);
    let failed = run(&["errors > 60%", "count(rcpt/refused) > 3"]);
    assert_eq!(failed.code(), Some(1));
    let judged: Vec<&Value> =
        failed.report["fail_if"].as_array().unwrap().iter().map(|it| &it["is_true"]).collect();
    assert_eq!(judged, [&Value::Bool(false), &Value::Bool(true)]);
    let unmeasured = run(&["p99(handshake) > 1s"]);
    assert_eq!(unmeasured.code(), Some(1), "what was never measured can't be promised");
    let table = mailrig().args(["send", &sink.address, "--fail-if", "errors > 200%"]).output().unwrap();
    let said = String::from_utf8_lossy(&table.stdout);
    assert!(said.contains("passed: fail if errors > 200%: "), "{said}");
}

#[test]
fn usage_errors_are_two_and_send_nothing() {
    for arguments in [
        &["--rate", "500"][..],
        &["--rate", "500/s"],
        &["--stages", "hold"],
        &["--rate", "5/s", "--stages", "hold 5/s 1s"],
        &["--rate", "5/s", "--think", "1s"],
        &["--messages", "0"],
        &["--duration", "0"],
        &["--fail-if", "p99 = 5"],
        &["--size", "20"],
        &["--size", "normal(4KiB)"],
        &["--to", "user{0}@x.test"],
        &["--source", "nowhere"],
        &["--auth", "nobody"],
        &["--tls", "--starttls"],
        &["--tls-verify", "ca=/nonexistent.pem", "--tls"],
        &["--mail", "/nonexistent"],
        &["--csv", "/nonexistent/rows.csv"],
    ] {
        let sent = send("127.0.0.1:9", arguments);
        assert_eq!(sent.code(), Some(2), "{arguments:?}: {}", sent.stderr());
        assert!(!sent.stderr().is_empty() && sent.report.is_null(), "{arguments:?}");
    }
}

#[test]
fn a_server_that_is_not_there_is_told_of_in_one_line() {
    let sent = send("127.0.0.1:9", &["--messages", "1000", "--connections", "50"]);
    assert_eq!(sent.code(), Some(1));
    assert_eq!(sent.stderr().lines().count(), 1, "{}", sent.stderr());
    assert!(sent.stderr().contains("127.0.0.1:9: connection refused"), "{}", sent.stderr());
    assert_eq!(sent.report["not_started"], 1000);
}

#[test]
fn each_second_has_a_row_and_its_histograms() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start(folder.path(), "sink", &[]);
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (csv, hdr, plot) = (file("rows.csv"), file("load.hlog"), file("latency.svg"));
    let sent = send(
        &sink.address,
        &[
            "--rate",
            "200/s",
            "--duration",
            "1200ms",
            "--max-lag",
            "10s",
            "--csv",
            &csv,
            "--hdr",
            &hdr,
            "--latency-plot",
            &plot,
        ],
    );
    assert_eq!(sent.code(), Some(0), "{}{}", sent.report, sent.stderr());
    let rows = std::fs::read_to_string(csv).unwrap();
    let rows: Vec<Vec<&str>> = rows.lines().map(|line| line.split(',').collect()).collect();
    let column = rows[0].iter().position(|name| *name == "accepted").unwrap();
    let accepted: Vec<u64> = rows[1..].iter().map(|row| row[column].parse().unwrap()).collect();
    assert_eq!((accepted.len(), accepted.iter().sum::<u64>()), (2, 240), "{rows:?}");
    assert!(accepted[0] > 150, "{rows:?}");
    let log = std::fs::read_to_string(hdr).unwrap();
    assert_eq!(log.lines().filter(|line| line.starts_with("Tag=message/ok,")).count(), 2, "{log}");
    assert!(std::fs::read_to_string(plot).unwrap().contains("</svg>"));
    // Every id came once, and none but those.
    let ledger = sink.stop();
    assert_eq!((&ledger["unique"], &ledger["duplicates"]), (&240.into(), &0.into()));
}

#[test]
fn content_of_all_kinds_is_taken_by_the_sink() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start(folder.path(), "sink", &[]);
    let mbox = folder.path().join("mbox");
    std::fs::write(&mbox, "From a\nSubject: one\n\n.dot\n\nFrom b\nSubject: two\n\nbody\n").unwrap();
    let sizes = folder.path().join("sizes");
    std::fs::write(&sizes, "# counted last month\n1KiB 4KiB 90\n4KiB 100KiB 10\n").unwrap();
    let sizes = format!("file({})", sizes.display());
    for arguments in [
        &["--size", "lognormal(p50=8KiB,p99=200KiB)"][..],
        &["--size", &sizes],
        &["--mime", "--size", "uniform(4KiB,20KiB)"],
        &["--mail", mbox.to_str().unwrap()],
        &["--text", "8bit"],
        &["--to", "u{100}@d{10~1.1}.test", "--recipients", "geometric(3)", "--from", "s{9}@a.test"],
    ] {
        let sent = send(&sink.address, &[&["--messages", "20", "--connections", "2"], arguments].concat());
        assert_eq!(sent.code(), Some(0), "{arguments:?}: {}{}", sent.report, sent.stderr());
    }
    let ledger = sink.stop();
    assert_eq!((&ledger["unique"], &ledger["without_id"]), (&120.into(), &0.into()), "{ledger}");
}

#[test]
fn shards_send_the_same_messages_as_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let rows = folder.path().join("rows.csv").to_str().unwrap().to_owned();
    for (name, pace) in [
        ("closed", &["--messages", "101", "--connections", "7"][..]),
        ("open", &["--rate", "500/s", "--messages", "301", "--max-lag", "10s", "--csv", &rows]),
    ] {
        let sink = Sink::start(folder.path(), name, &[]);
        let sent = send(&sink.address, &[&["--shards", "3", "--run", "r"], pace].concat());
        assert_eq!(sent.code(), Some(0), "{}{}", sent.report, sent.stderr());
        let messages = sent.report["messages"].as_u64().unwrap();
        assert_eq!((&sent.report["accepted"], &sent.report["failed"]), (&messages.into(), &0.into()));
        assert_eq!(sent.report["stages"]["dot"]["count"], messages);
        let ledger = sink.stop();
        assert_eq!((&ledger["unique"], &ledger["duplicates"]), (&messages.into(), &0.into()), "{ledger}");
        // Numbers are those of the whole load: none is missing.
        let ids = ledger["ids"].as_object().unwrap().keys();
        let mut numbers: Vec<u64> = ids.map(|id| id.split('/').nth(1).unwrap().parse().unwrap()).collect();
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(1..=messages));
    }
    let rows = std::fs::read_to_string(rows).unwrap();
    let accepted = rows.lines().skip(1).map(|row| row.split(',').nth(4).unwrap().parse::<u64>().unwrap());
    assert_eq!(accepted.sum::<u64>(), 301, "{rows}");
    let few = send("127.0.0.1:9", &["--shards", "3", "--connections", "2"]);
    assert_eq!(few.code(), Some(2), "{}", few.stderr());
    let away = send("127.0.0.1:9", &["--shards", "2", "--connections", "2", "--messages", "10"]);
    assert_eq!((away.code(), away.stderr().lines().count()), (Some(1), 1), "{}", away.stderr());
}

#[test]
fn the_capacity_of_a_server_is_found_as_its_delay_says() {
    let folder = tempfile::tempdir().unwrap();
    // Four connections, 20 ms for each message: 200 a second and no more.
    let sink = Sink::start(folder.path(), "sink", &["--delay", "dot=20ms"]);
    let sent = send(
        &sink.address,
        &[
            "--connections",
            "4",
            "--find-capacity",
            "p99 < 100ms, errors < 1%",
            "--capacity-from",
            "100/s",
            "--capacity-hold",
            "200ms",
            "--capacity-settle",
            "0",
            "--max-rate",
            "400/s",
        ],
    );
    assert_eq!(sent.code(), Some(0), "{}{}", sent.report, sent.stderr());
    let capacity = sent.report["capacity_msg_per_s"].as_f64().unwrap();
    // Short steps find a little more than is held for long: what waits has no time to grow old.
    assert!((90.0..400.0).contains(&capacity), "{}", sent.report);
    let steps = sent.report["steps"].as_array().unwrap();
    assert!(steps.len() >= 4 && steps.iter().any(|step| step["verdict"] == "holds"), "{}", sent.report);
    let confirmed = steps.iter().rev().take(3).all(|step| step["rate_msg_per_s"] == capacity);
    assert!(confirmed, "{}", sent.report);
    let away = send("127.0.0.1:9", &["--find-capacity", "p99 < 1s", "--capacity-hold", "100ms"]);
    assert_eq!((away.code(), away.report["steps"].as_array().map(Vec::len)), (Some(1), Some(1)));
}

#[test]
fn a_dry_run_says_everything_and_sends_nothing() {
    let output = mailrig()
        .args(["send", "127.0.0.1:9", "--dry-run", "--rate", "10/s", "--messages", "3"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    for line in ["C: EHLO", "C: MAIL FROM", "C: X-Mailrig-Id: ", "C: QUIT", "S: 221"] {
        assert!(said.contains(line), "{line} in {said}");
    }
    for (arguments, words) in [
        (&["192.0.2.1:25"][..], "--i-own-this-host"),
        (&["192.0.2.1:25", "--i-own-this-host", "192.0.2.2"], "--i-own-this-host"),
        (&["127.0.0.1:9", "--rate", "30000/s", "--messages", "1"], "--max-rate"),
    ] {
        let output = mailrig().arg("send").args(arguments).args(["--quiet"]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(words), "{arguments:?}");
    }
}

fn workloads() -> Vec<std::path::PathBuf> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../profiles/load");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "toml")).collect()
}

#[test]
fn every_workload_is_good_and_says_what_it_stands_for() {
    let workloads = workloads();
    assert!(workloads.len() >= 10);
    for path in workloads {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# ") && text.contains("\npurpose = \""), "{}", path.display());
        let output =
            mailrig().args(["send", "127.0.0.1:9", "--dry-run", "--workload"]).arg(&path).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("C: QUIT"), "{}: {output:?}", path.display());
    }
}

#[test]
fn a_workload_is_completed_by_the_command_line_which_wins() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start(folder.path(), "sink", &[]);
    let path = folder.path().join("load.toml");
    let load = |text: &str, arguments: &[&str]| {
        std::fs::write(&path, text).unwrap();
        send(&sink.address, &[&["--workload", path.to_str().unwrap()], arguments].concat())
    };
    let text = "purpose = \"x\"\nmessages = 7\nconnections = 2\nsize = \"2KiB\"\nbdat = true\nto = [\"a@x.test\", \"b@x.test\"]\n";
    let sent = load(text, &[]);
    assert_eq!((sent.code(), &sent.report["accepted"]), (Some(0), &7.into()), "{}", sent.stderr());
    assert_eq!(sent.report["stages"]["rcpt"]["count"], 14);
    let sent = load(text, &["--messages", "3", "--to", "c@x.test"]);
    assert_eq!((&sent.report["accepted"], &sent.report["stages"]["rcpt"]["count"]), (&3.into(), &3.into()));
    let sent = load("stages = \"hold 9/s 9h\"\n", &["--rate", "100/s", "--messages", "5", "--max-lag", "9s"]);
    assert_eq!((sent.code(), &sent.report["accepted"]), (Some(0), &5.into()), "{}", sent.stderr());
    for (text, words) in [
        ("messages = 1\nconections = 2\n", ":2:1: unknown key `conections`; did you mean `connections`?"),
        ("json = \"x\"\n", ":1:1: unknown key `json`"),
        ("rate = \"500\"\n", ":1:1: invalid value '500'"),
        ("bdat = \"yes\"\n", ":1:1: `bdat` is true or false"),
        ("messages = 1.5\n", ":1:"),
        ("messages = \n", ":1:"),
        ("rate = \"5/s\"\nthink = \"1s\"\n", "cannot be used with"),
    ] {
        let sent = load(text, &[]);
        assert_eq!(sent.code(), Some(2), "{text}");
        assert!(
            sent.stderr().contains(words) && sent.stderr().lines().count() == 1,
            "{text}: {}",
            sent.stderr()
        );
    }
}

#[test]
fn a_stopped_server_shows_in_the_latency_as_arithmetic_says() {
    // A tenth of two seconds: messages meant for it wait for what is left of it, so the slowest tenth of all waits evenly
    // from nothing to 200 ms, and the 95th and 99th percentiles are a half and nine tenths of that.
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start(folder.path(), "sink", &[]);
    let pid = sink.process.pid();
    let stall = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(800));
        support::kill(pid, "STOP");
        std::thread::sleep(std::time::Duration::from_millis(200));
        support::kill(pid, "CONT");
    });
    let sent = send(
        &sink.address,
        &["--rate", "500/s", "--duration", "2s", "--connections", "5", "--max-lag", "10s"],
    );
    stall.join().unwrap();
    assert_eq!((sent.code(), &sent.report["accepted"]), (Some(0), &1000.into()), "{}", sent.report);
    let ms = |series: &str, figure: &str| sent.report["stages"][series][figure].as_f64().unwrap() / 1000.0;
    assert!((50.0..220.0).contains(&ms("message", "p95_us")), "{}", sent.report["stages"]);
    assert!((120.0..400.0).contains(&ms("message", "p99_us")), "{}", sent.report["stages"]);
    // Seen from MAIL on, the stall is five slow messages.
    assert!(ms("service", "p95_us") < 50.0 && ms("service", "max_us") > 150.0, "{}", sent.report["stages"]);
}

#[test]
fn our_own_sink_is_loaded_over_tls_by_lmtp_and_in_chunks() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem").to_str().unwrap().to_owned();
    let trusted = format!("ca={ca}");
    let tls = ["--tls-verify", &trusted, "--tls-name", "sink.test"];
    for (name, sink, load) in [
        ("starttls", &["--tls", "starttls", "--authority", &ca][..], &["--starttls", "--bdat"][..]),
        ("implicit", &["--tls", "implicit", "--authority", &ca, "--auth"], &["--tls", "--auth", "u:p"]),
        ("lmtp", &["--lmtp"], &["--lmtp", "--to", "a@x.test", "--to", "b@x.test"]),
    ] {
        let sink = Sink::start(folder.path(), name, sink);
        let verify: &[&str] = if name == "lmtp" { &[] } else { &tls };
        let many = ["--messages", "60", "--connections", "3", "--messages-per-connection", "7"];
        let sent = send(&sink.address, &[&many[..], load, verify].concat());
        assert_eq!(
            (sent.code(), &sent.report["accepted"]),
            (Some(0), &60.into()),
            "{name}: {}",
            sent.stderr()
        );
        let ledger = sink.stop();
        assert_eq!((&ledger["unique"], &ledger["duplicates"]), (&60.into(), &0.into()), "{name}: {ledger}");
    }
}

#[test]
fn its_throughput_agrees_with_the_clock_on_the_wall() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start(folder.path(), "sink", &["--delay", "dot=10ms"]);
    let began = std::time::Instant::now();
    let sent = send(&sink.address, &["--messages", "400", "--connections", "10"]);
    let wall_s = began.elapsed().as_secs_f64();
    let elapsed_s = sent.report["elapsed_s"].as_f64().unwrap();
    let throughput = sent.report["throughput_msg_per_s"].as_f64().unwrap();
    // Ten connections, ten milliseconds for each message.
    assert!(elapsed_s >= 0.4 && elapsed_s <= wall_s && wall_s - elapsed_s < 2.0, "{elapsed_s} of {wall_s}");
    assert!((throughput * elapsed_s - 400.0).abs() < 0.1, "{throughput}");
}
