//! The SMTP core: what a message costs before any byte of it meets the kernel.
//!
//! `cargo bench -p benches --bench smtp`

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use smtp::client::{self, Options, Transaction};
use smtp::reply::ReplyParser;
use smtp::server;
use smtp::stuff::{Chunk, DotStuffer, DotUnstuffer};
use smtp::{ForwardPath, ReversePath, command};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("smtp/parse");
    for (name, line) in [
        ("mail", &b"MAIL FROM:<sender@client.example> SIZE=4096 BODY=8BITMIME"[..]),
        ("rcpt", b"RCPT TO:<recipient@server.example>"),
        ("data", b"DATA"),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| command::parse(black_box(line), command::Grammar::ALL).is_ok())
        });
    }
    for (name, reply) in [
        ("reply", &b"250 2.0.0 Ok: queued as 4F2A11C3\r\n"[..]),
        ("reply_ehlo", b"250-mx.example\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n"),
    ] {
        group.bench_function(name, |bencher| {
            let mut parser = ReplyParser::new();
            bencher.iter(|| parser.next(black_box(reply)).unwrap().1.expect("the reply is whole"));
        });
    }
}

fn dots(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("smtp/dots");
    for (name, content) in [("plain", content("x")), ("dot_lines", content(".")), ("bare_lf", bare_lf())] {
        group.throughput(Throughput::Bytes(content.len() as u64));
        let mut wire = Vec::with_capacity(2 * content.len());
        group.bench_function(format!("stuff_4KiB_{name}"), |bencher| {
            bencher.iter(|| {
                wire.clear();
                stuff(black_box(&content), &mut wire);
            });
        });
        group.bench_function(format!("unstuff_4KiB_{name}"), |bencher| {
            bencher.iter(|| {
                let (mut unstuffer, mut at, mut bytes) = (DotUnstuffer::new(), 0, 0);
                loop {
                    let (consumed, chunk) = unstuffer.next(&wire[at..]);
                    at += consumed;
                    match chunk {
                        Chunk::Content(piece) => bytes += black_box(piece).len(),
                        Chunk::End => break bytes,
                        Chunk::More => unreachable!("the message is whole"),
                    }
                }
            });
        });
    }
}

fn dialogue(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("smtp/dialogue");
    group.throughput(Throughput::Elements(1));
    let content = content("x");
    group.bench_function("transaction_4KiB", |bencher| {
        let mut pair = Pair::new(true);
        bencher.iter(|| pair.send(&content));
    });
    group.bench_function("transaction_4KiB_sequential", |bencher| {
        let mut pair = Pair::new(false);
        bencher.iter(|| pair.send(&content));
    });
    group.bench_function("session_4KiB", |bencher| {
        bencher.iter_batched(
            || (),
            |()| {
                let mut pair = Pair::new(true);
                pair.send(&content);
                pair.client.quit(pair.now, &mut pair.to_server);
                pair.exchange(&content);
                assert!(pair.server.is_closed());
            },
            BatchSize::SmallInput,
        );
    });
}

/// A client and a server session with nothing but two buffers between them.
struct Pair {
    client: client::Session,
    server: server::Session,
    to_client: Vec<u8>,
    to_server: Vec<u8>,
    transaction: Transaction,
    now: Instant,
}

impl Pair {
    fn new(pipelining: bool) -> Pair {
        let now = Instant::now();
        let options = Options { pipelining, ..Options::new("client.example") };
        Pair {
            client: client::Session::new(Arc::new(options), now),
            server: server::Session::new(Arc::new(server::Options::new("mx.example"))),
            to_client: Vec::new(),
            to_server: Vec::new(),
            transaction: Transaction {
                reverse_path: ReversePath::parse("sender@client.example").expect("a good address"),
                recipients: vec![ForwardPath::parse("recipient@server.example").expect("a good address")],
                size_bytes: Some(4096),
                eight_bit: false,
                smtp_utf8: false,
            },
            now,
        }
    }

    fn send(&mut self, content: &[u8]) {
        self.client.begin(self.transaction.clone(), self.now, &mut self.to_server);
        let delivered = self.exchange(content);
        assert_eq!(delivered, 1);
    }

    /// Until both sides wait; returns how many recipients got their message.
    fn exchange(&mut self, content: &[u8]) -> usize {
        let mut delivered = 0;
        loop {
            let mut at = 0;
            loop {
                let (consumed, event) = self.server.next(&self.to_server[at..]);
                at += consumed;
                match event {
                    None => break,
                    Some(server::Event::Body(piece)) => _ = black_box(piece),
                    Some(_) => self.server.accept(&mut self.to_client),
                }
            }
            self.to_server.drain(..at);
            at = 0;
            loop {
                let (consumed, event) =
                    self.client.next(&self.to_client[at..], self.now, &mut self.to_server);
                at += consumed;
                match event {
                    None => break,
                    Some(client::Event::SendBody) => {
                        self.client.send_body(content, &mut self.to_server);
                        self.client.finish_body(self.now, &mut self.to_server);
                    }
                    Some(client::Event::Done(outcome)) => {
                        let is_delivered = |status: &&client::RecipientStatus| {
                            status.disposition == client::Disposition::Delivered
                        };
                        delivered += outcome.recipients.iter().filter(is_delivered).count();
                    }
                    Some(
                        client::Event::Reply { .. } | client::Event::StartTls | client::Event::Closed(_),
                    ) => {}
                }
            }
            self.to_client.drain(..at);
            if self.to_server.is_empty() {
                return delivered;
            }
        }
    }
}

/// 4 KiB in lines of 76 bytes, each beginning with `first`.
fn content(first: &str) -> Vec<u8> {
    let line = format!("{first}{}\r\n", "a".repeat(75));
    let mut content = line.repeat(4096 / line.len()).into_bytes();
    content.resize(4094, b'a');
    content.extend_from_slice(b"\r\n");
    content
}

/// The same with UNIX line ends.
fn bare_lf() -> Vec<u8> {
    content("x").into_iter().filter(|&byte| byte != b'\r').collect()
}

fn stuff(content: &[u8], wire: &mut Vec<u8>) {
    let mut stuffer = DotStuffer::new();
    stuffer.stuff(content, wire);
    stuffer.finish(wire);
}

criterion_group!(benches, parse, dots, dialogue);
criterion_main!(benches);
