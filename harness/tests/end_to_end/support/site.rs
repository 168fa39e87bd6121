//! A remote site of the tests' own: a thread a connection, literal replies, every byte of a message kept.

use super::patience::{BOUND, eventually};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// A message that was answered with 2xx.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Received {
    pub reverse_path: String,
    pub forward_paths: Vec<String>,
    /// As it was before dots were stuffed, with the CRLF of its last line.
    pub content: Vec<u8>,
}

impl Received {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.content).into_owned()
    }
}

/// Replies to the greeting (an empty line), a command line, or the end of data (`.`). An empty reply closes.
pub trait Script: Fn(&str) -> String + Send + Sync + 'static {}
impl<F: Fn(&str) -> String + Send + Sync + 'static> Script for F {}

#[derive(Default)]
struct Book {
    messages: Mutex<Vec<Received>>,
    /// What no client may do.
    violations: Mutex<Vec<String>>,
    connections: AtomicUsize,
    closing: AtomicBool,
}

/// Listens at a free port until it is dropped.
pub struct Site {
    pub address: SocketAddr,
    book: Arc<Book>,
}

/// What a site says that takes everything.
pub fn accept(line: &str) -> String {
    match line.split(' ').next().unwrap_or("") {
        "" => "220 site.test ESMTP\r\n".to_owned(),
        "EHLO" => "250-site.test\r\n250-PIPELINING\r\n250-SIZE 100000000\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n"
            .to_owned(),
        "DATA" => "354 go on\r\n".to_owned(),
        "QUIT" => "221 2.0.0 bye\r\n".to_owned(),
        "." => "250 2.0.0 taken\r\n".to_owned(),
        _ => "250 2.1.0 fine\r\n".to_owned(),
    }
}

impl Site {
    pub fn start(script: impl Script) -> Site {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let book = Arc::new(Book::default());
        let (script, shared) = (Arc::new(script), book.clone());
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if shared.closing.load(Ordering::Relaxed) {
                    return;
                }
                shared.connections.fetch_add(1, Ordering::Relaxed);
                let (script, book) = (script.clone(), shared.clone());
                // a client that goes away ends its thread; what it did wrong is in the book
                thread::spawn(move || drop(serve(stream, &*script, &book)));
            }
        });
        Site { address, book }
    }

    /// Takes everything.
    pub fn accepting() -> Site {
        Site::start(accept)
    }

    pub fn connections(&self) -> usize {
        self.book.connections.load(Ordering::Relaxed)
    }

    /// What it has taken so far.
    pub fn messages(&self) -> Vec<Received> {
        assert_eq!(*self.book.violations.lock().expect("not poisoned"), Vec::<String>::new());
        self.book.messages.lock().expect("not poisoned").clone()
    }

    /// Waits until it has taken so many, and gives them.
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Vec<Received> {
        eventually(&format!("{count} messages at the site"), || self.messages().len() >= count);
        self.messages()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.book.closing.store(true, Ordering::Relaxed);
        // wakes the listener, which looks at the flag
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(stream: TcpStream, script: &dyn Fn(&str) -> String, book: &Book) -> io::Result<()> {
    stream.set_read_timeout(Some(BOUND))?;
    stream.set_nodelay(true)?;
    let mut output = stream.try_clone()?;
    let mut input = BufReader::new(stream);
    let mut say = |reply: String| {
        if reply.is_empty() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        output.write_all(reply.as_bytes())
    };
    say(script(""))?;
    let (mut reverse_path, mut forward_paths) = (None, Vec::new());
    while let Some(line) = read_line(&mut input, book)? {
        let line = String::from_utf8_lossy(&line).into_owned();
        let reply = script(&line);
        let accepted = reply.starts_with('2');
        if let Some(path) = line.strip_prefix("MAIL FROM:<").filter(|_| accepted) {
            reverse_path = path.split_once('>').map(|(path, _)| path.to_owned());
            forward_paths.clear();
        } else if let Some(path) = line.strip_prefix("RCPT TO:<").filter(|_| accepted) {
            forward_paths.extend(path.split_once('>').map(|(path, _)| path.to_owned()));
        } else if line == "RSET" || line.starts_with("EHLO") {
            (reverse_path, forward_paths) = (None, Vec::new());
        }
        let receives = line == "DATA" && reply.starts_with('3');
        let leaves = line == "QUIT";
        say(reply)?;
        if leaves {
            return Ok(());
        }
        if receives {
            let Some(content) = read_content(&mut input, book)? else { return Ok(()) };
            let reply = script(".");
            if let (true, Some(reverse_path)) = (reply.starts_with('2'), reverse_path.take()) {
                let forward_paths = std::mem::take(&mut forward_paths);
                let message = Received { reverse_path, forward_paths, content };
                book.messages.lock().expect("not poisoned").push(message);
            }
            say(reply)?;
        }
    }
    Ok(())
}

/// A line without its CRLF; `None` at the end of the connection.
fn read_line(input: &mut impl BufRead, book: &Book) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    if input.read_until(b'\n', &mut line)? == 0 || line.last() != Some(&b'\n') {
        return Ok(None);
    }
    line.pop();
    let clean = line.pop() == Some(b'\r') && !line.contains(&b'\r');
    if !clean {
        let what = format!("a bare CR or LF: {:?}", String::from_utf8_lossy(&line));
        book.violations.lock().expect("not poisoned").push(what);
    }
    Ok(Some(line))
}

fn read_content(input: &mut impl BufRead, book: &Book) -> io::Result<Option<Vec<u8>>> {
    let mut content = Vec::new();
    while let Some(line) = read_line(input, book)? {
        if line == b"." {
            return Ok(Some(content));
        }
        content.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        content.extend_from_slice(b"\r\n");
    }
    Ok(None)
}
