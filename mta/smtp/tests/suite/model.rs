//! A server session against a model of it that is written to be plain: whatever is said in whatever order,
//! each reply is the one that the model expects. What should have been forgotten would show as a reply that
//! differs.

use proptest::prelude::*;
use smtp::server::{Event, Extensions, Limits, Mechanisms, Options, Session};
use smtp::{Protocol, Reply};
use std::sync::Arc;

/// RFC 4954 §4: the longest line that a session asks its driver to keep.
pub const LINE_MAX: usize = 12288;

/// Everything that can be offered.
pub fn options(protocol: Protocol, limits: Limits) -> Options {
    let extensions = Extensions {
        start_tls: true,
        chunking: true,
        smtp_utf8: true,
        dsn: true,
        require_tls: true,
        auth: Mechanisms { plain: true, login: true },
        ..Extensions::default()
    };
    Options { protocol, limits, extensions, ..Options::new("mx.test") }
}

/// What a client says in one go.
#[derive(Debug, Clone, Copy)]
enum Word {
    Hello,
    Helo,
    StartTls,
    Plain,
    Login,
    Cancel,
    Mail { utf8: bool },
    Rcpt { utf8: bool },
    Data { bytes: usize },
    Bdat { bytes: usize, last: bool },
    Rset,
    Vrfy { utf8: bool },
    Nonsense,
}

fn word() -> impl Strategy<Value = Word> {
    let bytes = || prop::sample::select(vec![0, 1, 12, MESSAGE_MAX, MESSAGE_MAX + 1]);
    prop_oneof![
        3 => Just(Word::Hello),
        1 => Just(Word::Helo),
        1 => Just(Word::StartTls),
        1 => Just(Word::Plain),
        1 => Just(Word::Login),
        1 => Just(Word::Cancel),
        5 => any::<bool>().prop_map(|utf8| Word::Mail { utf8 }),
        5 => any::<bool>().prop_map(|utf8| Word::Rcpt { utf8 }),
        2 => bytes().prop_map(|bytes| Word::Data { bytes }),
        4 => (bytes(), any::<bool>()).prop_map(|(bytes, last)| Word::Bdat { bytes, last }),
        1 => Just(Word::Rset),
        1 => any::<bool>().prop_map(|utf8| Word::Vrfy { utf8 }),
        1 => Just(Word::Nonsense),
    ]
}

/// What the driver says to the first event of a word, and to those after it.
type Verdicts = (bool, bool);

#[derive(Debug, Default)]
struct Model {
    lmtp: bool,
    tls: bool,
    greeted: bool,
    extended: bool,
    authenticated: bool,
    transaction: Option<Transaction>,
}

#[derive(Debug, Default)]
struct Transaction {
    utf8: bool,
    recipients: usize,
    data: bool,
    bdat: bool,
    bytes: usize,
}

impl Model {
    /// The codes of the replies to `word`.
    fn expect(&mut self, word: Word, verdicts: Verdicts) -> Vec<u16> {
        let (first, later) = verdicts;
        let idle = self.greeted && self.transaction.is_none();
        let may_begin = idle && self.extended;
        match word {
            Word::Helo if self.lmtp => vec![500],
            Word::Hello | Word::Helo if first => {
                self.greeted = true;
                self.extended = matches!(word, Word::Hello);
                self.transaction = None;
                vec![250]
            }
            Word::StartTls if !may_begin || self.tls => vec![503],
            Word::StartTls if first => {
                *self = Model { lmtp: self.lmtp, tls: true, ..Model::default() };
                vec![220]
            }
            Word::Plain if !may_begin || self.authenticated => vec![503],
            Word::Plain if first => {
                self.authenticated = true;
                vec![235]
            }
            // Lines that are no responses are commands that nobody knows.
            Word::Login if !may_begin || self.authenticated => vec![503, 500, 500],
            Word::Login if !first => vec![450, 500, 500],
            Word::Login if !later => vec![334, 450, 500],
            Word::Login => {
                self.authenticated = true;
                vec![334, 334, 235]
            }
            Word::Cancel if !may_begin || self.authenticated => vec![503, 500],
            Word::Cancel if first => vec![334, 501],
            Word::Cancel => vec![450, 500],
            Word::Mail { .. } if !idle => vec![503],
            Word::Mail { utf8 } if first => {
                self.transaction = Some(Transaction { utf8, ..Transaction::default() });
                vec![250]
            }
            Word::Rset if first => {
                self.transaction = None;
                vec![250]
            }
            Word::Vrfy { utf8: false } => vec![553],
            Word::Vrfy { utf8: true } if first => vec![252],
            Word::Nonsense => vec![500],
            Word::Rcpt { .. } | Word::Data { .. } | Word::Bdat { .. } => self.expect_inside(word, verdicts),
            _ => vec![450],
        }
    }

    fn expect_inside(&mut self, word: Word, (first, later): Verdicts) -> Vec<u16> {
        let none = if self.lmtp { 503 } else { 554 };
        let Some(transaction) = &mut self.transaction else { return vec![503] };
        let ends = if self.lmtp { transaction.recipients } else { 1 };
        match word {
            Word::Rcpt { .. } | Word::Data { .. } if transaction.bdat => vec![503],
            Word::Bdat { .. } if transaction.data => vec![503],
            Word::Rcpt { .. } if transaction.recipients == RECIPIENTS_MAX => vec![452],
            Word::Rcpt { utf8: true } if !transaction.utf8 => vec![553],
            Word::Rcpt { .. } if first => {
                transaction.recipients += 1;
                vec![250]
            }
            Word::Rcpt { .. } => vec![450],
            _ if transaction.recipients == 0 => vec![none],
            Word::Data { .. } if !first => {
                transaction.data = true;
                vec![450]
            }
            Word::Data { bytes } => {
                let taken = if bytes > MESSAGE_MAX { 552 } else { 250 };
                self.transaction = None;
                [vec![354], vec![if later { taken } else { 450 }; ends]].concat()
            }
            Word::Bdat { bytes, last } => {
                transaction.bdat = true;
                transaction.bytes += bytes;
                let taken = if transaction.bytes > MESSAGE_MAX { 552 } else { 250 };
                let codes = match last {
                    false => vec![if first { taken } else { 450 }],
                    true => [
                        vec![if first { taken } else { 450 }],
                        vec![if later { taken } else { 450 }; ends - 1],
                    ]
                    .concat(),
                };
                if last || codes != [250] {
                    self.transaction = None;
                }
                codes
            }
            _ => unreachable!("the others are seen to outside"),
        }
    }
}

/// A session with a driver that gives the verdicts of each word.
struct Taker {
    session: Session,
    input: Vec<u8>,
    step: usize,
}

impl Taker {
    fn hear(&mut self, word: Word, verdicts: Verdicts, lmtp: bool) -> Vec<u16> {
        let text = match word {
            Word::Hello if lmtp => "LHLO x\r\n".to_owned(),
            Word::Hello => "EHLO x\r\n".to_owned(),
            Word::Helo => "HELO x\r\n".to_owned(),
            Word::StartTls => "STARTTLS\r\n".to_owned(),
            Word::Plain => "AUTH PLAIN AHVzZXIAcGFzcw==\r\n".to_owned(),
            Word::Login => "AUTH LOGIN\r\ndXNlcg==\r\ncGFzcw==\r\n".to_owned(),
            Word::Cancel => "AUTH PLAIN\r\n*\r\n".to_owned(),
            Word::Mail { utf8 } => format!("MAIL FROM:<a@x>{}\r\n", if utf8 { " SMTPUTF8" } else { "" }),
            Word::Rcpt { utf8: true } => "RCPT TO:<\u{e4}@y>\r\n".to_owned(),
            Word::Rcpt { utf8: false } => "RCPT TO:<b@y>\r\n".to_owned(),
            Word::Data { .. } => "DATA\r\n".to_owned(),
            Word::Bdat { bytes, last } => {
                let content = &"RSET\r\n".repeat(10)[..bytes];
                format!("BDAT {bytes}{}\r\n{content}", if last { " LAST" } else { "" })
            }
            Word::Rset => "RSET\r\n".to_owned(),
            Word::Vrfy { utf8 } => format!("VRFY \u{e4}{}\r\n", if utf8 { " SMTPUTF8" } else { "" }),
            Word::Nonsense => "FOO\r\n".to_owned(),
        };
        let mut verdicts = [verdicts.0].into_iter().chain(std::iter::repeat(verdicts.1));
        let mut codes = self.feed(text.as_bytes(), &mut verdicts);
        if let (Word::Data { bytes }, [354]) = (word, &codes[..]) {
            // Of this length with its line end, and with no line that is a dot.
            let content = match bytes {
                0 => String::new(),
                1 => "\n".to_owned(),
                bytes => format!("{}\r\n", "x".repeat(bytes - 2)),
            };
            let end = if bytes == 1 { "\r\n.\r\n" } else { ".\r\n" };
            codes.extend(self.feed(format!("{content}{end}").as_bytes(), &mut verdicts));
        }
        codes
    }

    fn feed(&mut self, bytes: &[u8], verdicts: &mut impl Iterator<Item = bool>) -> Vec<u16> {
        let mut out = Vec::new();
        for piece in bytes.chunks(self.step) {
            self.input.extend_from_slice(piece);
            let mut at = 0;
            loop {
                let (consumed, event) = self.session.next(&self.input[at..]);
                at += consumed;
                match event {
                    None => break,
                    Some(Event::Body(_) | Event::Bdat { .. }) => {}
                    Some(Event::Connect | Event::Invalid { .. }) => self.session.accept(&mut out),
                    Some(_) if verdicts.next() == Some(true) => self.session.accept(&mut out),
                    Some(_) => self.session.reply(&Reply::new(450, None, "no"), &mut out),
                }
            }
            self.input.drain(..at);
        }
        if self.session.is_starting_tls() {
            self.session.tls_established();
        }
        codes(&out)
    }
}

/// The code of each reply.
fn codes(out: &[u8]) -> Vec<u16> {
    let text = std::str::from_utf8(out).unwrap();
    let last_lines = text.lines().filter(|line| line.as_bytes()[3] == b' ');
    last_lines.map(|line| line[..3].parse().unwrap()).collect()
}

proptest! {
    #[test]
    fn each_reply_is_that_of_the_model(
        words in prop::collection::vec((word(), (prop::bool::weighted(0.85), prop::bool::weighted(0.85))), 0..80),
        lmtp in any::<bool>(),
        step in 1usize..40,
    ) {
        let limits = Limits {
            max_recipients: RECIPIENTS_MAX as u32,
            max_message_bytes: Some(MESSAGE_MAX as u64),
            max_errors: u32::MAX,
            ..Limits::default()
        };
        let protocol = if lmtp { Protocol::Lmtp } else { Protocol::Smtp };
        let session = Session::new(Arc::new(options(protocol, limits)));
        let mut taker = Taker { session, input: Vec::new(), step };
        let mut model = Model { lmtp, ..Model::default() };
        prop_assert_eq!(taker.feed(b"\r\n", &mut std::iter::empty()), [220, 500]);
        for (at, (word, verdicts)) in words.into_iter().enumerate() {
            let expected = model.expect(word, verdicts);
            let came = taker.hear(word, verdicts, lmtp);
            prop_assert_eq!(came, expected, "{} {:?} {:?} {:?}", at, word, verdicts, model);
        }
    }
}

const RECIPIENTS_MAX: usize = 3;
const MESSAGE_MAX: usize = 30;
