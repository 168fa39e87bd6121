//! Delays are real, in order, and hold the client back.

use crate::peer::Peer;
use crate::rig::Rig;
use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

#[test]
fn replies_without_delay_come_in_one_write() {
    let rig = Rig::new(&[], &[]);
    let mut peer = Peer::greeted(rig.address);
    let mut buffer = [0; 4096];
    let mut together = |commands: &str, lines: usize| {
        peer.send(commands);
        let bytes = peer.stream.get_mut().read(&mut buffer).unwrap();
        let text = std::str::from_utf8(&buffer[..bytes]).unwrap();
        assert_eq!(text.matches("\r\n").count(), lines, "{text:?}");
    };
    let envelope = "MAIL FROM:<a@client.test>\r\nRCPT TO:<b@sink.test>\r\nRCPT TO:<c@sink.test>\r\nDATA\r\n";
    together(envelope, 4);
    // RFC 2920 §3.1: the message may be the first of a group of commands
    together(&format!("x\r\n.\r\n{envelope}"), 5);
    together(".\r\nQUIT\r\n", 2);
    let account = rig.stop();
    assert_eq!((account.totals.messages, account.deliveries.len()), (2, 2));
}

#[test]
fn a_delayed_connection_is_not_read() {
    let rig = Rig::new(&["noop=30s"], &[]);
    let mut peer = Peer::greeted(rig.address);
    let stream = peer.stream.get_mut();
    stream.set_nonblocking(true).unwrap();
    let noops = "NOOP\r\n".repeat(10_000);
    let mut taken_bytes = 0;
    let mut moved = Instant::now();
    while moved.elapsed() < Duration::from_millis(200) {
        match stream.write(noops.as_bytes()) {
            Ok(bytes) => {
                taken_bytes += bytes;
                moved = Instant::now();
                assert!(taken_bytes < 64 << 20, "the sink reads on while it delays a reply");
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(5))
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(taken_bytes > 0);
    rig.stop();
}

#[test]
fn a_random_delay_stays_in_its_bounds_and_short_ones_stay_short() {
    let rig = Rig::new(&["noop=uniform(20ms,60ms)", "rset=300us"], &[]);
    let mut peer = Peer::greeted(rig.address);
    let mut times: Vec<_> = (0..20).flat_map(|_| peer.play("C: NOOP\nS: 250")).collect();
    times.sort();
    assert!(times[0] >= Duration::from_millis(20), "{times:?}");
    // Half of the draws are below 40 ms; that no more than one of 20 is has a chance of 2 in 100 000 (and the seed
    // is fixed), but a busy machine may add to each.
    assert!(times[2] < Duration::from_millis(40) + LATE, "{times:?}");
    assert!(times[19] - times[0] > Duration::from_millis(10), "all alike: {times:?}");

    // The shortest of many shows what the timer can do; a busy machine is given time to be quiet for one of them.
    let patience = Instant::now() + Duration::from_secs(20);
    let mut shortest = Duration::MAX;
    while shortest >= Duration::from_micros(900) && Instant::now() < patience {
        shortest = peer.play("C: RSET\nS: 250").into_iter().fold(shortest, Duration::min);
    }
    assert!((Duration::from_micros(300)..Duration::from_micros(900)).contains(&shortest), "{shortest:?}");
    rig.stop();
}

/// A busy machine may be this late.
const LATE: Duration = Duration::from_millis(400);
