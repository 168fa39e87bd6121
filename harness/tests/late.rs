//! Mail that is deferred again and again: its sender is told once, and only a host that is to blame gets less of it.

mod support;

use support::{Client, Mta, Site, eventually};

#[test]
fn the_sender_of_late_mail_is_told_once_and_an_overloaded_host_is_blamed() {
    let folder = tempfile::tempdir().unwrap();
    let greylisting = Site::start("450 4.2.0 try again later");
    let overloaded = Site::start("452 4.3.1 insufficient system storage");
    let senders = Site::start("250 ok");
    let keys = "durability = \"none\"";
    let tables = format!(
        "[transport]\n\"grey.test\" = \"{}\"\n\"busy.test\" = \"{}\"\n\"client.test\" = \"{}\"\n\
         [delivery]\ndriver = \"event\"\nagents_max = 1\nconnections_per_agent = 10\n\
         [queue]\nminimal_backoff = \"300ms\"\nmaximal_backoff = \"500ms\"\ndelay_warning = \"1s\"\n",
        greylisting.address, overloaded.address, senders.address
    );
    let mta = Mta::start(folder.path(), keys, &tables);
    let mut client = Client::connect(&mta.address);
    client.hello();
    for to in ["user@grey.test", "user@busy.test"] {
        assert!(client.mail("me@client.test", &[to], b"Subject: late\r\n\r\nbody\r\n").starts_with("250"));
    }
    let attempts = |to: &str| {
        let line = format!(" to=<{to}> ");
        mta.log().lines().filter(|one| one.contains(&line) && one.contains(" status=deferred ")).count()
    };
    // well beyond the warning
    eventually("six attempts on each", || attempts("user@grey.test") >= 6 && attempts("user@busy.test") >= 1);
    let told = |of: &str| {
        let kept = senders.messages.lock().unwrap();
        let texts = kept.iter().map(|(envelope, content)| (envelope, String::from_utf8_lossy(content)));
        texts
            .filter(|(envelope, text)| {
                envelope.contains("MAIL FROM:<>")
                    && text.contains("Action: delayed\r\n")
                    && text.contains(&format!("rfc822; {of}\r\n"))
            })
            .count()
    };
    eventually("the sender is told", || told("user@grey.test") > 0);
    let before = attempts("user@grey.test");
    eventually("two attempts more", || attempts("user@grey.test") >= before + 2);
    assert_eq!(told("user@grey.test"), 1, "{}", mta.log());
    let log = mta.log();
    let blamed = |address: &str| {
        let host = format!("next_hop={address} the host is to blame");
        log.lines().filter(|line| line.contains(&host)).count()
    };
    assert!(blamed(&overloaded.address) > 0, "{log}");
    assert_eq!(blamed(&greylisting.address), 0, "a recipient's deferral says nothing of the host: {log}");
}
