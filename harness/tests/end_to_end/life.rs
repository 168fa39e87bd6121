//! An ordinary life of the MTA: mail comes in, goes out once and unchanged, and nothing stays behind.

use crate::support::client::Client;
use crate::support::message::{lines, with_id, without_received};
use crate::support::mta::{Config, HOSTNAME, Mta};
use crate::support::sink::Sink;
use crate::support::site::Site;
use crate::support::{Driver, with_both_drivers};
use std::collections::{BTreeMap, BTreeSet};

with_both_drivers!(
    delivers_each_of_200_messages_once_and_leaves_nothing,
    changes_no_byte_of_a_message,
    splits_recipients_by_next_hop,
);

/// Larger ones go to the agent as a descriptor, smaller ones inside the request.
const INLINE_CONTENT_BYTES: usize = 64 * 1024;

fn delivers_each_of_200_messages_once_and_leaves_nothing(driver: Driver) {
    const CLIENTS: usize = 8;
    const EACH: usize = 25;
    let sink = Sink::start(&[]);
    let mta = Mta::start(&Config::new(driver).relayhost(sink.address).concurrency(driver, 10));
    let address = mta.address;
    let id = |number: usize| format!("life/{number}/0");
    std::thread::scope(|scope| {
        for first in (0..CLIENTS).map(|client| client * EACH) {
            scope.spawn(move || {
                let mut client = Client::connect(address).expect("a session");
                for number in first..first + EACH {
                    let to = format!("r{number}@d.test");
                    client.deliver("s@client.test", &[&to], &with_id(&id(number), 4096));
                }
                client.command("QUIT").expect("a reply").expect(221, "");
            });
        }
    });
    mta.drain();
    let status = mta.status();
    assert_eq!((status.count("delivered"), status.count("bounced")), (200, 0));
    let outcomes = mta.outcomes();
    let to: BTreeSet<&str> = outcomes.iter().map(|outcome| outcome.to.as_str()).collect();
    let queue_ids: BTreeSet<&str> = outcomes.iter().map(|outcome| outcome.queue_id.as_str()).collect();
    assert_eq!((outcomes.len(), to.len(), queue_ids.len()), (200, 200, 200));
    let relay = sink.address.to_string();
    for outcome in &outcomes {
        assert_eq!((&*outcome.status, &*outcome.relay), ("sent", &*relay), "{outcome:?}");
        assert!(outcome.dsn.starts_with("2.") && outcome.reply.starts_with("250 "), "{outcome:?}");
    }
    let folder = mta.stop();
    let left = crate::support::mta::files_below(&folder.path().join("spool").join("queue"));
    assert!(left.is_empty(), "{left:?}");
    let ledger = sink.stop();
    assert_eq!(ledger.ids, (0..CLIENTS * EACH).map(|number| (id(number), 1)).collect::<BTreeMap<_, _>>());
    assert_eq!((ledger.count("messages"), ledger.count("duplicates")), (200, 0));
}

fn changes_no_byte_of_a_message(driver: Driver) {
    let site = Site::accepting();
    let mta = Mta::start(&Config::new(driver).relayhost(site.address).concurrency(driver, 4));
    let mut client = mta.client();
    client.deliver("s@client.test", &["probe@d.test"], b"");
    let field_bytes = site.wait_for(1)[0].content.len();
    let mut contents: Vec<Vec<u8>> = vec![
        b"\r\n".to_vec(),
        b"x\r\n".to_vec(),
        b".\r\n".to_vec(),
        b"..\r\n.\r\n...\r\n.x\r\n\r\n.\r\n".to_vec(),
        b"Subject: eight bits\r\n\r\n\xe4\xf6\xfc\xff\x00\x01\x7f\r\n".to_vec(),
        [vec![b'.'; 998], b"\r\n".to_vec()].concat(),
        b".\r\n".repeat(40_000),
    ];
    contents.extend([4096, 65_535, 65_536, 65_537, 2 << 20].map(lines));
    // on both sides of the border between inline and by descriptor, the added field counted in
    contents.extend([0, 1, 2].map(|more| lines(INLINE_CONTENT_BYTES - 1 + more - field_bytes)));
    for (number, content) in contents.iter().enumerate() {
        let to = format!("r{number}@d.test");
        client.deliver("s@client.test", &[&to], content);
    }
    let received = site.wait_for(1 + contents.len());
    for (number, content) in contents.iter().enumerate() {
        let to = [format!("r{number}@d.test")];
        let found: Vec<_> = received.iter().filter(|message| message.forward_paths == to).collect();
        assert_eq!(found.len(), 1, "message {number}");
        assert_eq!(found[0].reverse_path, "s@client.test");
        assert!(without_received(&found[0].content) == content, "message {number} has changed");
        assert!(found[0].text().starts_with(&format!(
            "Received: from client.test ([127.0.0.1])\r\n\tby {HOSTNAME} with ESMTP;\r\n\t"
        )));
        assert_eq!(found[0].content.len(), content.len() + field_bytes, "message {number}");
    }
    mta.drain();
    mta.stop();
}

fn splits_recipients_by_next_hop(driver: Driver) {
    let sites = [Site::accepting(), Site::accepting(), Site::accepting()];
    // the third has no entry of its own, and domains have no case
    let table = [("a.test", sites[0].address), ("B.test", sites[1].address)];
    let config = Config::new(driver).relayhost(sites[2].address).transport(&table).concurrency(driver, 4);
    let mta = Mta::start(&config);
    let recipients: Vec<String> =
        (0..50).map(|number| format!("r{number}@{}.test", ["A", "b", "c"][number % 3])).collect();
    let to: Vec<&str> = recipients.iter().map(String::as_str).collect();
    let queue_id = mta.client().deliver("", &to, b"Subject: to many\r\n\r\nhello\r\n");
    for (number, site) in sites.iter().enumerate() {
        let messages = site.wait_for(1);
        assert_eq!(messages.len(), 1);
        let mine: Vec<&String> = recipients.iter().skip(number).step_by(3).collect();
        assert_eq!(messages[0].forward_paths.iter().collect::<Vec<_>>(), mine, "site {number}");
        assert_eq!(messages[0].reverse_path, "");
    }
    mta.drain();
    let outcomes = mta.outcomes();
    assert_eq!(outcomes.len(), 50);
    for outcome in &outcomes {
        let number: usize = outcome.to[1..].split('@').next().unwrap().parse().unwrap();
        assert_eq!(outcome.relay, sites[number % 3].address.to_string());
        assert_eq!((&outcome.queue_id, &*outcome.status), (&queue_id, "sent"));
    }
    assert!(mta.queue_files().is_empty());
    mta.stop();
}
