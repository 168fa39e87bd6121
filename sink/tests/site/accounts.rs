//! The books: ledger, trace, live lines.

use crate::peer::Peer;
use crate::rig::{Rig, config};
use behaviour::offer::{Offer, Tls};
use behaviour::{Site, Sites};
use rustix::net::SendFlags;
use sink::{Config, json_lines};
use smtp::server::Options;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn every_accepted_message_is_counted_once() {
    let rig = Rig::new(&[], &["noop=451"]);
    let mut peer = Peer::greeted(rig.address);
    let mut other = Peer::greeted(rig.address);
    assert_eq!(peer.mail("X-Mailrig-Id: run/1/1000\r\n\r\nhello"), 250);
    assert_eq!(
        peer.mail("Received: by x\r\n\tfor y\r\nx-mailrig-id:run/2/1000\r\n\r\n..\r\n..two dots"),
        250
    );
    assert_eq!(other.mail("X-Mailrig-Id: run/1/1000\r\n\r\nhello"), 250);
    assert_eq!(other.mail("X-Mailrig-Id: run/1/1000\r\n\r\nhello"), 250);
    assert_eq!(other.mail("X-Mailrig-Id: run/1/9999\r\n\r\nhello"), 250);
    assert_eq!(peer.mail("X-Mailrig-Id: \"odd\", id\r\n\r\n"), 250);
    assert_eq!(peer.mail("Subject: no id\r\n\r\nX-Mailrig-Id: run/3/1"), 250);
    assert_eq!(peer.mail("Subject: bare\nnewline\r\n"), 250);
    peer.play("C: NOOP\nS: 451");
    // A message that was never finished is none.
    other.play("C: MAIL FROM:<a@client.test>\nC: RCPT TO:<b@sink.test>\nC: DATA\nS: 250\nS: 250\nS: 354");
    other.send("X-Mailrig-Id: run/4/1\r\n\r\nhel");
    drop(other);
    peer.play("C: QUIT\nS: 221\nS:");
    let account = rig.stop();

    let ledger = &account.ledger;
    let number = |name: &str| ledger[name].as_u64().unwrap_or_else(|| panic!("{name} in {ledger}"));
    assert_eq!(
        (number("messages"), number("unique"), number("duplicates"), number("without_id")),
        (8, 4, 2, 2)
    );
    assert_eq!((number("connections"), number("connections_peak")), (2, 2));
    assert_eq!(ledger["refused"], serde_json::json!({ "451": 1 }));
    assert_eq!(
        ledger["ids"],
        serde_json::json!({ "run/1/1000": 3, "run/1/9999": 1, "run/2/1000": 1, "\"odd\", id": 1 })
    );
    assert_eq!(number("bare_newlines"), 1);
    assert!(number("first_ns") < number("last_accepted_ns"));
    assert!(ledger["cpu_s"].as_f64().unwrap() > 0.0);
    // Content with its last line end; of the doubled dots one of two remains.
    let content = |text: &str, times: u64| text.len() as u64 * times;
    let wanted = content("X-Mailrig-Id: run/1/1000\r\n\r\nhello\r\n", 4)
        + content("Received: by x\r\n\tfor y\r\nx-mailrig-id:run/2/1000\r\n\r\n.\r\n.two dots\r\n", 1)
        + content("X-Mailrig-Id: \"odd\", id\r\n\r\n\r\n", 1)
        + content("Subject: no id\r\n\r\nX-Mailrig-Id: run/3/1\r\n", 1)
        + content("Subject: bare\nnewline\r\n\r\n", 1);
    assert_eq!(number("bytes"), wanted);
}

#[test]
fn each_delivery_attempt_has_its_row() {
    let rig = Rig::new(&["banner=50ms", "dot=30ms"], &["dot=451@30"]);
    let mut codes = Vec::new();
    let mut peer = Peer::greeted(rig.address);
    for number in 0..20 {
        std::thread::sleep(Duration::from_millis(if number == 1 { 100 } else { 0 }));
        codes.push(peer.mail(&format!("X-Mailrig-Id: run/{number}/7\r\n\r\n")));
    }
    // Given up by RSET, by a new MAIL, by EHLO, and by leaving.
    peer.play("C: MAIL FROM:<a@client.test>\nS: 250\nC: RSET\nS: 250\nC: RSET\nS: 250");
    peer.play("C: MAIL FROM:<a@client.test>\nS: 250\nC: EHLO client.test\nS: 250");
    peer.play("C: MAIL FROM:<a@client.test>\nS: 250\nC: QUIT\nS: 221\nS:");
    // A connection that comes and goes is an attempt too.
    Peer::greeted(rig.address).play("C: QUIT\nS: 221\nS:");
    let account = rig.stop();

    assert!(codes.contains(&250) && codes.contains(&451));
    let rows = &account.deliveries;
    assert_eq!(rows.len(), 24);
    let ns = |cell: &str| cell.parse::<u64>().unwrap();
    let mut end_before_ns = account.totals.first_ns.unwrap();
    for (number, (row, code)) in rows.iter().zip(&codes).enumerate() {
        assert_eq!(row[0], format!("run/{number}/7"));
        assert_eq!((&*row[1], &*row[4]), ("1", &*code.to_string()));
        let (start_ns, end_ns) = (ns(&row[2]), ns(&row[3]));
        // The first is in flight since the connection, banner and all; a later one since its MAIL.
        let least_ms = if number == 0 { 80 } else { 30 };
        assert!(end_ns - start_ns >= least_ms * MS, "{row:?}");
        assert!(start_ns >= end_before_ns, "{row:?}");
        assert!(number != 1 || start_ns - end_before_ns >= 100 * MS, "idle time is nobody's: {row:?}");
        end_before_ns = end_ns;
    }
    assert!(rows[20..].iter().all(|row| row[0].is_empty() && row[4].is_empty()), "{rows:?}");
    assert_eq!(rows[23][1], "2");
    assert_eq!(account.totals.messages, codes.iter().filter(|&&code| code == 250).count() as u64);
    assert_eq!(account.in_flight.last().unwrap().1, 0);
    assert_eq!(account.totals.in_flight_peak, 1);
}

#[test]
fn a_delivery_that_was_cut_off_is_not_in_flight_while_its_client_lingers() {
    let rig = Rig::new(&[], &["rcpt=421"]);
    let mut peer = Peer::greeted(rig.address);
    peer.play("C: MAIL FROM:<>\nS: 250\nC: RCPT TO:<b@sink.test>\nS: 421");
    std::thread::sleep(Duration::from_millis(500));
    drop(peer);
    let account = rig.stop();
    let row = &account.deliveries[0];
    let ns = |cell: &str| cell.parse::<u64>().unwrap();
    assert!(ns(&row[3]) - ns(&row[2]) < 400 * MS, "{row:?}");
    assert_eq!((account.deliveries.len(), row[4].as_str()), (1, ""));
}

#[test]
fn fifty_held_connections_are_in_flight() {
    let rig = Rig::new(&["dot=400ms"], &[]);
    let mut peers: Vec<Peer> = (0..50).map(|_| Peer::greeted(rig.address)).collect();
    for peer in &mut peers {
        peer.send("MAIL FROM:<>\r\nRCPT TO:<b@sink.test>\r\nDATA\r\n");
    }
    for peer in &mut peers {
        peer.play("S: 250\nS: 250\nS: 354");
        peer.send("x\r\n.\r\n");
    }
    for peer in &mut peers {
        peer.play("S: 250");
    }
    // Delivered and still connected: no longer in flight.
    std::thread::sleep(Duration::from_millis(100));
    let account = rig.stop();
    assert_eq!((account.totals.in_flight_peak, account.totals.connections_peak), (50, 50));
    assert_eq!(account.deliveries.len(), 50);
    let samples = &account.in_flight;
    assert!(samples.iter().filter(|sample| sample.1 == 50).count() >= 10, "{samples:?}");
    assert!(samples.iter().rev().take(3).all(|sample| sample.1 == 0), "{samples:?}");

    // Little's law: the area under the samples is the sum of the durations.
    let area_ns: u64 = samples.windows(2).map(|pair| (pair[1].0 - pair[0].0) * pair[0].1).sum();
    let cell = |row: &[String], place: usize| row[place].parse::<u64>().unwrap();
    let sum_ns: u64 = account.deliveries.iter().map(|row| cell(row, 3) - cell(row, 2)).sum();
    let ratio = area_ns as f64 / sum_ns as f64;
    assert!((0.9..1.1).contains(&ratio), "{ratio}");
}

#[test]
fn live_lines_tell_where_the_sink_stands() {
    let (reader, writer) = UnixStream::pair().unwrap();
    reader.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let show = json_lines(writer.try_clone().unwrap());
    let rig = Rig::start_with(config(0, &[], &[]), writer, Some(show));
    let mut lines = BufReader::new(reader).lines().map(Result::unwrap);
    assert_eq!(lines.next().unwrap(), format!("ready {}", rig.address));

    let mut peer = Peer::greeted(rig.address);
    let mut until = |in_flight: u64, accepted: u64| {
        let line = lines
            .by_ref()
            .take(100)
            .map(|line| serde_json::from_str::<serde_json::Value>(&line).unwrap())
            .find(|live| live["in_flight"] == in_flight && live["accepted"] == accepted)
            .expect("ten seconds are enough");
        assert!(line["cpu_s"].is_number());
        line
    };
    assert_eq!(until(1, 0)["last_accepted_ns"], serde_json::Value::Null);
    assert_eq!(peer.mail("x"), 250);
    let line = until(0, 1);
    assert!(line["last_accepted_ns"].is_u64());
    assert_eq!((&line["connections"], &line["connections_open"]), (&1.into(), &1.into()));
    drop(lines);
    assert_eq!(peer.mail("nobody reads the lines any more"), 250);
    assert_eq!(rig.stop().totals.messages, 2);
}

#[test]
fn a_reader_that_stops_reading_does_not_stop_the_sink() {
    let (mut unread, writer) = UnixStream::pair().unwrap();
    let filler = writer.try_clone().unwrap();
    let show = json_lines(writer.try_clone().unwrap());
    let rig = Rig::start_with(config(0, &[], &[]), writer, Some(show));
    unread.read_exact(&mut vec![0; format!("ready {}\n", rig.address).len()]).unwrap();
    while rustix::net::send(&filler, &[b' '; 4096], SendFlags::DONTWAIT).is_ok() {}

    let mut peer = Peer::greeted(rig.address);
    for _ in 0..5 {
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(peer.mail("x"), 250);
    }
    assert_eq!(rig.stop().totals.messages, 5);
}

const MS: u64 = 1_000_000;

#[test]
fn a_handshake_that_the_end_of_the_sink_cuts_short_is_not_forgotten() {
    let mut site = Site::new("sink", &[]).unwrap();
    let mut smtp = Options::clone(&site.offer.smtp);
    smtp.extensions.start_tls = true;
    site.offer = Offer { smtp: Arc::new(smtp), tls: Some(Tls::default()), ..site.offer };
    let rig = Rig::start(Config { sites: Sites::one(0, site), ..config(0, &[], &[]) });
    let mut silent = Peer::greeted(rig.address);
    silent.play("C: STARTTLS\nS: 220");
    let mut talks_on = Peer::greeted(rig.address);
    talks_on.send("STARTTLS\r\nNOOP\r\n");
    talks_on.play("S: 220\nS:");
    let totals = rig.stop().totals;
    assert_eq!((totals.handshakes, totals.handshakes_failed), (0, 2));
}
