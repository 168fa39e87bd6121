//! A sink that has run out of descriptors waits and recovers.
//!
//! Alone in its process, because it lowers the limit of open files for all of it.

use behaviour::{Site, Sites};
use rustix::process::{Resource, Rlimit, setrlimit};
use sink::{Config, Sink};
use std::fs::File;
use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

#[test]
fn without_descriptors_a_connection_waits_and_is_served_later() {
    let files = Rlimit { current: Some(FILES), maximum: Some(FILES) };
    setrlimit(Resource::Nofile, files).unwrap();
    let sites = Sites::one(0, Site::new("sink", &[]).unwrap());
    let config = Config::new(vec!["127.0.0.1:0".parse().unwrap()], sites);
    let sink = Sink::open(config).unwrap();
    let address = sink.addresses()[0];
    let (stop, stopped) = oneshot::channel::<()>();
    let null = || File::open("/dev/null");
    let stopped = async {
        let _ = stopped.await;
    };
    let thread = std::thread::spawn(move || sink.run(|| Ok(stopped), std::io::sink(), None));
    let mut greeting = [0; 4];
    let mut first = TcpStream::connect(address).unwrap();
    first.read_exact(&mut greeting).unwrap();

    // Someone else in the process takes all there are but one, which the client's end needs.
    let mut taken: Vec<File> = std::iter::from_fn(|| null().ok()).collect();
    taken.pop();
    let mut late = TcpStream::connect(address).unwrap();
    late.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    assert!(late.read(&mut greeting).is_err(), "there was no descriptor to accept with");
    let freed = Instant::now();
    drop(taken);
    late.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"220 ");
    assert!(freed.elapsed() < Duration::from_millis(400), "{:?}", freed.elapsed());

    drop((first, late));
    stop.send(()).unwrap();
    let totals = thread.join().unwrap().unwrap();
    assert_eq!(totals.connections, 2);
    // Every 100 ms, and no spin.
    assert!((3..=12).contains(&totals.accept_errors), "{}", totals.accept_errors);
}

const FILES: u64 = 200;
