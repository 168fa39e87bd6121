//! Mistakes and broken surroundings: a clear error, and no mail lost.

mod support;

use std::process::{Command, Stdio};
use support::operator::said;
use support::{Client, Mta, Sink, Site, configuration, eventually, mailrig, queue_files};

/// Runs the MTA where it must not start; gives what it said.
fn refused(config: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mta.toml");
    std::fs::write(&path, config).unwrap();
    let output = mailrig().args(["mta", "run", "--config"]).arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{config}\n{said}");
    assert!(said.lines().any(|line| line.starts_with("mailrig: mta: ")), "{said}");
    said
}

#[test]
fn a_bad_configuration_is_refused_by_line_with_the_right_key() {
    let folder = tempfile::tempdir().unwrap();
    let relay = "relayhost = \"127.0.0.1:25\"";
    let cases: &[(&str, &str, &[&str])] = &[
        ("relayhots = \"127.0.0.1:25\"", "", &["relayhots", "relayhost"]),
        ("relayhost = \"127.0.0.1\"", "", &["no port", "host:port"]),
        (relay, "[delivery]\nagents = 5", &["agents", "agents_max"]),
        (relay, "[delivery]\nagents_max = 0", &["agents_max", "driver = \"event\""]),
        (relay, "[delivery]\nagents_max = 20000", &["agents_max", "up to 19000"]),
        (relay, "[delivery]\ntimeout = \"0\"", &["timeout", "1s or more"]),
        (relay, "[delivery]\nmax_idle = 100", &["max_idle", "100s"]),
        (relay, "[delivery]\nwatchdog = \"0\"", &["watchdog", "5h"]),
        (relay, "[delivery]\nmemory_max = 100", &["memory_max", "16MiB"]),
        (relay, "[delivery]\nspawn = \"fork\"", &["spawn", "preforked"]),
        (relay, "[concurrency_limit]\n\"127.0.0.1:9\" = 5", &["127.0.0.1:9", "leads there"]),
        (relay, "[concurrency_limit]\n\"127.0.0.1:25\" = 0", &["127.0.0.1:25", "at least 1"]),
        (relay, "[delivery]\ndriver = \"evnt\"", &["event"]),
        (
            relay,
            "[delivery]\ndriver = \"blocking\"\nconnections_per_agent = 5",
            &["connections_per_agent", "event"],
        ),
        (relay, "[queue]\nminimal_backoff = \"2h\"\nmaximal_backoff = \"1h\"", &["minimal_backoff"]),
        ("hostname2 = \"x\"", "", &["hostname"]),
        ("durability = \"half\"", "", &["full"]),
        ("max_message_size = \"4 elephants\"", "", &["elephants", "KiB"]),
        ("listen = []", "", &["listen"]),
    ];
    for (keys, tables, words) in cases {
        let said = refused(&configuration(folder.path(), keys, tables));
        for word in *words {
            assert!(said.contains(word), "{keys} {tables}: {word:?} is not in {said}");
        }
        assert!(said.contains("mta.toml:"), "no line: {said}");
    }
    let nowhere = mailrig().args(["mta", "run", "--config", "/nonexistent.toml"]).output().unwrap();
    assert_eq!(nowhere.status.code(), Some(2));
}

#[test]
fn a_bad_site_file_is_refused_by_line_and_what_it_names_lies_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("site.toml");
    let refused = |text: &str, part: &str| {
        std::fs::write(&path, format!("[[site]]\nname = \"x\"\n{text}\n")).unwrap();
        let output =
            mailrig().args(["sink", "--listen", "127.0.0.1:0", "--site"]).arg(&path).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}: {said}");
        assert!(said.contains(&format!("mailrig: {}{part}", path.display())), "{text}: {said}");
    };
    refused("delay.dott = \"1s\"", ":3:7: `dott` is not a stage");
    refused("delay.dot = \"file(latencies.txt)\"", ":3:7: ");
    refused("recipients = [\"*\"]", ": every site is for certain recipients");
    // Now it is there.
    std::fs::write(folder.path().join("latencies.txt"), "10ms\n").unwrap();
    std::fs::write(&path, "[[site]]\nname = \"x\"\ndelay.dot = \"file(latencies.txt)\"\n").unwrap();
    let sink = Sink::start(folder.path(), "sink", &["--site", path.to_str().unwrap()]);
    assert_eq!(sink.stop()["messages"], 0);
}

#[test]
fn a_taken_port_a_spool_that_is_a_file_a_second_mta_and_too_many_agents_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mta = Mta::start(folder.path(), "paused = true", "");
    let listen = format!("listen = [\"{}\"]", mta.address);
    let other = tempfile::tempdir().unwrap();
    assert!(refused(&configuration(other.path(), &listen, "")).contains("another server has this port"));
    std::fs::write(other.path().join("spool"), "").unwrap();
    assert!(refused(&configuration(other.path(), "", "")).contains("spool"));
    // the same control socket, then the same spool with a control socket of its own
    assert!(refused(&configuration(folder.path(), "", "")).contains("another MTA answers there"));
    let spool = configuration(folder.path(), "", "").replace("/control", "/control2");
    let said = refused(&spool);
    assert!(said.contains("spool is in use by process"), "{said}");
    // more agents than descriptors
    let config = other.path().join("many.toml");
    std::fs::write(&config, configuration(other.path(), "", "[delivery]\nagents_max = 200")).unwrap();
    let run = format!(
        "ulimit -n 250; exec {} mta run --config {}",
        mailrig().get_program().display(),
        config.display()
    );
    let output = std::process::Command::new("sh").args(["-c", &run]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("room for 100 agents"), "{said}");
    assert_eq!(mta.control("status")["paused"], true);
}

#[test]
fn a_corrupt_queue_file_is_set_aside_and_costs_no_other_message() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start("250 ok");
    let keys = format!("relayhost = \"{}\"\nstore = \"files\"", site.address);
    let mut mta = Mta::start(folder.path(), &format!("{keys}\npaused = true"), "");
    let mut client = Client::connect(&mta.address);
    client.hello();
    for number in 0..5 {
        let content = format!("Subject: number {number}\r\n\r\nbody\r\n");
        assert!(client.mail("s@y.test", &["r@x.test"], content.as_bytes()).starts_with("250"));
    }
    drop(client);
    assert!(mta.process.terminate().success());
    let victim = mta.queue_files().remove(2);
    let mut bytes = std::fs::read(&victim).unwrap();
    let at = bytes.len() - 10;
    bytes[at] ^= 1;
    std::fs::write(&victim, &bytes).unwrap();
    let mta = Mta::start(folder.path(), &keys, "");
    eventually("the four others are delivered", || site.messages.lock().unwrap().len() == 4);
    eventually("and only the corrupt one is left", || {
        queue_files(&folder.path().join("spool/queue")).is_empty()
    });
    assert!(mta.log().contains("corrupt"), "{}", mta.log());
    let kept = walk(&folder.path().join("spool/corrupt"));
    assert!(
        kept.iter().any(|path| std::fs::read(path).unwrap() == bytes),
        "set aside, not changed: {kept:?}"
    );
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

/// Runs again inside a mount namespace of its own, where it may mount a small tmpfs.
#[test]
fn a_full_disk_is_a_452_and_reception_comes_back_by_itself() {
    const INSIDE: &str = "MAILRIG_TEST_INSIDE_NAMESPACE";
    if std::env::var_os(INSIDE).is_none() {
        let allowed = Command::new("unshare").args(["-m", "true"]).stderr(Stdio::null()).status();
        if !allowed.is_ok_and(|status| status.success()) {
            eprintln!("skipped: a full disk needs a mount namespace, which is not allowed here");
            return;
        }
        let me = std::env::current_exe().unwrap();
        let status = Command::new("unshare")
            .arg("-m")
            .arg(me)
            .args(["--exact", "a_full_disk_is_a_452_and_reception_comes_back_by_itself", "--nocapture"])
            .env(INSIDE, "1")
            .status();
        assert!(status.unwrap().success());
        return;
    }
    // full to the last block; down to the low-water mark; the same with large messages
    full_disk("1m", "store = \"files\"\nspace_min = \"0\"", 1500);
    full_disk("8m", "store = \"segments\"\nspace_min = \"2MiB\"", 300);
    full_disk("8m", "store = \"segments\"\nspace_min = \"1MiB\"", 1500);
    full_disk("8m", "store = \"segments\"\nspace_min = \"0\"", 300);
    kept_files();
    unwritten_bounce();
}

fn mount(folder: &std::path::Path, size: &str) {
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
        .arg(folder)
        .status();
    assert!(mount.unwrap().success());
}

/// What the spool keeps for later is what is missing of a high `space_min`: it goes, and mail is never refused for it.
fn kept_files() {
    let folder = tempfile::tempdir().unwrap();
    mount(folder.path(), "200m");
    let site = Site::start("250 ok");
    let keys = format!("relayhost = \"{}\"\nspace_min = \"120MiB\"", site.address);
    let mut mta = Mta::start(folder.path(), &keys, "");
    assert!(mta.process.terminate().success());
    let write =
        |name: &str, mib: usize| std::fs::write(folder.path().join(name), vec![0; mib << 20]).unwrap();
    let spares = ["00000001.spare", "00000002.spare"].map(|name| format!("spool/segments/{name}"));
    spares.iter().for_each(|name| write(name, 64));
    let mta = Mta::start(folder.path(), &keys, "");
    let content = b"0123456789012345678901234567890123456789012345678901234567\r\n".repeat(1000);
    let send = |count: usize| {
        let mut client = Client::connect(&mta.address);
        client.hello();
        (0..count).all(|_| client.mail("s@y.test", &["r@x.test"], &content).starts_with("250"))
    };
    assert!(send(150), "{}", mta.log());
    assert!(!spares.iter().any(|name| folder.path().join(name).exists()));
    mta.wait_drained();
    // with what the newest segment has of mail that is gone, there is less free than is to be
    write("others", 75);
    let segment_bytes_max = || {
        let files = std::fs::read_dir(folder.path().join("spool/segments")).unwrap();
        // one may go while it is looked at
        files.filter_map(|file| file.ok()?.metadata().ok()).map(|file| file.len()).max().unwrap_or(0)
    };
    eventually("mail comes in again, or still does, and the segment of 9 MiB is gone", || {
        send(1) && segment_bytes_max() <= 2 << 20
    });
    // and now there is nothing that would help
    write("more of others", 30);
    eventually("mail is refused", || !send(1));
    std::fs::remove_file(folder.path().join("more of others")).unwrap();
    eventually("mail comes in again", || send(1));
    drop(mta);
    Command::new("umount").arg("-l").arg(folder.path()).status().unwrap();
}

/// A bounce that finds no space is tried again, and the log has the outcome that it tells of once.
fn unwritten_bounce() {
    let folder = tempfile::tempdir().unwrap();
    mount(folder.path(), "8m");
    let site = Site::start("250 ok");
    let keys = "store = \"files\"\nspace_min = \"0\"";
    let relayhost = format!("relayhost = \"{}\"\npaused = true\n{keys}", site.address);
    let mut mta = Mta::start(folder.path(), &relayhost, "");
    let mut client = Client::connect(&mta.address);
    client.hello();
    assert!(client.mail("s@y.test", &["r@x.test"], b"x\r\n").starts_with("250"));
    said(folder.path(), &["hold", "--all"]);
    drop(client);
    assert!(mta.process.terminate().success());
    let transport = format!("[transport]\n\"y.test\" = \"{}\"", site.address);
    let mta = Mta::start(folder.path(), keys, &transport);
    let filler = folder.path().join("others");
    // as much as fits
    assert!(std::fs::write(&filler, vec![0; 8 << 20]).is_err());
    let count = |what: &str| mta.log().matches(what).count();
    said(folder.path(), &["release", "--all"]);
    eventually("the bounce fails", || count("bounce could not be written") == 1);
    said(folder.path(), &["flush"]);
    eventually("it fails again", || count("bounce could not be written") == 2);
    std::fs::remove_file(filler).unwrap();
    said(folder.path(), &["flush"]);
    eventually("the bounce is delivered", || site.messages.lock().unwrap().len() == 1);
    assert_eq!(count("status=bounced"), 1, "{}", mta.log());
    drop(mta);
    Command::new("umount").arg("-l").arg(folder.path()).status().unwrap();
}

fn full_disk(size: &str, keys: &str, lines: usize) {
    let folder = tempfile::tempdir().unwrap();
    mount(folder.path(), size);
    let site = Site::start("250 ok");
    let keys = format!("relayhost = \"{}\"\npaused = true\n{keys}", site.address);
    let mta = Mta::start(folder.path(), &keys, "");
    let mut client = Client::connect(&mta.address);
    client.hello();
    let content = b"0123456789012345678901234567890123456789012345678901234567\r\n".repeat(lines);
    let mut accepted = 0;
    let refusal = loop {
        let reply = client.mail("s@y.test", &["r@x.test"], &content);
        if !reply.starts_with("250") {
            break reply;
        }
        accepted += 1;
        assert!(accepted < 1000, "{keys}: the disk never fills");
    };
    assert!(refusal.starts_with("452 4.3.1") && accepted > 2, "{keys}: {accepted} then {refusal}");
    mta.control("resume");
    mta.wait_drained();
    assert_eq!(site.messages.lock().unwrap().len(), accepted, "{keys}");
    eventually("mail comes in again", || {
        // a session has only so many refusals
        assert!(std::net::TcpStream::connect(&mta.address).is_ok(), "{keys}: {}", mta.log());
        client = Client::connect(&mta.address);
        client.hello();
        client.mail("s@y.test", &["r@x.test"], &content).starts_with("250")
    });
    mta.wait_drained();
    assert_eq!(site.messages.lock().unwrap().len(), accepted + 1, "{keys}");
    drop(mta);
    Command::new("umount").arg("-l").arg(folder.path()).status().unwrap();
}
