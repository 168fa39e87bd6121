//! What a sink keeps in memory: next to nothing for a connection that waits, nothing of a message.
//!
//! Alone in its process, because it measures the whole of it.

use behaviour::{Site, Sites};
use sink::{Config, Sink};
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use tokio::sync::oneshot;

#[test]
fn held_connections_and_large_messages_take_little_memory() {
    let sites = Sites::one(0, Site::new("sink", &[]).unwrap());
    let config = Config::new(vec!["127.0.0.1:0".parse().unwrap()], sites);
    let sink = Sink::open(config).unwrap();
    let address = sink.addresses()[0];
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async {
        let _ = stopped.await;
    };
    let thread = std::thread::spawn(move || sink.run(|| Ok(stopped), io::sink(), None));

    // Everything that is made once is made now.
    let mut held: Vec<TcpStream> = (0..100).map(|_| hold(address)).collect();
    let before_bytes = resident_bytes();
    held.extend((0..HELD).map(|_| hold(address)));
    // This process holds both ends; the peer's is a descriptor and no more.
    let each_bytes = resident_bytes().saturating_sub(before_bytes) / HELD;
    assert!(each_bytes <= 3072, "{each_bytes} bytes for a held connection");

    let before_bytes = resident_bytes();
    let mut peer = held.pop().unwrap();
    exchange(&mut peer, b"MAIL FROM:<>\r\nRCPT TO:<b@sink.test>\r\nDATA\r\n", 3);
    let line = [b"x".repeat(998).as_slice(), b"\r\n"].concat();
    let piece = line.repeat(64);
    let mut left_bytes = MESSAGE_BYTES;
    while left_bytes > 0 {
        let bytes = piece.len().min(left_bytes);
        peer.write_all(&piece[..bytes]).unwrap();
        left_bytes -= bytes;
    }
    exchange(&mut peer, b".\r\n", 1);
    let grown_bytes = resident_bytes().saturating_sub(before_bytes);
    assert!(grown_bytes < 1 << 20, "{grown_bytes} bytes for a message of {MESSAGE_BYTES}");

    stop.send(()).unwrap();
    let totals = thread.join().unwrap().unwrap();
    assert_eq!((totals.messages, totals.bytes), (1, MESSAGE_BYTES as u64));
    assert_eq!(totals.in_flight_peak, 100 + HELD as u64);
}

/// A connection that has been served as far as EHLO and then waits.
fn hold(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    exchange(&mut stream, b"", 1);
    exchange(&mut stream, b"HELO client.test\r\n", 1);
    stream
}

fn exchange(stream: &mut TcpStream, commands: &[u8], mut lines: usize) {
    stream.write_all(commands).unwrap();
    let mut buffer = [0; 512];
    while lines > 0 {
        let bytes = stream.read(&mut buffer).unwrap();
        assert!(bytes > 0 && matches!(buffer[0], b'2' | b'3'));
        lines -= buffer[..bytes].iter().filter(|&&byte| byte == b'\n').count();
    }
}

fn resident_bytes() -> usize {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let rss = rollup.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap();
    let kib: usize = rss.trim().trim_end_matches(" kB").parse().unwrap();
    kib * 1024
}

const HELD: usize = 2000;
/// 10 MiB in lines of 1000 bytes.
const MESSAGE_BYTES: usize = 10_486_000;
