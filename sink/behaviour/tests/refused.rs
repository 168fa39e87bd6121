//! What is wrong with a site file is found before anything listens, and named with its place.

use behaviour::SiteFile;

const GOOD: &str = r#"seed = 1

[[site]]
name = "home"
hostname = "mx.home.test"
weight = 2
chunk = "1KiB"
trap = "521 5.5.1 Protocol error"
delay = { banner = "5s", dot = "uniform(10ms,30ms)" }
reply = { rcpt = ["450@10", "550 5.1.1 Unknown@20"] }
users = { user = "secret" }
extensions = { limits = { rcptmax = 10 } }
tls = { mode = "starttls", versions = ["1.2", "1.3"] }

[[site.rule]]
at = "mail"
when = { hello = "*.test", client = "127.0.0.0/8", connection = "1..5" }
pace = { bytes = 8, every = "10ms" }

[[site.rule]]
at = "body"
after = "64KiB"
percent = 50
reply = "552 5.3.4 Too big"

[[site.rule]]
at = "quit"
then = "silence"

[[site]]
name = "slow"
recipients = ["*@slow.test"]
delay = { dot = "file(latencies.txt)" }
"#;

fn parse(text: &str) -> Result<SiteFile, String> {
    let read = |name: &str| match name {
        "latencies.txt" => Ok("10ms\n".to_owned()),
        "fast.txt" => Ok("# measured\nfast\n".to_owned()),
        _ => Err(format!("{name}: cannot be read: no such file")),
    };
    SiteFile::parse(text, "x.toml", &read).map_err(|error| error.to_string())
}

#[test]
fn the_text_that_the_cases_change_is_good() {
    let file = parse(GOOD).unwrap();
    assert_eq!((file.seed, file.sites.len()), (Some(1), 2));
}

/// What is replaced, by what, the place of the complaint, and a part of it.
type Case = (&'static str, &'static str, &'static str, &'static str);

const CASES: &[Case] = &[
    // Keys, types, names.
    ("hostname =", "hostnme =", "5:1", "unknown key `hostnme` in [[site]]; did you mean `hostname`?"),
    ("name = \"home\"\n", "", "3:1", "missing key `name` in [[site]]"),
    ("\"mx.home.test\"", "\"mx home\"", "5:1", "`mx home` is not a host name"),
    ("chunk = \"1KiB\"", "chunk = \"1K\"", "7:9", "`chunk` in [[site]]: `K` is not a unit of size"),
    ("chunk = \"1KiB\"", "chunk = 0", "7:1", "nothing would ever be read; write then = \"stall\""),
    ("weight = 2", "weight = 0", "6:1", "a weight of 0 is not a number above 0"),
    ("weight = 2", "listen = [\"localhost:25\"]", "6:1", "`localhost:25` is not ADDRESS:PORT"),
    ("rcptmax = 10", "rcptmax = 0", "12:37", "expected a nonzero u32"),
    (
        "\"starttls\"",
        "\"start\"",
        "13:16",
        "unknown value `start` for `mode` in [site.tls]; did you mean `starttls`?",
    ),
    ("[\"1.2\", \"1.3\"]", "[\"1.1\"]", "13:28", "write [\"1.2\"], [\"1.3\"] or both"),
    (
        "versions = [\"1.2\", \"1.3\"]",
        "certificate = \"mx.pem\"",
        "13:28",
        "a PEM file needs `key` beside it",
    ),
    ("versions = [\"1.2\", \"1.3\"]", "key = \"mx.key\"", "13:28", "a key belongs to a `certificate`"),
    (
        "versions = [\"1.2\", \"1.3\"]",
        "certificate = \"mx.pem\", key = \"mx.key\"",
        "13:28",
        "mx.pem: cannot be read: no such file",
    ),
    (
        "limits = { rcptmax = 10 }",
        "auth = [\"cram-md5\"]",
        "12:16",
        "`cram-md5` is not a mechanism that is known here",
    ),
    ("limits = { rcptmax = 10 }", "auth = []", "11:1", "they are for AUTH, and extensions.auth offers none"),
    // Delays and replies.
    ("dot = \"uniform", "dott = \"uniform", "9:26", "`dott` is not a stage; write one of connect banner"),
    ("uniform(10ms,30ms)", "uniform(30ms,10ms)", "9:26", "write the shorter duration first"),
    ("\"5s\"", "\"5\"", "9:11", "`5` has no unit; write 5ms or 5s"),
    ("\"5s\"", "\"7h\"", "9:11", "`7h` is too long a delay; the longest is 6h"),
    ("file(latencies.txt)", "file(fast.txt)", "33:11", "fast.txt:2: `fast` is not a duration"),
    (
        "[\"450@10\", \"550 5.1.1 Unknown@20\"]",
        "450",
        "10:18",
        "`rcpt` in [site.reply]: write a string or a list of",
    ),
    ("\"450@10\"", "\"450@110\"", "10:11", "`110` is not a percentage above 0 and up to 100"),
    ("\"450@10\"", "\"450@90\"", "10:11", "the shares at rcpt come to 110 percent"),
    ("\"450@10\"", "\"450\"", "10:11", "this reply for rcpt never holds, for one before it always does"),
    ("550 5.1.1 Unknown", "550 4.1.1 Unknown", "10:11", "`4.1.1` is not of the class of 550"),
    // Rules.
    ("at = \"mail\"", "at = \"mial\"", "16:1", "`mial` is not a stage"),
    ("pace = { bytes = 8, every = \"10ms\" }", "", "16:1", "the rule changes nothing"),
    ("bytes = 8", "bytes = 0", "18:1", "no byte at all would be said; write bytes = 1"),
    ("\"10ms\" }\n", "\"0\" }\n", "18:1", "without a time between the bytes there is no pace"),
    ("127.0.0.0/8", "127.0.0.0/33", "17:28", "`127.0.0.0/33` is not a network"),
    ("\"1..5\"", "\"5..1\"", "17:52", "`5..1` is not a number from 1, nor a range"),
    (
        "\"1..5\"",
        "true",
        "17:65",
        "`connection` in [site.rule.when]: write a number, or a range such as \"3..5\"",
    ),
    ("hello = \"*.test\"", "recipient = \"*.test\"", "17:10", "at `mail` nobody knows it yet"),
    ("percent = 50", "percent = 0", "23:1", "`0` is not a percentage above 0"),
    ("552 5.3.4 Too big", "552@5", "24:1", "here a share is written percent = 5, beside reply = \"552\""),
    (
        "reply = \"552 5.3.4 Too big\"",
        "fault = \"trunctaed\"",
        "24:1",
        "`trunctaed` is not a fault; did you mean `truncated`?",
    ),
    ("reply = \"552 5.3.4 Too big\"", "fault = \"alert\"", "24:1", "`alert` is a fault of the handshake"),
    ("reply = \"552 5.3.4 Too big\"", "raw = \"552\\\\q\"", "24:1", "`\\q` is not an escape"),
    (
        "reply = \"552 5.3.4 Too big\"",
        "reply = \"552\"\nraw = \"x\"",
        "25:1",
        "`reply` and `raw` are two ways to answer",
    ),
    ("reply = \"552 5.3.4 Too big\"", "pace = { every = \"1s\" }", "24:1", "`pace` is not for `body`"),
    ("reply = \"552 5.3.4 Too big\"", "reply = \"552\"\nevery = \"1s\"", "25:1", "it belongs to `endless`"),
    (
        "reply = \"552 5.3.4 Too big\"",
        "endless = \"\"",
        "24:1",
        "nothing, however often it is said, is nothing",
    ),
    (
        "reply = \"552 5.3.4 Too big\"",
        "reply = \"552\"\nalso_after = \"1s\"",
        "25:1",
        "there is no `also` to come after",
    ),
    ("at = \"body\"", "at = \"dot\"", "22:1", "it counts bytes of the body; write at = \"body\""),
    (
        "at = \"quit\"",
        "at = \"connect\"\nraw = \"x\"",
        "28:1",
        "`raw` is not for `connect`: nothing is said before",
    ),
    (
        "at = \"quit\"",
        "at = \"handshake\"\nreply = \"454\"",
        "28:1",
        "`handshake` has no reply of its own; write starttls",
    ),
    ("at = \"quit\"", "at = \"handshake\"\nalso = \"x\"", "28:1", "`also` is not for `handshake`"),
    (
        "\"silence\"",
        "\"sleep\"",
        "28:1",
        "`sleep` is no end; write one of go_on close reset half_close silence stall",
    ),
    // What could never have an effect.
    (
        "delay = { banner = \"5s\", ",
        "delay = { ",
        "8:1",
        "nobody can talk before a greeting that comes at once",
    ),
    (
        "name = \"slow\"\n",
        "name = \"slow\"\ntls = {}\n",
        "32:1",
        "transactions and no connections; give `tls` to the site",
    ),
    (
        "{ dot = \"file",
        "{ mail = \"file",
        "33:11",
        "a rule for `mail` belongs to the site that has the connections",
    ),
    ("recipients = [\"*@slow.test\"]", "recipients = [\"\"]", "32:1", "`` is not a pattern"),
];

#[test]
fn every_mistake_is_named_with_its_place() {
    for (from, to, place, message) in CASES {
        assert_eq!(GOOD.matches(from).count(), 1, "{from:?} does not stand once in the text");
        let error = match parse(&GOOD.replacen(from, to, 1)) {
            Ok(_) => panic!("{to:?} was taken"),
            Err(error) => error,
        };
        assert!(error.starts_with(&format!("x.toml:{place}: ")), "{to:?}: {error}");
        assert!(error.contains(message), "{to:?}: {error}");
        assert!(!error.ends_with('.'), "{error}");
    }
}

#[test]
fn a_file_without_a_site_for_connections_is_an_error() {
    let error = parse("seed = 1\n").unwrap_err();
    assert_eq!(error, "x.toml: no site in it; begin with [[site]] and name = \"...\"");
    let error = parse("[[site]]\nname = \"slow\"\nrecipients = [\"*\"]\n").unwrap_err();
    assert!(error.starts_with("x.toml: every site is for certain recipients"), "{error}");
}
