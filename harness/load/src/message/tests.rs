use super::*;

fn options(size: f64) -> Options {
    Options {
        run: "r1".to_owned(),
        size: Distribution::Fixed(size),
        content: Content::Filler(Text::Ascii),
        from: "sender@load.test".to_owned(),
        to: vec!["a@one.test".to_owned(), "b@two.test".to_owned()],
        recipients: None,
    }
}

const DATE: &str = "Thu, 01 Jan 1970 00:00:00 +0000";

fn whole(composer: &Composer, number: u64, intended_ns: u64, date: &str) -> (Transaction, Vec<u8>) {
    let (transaction, letter) = composer.compose(number, intended_ns);
    let mut message = Vec::new();
    composer.write_header(&letter, date, &mut message);
    let mut sent = 0;
    loop {
        let piece = composer.body(&letter, sent, 64 * 1024);
        if piece.is_empty() {
            return (transaction, message);
        }
        sent += piece.len() as u64;
        message.extend_from_slice(piece);
    }
}

#[test]
fn every_message_has_the_size_asked_for_whatever_its_number() {
    let composer = |size: u64| Composer::new(&options(size as f64), 1);
    let Err((_, problem)) = composer(1) else { panic!("a byte is too short") };
    let smallest: u64 = problem.split(['(', ' ']).filter_map(|word| word.parse().ok()).max().expect("a size");
    assert!(composer(smallest - 1).is_err());
    for size in (smallest..smallest + 100).chain([4096, 65_536, 1 << 20]) {
        let composer = composer(size).unwrap_or_else(|_| panic!("{size} is large enough"));
        for (number, time, date) in
            [(1, 0, DATE), (u64::MAX, u64::MAX, "Thu, 1 Jan 1970 00:00:00 -0000"), (99, 12_345, DATE)]
        {
            let (transaction, message) = whole(&composer, number, time, date);
            assert_eq!((message.len() as u64, transaction.size_bytes), (size, Some(size)));
            let text = String::from_utf8(message).expect("ASCII");
            assert!(text.starts_with(&format!("X-Mailrig-Id: r1/{number}/{time}\r\n")));
            let lines: Vec<&str> = text.strip_suffix("\r\n").expect("ends a line").split("\r\n").collect();
            for line in &lines {
                assert!(!line.contains(['\r', '\n']) && !line.starts_with('.'), "{line:?} in {size}");
            }
            let header_end = lines.iter().position(|line| line.is_empty()).expect("an empty line");
            assert!(lines[header_end..].iter().all(|line| line.len() <= 78));
        }
    }
}

#[test]
fn what_is_sent_follows_from_seed_and_number_alone() {
    let mut options = options(0.0);
    options.size = Distribution::LogNormal { p50: 8192.0, p99: 212_734.5, max: f64::MAX };
    options.to = vec!["u{1000}@d{50~1.1}.test".to_owned()];
    options.recipients = Some(Distribution::Geometric { mean: 3.0 });
    let (one, same) = (Composer::new(&options, 7).ok(), Composer::new(&options, 7).ok());
    let other = Composer::new(&options, 8).ok();
    let (Some(one), Some(same), Some(other)) = (one, same, other) else { panic!("all are good") };
    let mut sizes = std::collections::BTreeSet::new();
    for number in (1..200).rev() {
        let (transaction, message) = whole(&one, number, 5, DATE);
        assert_eq!((transaction.clone(), message.clone()), whole(&same, number, 5, DATE));
        assert_eq!(transaction.size_bytes, Some(message.len() as u64));
        assert!(!transaction.recipients.is_empty());
        sizes.insert(message.len());
    }
    assert!(sizes.len() > 150, "sizes differ");
    assert!((1..200).any(|number| whole(&one, number, 5, DATE).0 != whole(&other, number, 5, DATE).0));
}

#[test]
fn content_says_what_it_needs_of_the_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("own");
    std::fs::write(&path, "From: a@b.test\nSubject: mine\n\nbody\n").expect("a file");
    for (content, eight_bit, smtp_utf8) in [
        (Content::Filler(Text::Ascii), false, false),
        (Content::Filler(Text::EightBit), true, false),
        (Content::Filler(Text::Utf8), true, true),
        (Content::Mime, false, false),
        (Content::Own(path), false, false),
    ] {
        let composer = Composer::new(&Options { content: content.clone(), ..options(4096.0) }, 1);
        let composer = composer.unwrap_or_else(|(name, problem)| panic!("{name}: {problem}"));
        let (transaction, message) = whole(&composer, 3, 4, DATE);
        assert_eq!((transaction.eight_bit, transaction.smtp_utf8), (eight_bit, smtp_utf8), "{content:?}");
        assert_eq!(transaction.size_bytes, Some(message.len() as u64), "{content:?}");
        assert_eq!(message.is_ascii(), !eight_bit);
        let header_end = memchr::memmem::find(&message, b"\r\n\r\n").expect("an empty line");
        assert_eq!(message[..header_end].is_ascii(), !smtp_utf8);
        assert!(message.starts_with(b"X-Mailrig-Id: r1/3/4\r\n"));
    }
    let utf8 = Composer::new(&Options { from: "jürgen@b.test".to_owned(), ..options(4096.0) }, 1).ok();
    assert!(utf8.expect("good").compose(1, 1).0.smtp_utf8);
}

#[test]
fn names_that_would_break_a_header_are_refused() {
    for name in ["", "a b", "a\r\nBcc: x", "a/b", "ü", ".a", "a.", "a..b", &"x".repeat(65)] {
        assert!(check_run_name(name).is_err(), "{name:?}");
    }
    let name = random_run_name();
    assert_eq!(check_run_name(&name), Ok(()));
}
