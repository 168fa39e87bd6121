//! What a sink does at its limits and with those who misbehave.

use crate::peer::Peer;
use crate::rig::{Rig, config};
use behaviour::{Site, Sites};
use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket, sockopt};
use sink::{Config, Error, Shards, Sink};
use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

#[test]
fn connections_over_the_limit_are_refused_in_words() {
    let mut config = config(0, &[], &[]);
    config.connections_max = Some(2);
    let rig = Rig::start(config);
    let mut first = Peer::greeted(rig.address);
    let _second = Peer::greeted(rig.address);
    for _ in 0..3 {
        Peer::connect(rig.address).play("S: 421 4.3.2\nS:");
    }
    first.play("C: QUIT\nS: 221\nS:");
    drop(first);
    let mut third = Peer::greeted(rig.address);
    assert_eq!(third.mail("x"), 250);
    let account = rig.stop();
    let totals = &account.totals;
    assert_eq!((totals.connections, totals.connections_peak, totals.connections_refused), (3, 2, 3));
    assert_eq!(totals.refused[&421], 3);
    assert_eq!(account.deliveries.len(), 3, "a refused connection is no delivery");
}

#[test]
fn a_silent_client_is_told_and_dropped() {
    let mut config = config(0, &[], &[]);
    config.silence = Duration::from_millis(300);
    let rig = Rig::start(config);
    let start = Instant::now();
    let mut talker = Peer::greeted(rig.address);
    let mut silent = Peer::greeted(rig.address);
    let mut in_data = Peer::greeted(rig.address);
    in_data.play("C: MAIL FROM:<>\nC: RCPT TO:<b@sink.test>\nC: DATA\nS: 250\nS: 250\nS: 354");
    for _ in 0..8 {
        std::thread::sleep(Duration::from_millis(100));
        talker.play("C: NOOP\nS: 250");
    }
    silent.play("S: 421 4.4.2\nS:");
    in_data.play("S: 421 4.4.2\nS:");
    assert!(start.elapsed() > Duration::from_millis(300));
    talker.play("C: QUIT\nS: 221\nS:");
    assert_eq!(rig.stop().totals.connections_timed_out, 2);
}

#[test]
fn a_client_that_does_not_read_is_dropped() {
    let mut config = config(0, &[], &[]);
    config.silence = Duration::from_millis(300);
    let rig = Rig::start(config);
    let mut peer = Peer::greeted(rig.address);
    let helps = "HELP\r\n".repeat(10_000);
    let start = Instant::now();
    // Ends when the sink closes; the peer's own patience would be another error.
    let error = loop {
        if let Err(error) = peer.stream.get_mut().write_all(helps.as_bytes()) {
            break error;
        }
        assert!(start.elapsed() < Duration::from_secs(15), "the sink never gives up");
    };
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
    assert!(matches!(error.kind(), ConnectionReset | BrokenPipe), "{error}");
    assert_eq!(rig.stop().totals.connections_timed_out, 1);
}

#[test]
fn senseless_input_hurts_its_own_connection_only() {
    let rig = Rig::new(&[], &[]);
    let mut good = Peer::greeted(rig.address);
    for rubbish in
        [vec![0; 100_000], vec![b'\n'; 100_000], b"\x80\xff\r\n".repeat(1000), b"x".repeat(300_000)]
    {
        let mut peer = Peer::connect(rig.address);
        // The sink may close before all is written.
        let _ = peer.stream.get_mut().write_all(&rubbish);
        let _ = peer.stream.get_mut().write_all(b"\r\n");
        drop(peer);
        assert_eq!(good.mail("still here"), 250);
    }
    // Too many errors: the last word is 421, and it can be read although more was sent.
    let mut peer = Peer::greeted(rig.address);
    peer.send("WHAT\r\n".repeat(5000));
    let codes: Vec<u16> = std::iter::from_fn(|| Some(peer.code())).take_while(|&code| code != 421).collect();
    assert!(codes.len() >= 10 && codes.iter().all(|&code| code == 500), "{codes:?}");
    assert!(peer.is_closed());
    assert_eq!(rig.stop().totals.messages, 4);
}

#[test]
fn what_cannot_work_is_an_error_before_it_starts() {
    let rig = Rig::new(&[], &[]);
    let mut taken = config(0, &[], &[]);
    taken.listen.push(rig.address);
    let error = Sink::open(taken).err().expect("the port is in use");
    assert_eq!(
        error.to_string(),
        format!("cannot listen on {}: Address already in use (os error 98)", rig.address)
    );
    assert!(error.hint().is_some());

    for file in ["missing/ledger.json", ""] {
        let mut unwritable = config(0, &[], &[]);
        unwritable.ledger = Some(rig.folder.path().join(file));
        let error = Sink::open(unwritable).err().expect("no such folder, or a folder");
        assert!(matches!(&error, Error::File { .. }) && error.to_string().contains(file), "{error}");
    }
    let mut unwritable = config(0, &[], &[]);
    unwritable.trace = Some(rig.folder.path().join("ledger.json"));
    assert!(matches!(Sink::open(unwritable), Err(Error::File { .. })));

    let mut too_many = config(0, &[], &[]);
    too_many.connections_max = Some(usize::MAX);
    assert!(matches!(Sink::open(too_many), Err(Error::TooManyConnections { .. })));
    let mut nowhere = config(0, &[], &[]);
    nowhere.listen.clear();
    assert!(matches!(Sink::open(nowhere), Err(Error::NoAddress)));
    rig.stop();
}

#[test]
fn shards_divide_connections_and_share_their_port_with_nobody_else() {
    let capped = |most| Config { connections_max: Some(most), ..config(0, &[], &[]) };
    assert_eq!(Shards::open(capped(7), 3).unwrap().connections_max(), 7);
    let error = Shards::open(capped(2), 3).err().expect("one shard would have none");
    assert_eq!(error.to_string(), "cannot divide 2 connections among 3 shards");
    assert!(matches!(Shards::open(capped(usize::MAX), 3), Err(Error::TooManyConnections { .. })));

    // The kernel would let two sinks of one user share a port, if both have shards.
    let other = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    sockopt::set_socket_reuseport(&other, true).unwrap();
    bind(&other, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    listen(&other, 1).unwrap();
    let address = SocketAddr::try_from(getsockname(&other).unwrap()).unwrap();
    let taken = Config { listen: vec![address], ..config(0, &[], &[]) };
    assert!(matches!(Shards::open(taken, 2), Err(Error::Listen { .. })));
}

#[test]
fn a_site_may_listen_on_a_port_that_is_not_known_yet() {
    let anywhere = "127.0.0.1:0".parse().unwrap();
    let mut site = Site::new("sink", &[]).unwrap();
    site.listen.push(anywhere);
    let rig = Rig::start(Config::new(vec![anywhere], Sites::new(0, vec![site]).unwrap()));
    Peer::greeted(rig.address);
    assert_eq!(rig.stop().totals.connections, 1);
}

#[test]
fn a_duration_ends_the_sink_by_itself() {
    let mut config = config(0, &[], &[]);
    config.duration = Some(Duration::from_millis(200));
    let sink = Sink::open(config).unwrap();
    let start = Instant::now();
    let totals = sink.run(|| Ok(std::future::pending()), std::io::sink(), None).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(200));
    assert_eq!((totals.messages, totals.first_ns, totals.last_accepted_ns), (0, None, None));
}
