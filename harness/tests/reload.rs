//! A configuration that is read again while mail flows.

mod support;

use serde_json::Value;
use std::process::Stdio;
use std::time::{Duration, Instant};
use support::{DRIVERS, Mta, Process, Sink, alive, at_once, configuration, dial, eventually, mailrig};

/// `[delivery]` of a test, and a scheduler that is never what is waited for.
fn tables(delivery: &str) -> String {
    format!(
        "[delivery]\n{delivery}\n[queue]\ndestination_concurrency = 50\ninitial_destination_concurrency = 50\n\
         minimal_backoff = \"100ms\"\nmaximal_backoff = \"300ms\"\n"
    )
}

fn sending(mta: &Mta, messages: usize) -> Process {
    let mut command = mailrig();
    command.args(["send", &mta.address, "--quiet", "--connections", "5", "--size", "1KiB", "--messages"]);
    Process { child: command.arg(messages.to_string()).stdout(Stdio::null()).spawn().unwrap() }
}

/// Writes the configuration anew and has it read; what is said of it when it is refused.
fn reload(mta: &Mta, keys: &str, tables: &str) -> Result<(), String> {
    let config = mta.folder.join("mta.toml");
    std::fs::write(&config, configuration(&mta.folder, keys, tables)).unwrap();
    let output = mailrig().args(["mta", "reload", "--config"]).arg(config).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(said) }
}

/// Driver and way of starting, as the process itself shows them.
fn kind(pid: i32) -> (&'static str, &'static str) {
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let links: Vec<_> = files.filter_map(|entry| std::fs::read_link(entry.path()).ok()).collect();
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    let driver = match links.iter().any(|link| link.ends_with("anon_inode:[eventpoll]")) {
        true => "event",
        false if threads > 1 => "threads",
        false => "blocking",
    };
    let arguments = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let executed = arguments.split('\0').nth(1) == Some("agent");
    (driver, if executed { "exec" } else { "zygote" })
}

fn agents(mta: &Mta) -> Vec<i32> {
    mta.pids()[2..].to_vec()
}

/// Died, hung, out of memory.
fn lost(status: &Value) -> [u64; 3] {
    ["died", "hung", "out_of_memory"].map(|key| status["agents"][key].as_u64().unwrap())
}

#[test]
fn another_driver_takes_over_under_load_and_nothing_is_lost() {
    const MESSAGES: usize = 1500;
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start(folder.path(), "sink", &["--delay", "dot=20ms"]);
    let keys = format!("relayhost = \"{}\"", sink.address);
    let mta = Mta::start(folder.path(), &keys, &tables("agents_max = 3"));
    let mut load = sending(&mta, MESSAGES);
    let (mut before, mut most) = (Vec::new(), 3);
    for (driver, spawn, agents_max, connections) in [
        ("event", "exec", 2, 5),
        ("threads", "zygote", 1, 8),
        ("blocking", "exec", 4, 1),
        ("blocking", "preforked", 2, 1),
        ("event", "zygote", 1, 12),
    ] {
        eventually("the agents of before have work", || {
            before = agents(&mta);
            mta.control("status")["agents"]["busy"].as_u64() > Some(0) && !before.is_empty()
        });
        let delivery = format!(
            "driver = \"{driver}\"\nspawn = \"{spawn}\"\nagents_max = {agents_max}\n\
             connections_per_agent = {connections}"
        );
        assert_eq!(reload(&mta, &keys, &tables(&delivery)), Ok(()));
        most = agents_max.max(most);
        eventually("the agents of before leave", || !before.iter().any(|pid| alive(*pid)));
        let as_shown = if spawn == "preforked" { "zygote" } else { spawn };
        eventually("those after them are of the new kind", || {
            let now = agents(&mta);
            !now.is_empty()
                && now.len() <= agents_max
                // a thread comes with its first delivery, and an executed one takes a moment to be what it will be
                && now.iter().all(|pid| kind(*pid) == (driver, as_shown) || !alive(*pid))
        });
    }
    assert!(load.wait().success());
    let status = mta.wait_drained();
    assert_eq!((&status["delivered"], lost(&status)), (&MESSAGES.into(), [0, 0, 0]), "{}", mta.log());
    let ledger = sink.stop();
    assert_eq!((&ledger["unique"], &ledger["duplicates"]), (&MESSAGES.into(), &0.into()), "{ledger}");
}

#[test]
fn a_file_that_cannot_be_taken_changes_nothing_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start(folder.path(), "sink", &[]);
    let keys = format!("relayhost = \"{}\"", sink.address);
    let good = tables("agents_max = 2\nspawn = \"preforked\"");
    let mta = Mta::start(folder.path(), &keys, &good);
    eventually("its agents are there", || agents(&mta).len() == 2);
    let mut first = agents(&mta);
    first.sort_unstable();
    let file = folder.path().join("mta.toml");
    let restart = "can't be changed while the MTA runs: restart it";
    let elsewhere = "relayhost = \"127.0.0.1:9\"\nhostname = \"other.test\"";
    for (keys, tables, words) in [
        (&*keys, "[delivery]\nagents_max = \"many\"", ["mta.toml:8:14", "invalid type"]),
        (&keys, "[delivery]\nagents_maximum = 3", ["mta.toml:8:1", "agents_max"]),
        (&keys, "[delivery]\nagents_max = 0\ndriver = \"event\"", ["`agents_max`", restart]),
        (&keys, "[queue]\nscheduler = \"postfix\"", ["`scheduler`", restart]),
        (&format!("{keys}\nlisten = [\"127.0.0.2:0\"]"), "", ["`listen`", restart]),
        (&elsewhere.replace("\nhostname = \"other.test\"", ""), "", ["`relayhost`", restart]),
        (&format!("{keys}\nmax_sessions = 5\nstore = \"files\""), "", ["`store`, `max_sessions`", restart]),
    ] {
        let said = reload(&mta, keys, tables).expect_err(tables);
        assert!(
            words.iter().all(|word| said.contains(word)) && said.contains("mta.toml"),
            "{tables}: {said}"
        );
        // the same by the control socket alone, and by the signal
        let answer = mta.ask("reload");
        assert_eq!(answer["ok"], false, "{answer}");
        assert!(said.contains(answer["error"].as_str().unwrap()), "{said}\n{answer}");
        let refusals = || mta.log().matches("reload: refused, nothing is changed: ").count();
        let before = refusals();
        mta.process.signal("HUP");
        eventually("the signal is refused, too", || refusals() > before);
    }
    std::fs::remove_file(&file).unwrap();
    let gone = mta.ask("reload")["error"].to_string();
    assert!(gone.contains("mta.toml: No such file") && gone.contains("uid "), "{gone}");
    std::fs::create_dir(&file).unwrap();
    assert!(mta.ask("reload")["error"].to_string().contains("only a file can be read again"));
    std::fs::remove_dir(&file).unwrap();

    let mut now = agents(&mta);
    now.sort_unstable();
    assert_eq!(now, first, "the agents are the same");
    assert!(sending(&mta, 50).wait().success());
    assert_eq!(mta.wait_drained()["delivered"], 50, "{}", mta.log());
    assert_eq!(reload(&mta, &keys, &good), Ok(()));
    eventually("they are replaced now", || !first.iter().any(|pid| alive(*pid)));
}

#[test]
fn limits_rules_and_bounds_hold_from_the_reload_on() {
    at_once(DRIVERS, limits_of);
}

fn limits_of(driver: &str) {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start(folder.path(), "sink", &["--delay", "dot=20ms"]);
    let keys = format!("relayhost = \"{}\"\npaused = true", sink.address);
    let rule = |count| {
        format!(
            "[[rule]]\nnext_hop = [\"{}\"]\nconcurrency = {count}\n{}",
            sink.address,
            tables(&dial(driver, 8))
        )
    };
    let mta = Mta::start(folder.path(), &keys, &rule(7));
    assert!(sending(&mta, 40).wait().success());
    eventually("all is queued", || mta.control("status")["due"] == 40);
    // a window that was larger, and agents of before
    mta.control("ramp");
    assert_eq!(reload(&mta, &keys, &rule(3)), Ok(()), "{driver}");
    mta.control("resume");
    assert_eq!(mta.wait_drained()["delivered"], 40, "{driver}: {}", mta.log());
    assert_eq!(sink.stop()["in_flight_peak"], 3, "{driver}");

    // a site that never answers: agents of the new options give it up, those of before wait
    let folder = tempfile::tempdir().unwrap();
    let silent = Sink::start(folder.path(), "silent", &["--delay", "dot=100s"]);
    let keys = format!("relayhost = \"{}\"", silent.address);
    let with = |more: &str| tables(&format!("{}{more}", dial(driver, 4)));
    let mut mta = Mta::start(folder.path(), &keys, &with("stop_bound = \"100s\""));
    assert!(sending(&mta, 1).wait().success());
    eventually("it is in flight", || mta.control("status")["agents"]["busy"] == 1);
    assert_eq!(reload(&mta, &keys, &with("timeout = \"200ms\"\nstop_bound = \"100ms\"")), Ok(()), "{driver}");
    assert!(sending(&mta, 2).wait().success());
    eventually("the new agent gives up", || mta.log().matches(" status=deferred ").count() >= 2);
    let status = mta.control("status");
    assert_eq!((&status["agents"]["draining"], lost(&status)), (&1.into(), [0, 0, 0]), "{driver}: {status}");
    let began = Instant::now();
    assert!(mta.process.terminate().success(), "{driver}: {}", mta.log());
    assert!(began.elapsed() < Duration::from_secs(15), "{driver}: {:?}", began.elapsed());
    assert_eq!(mta.queued(), 3, "{driver}: nothing is lost");
}
