//! One table of sites and what becomes of mail to them, the same for every driver and every way to start its agents.
//!
//! With `MAILRIG_SCENARIOS=FILE` it writes what it saw as CSV.

mod support;

use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::time::{Duration, Instant};
use support::{Client, DRIVERS, Mta, PATIENCE, Sink, dial};

/// Ways to start an agent.
const SPAWNS: [&str; 3] = ["zygote", "exec", "preforked"];

/// Long enough for a busy machine to answer at once in, and for what is late; short enough to wait for.
const TIMEOUT: &str = "3s";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    scenario: Vec<Scenario>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    name: String,
    #[serde(default)]
    rule: String,
    #[serde(default)]
    site: String,
    /// False: nobody is there.
    #[serde(default = "yes")]
    listen: bool,
    #[serde(default)]
    size: usize,
    expect: Vec<String>,
}

fn yes() -> bool {
    true
}

/// One recipient's fate.
#[derive(Debug, Clone)]
struct Fate {
    outcome: String,
    reply_code: String,
    enhanced_code: String,
    hop_status: &'static str,
    text: String,
    /// From the agent's start to its end.
    ms: f64,
}

impl Fate {
    fn words(&self) -> String {
        let code = if self.reply_code.is_empty() { "-" } else { &self.reply_code };
        format!("{} {code} {} {}", self.outcome, self.enhanced_code, self.hop_status)
    }
}

/// A driver and how its agents are started; no agents, no start.
type Mode = (&'static str, &'static str);

fn modes() -> Vec<Mode> {
    let all = DRIVERS.into_iter().flat_map(|driver| SPAWNS.map(|spawn| (driver, spawn)));
    all.filter(|(driver, spawn)| *driver != "within" || *spawn == SPAWNS[0]).collect()
}

/// Each site has an address of its own, all of them the same free port.
fn addresses(count: usize) -> Vec<SocketAddr> {
    let port = TcpListener::bind("127.0.77.0:0").unwrap().local_addr().unwrap().port();
    let numbers = 1..=u8::try_from(count).expect("one network has them all");
    numbers.map(|number| SocketAddrV4::new(Ipv4Addr::new(127, 0, 77, number), port).into()).collect()
}

fn site_file(scenarios: &[Scenario], addresses: &[SocketAddr]) -> String {
    let mut text = String::new();
    for (Scenario { name, rule, site, listen, .. }, address) in scenarios.iter().zip(addresses) {
        if *listen {
            let rules = if rule.is_empty() { String::new() } else { format!("rule = [{{ {rule} }}]\n") };
            writeln!(text, "[[site]]\nname = \"{name}\"\nlisten = [\"{address}\"]\n{site}\n{rules}").unwrap();
        }
    }
    text
}

/// Runs one MTA with mail to all of them; gives the fates by recipient.
fn play(mode: Mode, scenarios: &[Scenario], addresses: &[SocketAddr]) -> BTreeMap<String, Fate> {
    let (driver, spawn) = mode;
    let folder = tempfile::tempdir().unwrap();
    let mut tables = "[transport]\n".to_owned();
    for (Scenario { name, .. }, address) in scenarios.iter().zip(addresses) {
        writeln!(tables, "\"{name}.test\" = \"{address}\"").unwrap();
    }
    let dial = dial(driver, scenarios.len());
    write!(tables, "[delivery]\n{dial}spawn = \"{spawn}\"\ntimeout = \"{TIMEOUT}\"\n").unwrap();
    tables.push_str("[queue]\nminimal_backoff = \"1h\"\nmaximal_backoff = \"1h\"\n");
    let mut mta = Mta::start(folder.path(), "paused = true\ndurability = \"none\"", &tables);
    let mut client = Client::connect(&mta.address);
    client.hello();
    let mut recipients = BTreeSet::new();
    for Scenario { name, size, expect, .. } in scenarios {
        let to: Vec<String> = (0..expect.len()).map(|number| format!("r{number}@{name}.test")).collect();
        let to: Vec<&str> = to.iter().map(String::as_str).collect();
        let content = "line of text\r\n".repeat(1 + size / 14);
        let reply = client.mail("", &to, format!("Subject: {name}\r\n\r\n{content}").as_bytes());
        assert!(reply.starts_with("250"), "{name}: {reply}");
        recipients.extend(to.into_iter().map(str::to_owned));
    }
    mta.control("ramp");
    mta.control("resume");
    let began = Instant::now();
    let mut fates = BTreeMap::new();
    while fates.len() < recipients.len() {
        assert!(began.elapsed() < PATIENCE, "{mode:?}: no end for {:?}", missing(&recipients, &fates));
        std::thread::sleep(Duration::from_millis(50));
        fates = read_fates(&mta.log());
    }
    assert!(mta.process.terminate().success(), "{mode:?}: {}", mta.log());
    fates
}

fn missing<'a>(recipients: &'a BTreeSet<String>, fates: &BTreeMap<String, Fate>) -> Vec<&'a String> {
    recipients.iter().filter(|recipient| !fates.contains_key(*recipient)).collect()
}

/// From the log: the outcome of each recipient, and whether the host was to blame, which a line about the host tells.
fn read_fates(log: &str) -> BTreeMap<String, Fate> {
    let value = |line: &str, key: &str| {
        let (_, rest) = line.split_once(key)?;
        Some(rest.split(' ').next().unwrap_or("").to_owned())
    };
    let blamed = log.lines().filter(|line| line.contains(" the host is to blame"));
    let blamed: BTreeSet<String> = blamed.filter_map(|line| value(line, "queue_id=")).collect();
    let fate = |line: &str| {
        let to = value(line, " to=<")?.trim_end_matches('>').to_owned();
        let text = line.split_once(" (")?.1.strip_suffix(')')?.to_owned();
        let code = text.get(..3).filter(|code| code.bytes().all(|byte| byte.is_ascii_digit()));
        let delays: Vec<f64> =
            value(line, " delays=")?.split('/').filter_map(|delay| delay.parse().ok()).collect();
        let hop_status = if blamed.contains(&value(line, "queue_id=")?) { "throttle" } else { "up" };
        let fate = Fate {
            outcome: value(line, " status=")?,
            reply_code: code.unwrap_or("").to_owned(),
            enhanced_code: value(line, " dsn=")?,
            hop_status,
            text: text.clone(),
            ms: (delays.get(2)? + delays.get(3)?) * 1000.0,
        };
        Some((to, fate))
    };
    // whole lines only: the last may be half written
    let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().filter_map(fate).collect()
}

#[test]
fn every_driver_and_way_to_start_agents_gives_each_recipient_the_same_fate() {
    let folder = tempfile::tempdir().unwrap();
    let file: File = settings::parse_toml(include_str!("scenarios.toml"), "scenarios.toml").unwrap();
    let scenarios = file.scenario;
    assert!(scenarios.len() >= 60);
    let addresses = addresses(scenarios.len());
    let sites = folder.path().join("sites.toml");
    std::fs::write(&sites, site_file(&scenarios, &addresses)).unwrap();
    let mut arguments = vec!["--site", sites.to_str().unwrap(), "--quiet", "--listen"];
    let listening = scenarios.iter().zip(&addresses).filter(|(scenario, _)| scenario.listen);
    let listening: Vec<String> = listening.map(|(_, address)| address.to_string()).collect();
    arguments.extend(listening[1..].iter().map(String::as_str));
    let sink = Sink::start_at(folder.path(), "sink", &listening[0], &arguments);
    let modes = modes();
    let played: Vec<BTreeMap<String, Fate>> = std::thread::scope(|scope| {
        let playing: Vec<_> =
            modes.iter().map(|mode| scope.spawn(|| play(*mode, &scenarios, &addresses))).collect();
        playing.into_iter().map(|playing| playing.join().unwrap()).collect()
    });
    if let Some(file) = std::env::var_os("MAILRIG_SCENARIOS") {
        write_csv(file.as_ref(), &scenarios, &modes, &played);
    }
    let mut different = Vec::new();
    for scenario in &scenarios {
        for (number, expected) in scenario.expect.iter().enumerate() {
            for (mode, fates) in modes.iter().zip(&played) {
                let fate = &fates[&format!("r{number}@{}.test", scenario.name)];
                if fate.words() != *expected {
                    let (name, text) = (&scenario.name, &fate.text);
                    different.push(format!(
                        "{name} r{number} {mode:?}: {} ({text}), not {expected}",
                        fate.words()
                    ));
                }
            }
        }
    }
    drop(sink);
    assert!(different.is_empty(), "{} differ:\n{}", different.len(), different.join("\n"));
}

fn write_csv(
    file: &std::path::Path,
    scenarios: &[Scenario],
    modes: &[Mode],
    played: &[BTreeMap<String, Fate>],
) {
    let mut csv = csv::Writer::from_path(file).unwrap();
    csv.write_record([
        "scenario",
        "driver",
        "spawn",
        "recipient",
        "recipient_outcome",
        "reply_code",
        "enhanced_code",
        "hop_status",
        "ms",
    ])
    .unwrap();
    for scenario in scenarios {
        for number in 0..scenario.expect.len() {
            for ((driver, spawn), fates) in modes.iter().zip(played) {
                let fate = &fates[&format!("r{number}@{}.test", scenario.name)];
                let (recipient, ms) = (format!("r{number}"), format!("{:.0}", fate.ms));
                let Fate { outcome, reply_code, enhanced_code, hop_status, .. } = fate;
                let cells: [&str; 9] = [
                    &scenario.name,
                    driver,
                    spawn,
                    &recipient,
                    outcome,
                    reply_code,
                    enhanced_code,
                    hop_status,
                    &ms,
                ];
                csv.write_record(cells).unwrap();
            }
        }
    }
    csv.flush().unwrap();
}
