//! What is written can be read, whatever it is and however it is cut; and nothing that is read panics.

use proptest::prelude::*;
use smtp::client::{self, Credentials, Options, Tls, Transaction};
use smtp::command::{self, Grammar};
use smtp::reply::{MAX_REPLY_BYTES, MAX_REPLY_LINE, ReplyParser};
use smtp::server::{self, Event, Limits};
use smtp::stuff::{Chunk, DotStuffer, DotUnstuffer};
use smtp::{EnhancedStatus, ForwardPath, Mailbox, Protocol, Reply, ReversePath};
use std::sync::Arc;
use std::time::Instant;

/// `content` as it should arrive: every line end CR LF, the last line too. Written to be plain, not fast.
pub fn canonical(content: &[u8]) -> Vec<u8> {
    let mut lines = Vec::new();
    let mut bytes = content.iter().peekable();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'\r' => {
                bytes.next_if(|&&next| next == b'\n');
                lines.extend(b"\r\n");
            }
            b'\n' => lines.extend(b"\r\n"),
            _ => lines.push(byte),
        }
    }
    if !lines.is_empty() && !lines.ends_with(b"\r\n") {
        lines.extend(b"\r\n");
    }
    lines
}

/// Bytes rich in what matters here.
fn content() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        3 => prop::sample::select(b"\r\n.".to_vec()),
        1 => prop::sample::select(b"\0ax \xff".to_vec()),
    ];
    prop_oneof![
        prop::collection::vec(byte, 0..200),
        // Long enough for the wide paths, with few places of interest in it.
        (
            prop::collection::vec(prop::sample::select(b"abc.".to_vec()), 0..3000),
            prop::collection::vec(
                (
                    any::<prop::sample::Index>(),
                    prop::sample::select(vec![&b"\r\n"[..], b"\r\n.", b"\n", b"\r", b"\r\n.\r\n"])
                ),
                0..20
            )
        )
            .prop_map(|(mut content, inserts)| {
                for (index, insert) in inserts {
                    let at = index.index(content.len() + 1);
                    content.splice(at..at, insert.iter().copied());
                }
                content
            }),
    ]
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1usize..40, 1..10)
}

const OFFER: &str = "250-a\r\n250-STARTTLS\r\n250-AUTH PLAIN\r\n250-LIMITS RCPTMAX=2\r\n250 CHUNKING\r\n";

fn client_options() -> impl Strategy<Value = Options> {
    let protocol = prop::sample::select(vec![Protocol::Smtp, Protocol::Lmtp]);
    let tls = prop::sample::select(vec![Tls::Never, Tls::Opportunistic, Tls::Required]);
    let flags = any::<[bool; 4]>();
    (protocol, tls, flags).prop_map(|(protocol, tls, [pipelining, chunking, auth, auth_without_tls])| {
        Options {
            protocol,
            pipelining,
            chunking,
            tls,
            auth: auth.then(|| Credentials { user: "me".to_owned(), password: "secret".to_owned() }),
            auth_without_tls,
            ..Options::new("client.test")
        }
    })
}

/// `bytes` in pieces of the given lengths, over and over.
fn pieces<'a>(bytes: &'a [u8], lengths: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = bytes;
    lengths.iter().cycle().map_while(move |&length| {
        let (piece, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Content and bare-newline mark of the first message in `wire`, and what was not needed.
fn unstuffed(wire: &[u8], lengths: &[usize]) -> (Vec<u8>, bool, Option<usize>) {
    let (mut unstuffer, mut content, mut kept) = (DotUnstuffer::new(), Vec::new(), Vec::new());
    let mut used = 0;
    for piece in pieces(wire, lengths) {
        kept.extend_from_slice(piece);
        let mut at = 0;
        loop {
            let (consumed, chunk) = unstuffer.next(&kept[at..]);
            at += consumed;
            match chunk {
                Chunk::Content(bytes) => content.extend_from_slice(bytes),
                Chunk::End => return (content, unstuffer.bare_newline(), Some(used + at)),
                Chunk::More => break,
            }
        }
        used += at;
        kept.drain(..at);
        assert!(kept.len() <= 2, "{} bytes kept back", kept.len());
    }
    (content, unstuffer.bare_newline(), None)
}

/// What a message looks like to the letter of RFC 5321 §4.5.2, line by line. Written to be plain, not fast.
fn plainly_unstuffed(wire: &[u8]) -> (Vec<u8>, Option<usize>) {
    let (mut content, mut at) = (Vec::new(), 0);
    loop {
        let line_bytes = wire[at..].windows(2).position(|pair| pair == b"\r\n").map(|end| end + 2);
        let line = &wire[at..at + line_bytes.unwrap_or(wire.len() - at)];
        at += line.len();
        if line == b".\r\n" {
            return (content, Some(at));
        }
        content.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
        if line_bytes.is_none() {
            return (content, None);
        }
    }
}

proptest! {
    #[test]
    fn stuffed_content_comes_back(content in content(), cut in cuts(), cut_again in cuts()) {
        let (mut stuffer, mut wire) = (DotStuffer::new(), Vec::new());
        pieces(&content, &cut).for_each(|piece| stuffer.stuff(piece, &mut wire));
        stuffer.finish(&mut wire);

        let (arrived, bare_newline, end) = unstuffed(&wire, &cut_again);
        prop_assert_eq!(end, Some(wire.len()), "the end comes last and once");
        prop_assert_eq!(arrived, canonical(&content));
        prop_assert!(!bare_newline);

        let mut at_once = Vec::new();
        stuffer.stuff(&content, &mut at_once);
        stuffer.finish(&mut at_once);
        prop_assert_eq!(at_once, wire, "however it is cut");
    }

    #[test]
    fn unstuffing_is_what_the_rfc_says(wire in content(), cut in cuts()) {
        let (plain, plain_end) = plainly_unstuffed(&wire);
        let (content, bare_newline, end) = unstuffed(&wire, &cut);
        prop_assert_eq!(end, plain_end);
        if end.is_some() {
            let is_bare = |at: usize| match content[at] {
                b'\r' => content.get(at + 1) != Some(&b'\n'),
                b'\n' => at == 0 || content[at - 1] != b'\r',
                _ => false,
            };
            prop_assert_eq!(bare_newline, (0..content.len()).any(is_bare));
            prop_assert_eq!(content, plain);
        } else {
            // At most a dot and a CR are kept back.
            prop_assert!(plain.starts_with(&content) && plain.len() - content.len() <= 1);
        }
    }

    #[test]
    fn a_reply_comes_back(
        code in 200u16..600,
        detail in prop::option::of((0u16..1000, 0u16..1000)),
        lines in prop::collection::vec("[ -~]{0,60}", 1..8),
        cut in cuts(),
    ) {
        let class = (code / 100) as u8;
        let enhanced = detail.filter(|_| class != 3).map(|(subject, detail)| (class, subject, detail));
        // Text that looks like an enhanced status is taken for one; that is for whoever writes it to avoid.
        let is_status = |line: &String| line.split(' ').next().is_some_and(|word| EnhancedStatus::parse(word.as_bytes()).is_some());
        prop_assume!(!lines.iter().any(is_status));
        let reply = Reply::new(code, enhanced, lines.join("\n"));
        let mut wire = Vec::new();
        reply.write(&mut wire);

        let (mut parser, mut kept, mut parsed) = (ReplyParser::new(), Vec::new(), Vec::new());
        for piece in pieces(&wire, &cut) {
            kept.extend_from_slice(piece);
            let (consumed, reply) = parser.next(&kept).unwrap();
            kept.drain(..consumed);
            parsed.extend(reply);
        }
        prop_assert_eq!(parsed, vec![reply]);
        prop_assert!(kept.is_empty());
    }

    #[test]
    fn any_text_makes_a_reply_that_can_be_read(code in 200u16..600, text in "\\PC{0,700}|[\\r\\n\\x00a]{0,300}") {
        let reply = Reply::new(code, None, text);
        let mut wire = Vec::new();
        reply.write(&mut wire);
        let (consumed, parsed) = ReplyParser::new().next(&wire).unwrap();
        prop_assert_eq!(consumed, wire.len());
        prop_assert_eq!(parsed.unwrap().code, reply.code);
        prop_assert!(wire.len() <= MAX_REPLY_BYTES);
        prop_assert!(reply.one_line().len() <= smtp::reply::MAX_ONE_LINE);
    }

    #[test]
    fn no_bytes_make_a_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), text in "[A-Za-z:<>@\\[\\]\" =.,\\\\\\-0-9]{0,80}") {
        let verbs = [&b""[..], b"MAIL FROM:", b"RCPT TO:", b"EHLO ", b"MAIL FROM:<a@b> "];
        for verb in verbs {
            let _ = command::parse(&[verb, &bytes].concat(), Grammar::ALL);
            let _ = command::parse(&[verb, text.as_bytes()].concat(), Grammar::ALL);
        }
        if let Ok(mailbox) = Mailbox::parse(&text) {
            prop_assert_eq!(format!("{}@{}", mailbox.local(), mailbox.domain()), mailbox.to_string());
            prop_assert_eq!(text, mailbox.to_string());
        }
        let _ = ReplyParser::new().next(&bytes);
        let _ = ReplyParser::new().next(&[b"250-", &bytes[..]].concat());
    }

    /// A session survives any client: it ends, refuses or goes on, and asks its driver to keep little.
    #[test]
    fn no_client_breaks_a_server(
        words in prop::collection::vec(prop_oneof![
            4 => prop::sample::select(WORDS).prop_map(|word| word.as_bytes().to_vec()),
            1 => prop::collection::vec(any::<u8>(), 0..1500),
        ], 0..60),
        cut in cuts(),
        verdicts in prop::collection::vec(0u8..4, 1..20),
        lmtp in any::<bool>(),
    ) {
        let limits = Limits { max_message_bytes: Some(100), ..Limits::default() };
        let options = crate::model::options(if lmtp { Protocol::Lmtp } else { Protocol::Smtp }, limits);
        let mut session = server::Session::new(Arc::new(options));
        let mut verdicts = verdicts.iter().cycle();
        let (mut kept, mut out) = (Vec::new(), Vec::new());
        let (mut in_transaction, mut recipients, mut ended_with) = (false, 0, 0);
        for piece in pieces(&words.concat(), &cut) {
            kept.extend_from_slice(piece);
            let mut at = 0;
            loop {
                let (consumed, event) = session.next(&kept[at..]);
                at += consumed;
                let Some(event) = event else { break };
                let accepted = *verdicts.next().unwrap() > 0;
                match &event {
                    Event::Body(_) => {
                        prop_assert!(recipients > 0);
                        continue;
                    }
                    Event::Mail { .. } => {
                        prop_assert!(!in_transaction, "no MAIL inside a transaction");
                        in_transaction = accepted;
                        recipients = 0;
                    }
                    Event::Rcpt { .. } => {
                        prop_assert!(in_transaction, "no RCPT without MAIL");
                        recipients += u32::from(accepted);
                    }
                    Event::Bdat { .. } => {
                        prop_assert!(in_transaction && recipients > 0, "no BDAT without RCPT");
                        continue;
                    }
                    Event::EndOfChunk { too_big, .. } => in_transaction &= accepted && !too_big,
                    Event::NextRecipient { index } => prop_assert!(lmtp && *index < ended_with),
                    Event::Data => prop_assert!(in_transaction && recipients > 0, "no DATA without RCPT"),
                    Event::EndOfData { .. } => {
                        ended_with = recipients;
                        (in_transaction, recipients) = (false, 0);
                    }
                    Event::Rset | Event::Hello { .. } if accepted => (in_transaction, recipients) = (false, 0),
                    _ => {}
                }
                if accepted { session.accept(&mut out) } else { session.reply(&Reply::new(450, None, "no"), &mut out) }
                if session.is_starting_tls() {
                    session.tls_established();
                    (in_transaction, recipients) = (false, 0);
                }
            }
            kept.drain(..at);
            prop_assert!(kept.len() < crate::model::LINE_MAX);
        }
        // Each byte that was answered makes one well-formed reply.
        let mut parser = ReplyParser::new();
        let mut at = 0;
        while at < out.len() {
            let (consumed, _) = parser.next(&out[at..]).unwrap();
            prop_assert!(consumed > 0);
            at += consumed;
        }
    }

    /// Whatever a server sends, a client's transaction comes to exactly one end, with a status for everybody.
    #[test]
    fn no_server_breaks_a_client(
        opening in prop::sample::select(vec![&[][..], &["220 hi\r\n", OFFER, "220 go\r\n", OFFER], &["220 hi\r\n", OFFER]]),
        rest in prop::collection::vec(prop_oneof![
            8 => prop::sample::select(vec!["220 hi\r\n", "250 ok\r\n", "250 ok\r\n", "250-a\r\n250 PIPELINING\r\n", "354 go\r\n", "550 no\r\n", "450 later\r\n"]),
            2 => prop::sample::select(vec![OFFER, "250-a\r\n250-AUTH LOGIN\r\n250 PIPELINING\r\n", "334\r\n", "235 ok\r\n"]),
            1 => prop::sample::select(vec!["421 bye\r\n", "25", "\r\n", "250-x\r\n", "999 x\r\n", "\0"]),
        ], 0..30),
        cut in prop_oneof![Just(None), cuts().prop_map(Some)],
        recipients in 1usize..5,
        options in client_options(),
        size_bytes in prop::sample::select(vec![None, Some(1), Some(2)]),
    ) {
        let now = Instant::now();
        let mut session = client::Session::new(Arc::new(options.clone()), now);
        let mut encrypted = false;
        let transaction = Transaction {
            reverse_path: ReversePath::Null,
            recipients: vec![ForwardPath::Postmaster; recipients],
            size_bytes,
            eight_bit: false,
            smtp_utf8: false,
        };
        let (mut out, mut kept, mut events) = (Vec::new(), Vec::new(), Vec::new());
        session.begin(transaction.clone(), now, &mut out);
        let replies = [opening, &rest].concat();
        let bytes = replies.concat();
        let mut begun = 1;
        let pieces: Vec<&[u8]> = match &cut {
            None => replies.iter().map(|reply| reply.as_bytes()).collect(),
            Some(cut) => pieces(bytes.as_bytes(), cut).collect(),
        };
        // The last, empty piece stands for the end of the connection.
        for piece in pieces.into_iter().chain([&[][..]]) {
            kept.extend_from_slice(piece);
            if piece.is_empty() {
                session.closed(now, "end of file");
            }
            let mut at = 0;
            loop {
                let (consumed, event) = session.next(&kept[at..], now, &mut out);
                at += consumed;
                let Some(event) = event else { break };
                match &event {
                    client::Event::SendBody => {
                        session.send_body(b"x", &mut out);
                        session.finish_body(now, &mut out);
                    }
                    client::Event::Done(outcome) => {
                        prop_assert_eq!(outcome.recipients.len(), recipients);
                        if session.is_idle() {
                            session.begin(transaction.clone(), now, &mut out);
                            begun += 1;
                        }
                    }
                    client::Event::StartTls => {
                        prop_assert!(out.ends_with(b"STARTTLS\r\n"));
                        encrypted = true;
                        session.tls_established(now, &mut out);
                    }
                    client::Event::Reply { .. } | client::Event::Closed(_) => {}
                }
                events.push(event);
            }
            kept.drain(..at);
            prop_assert!(kept.len() < MAX_REPLY_LINE);
            let said = |word: &[u8]| out.windows(word.len()).any(|window| window == word);
            prop_assert!(encrypted || options.tls != Tls::Required || !said(b"MAIL") && !said(b"AUTH"));
            prop_assert!(encrypted || options.auth_without_tls || !said(b"AUTH"));
        }
        let done = events.iter().filter(|event| matches!(event, client::Event::Done(_))).count();
        let closed = events.iter().filter(|event| matches!(event, client::Event::Closed(_))).count();
        prop_assert_eq!((done, closed), (begun, 1));
        prop_assert!(matches!(events.last(), Some(client::Event::Closed(_))));
        prop_assert_eq!(session.deadline(), None);
    }
}

/// What a client of a server may say; also in bits.
const WORDS: &[&str] = &[
    "EHLO x\r\n",
    "HELO x\r\n",
    "LHLO x\r\n",
    "STARTTLS\r\n",
    "AUTH LOGIN\r\n",
    "AUTH PLAIN\r\n",
    "AHVzZXIAcGFzcw==\r\n",
    "*\r\n",
    "MAIL FROM:<a@b>\r\n",
    "MAIL FROM:<\u{e4}@b> SMTPUTF8\r\n",
    "RCPT TO:<c@d>\r\n",
    "DATA\r\n",
    ".\r\n",
    "\r\n.\r\n",
    "BDAT 3\r\n",
    "BDAT 90\r\n",
    "BDAT 9 LAST\r\n",
    "RSET\r\n",
    "QUIT\r\n",
    "\r",
    "\n",
    ".",
    "\0",
    "NOOP",
];
