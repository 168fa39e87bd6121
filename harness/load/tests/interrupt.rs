//! A signal in the middle of a load. Alone in its process, because a signal is for the whole of it.

mod server;

use rustix::process::{Signal, getpid, kill_process};
use server::{Server, accept, messages, options};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

#[test]
fn an_interrupt_lets_messages_under_way_end_and_starts_no_more() {
    let dots = AtomicUsize::new(0);
    let server = Server::start(move |_, line| {
        if line == "." {
            if dots.fetch_add(1, Ordering::SeqCst) == 20 {
                kill_process(getpid(), Signal::INT).expect("a signal to ourselves");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        accept(line)
    });
    let started = Instant::now();
    let load = load::Options { connections: 5, plan: messages(1_000_000), ..options(server.address) };
    let report = load::run(&load).expect("a run");
    assert!(started.elapsed() < Duration::from_secs(5));
    let received: usize = server.seen().iter().map(|seen| seen.messages.len()).sum();
    assert_eq!((report.accepted, report.failed), (received as u64, 0));
    assert!((21..100).contains(&received), "{received}");
    assert_eq!(report.not_started, 1_000_000 - report.accepted);
    assert!(report.stopped.expect("a reason").contains("signal"));
}
