//! An SMTP client of the tests' own: literal command lines, and what came back.

use super::patience::BOUND;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    pub code: u16,
    /// All lines, without the code, with LF between them.
    pub text: String,
}

impl Reply {
    /// Checks the code, and the text's beginning (an enhanced status code, say).
    #[track_caller]
    pub fn expect(self, code: u16, text: &str) -> Reply {
        assert!(self.code == code && self.text.starts_with(text), "wanted {code} {text}, got {self:?}");
        self
    }
}

pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects and reads nothing.
    pub fn open(address: SocketAddr) -> io::Result<Client> {
        let stream = TcpStream::connect_timeout(&address, BOUND)?;
        stream.set_read_timeout(Some(BOUND))?;
        stream.set_write_timeout(Some(BOUND))?;
        stream.set_nodelay(true)?;
        Ok(Client { stream: BufReader::new(stream) })
    }

    /// Connects and says EHLO.
    pub fn connect(address: SocketAddr) -> io::Result<Client> {
        let mut client = Client::open(address)?;
        positive(client.reply()?, 220)?;
        positive(client.command("EHLO client.test")?, 250)?;
        Ok(client)
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    pub fn command(&mut self, line: &str) -> io::Result<Reply> {
        self.write(format!("{line}\r\n").as_bytes())?;
        self.reply()
    }

    pub fn reply(&mut self) -> io::Result<Reply> {
        let wrong = |line: &str| io::Error::other(format!("no reply line: {line:?}"));
        let (mut code, mut text) = (None, String::new());
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let full = line.strip_suffix("\r\n").ok_or_else(|| wrong(&line))?;
            let number: u16 = full.get(..3).and_then(|code| code.parse().ok()).ok_or_else(|| wrong(&line))?;
            if *code.get_or_insert(number) != number {
                return Err(wrong(&line));
            }
            text.push_str(full.get(4..).unwrap_or(""));
            match full.as_bytes().get(3) {
                Some(b'-') => text.push('\n'),
                None | Some(b' ') => return Ok(Reply { code: number, text }),
                Some(_) => return Err(wrong(&line)),
            }
        }
    }

    /// MAIL, a RCPT for each recipient, and DATA up to the 354.
    pub fn begin(&mut self, from: &str, to: &[&str]) -> io::Result<()> {
        positive(self.command(&format!("MAIL FROM:<{from}>"))?, 250)?;
        for recipient in to {
            positive(self.command(&format!("RCPT TO:<{recipient}>"))?, 250)?;
        }
        positive(self.command("DATA")?, 354)?;
        Ok(())
    }

    /// One transaction; the reply is the one to the final dot. `content` ends with CRLF or is empty.
    pub fn send(&mut self, from: &str, to: &[&str], content: &[u8]) -> io::Result<Reply> {
        self.begin(from, to)?;
        self.write(&stuffed(content))?;
        self.reply()
    }

    /// As [`Client::send`], for what must be accepted; gives the queue id.
    pub fn deliver(&mut self, from: &str, to: &[&str], content: &[u8]) -> String {
        let reply = self.send(from, to, content).expect("a transaction").expect(250, "2.0.0 queued as ");
        reply.text["2.0.0 queued as ".len()..].to_owned()
    }
}

fn positive(reply: Reply, code: u16) -> io::Result<Reply> {
    if reply.code == code { Ok(reply) } else { Err(io::Error::other(format!("wanted {code}: {reply:?}"))) }
}

/// The content as it goes over the wire (RFC 5321 §4.5.2), with the end of data.
pub fn stuffed(content: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(content.len() + 16);
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        if line[0] == b'.' {
            wire.push(b'.');
        }
        wire.extend_from_slice(line);
    }
    wire.extend_from_slice(b".\r\n");
    wire
}
