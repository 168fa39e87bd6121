//! The operator's view of the queue: the same answers from an MTA that runs and from its spool when none does.

mod support;

use std::path::Path;
use support::operator::{id_of, queue, said, senders};
use support::{Client, Mta, Site, configuration, eventually};

fn large() -> Vec<u8> {
    "Subject: large\r\n\r\n".bytes().chain(b"caf\xe9 au lait\r\n".repeat(9000)).collect()
}

fn fill(mta: &Mta) {
    let mut client = Client::connect(&mta.address);
    client.hello();
    for (from, to, content) in [
        ("a@s.test", &["one@x.test"][..], b"Subject: a\r\n\r\na\r\n".to_vec()),
        ("b@s.test", &["one@y.test", "two@Y.test"], b"Subject: b\r\n\r\nbb\r\n".to_vec()),
        ("", &["one@x.test"], b"Subject: c\r\n\r\nccc\r\n".to_vec()),
        ("d@s.test", &["two@x.test", "two@z.test"], large()),
    ] {
        assert!(client.mail(from, to, &content).starts_with("250"));
    }
}

/// What must hold whether the MTA runs or not; leaves one message held and one gone.
fn look_and_change(folder: &Path) {
    assert_eq!(senders(folder, &[]), ["a@s.test", "b@s.test", "", "d@s.test"]);
    assert_eq!(senders(folder, &["--sender", "A@S.test"]), ["a@s.test"]);
    assert_eq!(senders(folder, &["--sender", ""]), [""]);
    assert_eq!(senders(folder, &["--recipient", "two@y.test"]), ["b@s.test"]);
    assert_eq!(senders(folder, &["--domain", "x.test"]), ["a@s.test", "", "d@s.test"]);
    assert_eq!(senders(folder, &["--domain", "x.test", "--sender", "d@s.test"]), ["d@s.test"]);
    assert_eq!(senders(folder, &["--older-than", "1h"]), [""; 0]);
    assert_eq!(senders(folder, &["--younger-than", "1h", "--status", "due"]).len(), 4);
    assert_eq!(said(folder, &["list"]).lines().count(), 5);

    let (b, d) = (id_of(folder, "b@s.test"), id_of(folder, "d@s.test"));
    let text = said(folder, &["show", &b]);
    assert!(text.contains(&b) && text.contains("to <two@Y.test> pending"), "{text}");
    let content = queue(folder, &["cat", &d]).stdout;
    assert!(content.ends_with(&large()) && content.starts_with(b"Received: "), "{} bytes", content.len());
    let shape = said(folder, &["shape"]);
    let count = |domain: &str| -> String {
        let row = shape.lines().find(|row| row.trim_start().starts_with(domain)).unwrap();
        row.split_whitespace().nth(1).unwrap().to_owned()
    };
    assert_eq!(["TOTAL", "x.test", "y.test", "z.test"].map(count), ["6", "3", "2", "1"], "{shape}");

    assert!(said(folder, &["hold", "--domain", "x.test"]).starts_with("hold: 3 messages"));
    assert_eq!(senders(folder, &["--status", "held"]), ["a@s.test", "", "d@s.test"]);
    assert!(said(folder, &["release", &d]).starts_with("release: 1 messages"));
    assert!(said(folder, &["requeue", "--sender", ""]).starts_with("requeue: 1 messages"));
    assert_eq!(senders(folder, &["--status", "held"]), ["a@s.test"]);
    assert!(said(folder, &["delete", "--sender", "b@s.test"]).starts_with("delete: 1 messages"));
    assert_eq!(senders(folder, &[]), ["a@s.test", "", "d@s.test"]);
    said(folder, &["flush"]);
    assert_eq!(senders(folder, &["--status", "held"]), ["a@s.test"], "a flush frees nothing");

    // what can't be meant is not done
    assert!(!queue(folder, &["delete"]).status.success(), "would delete everything");
    let output = queue(folder, &["show", &b]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("is not in the spool"));
    assert_eq!(queue(folder, &["hold", &b]).status.code(), Some(1));
    let output = queue(folder, &["show", "nonsense"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("12 to 16 hexadecimal digits"));
}

#[test]
fn a_running_mta_and_a_stopped_spool_answer_the_same_and_hold_over_a_restart() {
    for store in ["segments", "files"] {
        for running in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let site = Site::start("250 ok");
            let keys = format!("relayhost = \"{}\"\nstore = \"{store}\"", site.address);
            let mut mta = Mta::start(folder.path(), &format!("{keys}\npaused = true"), "");
            fill(&mta);
            if running {
                look_and_change(folder.path());
                assert!(mta.process.terminate().success());
            } else {
                assert!(mta.process.terminate().success());
                look_and_change(folder.path());
            }
            // carried to another spool, whose MTA runs, and delivered from there
            let other = tempfile::tempdir().unwrap();
            let file = folder.path().join("exported");
            said(folder.path(), &["export", file.to_str().unwrap()]);
            let text = configuration(other.path(), &keys, "");
            std::fs::write(other.path().join("mta.toml"), text).unwrap();
            let mut mta = Mta::start(other.path(), &keys, "");
            let imported = said(other.path(), &["import", file.to_str().unwrap()]);
            assert_eq!(imported.lines().count(), 3, "{imported}");
            // one of two recipients, three messages, one of them held
            eventually("what is not held is delivered", || site.messages.lock().unwrap().len() == 2);
            assert_eq!(senders(other.path(), &[]), ["a@s.test"], "{store}: held as it was");
            assert!(mta.process.terminate().success());
            // and the stopped spool takes it as well, once it is told to forget that it has
            assert_eq!(said(other.path(), &["import", file.to_str().unwrap()]), "");
            std::fs::remove_file(folder.path().join("exported.imported")).unwrap();
            let imported = said(other.path(), &["import", file.to_str().unwrap()]);
            assert_eq!(imported.lines().count(), 3);
            assert_eq!(senders(other.path(), &["--status", "held"]), ["a@s.test"; 2]);

            let mta = Mta::start(folder.path(), &keys, "");
            eventually("the others are delivered", || site.messages.lock().unwrap().len() == 4);
            assert_eq!(mta.control("status")["held"], 1, "{store}: the hold outlives the restart");
            said(folder.path(), &["release", "--all"]);
            eventually("all are delivered", || site.messages.lock().unwrap().len() == 5);
            mta.wait_drained();
            assert_eq!(senders(folder.path(), &[]), [""; 0]);
        }
    }
}

#[test]
fn is_safe_while_mail_flows() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start("250 ok");
    let keys = format!("relayhost = \"{}\"", site.address);
    let mta = Mta::start(folder.path(), &keys, "");
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..3)
            .map(|number| {
                let address = &mta.address;
                scope.spawn(move || {
                    let mut client = Client::connect(address);
                    client.hello();
                    for _ in 0..100 {
                        let from = format!("s{number}@s.test");
                        assert!(client.mail(&from, &["r@x.test"], b"x\r\n").starts_with("250"));
                    }
                })
            })
            .collect();
        while !clients.iter().all(|client| client.is_finished()) {
            senders(folder.path(), &["--domain", "x.test"]);
            queue(folder.path(), &["hold", "--sender", "s0@s.test"]);
            queue(folder.path(), &["requeue", "--all"]);
            said(folder.path(), &["flush"]);
        }
    });
    said(folder.path(), &["list"]);
    queue(folder.path(), &["release", "--all"]);
    mta.wait_drained();
    eventually("nothing is lost", || site.messages.lock().unwrap().len() == 300);
    assert_eq!(mta.control("status")["held"], 0);
}
