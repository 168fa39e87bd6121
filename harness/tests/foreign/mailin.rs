//! A server that others wrote takes what the MTA and the load generator deliver.

use crate::content::{contents_up_to, without_received};
use crate::reception::{DRIVERS, LARGE_BYTES, delivery};
use crate::support::{Client, Mta, PATIENCE, mailrig};
use mailin::{Action, Handler, Response, SessionBuilder, response};
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

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
    let contents = contents_up_to(LARGE_BYTES);
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
