//! What travels between the processes: it comes back as it went, and no bytes break a reader.

use delivery::wire::{Decoder, Encoder, MAX_FRAME_BYTES, WireError, split_frame};
use delivery::{
    AgentFrame, AgentOptions, Content, ContentAnswer, DeliveryReport, DeliveryRequest, Envelope, EpochMs,
    IntakeAnswer, IntakeFrame, NextHop, QueueId, StageTimes,
};
use smtp::client::{Credentials, Disposition, HopStatus, Options, Outcome, RecipientStatus, Tls};
use smtp::{EnhancedStatus, ForwardPath, Protocol, Reply, ReplyCode, ReversePath, Stage};

fn request(content: Content) -> DeliveryRequest {
    DeliveryRequest {
        id: 7,
        queue_id: QueueId(0xBEEF),
        next_hop: NextHop::parse("[::1]:25").unwrap(),
        reverse_path: ReversePath::parse("s@client.test").unwrap(),
        recipients: vec![ForwardPath::parse("a@b.test").unwrap(), ForwardPath::Postmaster],
        eight_bit: true,
        content,
    }
}

fn status(disposition: Disposition, text: &str) -> RecipientStatus {
    RecipientStatus {
        disposition,
        code: ReplyCode::new(450),
        enhanced: EnhancedStatus::parse(b"4.2.0").unwrap(),
        text: text.to_owned(),
        stage: Stage::Rcpt,
    }
}

fn report(text: &str) -> AgentFrame {
    report_of(text, Some("127.0.0.1:25"))
}

fn report_of(text: &str, remote: Option<&str>) -> AgentFrame {
    let recipients = vec![
        status(Disposition::Delivered, text),
        RecipientStatus { code: None, ..status(Disposition::Deferred, text) },
        status(Disposition::Bounced, ""),
    ];
    AgentFrame::Report(DeliveryReport {
        id: 7,
        outcome: Outcome { recipients, hop: HopStatus::Throttle },
        remote: remote.map(|remote| remote.parse().unwrap()),
        times: StageTimes { started_ns: 1, ready_ns: 2, done_ns: 3 },
    })
}

fn envelope() -> Envelope {
    Envelope {
        received: EpochMs(1),
        reverse_path: ReversePath::Null,
        recipients: vec![ForwardPath::parse("a@b.test").unwrap()],
        eight_bit: false,
    }
}

/// Every frame there is, encoded.
fn every_frame() -> Vec<Vec<u8>> {
    let encoded = |encode: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        encode(&mut bytes);
        bytes
    };
    let refused = Reply::new(452, Some((4, 3, 1)), "full");
    vec![
        encoded(&|out| request(Content::Inline(b"x\r\n".to_vec())).encode(out)),
        encoded(&|out| request(Content::Descriptor { offset: 99, length: 1 << 40 }).encode(out)),
        encoded(&|out| AgentFrame::Ready.encode(out)),
        encoded(&|out| report("try again").encode(out)),
        encoded(&|out| report_of("try again", Some("[2001:db8::1]:25")).encode(out)),
        encoded(&|out| report_of("try again", None).encode(out)),
        encoded(&|out| AgentFrame::AskContent { id: 7 }.encode(out)),
        encoded(&|out| ContentAnswer { id: 7, content: Some(b"x\r\n") }.encode(out)),
        encoded(&|out| ContentAnswer { id: 7, content: None }.encode(out)),
        encoded(&|out| IntakeFrame::Begin { message: 1, envelope: envelope() }.encode(out)),
        encoded(&|out| IntakeFrame::Chunk { message: 1, bytes: b"abc" }.encode(out)),
        encoded(&|out| IntakeFrame::End { message: 1 }.encode(out)),
        encoded(&|out| IntakeFrame::Abort { message: 1 }.encode(out)),
        encoded(&|out| IntakeAnswer::Credit { message: 1, bytes: 9 }.encode(out)),
        encoded(&|out| IntakeAnswer::Durable { message: 1, queue_id: QueueId(5) }.encode(out)),
        encoded(&|out| IntakeAnswer::Room { bytes: 1 << 40 }.encode(out)),
        encoded(&|out| IntakeAnswer::Refused { message: 1, reply: refused.clone() }.encode(out)),
    ]
}

/// Whether any reader takes these bytes for a frame of its own.
fn anyone_reads(kind: u8, payload: &[u8]) -> bool {
    DeliveryRequest::decode(kind, payload).is_ok()
        || AgentFrame::decode(kind, payload).is_ok()
        || matches!(ContentAnswer::decode(kind, payload), Ok(Some(_)))
        || IntakeFrame::decode(kind, payload).is_ok()
        || IntakeAnswer::decode(kind, payload).is_ok()
}

#[test]
fn what_agents_are_asked_and_say_comes_back_as_it_went() {
    for content in [Content::Inline(vec![0; 70_000]), Content::Descriptor { offset: 3, length: u64::MAX }] {
        let mut bytes = Vec::new();
        request(content.clone()).encode(&mut bytes);
        let (kind, payload, length) = split_frame(&bytes).unwrap().unwrap();
        assert_eq!(length, bytes.len());
        assert_eq!(DeliveryRequest::decode(kind, payload), Ok(request(content.clone())));
        assert_eq!(DeliveryRequest::from_frame(bytes.clone()), Ok(request(content)));
        for cut in [0, 4, 5, bytes.len() - 1] {
            assert_eq!(
                DeliveryRequest::from_frame(bytes[..cut].to_vec()),
                Err(WireError::Truncated),
                "{cut}"
            );
        }
        bytes.push(0);
        assert_eq!(DeliveryRequest::from_frame(bytes), Err(WireError::Trailing));
    }
    for said in [report("later"), AgentFrame::AskContent { id: u64::MAX }] {
        let mut bytes = Vec::new();
        said.encode(&mut bytes);
        let (kind, payload, _) = split_frame(&bytes).unwrap().unwrap();
        assert_eq!(AgentFrame::decode(kind, payload), Ok(said));
    }
    let large = vec![7; 70_000];
    for content in [None, Some(&b""[..]), Some(&large[..])] {
        let answer = ContentAnswer { id: 9, content };
        let mut bytes = Vec::new();
        answer.encode(&mut bytes);
        let (kind, payload, _) = split_frame(&bytes).unwrap().unwrap();
        assert!(DeliveryRequest::decode(kind, payload).is_err());
        assert_eq!(ContentAnswer::decode(kind, payload), Ok(Some(answer)));
    }
}

#[test]
fn a_frame_cut_anywhere_is_incomplete_and_its_payload_cut_anywhere_is_refused() {
    for bytes in every_frame() {
        for end in 0..bytes.len() {
            assert_eq!(split_frame(&bytes[..end]), Ok(None));
        }
        let (kind, payload, _) = split_frame(&bytes).unwrap().unwrap();
        assert!(anyone_reads(kind, payload), "kind {kind}");
        for end in 0..payload.len() {
            assert!(
                !anyone_reads(kind, &payload[..end]),
                "kind {kind} reads {end} of {} bytes",
                payload.len()
            );
        }
        assert!(!anyone_reads(kind, &[payload, &[0]].concat()), "kind {kind} reads a byte too many");
    }
}

#[test]
fn no_flipped_byte_and_no_noise_breaks_a_reader() {
    let mut random = fastrand::Rng::with_seed(1);
    for bytes in every_frame() {
        let (kind, payload, _) = split_frame(&bytes).unwrap().unwrap();
        for at in 0..payload.len() {
            for bit in 0..8 {
                let mut flipped = payload.to_vec();
                flipped[at] ^= 1 << bit;
                anyone_reads(kind, &flipped);
            }
        }
    }
    for _ in 0..100_000 {
        let noise: Vec<u8> = (0..random.usize(0..64)).map(|_| random.u8(..)).collect();
        anyone_reads(random.u8(..), &noise);
    }
}

#[test]
fn refuses_what_is_too_long_or_says_more_than_a_status_may() {
    let length = (MAX_FRAME_BYTES + 1) as u32;
    assert_eq!(
        split_frame(&[&length.to_le_bytes()[..], &[0]].concat()),
        Err(WireError::TooLong(MAX_FRAME_BYTES + 1))
    );
    assert_eq!(split_frame(&[0, 0, 0, 0, 1]), Err(WireError::Truncated));
    // an agent must not be able to write lines of its own into the log
    let mut bytes = Vec::new();
    report("a\nqueue_id=1 status=sent").encode(&mut bytes);
    let (kind, payload, _) = split_frame(&bytes).unwrap().unwrap();
    assert_eq!(AgentFrame::decode(kind, payload), Err(WireError::Invalid("status text")));
    // a count that promises more than there is must not make room for it
    let mut bytes = Vec::new();
    let mut fields = Encoder::bare(&mut bytes);
    fields.u64(0);
    fields.str("");
    fields.u8(0);
    fields.u32(u32::MAX);
    drop(fields);
    assert_eq!(Envelope::decode(&mut Decoder::new(&bytes)), Err(WireError::Truncated));
}

#[test]
fn a_next_hop_is_a_host_and_a_port() {
    for good in ["127.0.0.1:25", "[::1]:2525", "mx.example.org:65535", "[2001:db8::1]:25"] {
        assert_eq!(NextHop::parse(good).unwrap().as_str(), good);
    }
    for bad in [
        "",
        "host",
        "host:",
        ":25",
        "host:0",
        "host:65536",
        "::1:25",
        "[::1]",
        "a b:25",
        "a:2\n5",
        "[host]x:25:25",
    ] {
        assert!(NextHop::parse(bad).unwrap_err().contains("host:port"), "{bad}");
    }
}

#[test]
fn options_of_an_executed_agent_come_back_whole_and_of_one_version_only() {
    let mut session = Options::new("mx.test");
    (session.protocol, session.tls) = (Protocol::Lmtp, Tls::Required);
    (session.pipelining, session.chunking) = (false, true);
    session.auth = Some(Credentials { user: "u".to_owned(), password: "p w".to_owned() });
    session.timeouts.quit = std::time::Duration::from_millis(1234);
    let options = AgentOptions {
        session: session.into(),
        connect_timeout: std::time::Duration::from_secs(7),
        connections: 12,
        messages_per_connection: 3,
        session_idle: std::time::Duration::from_secs(2),
        memory_max_bytes: Some(1 << 20),
    };
    let mut bytes = Vec::new();
    options.encode(&mut bytes);
    let (kind, payload, _) = split_frame(&bytes).unwrap().unwrap();
    assert_eq!(AgentOptions::decode(kind, payload), Ok(options));
    let other_version = [&[payload[0] + 1], &payload[1..]].concat();
    assert_eq!(AgentOptions::decode(kind, &other_version), Err(WireError::Invalid("protocol version")));
    for end in 0..payload.len() {
        assert!(AgentOptions::decode(kind, &payload[..end]).is_err(), "cut to {end} bytes");
    }
}
