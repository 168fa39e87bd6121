//! A client session and a server session in memory: what one says the other understands.

use proptest::prelude::*;
use smtp::client::{self, Credentials, Disposition, HopStatus, Options, Outcome, Tls, Transaction};
use smtp::server::{self, Extensions, Mechanism, Mechanisms};
use smtp::{ForwardPath, Protocol, Reply, ReversePath, Stage};
use std::sync::Arc;
use std::time::Instant;

/// What a server of this test knows of a message: envelope and content.
#[derive(Debug, Default, PartialEq)]
struct Message {
    reverse_path: String,
    recipients: Vec<String>,
    content: Vec<u8>,
}

/// Both sessions, and the bytes on their way between them, `step` at a time.
struct Pair {
    client: client::Session,
    server: server::Session,
    to_client: Vec<u8>,
    to_server: Vec<u8>,
    client_input: Vec<u8>,
    server_input: Vec<u8>,
    step: usize,
    now: Instant,
    body: Vec<u8>,
    incoming: Message,
    messages: Vec<Message>,
    chunks: u32,
    further_replies: u32,
    logins: Vec<Mechanism>,
    outcomes: Vec<Outcome>,
    closed: Option<client::Cause>,
}

impl Pair {
    fn new(options: Options, extensions: Extensions, step: usize) -> Pair {
        let now = Instant::now();
        let server_options =
            server::Options { protocol: options.protocol, extensions, ..server::Options::new("mx.test") };
        Pair {
            client: client::Session::new(Arc::new(options), now),
            server: server::Session::new(Arc::new(server_options)),
            to_client: Vec::new(),
            to_server: Vec::new(),
            client_input: Vec::new(),
            server_input: Vec::new(),
            step,
            now,
            body: Vec::new(),
            incoming: Message::default(),
            messages: Vec::new(),
            chunks: 0,
            further_replies: 0,
            logins: Vec::new(),
            outcomes: Vec::new(),
            closed: None,
        }
    }

    fn send(&mut self, recipients: &[&str], body: &[u8]) -> Outcome {
        self.body = body.to_vec();
        let transaction = Transaction {
            reverse_path: ReversePath::parse("from@client.test").unwrap(),
            recipients: recipients.iter().map(|path| ForwardPath::parse(path).unwrap()).collect(),
            size_bytes: Some(body.len() as u64),
            eight_bit: false,
            smtp_utf8: false,
        };
        self.client.begin(transaction, self.now, &mut self.to_server);
        self.run();
        self.outcomes.pop().expect("the transaction came to its end")
    }

    /// Until neither side has anything more to say.
    fn run(&mut self) {
        loop {
            let moved = arrive(&mut self.to_server, &mut self.server_input, self.step)
                + arrive(&mut self.to_client, &mut self.client_input, self.step);
            let happened = self.serve() + self.listen();
            if moved + happened == 0 {
                return;
            }
        }
    }

    /// Gives the server what has arrived; returns how many events came of it.
    fn serve(&mut self) -> usize {
        let (mut at, mut events) = (0, 0);
        loop {
            let (consumed, event) = self.server.next(&self.server_input[at..]);
            at += consumed;
            let Some(event) = event else { break };
            events += 1;
            let mut refusal = None;
            match event {
                server::Event::Bdat { .. } => {
                    self.chunks += 1;
                    continue;
                }
                server::Event::NextRecipient { .. } => self.further_replies += 1,
                server::Event::Body(bytes) => {
                    self.incoming.content.extend_from_slice(bytes);
                    continue;
                }
                server::Event::Mail { reverse_path, .. } => {
                    self.incoming = Message { reverse_path: reverse_path.to_string(), ..Message::default() };
                }
                server::Event::Rcpt { forward_path, .. } if forward_path.domain() == Some("refused.test") => {
                    refusal = Some(Reply::new(550, Some((5, 1, 1)), "no such user\nat all"));
                }
                server::Event::Rcpt { forward_path, .. } => {
                    self.incoming.recipients.push(forward_path.to_string())
                }
                server::Event::EndOfData { bare_newline, too_big } => {
                    assert!(!bare_newline && !too_big);
                    self.messages.push(std::mem::take(&mut self.incoming));
                }
                server::Event::Auth(credentials) => {
                    assert_eq!((&*credentials.user, &*credentials.password), ("me", "secret"));
                    self.logins.push(credentials.mechanism);
                }
                // The end of a group whose recipients were all refused.
                server::Event::Invalid { stage: Some(Stage::Data) } => {
                    assert!(self.incoming.recipients.is_empty())
                }
                server::Event::Invalid { stage } => {
                    panic!("the client said something invalid in stage {stage:?}")
                }
                _ => {}
            }
            match refusal {
                Some(reply) => self.server.reply(&reply, &mut self.to_client),
                None => self.server.accept(&mut self.to_client),
            }
        }
        self.server_input.drain(..at);
        events
    }

    /// Gives the client what has arrived; returns how many events came of it.
    fn listen(&mut self) -> usize {
        let (mut at, mut events) = (0, 0);
        loop {
            let (consumed, event) = self.client.next(&self.client_input[at..], self.now, &mut self.to_server);
            at += consumed;
            let Some(event) = event else { break };
            events += 1;
            match event {
                client::Event::Reply { .. } => {}
                client::Event::StartTls => {
                    assert!(self.server.is_starting_tls(), "both sides agree that TLS begins");
                    self.server.tls_established();
                    self.client.tls_established(self.now, &mut self.to_server);
                    assert_eq!(*self.client.extensions(), client::Extensions::default());
                }
                client::Event::SendBody => {
                    for piece in self.body.chunks(self.step) {
                        self.client.send_body(piece, &mut self.to_server);
                    }
                    self.client.finish_body(self.now, &mut self.to_server);
                }
                client::Event::Done(outcome) => self.outcomes.push(outcome),
                client::Event::Closed(cause) => self.closed = Some(cause),
            }
        }
        self.client_input.drain(..at);
        events
    }
}

/// Moves up to `step` bytes over the wire.
fn arrive(wire: &mut Vec<u8>, input: &mut Vec<u8>, step: usize) -> usize {
    let bytes = wire.len().min(step);
    input.extend(wire.drain(..bytes));
    bytes
}

/// Three transactions and QUIT, of which the first has two accepted recipients and the second none.
fn converse(options: Options, extensions: Extensions, step: usize) -> Pair {
    let mut pair = Pair::new(options, extensions, step);

    let outcome =
        pair.send(&["a@server.test", "b@refused.test", "postmaster"], b".first\r\n.\r\nmessage\r\n");
    let dispositions: Vec<_> = outcome.recipients.iter().map(|status| status.disposition).collect();
    assert_eq!(dispositions, [Disposition::Delivered, Disposition::Bounced, Disposition::Delivered]);
    assert_eq!(outcome.recipients[1].text, "no such user at all");
    assert_eq!(outcome.hop, HopStatus::Up);

    let outcome = pair.send(&["b@refused.test"], b"for nobody");
    assert_eq!(outcome.recipients[0].disposition, Disposition::Bounced);

    let outcome = pair.send(&["c@server.test"], b"");
    assert_eq!(outcome.recipients[0].disposition, Disposition::Delivered);

    pair.client.quit(pair.now, &mut pair.to_server);
    pair.run();
    assert_eq!(pair.closed, Some(client::Cause::Quit));
    assert!(pair.server.is_closed());
    let message = |recipients: &[&str], content: &[u8]| Message {
        reverse_path: "from@client.test".to_owned(),
        recipients: recipients.iter().map(|&path| path.to_owned()).collect(),
        content: content.to_vec(),
    };
    let expected = [
        message(&["a@server.test", "postmaster"], b".first\r\n.\r\nmessage\r\n"),
        message(&["c@server.test"], b""),
    ];
    assert_eq!(pair.messages, expected);
    pair
}

#[test]
fn client_and_server_understand_each_other() {
    for step in [1, 2, 3, 7, 100, usize::MAX] {
        for pipelining in [true, false] {
            let options = || Options { pipelining, ..Options::new("client.test") };
            converse(options(), Extensions::default(), step);
            converse(options(), Extensions::NONE, step);
        }
    }
}

#[test]
fn they_agree_on_tls_and_on_who_the_client_is() {
    let offer = |plain, login| Extensions {
        start_tls: true,
        auth: Mechanisms { plain, login },
        ..Extensions::default()
    };
    for step in [1, 3, 100, usize::MAX] {
        for tls in [Tls::Opportunistic, Tls::Required] {
            let auth = Some(Credentials { user: "me".to_owned(), password: "secret".to_owned() });
            let options = || Options { tls, auth: auth.clone(), ..Options::new("client.test") };
            assert_eq!(converse(options(), offer(true, true), step).logins, [Mechanism::Plain]);
            assert_eq!(converse(options(), offer(false, true), step).logins, [Mechanism::Login]);
        }
    }
}

#[test]
fn they_agree_on_chunks_and_on_a_reply_for_each_recipient() {
    let offer = |pipelining| Extensions { pipelining, chunking: true, ..Extensions::default() };
    for step in [1, 3, 100, usize::MAX] {
        for pipelining in [true, false] {
            for (protocol, further_replies) in [(Protocol::Smtp, 0), (Protocol::Lmtp, 1)] {
                let options = |chunking| Options { protocol, chunking, ..Options::new("client.test") };
                let pair = converse(options(true), offer(pipelining), step);
                assert_eq!((pair.chunks, pair.further_replies), (2, further_replies));
                let pair = converse(options(false), offer(pipelining), step);
                assert_eq!((pair.chunks, pair.further_replies), (0, further_replies));
            }
        }
    }
}

/// The driver begins the next transaction as soon as it may, with more from the server already in its buffer: that is
/// not the reply to a command which was written after it came.
#[test]
fn a_reply_too_many_is_never_taken_for_the_next_one() {
    let mut pair = Pair::new(Options::new("client.test"), Extensions::default(), usize::MAX);
    pair.send(&["a@server.test"], b"first");
    let transaction = Transaction {
        reverse_path: ReversePath::Null,
        recipients: vec![ForwardPath::Postmaster],
        size_bytes: None,
        eight_bit: false,
        smtp_utf8: false,
    };
    let (now, mut out) = (pair.now, Vec::new());
    pair.client.begin(transaction.clone(), now, &mut out);
    let replies = b"250 ok\r\n550 no\r\n554 no\r\n250 and one more\r\n";
    let mut at = 0;
    loop {
        let (consumed, event) = pair.client.next(&replies[at..], now, &mut out);
        at += consumed;
        match event {
            Some(client::Event::Done(_)) => break,
            event => assert!(event.is_some(), "the transaction ends"),
        }
    }
    out.clear();
    assert!(!pair.client.is_idle());
    pair.client.begin(transaction, now, &mut out);
    assert_eq!(out, b"");
    let Some(client::Event::Done(outcome)) = pair.client.next(&replies[at..], now, &mut out).1 else {
        panic!("the second transaction ends at once");
    };
    assert_eq!(outcome.recipients[0].disposition, Disposition::Deferred);
    let (_, closed) = pair.client.next(&replies[at..], now, &mut out);
    assert!(matches!(closed, Some(client::Event::Closed(client::Cause::Protocol { .. }))), "{closed:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever the content: one message arrives, and it is the content with whole line ends.
    #[test]
    fn no_content_can_be_two_messages(
        pieces in prop::collection::vec(
            prop::sample::select(vec![&b"\r"[..], b"\n", b".", b"\r\n", b"\r\n.\r\n", b"\0", b"x", b"MAIL FROM:<e@x>"]),
            0..40,
        ),
        step in 1usize..50,
    ) {
        let content = pieces.concat();
        let mut pair = Pair::new(Options::new("client.test"), Extensions::default(), step);
        let outcome = pair.send(&["a@server.test"], &content);
        prop_assert_eq!(outcome.recipients[0].disposition, Disposition::Delivered);
        prop_assert_eq!(pair.messages.len(), 1);
        prop_assert_eq!(&pair.messages[0].content, &crate::round_trips::canonical(&content));
        prop_assert!(pair.client.is_idle());
    }
}
