//! The profiles in `profiles/` say what they are meant to say.

use profile::{Context, Driver, Experiment, HELD_MESSAGE_BYTES, HoldState, LoadModel, Placement, Trial};
use std::path::{Path, PathBuf};
use std::time::Duration;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../profiles")
}

fn context() -> Context {
    Context { repeats: None, only: Vec::new(), descriptors_max: 20_000 }
}

fn read(name: &str) -> Experiment {
    profile::read(&folder().join(name), &context()).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn every_profile_is_good_and_says_what_it_shows() {
    let mut count = 0;
    for entry in std::fs::read_dir(folder()).expect("the profiles are there") {
        let path = entry.expect("an entry").path();
        // those of another kind, for `mailrig simulate`, whose own tests read them
        let simulated = ["deferred-limit.toml", "few-destinations.toml", "retries-in-step.toml"];
        let simulated = simulated.iter().any(|name| path.ends_with(name));
        if simulated || path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let experiment = profile::read(&path, &context()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(path.file_stem().and_then(|stem| stem.to_str()), Some(experiment.name.as_str()));
        assert!(experiment.text.starts_with("# "), "{} has no comment at its top", path.display());
        assert!(!experiment.purpose.is_empty(), "{} has no purpose", path.display());
        count += 1;
    }
    assert!(count >= 3);
}

#[test]
fn quick_compares_the_two_ends_of_the_dial() {
    let quick = read("quick.toml");
    assert_eq!((quick.repeats, quick.placement), (3, Placement::Pinned));
    assert_eq!(quick.subjects, ["process", "event"]);
    assert_eq!(quick.trials.len(), 18);
    assert!(quick.notes.is_empty());
    assert!(quick.trials.iter().map(|trial| trial.order).eq(1..=18));
    for trial in &quick.trials {
        let subject = &trial.subject;
        let dial = subject.mta.dial().expect("a mailrig");
        assert_eq!(dial.max_idle, Duration::from_secs(100));
        let dial = (dial.driver, dial.agents_max, dial.connections_per_agent, dial.max_use);
        match subject.name.as_str() {
            "process" => assert_eq!(dial, (Driver::Blocking, trial.concurrency, 1, 1000)),
            "event" => assert_eq!(dial, (Driver::Event, 1, trial.concurrency, 0)),
            other => panic!("no subject {other}"),
        }
        assert_eq!(subject.messages_per_connection, 1);
        assert_eq!((trial.load.model, trial.load.size_bytes), (LoadModel::Preload, 4096));
        assert_eq!(trial.sink.arguments(), ["--delay", "each=20ms"]);
        assert_eq!(trial.sink.delay_words(), "each=20ms");
        // Two seconds at concurrency / (6 replies x 20 ms).
        let messages = match trial.concurrency {
            10 => 167,
            100 => 1_667,
            500 => 8_334,
            other => panic!("no point {other}"),
        };
        assert_eq!(trial.load.messages, messages);
    }
    // What a pair has in common is drawn once for both.
    for pair in quick.trials.chunks(2) {
        assert_eq!(
            (pair[0].seed, pair[0].repeat, pair[0].concurrency),
            (pair[1].seed, pair[1].repeat, pair[1].concurrency)
        );
        assert_ne!(pair[0].subject.name, pair[1].subject.name);
    }
}

#[test]
fn the_dial_holds_the_same_connections_in_every_way() {
    let dial = read("dial.toml");
    assert_eq!(dial.subjects.len(), 10);
    for trial in &dial.trials {
        let subject = &trial.subject;
        let settings = subject.mta.dial().expect("a mailrig");
        let (agents, connections) = (settings.agents_max, settings.connections_per_agent);
        assert_eq!((agents.max(1) * connections, trial.concurrency), (2000, 2000), "{}", subject.name);
        let name = match agents {
            0 => "within".to_owned(),
            _ => format!("{}-{agents}x{connections}", settings.driver.as_str()),
        };
        assert_eq!((subject.name.as_str(), settings.max_use), (name.as_str(), 0));
    }
    let architectures = read("architectures.toml");
    assert_eq!(architectures.subjects[0], "wire", "what ratios refer to");
    assert!(architectures.trials.iter().all(|trial| trial.sink.arguments().is_empty()));
}

#[test]
fn thousands_of_agents_holds_each_delivery_in_each_state() {
    let held = read("thousands-of-agents.toml");
    assert_eq!(held.subjects, ["process-zygote", "process-exec", "threads", "event"]);
    for subject in &held.subjects {
        let levels = |state| -> Vec<u32> {
            let own = held.trials.iter().filter(|trial| trial.subject.name == *subject);
            let mut levels: Vec<u32> =
                own.filter(|trial| trial.hold == Some(state)).map(|trial| trial.concurrency).collect();
            levels.sort_unstable();
            levels
        };
        assert_eq!(levels(HoldState::BannerWait), [100, 1000, 5000, 9900]);
        assert_eq!(levels(HoldState::DotWait), [100, 1000, 5000, 9900]);
        assert!(levels(HoldState::MidData).len() >= 3, "an interval needs three points");
    }
    for trial in &held.trials {
        let dial = trial.subject.mta.dial().expect("a mailrig");
        assert_eq!(trial.load.messages, u64::from(trial.concurrency), "one on each connection");
        assert_eq!(dial.agents_max * dial.connections_per_agent, trial.concurrency);
        let large = trial.hold == Some(HoldState::MidData);
        assert_eq!(trial.load.size_bytes, if large { HELD_MESSAGE_BYTES } else { 4096 });
    }
    let amortised = read("latency-amortised.toml");
    assert!(amortised.trials.iter().all(|trial| trial.sink.delay_words().starts_with("dot=")));
    let spawns = read("spawn-amortised.toml");
    let uses = |trial: &Trial| trial.subject.mta.dial().expect("a mailrig").max_use;
    assert!(
        [1, 2, 5, 10, 100, 1000].iter().all(|use_| spawns.trials.iter().any(|trial| uses(trial) == *use_))
    );
}

#[test]
fn tarpit_has_the_same_mail_for_both_schedulers_at_each_share_of_tarpits() {
    let tarpit = read("tarpit.toml");
    let dripping =
        |percent: u32| tarpit.trials.iter().filter(move |t| t.tarpits.unwrap().dripping == percent);
    for percent in [0, 1, 10, 50] {
        let words = dripping(percent)
            .map(|trial| trial.subject.mta.dial().unwrap().queue.scheduler.unwrap().as_str());
        let mut words: Vec<&str> = words.collect();
        words.sort_unstable();
        assert_eq!(words, ["mailrig", "postfix"], "{percent} of 100 destinations");
    }
    assert!(tarpit.trials.iter().all(|trial| trial.load.messages == 4000 && trial.sink.replies.is_empty()));
}

#[test]
fn the_command_line_narrows_a_profile() {
    let context = Context { repeats: Some(1), only: vec!["event".to_owned()], descriptors_max: 20_000 };
    let quick =
        profile::read(&folder().join("quick.toml"), &context).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(quick.trials.len(), 3);
    assert_eq!(quick.subjects, ["event"]);
    let context = Context { only: vec!["evnet".to_owned()], ..context };
    let error = profile::read(&folder().join("quick.toml"), &context).expect_err("no such subject");
    assert!(error.to_string().ends_with(": no subject is called `evnet`"), "{error}");
    assert_eq!(error.hint(), Some("did you mean `event`?"));
}

#[test]
fn an_agent_too_many_connections_for_its_files_gets_company() {
    let context = Context { descriptors_max: 900, ..context() };
    let quick =
        profile::read(&folder().join("quick.toml"), &context).unwrap_or_else(|error| panic!("{error}"));
    let event = quick.trials.iter().find(|trial| trial.subject.name == "event" && trial.concurrency == 500);
    let dial = event.expect("the point").subject.mta.dial().expect("a mailrig");
    assert_eq!((dial.agents_max, dial.connections_per_agent), (2, 250));
    assert_eq!(quick.notes.len(), 1, "{:?}", quick.notes);
    assert!(
        quick.notes[0].contains("`event` has 2 agents instead of 1 at concurrency 500"),
        "{}",
        quick.notes[0]
    );
}

/// The keys of each table, as the parser tells them when it is given one that it does not know.
#[test]
fn the_readme_documents_every_key() {
    let readme = std::fs::read_to_string(folder().join("README.md")).expect("profiles/README.md is there");
    for (heading, text) in [
        ("## At the top", "zzzz = 1"),
        ("## [load]", "[load]\nzzzz = 1"),
        ("## [sink]", "[sink]\nzzzz = 1"),
        ("## [[subject]]", "[[subject]]\nzzzz = 1"),
        ("## [tarpits]", "[tarpits]\nzzzz = 1"),
        ("## [subject.queue]", "[[subject]]\nqueue = { zzzz = 1 }"),
        ("## [points]", "[points]\nzzzz = 1"),
    ] {
        let error = profile::parse(text, "x.toml", &context()).expect_err("no such key").to_string();
        let keys = error.split_once("; expected one of ").unwrap_or_else(|| panic!("{error}")).1;
        let body = readme.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}")).1;
        let section = body.split("\n## ").next().unwrap_or(body);
        let documented: Vec<&str> =
            section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        assert_eq!(documented.join(", "), keys, "{heading}");
    }
}
