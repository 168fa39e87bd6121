//! Imports into an MTA that runs and into its spool when none does: each message once, whatever is stopped meanwhile.

mod support;

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use support::operator::{id_of, queue, row, said, senders};
use support::{Client, Mta, PATIENCE, Site, eventually, mailrig};

/// A message to r@x.test from each.
fn submit<From: AsRef<str>>(mta: &Mta, senders: &[From]) {
    let mut client = Client::connect(&mta.address);
    client.hello();
    for from in senders {
        assert!(client.mail(from.as_ref(), &["r@x.test"], b"x\r\n").starts_with("250"));
    }
}

/// An MTA to import into, or what it leaves of itself when it is not to run.
fn start_and_stop(folder: &Path, keys: &str, running: bool) -> Mta {
    let mut mta = Mta::start(folder, keys, "");
    if !running {
        assert!(mta.process.terminate().success());
    }
    mta
}

/// Killed after every few messages, wherever it is then.
#[test]
fn an_import_that_is_killed_goes_on_where_it_was_and_takes_each_message_once() {
    const MESSAGES: usize = 30;
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start("250 ok");
    let keys = format!("relayhost = \"{}\"", site.address);
    let mut mta = Mta::start(folder.path(), &format!("{keys}\npaused = true"), "");
    let expected: Vec<String> = (0..MESSAGES).map(|number| format!("s{number:02}@s.test")).collect();
    submit(&mta, &expected);
    assert!(mta.process.terminate().success());
    let file = folder.path().join("exported");
    said(folder.path(), &["export", file.to_str().unwrap()]);
    for running in [true, false] {
        let other = tempfile::tempdir().unwrap();
        let mta = start_and_stop(other.path(), &keys, running);
        let mut kills = 0;
        loop {
            let mut import = mailrig();
            import.args(["queue", "import", "--config"]).arg(other.path().join("mta.toml")).arg(&file);
            let mut import = import.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let mut lines = BufReader::new(import.stdout.take().unwrap()).lines();
            // the one that was in hand when it was killed, and more
            (0..4).for_each(|_| drop(lines.next()));
            std::thread::sleep(Duration::from_micros(kills * 150));
            import.kill().unwrap();
            let output = import.wait_with_output().unwrap();
            if output.status.code() == Some(0) {
                break;
            }
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), None, "it was killed, and not refused: {said}");
            kills += 1;
        }
        assert!(kills >= 3, "{kills} kills");
        assert_eq!(said(other.path(), &["import", file.to_str().unwrap()]), "");
        if running {
            mta.wait_drained();
            let count = site.messages.lock().unwrap().len();
            assert_eq!(count, MESSAGES, "after {kills} kills");
        } else {
            assert_eq!(senders(other.path(), &[]), expected, "after {kills} kills");
            assert_eq!(senders(other.path(), &["--status", "held"]), [""; 0]);
        }
        std::fs::remove_file(folder.path().join("exported.imported")).unwrap();
    }
}

/// An image that says held is not what holds a message.
#[test]
fn an_imported_message_that_is_deferred_is_not_held_by_a_restart() {
    for store in ["segments", "files"] {
        let folder = tempfile::tempdir().unwrap();
        let site = Site::start("451 4.2.0 later");
        let keys = format!("relayhost = \"{}\"\nstore = \"{store}\"", site.address);
        let mut mta = Mta::start(folder.path(), &format!("{keys}\npaused = true"), "");
        submit(&mta, &["a@s.test"]);
        let file = folder.path().join("exported");
        said(folder.path(), &["export", file.to_str().unwrap()]);
        assert!(mta.process.terminate().success());
        for running in [true, false] {
            let other = tempfile::tempdir().unwrap();
            let mut mta = start_and_stop(other.path(), &keys, running);
            said(other.path(), &["import", file.to_str().unwrap()]);
            std::fs::remove_file(folder.path().join("exported.imported")).unwrap();
            if !running {
                mta = Mta::start(other.path(), &keys, "");
            }
            let tried = |times: u64| {
                eventually("it is tried", || {
                    let text = said(other.path(), &["list", "--json", "--status", "deferred"]);
                    let row = text.lines().next().map(|row| serde_json::from_str::<Value>(row).unwrap());
                    row.is_some_and(|row| row["attempts"] == times)
                });
            };
            tried(1);
            // read from the spool again
            said(other.path(), &["flush"]);
            tried(2);
            assert!(mta.process.terminate().success());
            let held = senders(other.path(), &["--status", "held"]);
            assert_eq!(held, [""; 0], "{store}, imported while it ran: {running}");
            assert_eq!(senders(other.path(), &[]), ["a@s.test"]);
        }
    }
}

/// A control connection that imports.
struct Importer {
    socket: BufReader<UnixStream>,
}

impl Importer {
    fn connect(folder: &Path) -> Importer {
        let socket = UnixStream::connect(folder.join("control")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Importer { socket: BufReader::new(socket) }
    }

    fn ask(&mut self, piece: &Value) -> Value {
        writeln!(self.socket.get_mut(), "{}", json!({"command": "import", "piece": piece})).unwrap();
        let mut line = String::new();
        self.socket.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// Imports a message up to where it is to be confirmed; gives its id.
    fn keep(&mut self, row: &Value, content: &str) -> Value {
        self.ask(&json!({"begin": row}));
        assert_eq!(self.ask(&json!({"data": content}))["ok"], true);
        let kept = self.ask(&json!("end"));
        assert_eq!(kept["ok"], true, "{kept}");
        kept["id"].clone()
    }
}

/// The longest line that a piece of content makes, and an envelope that is longer than any other command.
#[test]
fn a_connection_imports_any_message_and_one_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let mta = Mta::start(folder.path(), "relayhost = \"127.0.0.1:1\"\npaused = true", "");
    let content = vec![1; 40_000];
    let row = |recipients: usize, size_bytes: usize| {
        let to: Vec<String> = (0..recipients).map(|number| format!("r{number}@x.test")).collect();
        row(1, "a@s.test", &to, size_bytes)
    };
    let mut text = row(5000, content.len()).to_string().into_bytes();
    assert!(text.len() > 3 * 64 * 1024);
    text.extend([b"\n", &content[..], b"\n"].concat());
    let file = folder.path().join("exported");
    std::fs::write(&file, text).unwrap();
    said(folder.path(), &["import", file.to_str().unwrap()]);
    let id = id_of(folder.path(), "a@s.test");
    assert!(queue(folder.path(), &["cat", &id]).stdout == content);
    assert_eq!(said(folder.path(), &["show", &id]).matches(" pending").count(), 5000);

    let mut importer = Importer::connect(folder.path());
    let mut ask = |piece: Value| importer.ask(&piece);
    let begun = ask(json!({"begin": row(1, 2)}));
    let refused = ask(json!({"begin": row(1, 2)}));
    assert!(refused["error"].as_str().unwrap().contains("imports a message already"), "{refused}");
    assert_eq!(ask(json!({"data": "xy"}))["ok"], true);
    assert_eq!(ask(json!("end"))["id"], begun["id"], "the first is not dropped");
    let refused = ask(json!({"begin": row(1, 2)}));
    assert!(refused["error"].as_str().unwrap().contains("imports a message already"), "{refused}");
    let refused = ask(json!("end"));
    assert!(refused["error"].as_str().unwrap().contains("not confirmed"), "{refused}");
    assert_eq!(ask(json!("confirm"))["ok"], true);
    assert_eq!(ask(json!({"known": begun["id"]}))["known"], true);
    assert_eq!(ask(json!({"release": begun["id"]}))["ok"], true);
    assert_eq!(mta.control("status")["held"], 0);
    let begun = ask(json!({"begin": row(1, 0)}));
    assert_eq!(ask(json!("end"))["id"], begun["id"]);
    drop(importer);
    eventually("what nobody confirmed is held", || mta.control("status")["held"] == 1);
}

/// One that does not read its answers is dropped while the queue manager is busy with something else.
#[test]
fn a_connection_that_is_dropped_leaves_its_message_to_whoever_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start("250 ok");
    let mta = Mta::start(folder.path(), &format!("relayhost = \"{}\"", site.address), "");
    let mut importer = Importer::connect(folder.path());
    let id = importer.keep(&row(1, "a@s.test", &["r@x.test"], 2), "xy");
    let questions = "{\"command\":\"status\"}\n".repeat(2000);
    importer.socket.get_mut().write_all(questions.as_bytes()).unwrap();
    eventually("its message is held", || mta.control("status")["held"] == 1);
    let released = Importer::connect(folder.path()).ask(&json!({"release": id}));
    assert_eq!(released["ok"], true, "{released}");
    eventually("it is delivered", || site.messages.lock().unwrap().len() == 1);
}

/// Stopped and resumed, it sends one bounce. The message of a hold waits as long.
#[test]
fn an_import_without_a_route_is_bounced_when_it_is_confirmed() {
    for store in ["segments", "files"] {
        let folder = tempfile::tempdir().unwrap();
        let site = Site::start("250 ok");
        let (keys, tables) =
            (format!("store = \"{store}\""), format!("[transport]\n\"x.test\" = \"{}\"", site.address));
        let mut mta = Mta::start(folder.path(), &keys, &tables);
        // more than a delivery has
        let many: Vec<String> = (0..120).map(|number| format!("r{number}@nowhere.test")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let keep = |to: &[&str]| {
            Importer::connect(folder.path())
                .keep(&row(1, "sender@x.test", to, 2), "xy")
                .as_str()
                .unwrap()
                .to_owned()
        };
        let (none, one) = (keep(&many), keep(&["r@nowhere.test", "r@x.test"]));
        eventually("what nobody confirmed is held", || mta.control("status")["held"] == 3);
        assert!(mta.process.terminate().success());
        let mta = Mta::start(folder.path(), &keys, &tables);
        let status = mta.wait_drained();
        assert_eq!((&status["held"], &status["bounced"]), (&json!(3), &json!(0)), "{store}");
        assert_eq!(senders(folder.path(), &["--status", "held"]), ["sender@x.test"; 2]);
        let came = |count: usize, what: &str| {
            eventually(what, || site.messages.lock().unwrap().len() >= count);
            mta.wait_drained();
            assert_eq!(site.messages.lock().unwrap().len(), count, "{store}: {what}");
        };
        for (id, count) in [(none, 1), (one, 3)] {
            let mut importer = Importer::connect(folder.path());
            // asked twice, as by one that was stopped again
            for _ in 0..2 {
                assert_eq!(importer.ask(&json!({"release": id}))["ok"], true);
            }
            came(count, "its bounce, and what has a route");
        }
        let mut importer = Importer::connect(folder.path());
        importer.keep(&row(1, "sender@x.test", &["r@nowhere.test"], 2), "xy");
        assert_eq!(importer.ask(&json!("confirm"))["ok"], true);
        came(4, "the bounce of one that was confirmed at once");
        let messages = site.messages.lock().unwrap();
        let bounces = messages.iter().filter(|(envelope, _)| envelope.starts_with("MAIL FROM:<>")).count();
        assert_eq!(bounces, 3, "{store}");
        assert_eq!(senders(folder.path(), &[]), [""; 0]);
    }
}
