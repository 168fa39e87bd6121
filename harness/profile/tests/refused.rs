//! What is wrong with a profile is found before anything starts, and named with its line.

use profile::{Context, parse};

const GOOD: &str = r#"name = "x"
repeats = 2
placement = "shared"
drain_timeout = "60s"

[load]
model = "preload"
size = "4KiB"
messages_per_connection = 1

[sink]
delay = { each = "20ms" }
reply = { rcpt = "450@10" }

[[subject]]
name = "process"
driver = "blocking"
agents_max = "concurrency"
connections_per_agent = 1
spawn = "zygote"

[[subject]]
name = "event"
driver = "event"
agents_max = 1
connections_per_agent = "concurrency"
queue = { minimal_backoff = "1s" }

[points]
concurrency = [10, 100]
duration = "1s"
"#;

fn context() -> Context {
    Context { repeats: None, only: Vec::new(), descriptors_max: 2_000 }
}

#[test]
fn the_text_that_the_cases_change_is_good() {
    let experiment = parse(GOOD, "x.toml", &context()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(experiment.trials.len(), 8);
    assert_eq!(experiment.trials[0].sink.arguments(), ["--delay", "each=20ms", "--reply", "rcpt=450@10"]);
}

/// What is replaced, by what, the place of the complaint, a part of it, and a part of the hint.
type Case = (&'static str, &'static str, &'static str, &'static str, &'static str);

const CASES: &[Case] = &[
    // Keys and types.
    (
        "concurrency = [",
        "concurency = [",
        "30:1",
        "unknown key `concurency` in [points]; did you mean `concurrency`?",
        "",
    ),
    ("repeats", "repeat", "2:1", "unknown key `repeat` at the top level; did you mean `repeats`?", ""),
    (
        "minimal_backoff",
        "minimum_backoff",
        "27:11",
        "unknown key `minimum_backoff` in [subject.queue]; did you mean `minimal_backoff`?",
        "",
    ),
    ("each =", "eech =", "12:11", "unknown key `eech` in [sink.delay]; did you mean `each`?", ""),
    ("driver = \"event\"\n", "", "22:1", "missing key `driver` in [[subject]]", ""),
    // Held deliveries.
    (
        "duration = \"1s\"",
        "hold = [{ state = \"dot_wait\" }]",
        "12:1",
        "`sink.delay` beside `points.hold`",
        "leave one of the two out",
    ),
    ("[10, 100]", "[10, -1]", "30:20", "`concurrency` in [points]: invalid value: integer `-1`", ""),
    ("[10, 100]", "10", "30:15", "`concurrency` in [points]: invalid type: integer `10`", ""),
    (
        "\"concurrency\"\nconn",
        "\"many\"\nconn",
        "18:14",
        "`agents_max` in [[subject]]: invalid value: string \"many\", expected a number or \"concurrency\"",
        "",
    ),
    ("[points]", "[points", "29:", "", ""),
    // Units.
    ("\"4KiB\"", "\"4K\"", "8:8", "`size` in [load]: `K` is not a unit of size; write one of B, KB", ""),
    ("\"60s\"", "\"60\"", "4:17", "`drain_timeout`: `60` has no unit; write 60ms or 60s", ""),
    ("\"60s\"", "60", "4:17", "`drain_timeout`: `60` has no unit; write 60ms or 60s", ""),
    ("\"20ms\"", "\"20 MS\"", "12:11", "`MS` is not a unit of time", ""),
    ("\"20ms\"", "\"uniform(30ms,10ms)\"", "12:11", "ends before it begins", ""),
    ("\"20ms\"", "\"normal(30ms)\"", "12:11", "is not a kind of delay; write 20ms, uniform(10ms,30ms)", ""),
    ("\"20ms\"", "\"7h\"", "12:11", "`7h` is too long a delay; the longest is 6h", ""),
    ("\"450@10\"", "\"100\"", "13:11", "`100` is not a reply; write a code from 200 to 599", ""),
    ("\"450@10\"", "\"450@0\"", "13:11", "`0` is not a percentage above 0", ""),
    (
        "\"450@10\"",
        "[\"450@60\", \"550@60\"]",
        "13:11",
        "the shares at rcpt come to 120 percent; at most 100 are there",
        "",
    ),
    ("\"450@10\"", "10", "13:18", "expected a reply such as", ""),
    // Words.
    (
        "\"preload\"",
        "\"preloaded\"",
        "7:1",
        "unknown value `preloaded` for `model`",
        "did you mean `preload`?",
    ),
    (
        "driver = \"event\"",
        "driver = \"thread\"",
        "24:1",
        "unknown value `thread` for `driver`",
        "did you mean `threads`?",
    ),
    (
        "spawn = \"zygote\"",
        "mta = \"postfix\"",
        "20:1",
        "`mta` = \"postfix\" is not there yet",
        "write mailrig or wire",
    ),
    (
        "spawn = \"zygote\"",
        "mta = \"wire\"",
        "17:1",
        "`driver` says nothing about the wire: there is no MTA on it",
        "take it out",
    ),
    (
        "spawn = \"zygote\"",
        "spawn = \"forked\"",
        "20:1",
        "unknown value `forked` for `spawn`",
        "write zygote or exec or preforked",
    ),
    (
        "spawn = \"zygote\"",
        "durability = \"half\"",
        "20:1",
        "unknown value `half` for `durability`",
        "write full or none",
    ),
    ("\"shared\"", "\"pined\"", "3:1", "unknown value `pined` for `placement`", "did you mean `pinned`?"),
    // Names.
    (
        "\"event\"\ndriver",
        "\"process\"\ndriver",
        "23:1",
        "a subject called `process` stands above already",
        "a name of its own",
    ),
    ("\"event\"\ndriver", "\"a/b\"\ndriver", "23:1", "`a/b` cannot be a name", "letters, digits"),
    ("name = \"x\"", "name = \"..\"", "1:1", "`..` cannot be a name", ""),
    (
        "size = \"4KiB\"",
        "sender = \"nobody\"",
        "8:1",
        "`nobody` is not a mail address",
        "someone@example.test",
    ),
    // Values that cannot be.
    ("repeats = 2", "repeats = 0", "2:1", "`repeats` = 0 is not from 1 to 1000", ""),
    ("\"60s\"", "\"10ms\"", "4:1", "`drain_timeout` leaves no time to deliver", "1s or more"),
    (
        "messages_per_connection = 1",
        "messages_per_connection = 0",
        "9:1",
        "`messages_per_connection` = 0 is not from 1",
        "",
    ),
    ("size = \"4KiB\"", "connections = 0", "8:1", "`connections` = 0 is not from 1", ""),
    ("\"4KiB\"", "\"100B\"", "8:1", "100B have no room for a header section", "1KiB or more"),
    ("\"4KiB\"", "\"1GiB\"", "8:1", "messages of 1GiB are more than a trial may hold", "smaller size"),
    ("[10, 100]", "[]", "30:1", "`concurrency` has no value", ""),
    ("[10, 100]", "[10, 0]", "30:20", "a concurrency of 0 delivers nothing", "1 or more"),
    ("[10, 100]", "[10, 10]", "30:20", "`concurrency` has this value twice", ""),
    (
        "[10, 100]",
        "[10, 1901]",
        "30:1",
        "a concurrency of 1901 is more connections than the sink can hold",
        "2000 files",
    ),
    (
        "[10, 100]",
        "[10]\nsize = [\"2KiB\"]",
        "31:1",
        "`points.size` and `load.size` say the same thing",
        "leave one",
    ),
    (
        "[10, 100]",
        "[10]\ndelay = [\"2ms\"]",
        "31:1",
        "`points.delay` and `sink.delay.each` say the same thing",
        "leave one",
    ),
    (
        "driver = \"event\"\nagents_max = 1\n",
        "driver = \"threads\"\nagents_max = 0\n",
        "25:1",
        "`agents_max` of `event` is 0: only the event driver runs inside the queue manager",
        "driver = \"event\"",
    ),
    (
        "agents_max = 1\nconnections_per_agent = \"concurrency\"",
        "agents_max = 0\nconnections_per_agent = 951",
        "26:1",
        "`event` has 951 connections inside the queue manager, more than the 950 that fit",
        "2000 files",
    ),
    (
        "agents_max = 1\nconnections_per_agent = \"concurrency\"",
        "agents_max = 0\nconnections_per_agent = 99",
        "25:1",
        "`event` holds 99 connections at most",
        "\"concurrency\"",
    ),
    (
        "agents_max = 1\n",
        "agents_max = \"concurrency\"\n",
        "26:1",
        "`event` has concurrency agents of concurrency connections each",
        "make one",
    ),
    (
        "agents_max = 1\n",
        "agents_max = 1901\n",
        "25:1",
        "`event` has 1901 agents, more than the queue manager can hold a socket to",
        "2000 files",
    ),
    (
        "connections_per_agent = \"concurrency\"",
        "connections_per_agent = 951",
        "26:1",
        "`event` has 951 connections an agent, more than the 950 that fit",
        "2000 files",
    ),
    (
        "connections_per_agent = \"concurrency\"",
        "connections_per_agent = 99",
        "25:1",
        "`event` holds 99 connections at most (1 agents x 99), so a concurrency of 100",
        "\"concurrency\"",
    ),
    (
        "connections_per_agent = \"concurrency\"",
        "connections_per_agent = 0",
        "26:1",
        "`connections_per_agent` of `event` is 0",
        "1 or more",
    ),
    (
        "connections_per_agent = 1",
        "connections_per_agent = 2",
        "19:1",
        "`process` has the driver blocking, which holds one connection an agent",
        "or \"event\"",
    ),
    ("spawn = \"zygote\"", "max_idle = \"0\"", "20:1", "`max_idle` is zero", "100s"),
    ("\"1s\" }", "\"0\" }", "27:11", "`minimal_backoff` is zero", "1s or more"),
    ("\"1s\" }", "\"2h\" }", "27:11", "`minimal_backoff` (2h) is longer than `maximal_backoff`", ""),
    // How much mail.
    (
        "duration = \"1s\"",
        "messages = 99",
        "31:1",
        "99 messages cannot fill a concurrency of 100",
        "400 or more",
    ),
    ("duration = \"1s\"", "messages = 0", "31:1", "a trial of 0 messages measures nothing", ""),
    (
        "duration = \"1s\"",
        "duration = \"1s\"\nmessages = 500",
        "32:1",
        "`messages` and `duration` both say",
        "leave one",
    ),
    (
        "duration = \"1s\"",
        "messages_max = 300",
        "31:1",
        "`messages_max` = 300 is too few for a concurrency of 100",
        "400 or more",
    ),
    (
        "\"20ms\"",
        "\"0\"",
        "31:1",
        "without a delay in the sink no number of messages follows",
        "points.messages",
    ),
];

#[test]
fn every_mistake_is_named_with_its_line() {
    for (from, to, place, message, hint) in CASES {
        assert_eq!(GOOD.matches(from).count(), 1, "{from:?} does not stand once in the text");
        let text = GOOD.replacen(from, to, 1);
        let error = match parse(&text, "x.toml", &context()) {
            Ok(_) => panic!("{to:?} was taken"),
            Err(error) => error,
        };
        let shown = error.to_string();
        assert!(shown.starts_with(&format!("x.toml:{place}")), "{to:?}: {shown}");
        assert!(shown.contains(message), "{to:?}: {shown}");
        assert!(error.hint().unwrap_or("").contains(hint), "{to:?}: hint {:?}", error.hint());
        assert!(!shown.ends_with('.'), "{shown}");
    }
}

#[test]
fn nothing_to_measure_is_an_error() {
    let error =
        parse("name = \"x\"\n[points]\nconcurrency = [1]\n", "x.toml", &context()).expect_err("no subject");
    assert!(error.to_string().contains("there is no subject"), "{error}");
    let error = parse("name = \"x\"\n", "x.toml", &context()).expect_err("no points");
    assert!(error.to_string().contains("missing key `points` at the top level"), "{error}");
    let context = Context { repeats: Some(0), ..context() };
    let error = parse(GOOD, "x.toml", &context).expect_err("no repeat");
    assert_eq!(error.to_string(), "x.toml: --repeat 0 is not from 1 to 1000");
}

#[test]
fn axes_multiply_and_each_point_gets_its_own_mail() {
    let text = GOOD
        .replace("size = \"4KiB\"\n", "")
        .replace("delay = { each = \"20ms\" }", "delay = { dot = \"uniform(10ms,30ms)\" }")
        .replace(
            "[10, 100]",
            "[10, 100]\nsize = [\"2KiB\", \"8KiB\"]\ndelay = [\"10ms\", \"exponential(20ms)\"]",
        );
    let experiment = parse(&text, "x.toml", &context()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(experiment.trials.len(), 2 * 2 * 2 * 2 * 2);
    let trial = experiment.trials.iter().find(|trial| {
        trial.concurrency == 100
            && trial.load.size_bytes == 8192
            && trial.sink.delay_words().contains("exponential")
    });
    let trial = trial.expect("the point");
    assert_eq!(trial.sink.delay_words(), "dot=uniform(10ms,30ms) each=exponential(20ms)");
    // Five replies of 20 ms and the dot's 20 ms on average: 120 ms, a second.
    assert_eq!(trial.load.messages, 834);
}

#[test]
fn what_cannot_be_held_is_refused() {
    let held = |hold: &str| {
        let text = GOOD.replace("delay = { each = \"20ms\" }\nreply = { rcpt = \"450@10\" }\n", "");
        parse(&text.replace("duration = \"1s\"", hold), "x.toml", &context())
    };
    let good = held("hold = [{ state = \"dot_wait\" }, { state = \"mid_data\", concurrency = [3] }]");
    let trials = good.unwrap_or_else(|error| panic!("{error}")).trials;
    assert_eq!(trials.len(), 2 * 2 * 3, "two subjects, two blocks, two points and one");
    for (hold, message, hint) in [
        (
            "hold = [{ state = \"dot_wiat\" }]",
            "unknown value `dot_wiat` for `state`",
            "did you mean `dot_wait`?",
        ),
        ("hold = [{ state = \"dot_wait\" }, { state = \"dot_wait\" }]", "this state is there twice", ""),
        ("hold = [{ state = \"dot_wait\", concurrency = [0] }]", "a concurrency of 0", "write 1 or more"),
        ("hold = []", "`hold` has no state", ""),
        (
            "hold = [{ state = \"dot_wait\" }]\nmessages = 7",
            "`points.messages` beside `points.hold`",
            "leave one",
        ),
    ] {
        let error = held(hold).expect_err(hold);
        assert!(error.to_string().contains(message), "{hold}: {error}");
        assert!(error.hint().unwrap_or("").contains(hint), "{hold}: {:?}", error.hint());
    }
}
