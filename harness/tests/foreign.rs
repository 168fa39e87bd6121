//! Clients and servers that others wrote, over sockets: each side understands what the other says.

mod support;

use mail_send::SmtpClient;
use mail_send::smtp::message::Message;
use mailin::{Action, Handler, Response, SessionBuilder, response};
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use support::{Client, Mta, PATIENCE, Sink, Site, mailrig};

const DRIVERS: [&str; 2] = ["blocking", "event"];

fn delivery(driver: &str) -> String {
    format!("[delivery]\ndriver = \"{driver}\"\nagents_max = 4\n")
}

/// With dots where they matter, eight bits, and both ways by which content reaches an agent.
fn contents() -> [Vec<u8>; 3] {
    let dots = b"Subject: dots\r\n\r\nabove\r\n.\r\n..\r\n.x\r\n\r\nend\r\n".to_vec();
    let eight_bit = b"Subject: eight bits\r\n\r\n\xe4\xf6\xfc \x01\x7f\xff\r\n".to_vec();
    let large = [&b"Subject: large\r\n\r\n"[..], &b".a line of the large message\r\n".repeat(5000)].concat();
    [dots, eight_bit, large]
}

/// What a site of raw text kept, without the dots of the wire and the one field that reception adds.
fn kept(site: &Site) -> Vec<(String, Vec<u8>)> {
    let messages = site.messages.lock().unwrap();
    let plain = messages.iter().map(|(envelope, wire)| {
        let lines = wire.split_inclusive(|byte| *byte == b'\n');
        let plain: Vec<u8> =
            lines.flat_map(|line| line.strip_prefix(b".").unwrap_or(line)).copied().collect();
        (envelope.clone(), without_received(&plain))
    });
    plain.collect()
}

fn without_received(content: &[u8]) -> Vec<u8> {
    assert!(content.starts_with(b"Received: from "), "{}", String::from_utf8_lossy(content));
    let mut lines = content.split_inclusive(|byte| *byte == b'\n').skip(1).peekable();
    while lines.next_if(|line| line.starts_with(b"\t")).is_some() {}
    lines.flatten().copied().collect()
}

/// Sends each content in one session of mail-send.
fn send_with_mail_send(address: &str, contents: &[Vec<u8>]) {
    let address: SocketAddr = address.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut client = SmtpClient::connect(address, PATIENCE).await.unwrap();
        let greeting = client.read().await.unwrap();
        assert_eq!(greeting.code(), 220);
        client.capabilities("client.test", false).await.unwrap();
        for content in contents {
            let message = Message::new("s@client.test", ["a@x.test", "b@x.test"], content.as_slice());
            assert_eq!(client.send(message).await.unwrap().code(), 250);
        }
        client.quit().await.unwrap();
    });
}

#[test]
fn mail_send_is_understood_by_the_mta_and_by_the_sink() {
    let contents = contents();
    for driver in DRIVERS {
        let folder = tempfile::tempdir().unwrap();
        let site = Site::start("250 ok");
        let relay = format!("relayhost = \"{}\"", site.address);
        let mta = Mta::start(folder.path(), &relay, &delivery(driver));
        send_with_mail_send(&mta.address, &contents);
        assert_eq!(mta.wait_drained()["delivered"], 2 * contents.len());
        let kept = kept(&site);
        assert_eq!(kept.len(), contents.len(), "{driver}");
        for content in &contents {
            // it puts an empty line at the end of every message
            let sent = [content, &b"\r\n"[..]].concat();
            assert!(
                kept.iter().any(|(_, got)| *got == sent),
                "{driver}: {}",
                String::from_utf8_lossy(content)
            );
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start(folder.path(), "sink", &[]);
    let ids = [1, 2, 3].map(|n| format!("X-Mailrig-Id: foreign/{n}/0\r\n\r\n.\r\nbody\r\n").into_bytes());
    send_with_mail_send(&sink.address, &ids);
    let ledger = sink.stop();
    assert_eq!((&ledger["unique"], &ledger["without_id"]), (&3.into(), &0.into()), "{ledger}");
    assert_eq!(ledger["connections"], 1, "{ledger}");
}

/// Everything an ordinary script does: several messages in a session, and refusals that it can tell apart.
const SCRIPT: &str = r#"
import smtplib, sys
host, port = sys.argv[1].rsplit(':', 1)
folder = sys.argv[2]
with smtplib.SMTP(host, int(port), local_hostname='client.test', timeout=60) as smtp:
    assert smtp.noop()[0] == 250 and smtp.ehlo()[0] == 250
    assert smtp.has_extn('size') and smtp.has_extn('pipelining') and smtp.has_extn('8bitmime')
    for n in range(3):
        content = open(f'{folder}/content-{n}', 'rb').read()
        refused = smtp.sendmail('s@client.test', ['a@x.test', 'b@x.test'], content)
        assert refused == {}, refused
    assert smtp.mail('s@client.test', ['body=8bitmime'])[0] == 250
    assert smtp.rcpt('a@x.test')[0] == 250 and smtp.rset()[0] == 250
    assert smtp.vrfy('a@x.test')[0] == 252, smtp.vrfy('a@x.test')
    assert smtp.docmd('FROBNICATE')[0] == 500
    assert smtp.docmd('DATA')[0] == 503
    try:
        smtp.sendmail('s@client.test', ['a@x.test'], b'Subject: large\r\n\r\n' + b'0123456789\r\n' * 100000)
        raise SystemExit('a message that is too large was taken')
    except smtplib.SMTPSenderRefused as refusal:
        assert refusal.smtp_code == 552, refusal
    assert smtp.sendmail('', ['a@x.test'], b'Subject: from nobody\r\n\r\n.\r\n') == {}
"#;

#[test]
fn pythons_smtplib_is_understood_by_the_mta() {
    let python = |arguments: &[&str]| Command::new("python3").args(arguments).output();
    if !python(&["-c", "import smtplib"]).is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: pythons_smtplib_is_understood_by_the_mta needs python3, which is not here");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let contents = contents();
    for (number, content) in contents.iter().enumerate() {
        std::fs::write(folder.path().join(format!("content-{number}")), content).unwrap();
    }
    let site = Site::start("250 ok");
    let keys = format!("relayhost = \"{}\"\nmax_message_size = \"1MiB\"", site.address);
    let mta = Mta::start(folder.path(), &keys, &delivery("event"));
    let output = python(&["-c", SCRIPT, &mta.address, folder.path().to_str().unwrap()]).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    mta.wait_drained();
    let kept = kept(&site);
    assert_eq!(kept.len(), contents.len() + 1);
    for content in &contents {
        assert!(kept.iter().any(|(_, got)| got == content), "{}", String::from_utf8_lossy(content));
    }
    let from_nobody = kept.iter().find(|(_, got)| got == b"Subject: from nobody\r\n\r\n.\r\n");
    assert!(from_nobody.is_some_and(|(envelope, _)| envelope.starts_with("MAIL FROM:<>")));
}

/// One message as mailin understood it.
#[derive(Clone, Default)]
struct Taken {
    from: String,
    to: Vec<String>,
    content: Vec<u8>,
}

type Book = Arc<Mutex<Vec<Taken>>>;

#[derive(Default)]
struct Keeper {
    current: Taken,
    book: Book,
}

impl Handler for Keeper {
    fn rcpt(&mut self, to: &str) -> Response {
        if to.starts_with("nobody") { response::NO_MAILBOX } else { response::OK }
    }

    fn data_start(&mut self, _hello: &str, from: &str, _eight_bit: bool, to: &[String]) -> Response {
        self.current = Taken { from: from.to_owned(), to: to.to_owned(), content: Vec::new() };
        response::OK
    }

    fn data(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.current.content.extend_from_slice(bytes);
        Ok(())
    }

    fn data_end(&mut self) -> Response {
        self.book.lock().unwrap().push(std::mem::take(&mut self.current));
        response::OK
    }
}

/// Sockets around mailin's session: a thread a connection.
fn start_mailin() -> (String, Book) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let book = Book::default();
    let shared = book.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let keeper = Keeper { book: shared.clone(), ..Keeper::default() };
            std::thread::spawn(move || drop(serve_with_mailin(stream, keeper)));
        }
    });
    (address, book)
}

fn serve_with_mailin(stream: TcpStream, keeper: Keeper) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let client: IpAddr = stream.peer_addr()?.ip();
    let mut session = SessionBuilder::new("mailin.test").build(client, keeper);
    let (mut output, mut input) = (stream.try_clone()?, BufReader::new(stream));
    output.write_all(&session.greeting().buffer()?)?;
    loop {
        let mut line = Vec::new();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let response = session.process(&line);
        if response.action != Action::NoReply {
            output.write_all(&response.buffer()?)?;
        }
        if response.action == Action::Close {
            return Ok(());
        }
    }
}

#[test]
fn mailin_understands_what_the_mta_delivers() {
    let contents = contents();
    for driver in DRIVERS {
        let folder = tempfile::tempdir().unwrap();
        let (address, book) = start_mailin();
        let tables = format!(
            "[transport]\n\"x.test\" = \"{address}\"\n{}messages_per_connection = 2\n",
            delivery(driver)
        );
        let mta = Mta::start(folder.path(), "", &tables);
        let mut client = Client::connect(&mta.address);
        client.hello();
        for content in contents.iter().cycle().take(12) {
            let stuffed: Vec<u8> = content
                .split_inclusive(|byte| *byte == b'\n')
                .flat_map(|line| [if line[0] == b'.' { &b"."[..] } else { b"" }, line].concat())
                .collect();
            let to = ["a@x.test", "nobody@x.test", "b@x.test"];
            assert!(client.mail("s@client.test", &to, &stuffed).starts_with("250"));
        }
        let status = mta.wait_drained();
        // one of three recipients is refused; that there is no route for its bounce is not counted again
        assert_eq!(
            (&status["delivered"], &status["bounced"]),
            (&24.into(), &12.into()),
            "{driver}: {status}"
        );
        assert_eq!(mta.log().matches("to=<nobody@x.test>").count(), 12, "{driver}");
        let taken = book.lock().unwrap();
        assert_eq!(taken.len(), 12, "{driver}");
        for message in taken.iter() {
            assert_eq!(
                (&*message.from, &message.to[..]),
                ("s@client.test", &["a@x.test".to_owned(), "b@x.test".to_owned()][..])
            );
        }
        for content in &contents {
            let alike = taken.iter().filter(|message| without_received(&message.content) == *content).count();
            assert_eq!(alike, 4, "{driver}: {}", String::from_utf8_lossy(&content[..40]));
        }
    }
}

#[test]
fn mailin_understands_the_load_generator() {
    let (address, book) = start_mailin();
    let output = mailrig()
        .args(["send", &address, "--quiet", "--connections", "5", "--messages", "200", "--run", "load"])
        .args(["--messages-per-connection", "7", "--size", "4KiB", "--json", "-"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&report["accepted"], &report["failed"]), (&200.into(), &0.into()), "{report}");
    let taken = book.lock().unwrap();
    let mut ids: Vec<&[u8]> = taken.iter().filter_map(|message| id_of(&message.content)).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((taken.len(), ids.len()), (200, 200));
    assert!(taken.iter().all(|message| message.content.len() == 4096), "{}", taken[0].content.len());
}

/// RUN and NUMBER of the id that the load generator puts in.
fn id_of(content: &[u8]) -> Option<&[u8]> {
    let line = content.split(|byte| *byte == b'\n').find(|line| line.starts_with(b"X-Mailrig-Id: load/"))?;
    line.split(|byte| *byte == b'/').nth(1)
}
