//! Plays the client's side of a dialogue over a real socket. It knows lines, bytes and time, and nothing of SMTP.

use crate::script::{Connection, Heard, Step};
use rustix::net::sockopt::{set_socket_linger, set_socket_send_buffer_size};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, RootCertStore, StreamOwned};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A client's TLS, with what it remembers of earlier handshakes.
pub struct Tls {
    any: Arc<ClientConfig>,
    only_12: Arc<ClientConfig>,
    only_13: Arc<ClientConfig>,
}

pub struct Player<'a> {
    wire: Box<dyn Wire>,
    /// The same socket, for its options.
    socket: TcpStream,
    tls: Option<&'a Tls>,
    /// What came and was not asked for yet.
    buffer: Vec<u8>,
    /// Before this nothing may come: when something was said last, and all delays since.
    due: Instant,
}

trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

/// Plays one connection; an error begins with the line that it happened at.
pub fn play(connection: &Connection, address: SocketAddr, tls: Option<&Tls>) -> Result<(), String> {
    let due = Instant::now();
    let socket = TcpStream::connect(address).map_err(|error| format!("cannot connect: {error}"))?;
    socket.set_nodelay(true).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    let wire = Box::new(socket.try_clone().unwrap());
    let mut player = Player { wire, socket, tls, buffer: Vec::new(), due };
    let mut unsaid: Vec<u8> = Vec::new();
    for (at, (line, step)) in connection.steps.iter().enumerate() {
        let played = match step {
            Step::Say(bytes) => {
                unsaid.extend_from_slice(bytes);
                match connection.steps.get(at + 1) {
                    Some((_, Step::Say(_))) => continue,
                    _ => player.say(&std::mem::take(&mut unsaid), connection.byte_by_byte),
                }
            }
            Step::Hear(least, heard) => player.hear(heard).and_then(|()| player.waited(*least)),
            Step::Silence(time) => player.silence(*time),
            Step::Pause(time) => {
                std::thread::sleep(*time);
                Ok(())
            }
            Step::Leave => return Ok(()),
            Step::Abort => {
                return set_socket_linger(&player.socket, Some(Duration::ZERO))
                    .map_err(|error| error.to_string());
            }
            Step::Stuck(bytes) => player.stuck(*bytes),
        };
        played.map_err(|error| format!("line {line}: {error}"))?;
    }
    match player.buffer.is_empty() {
        true => Ok(()),
        false => Err(format!("nobody asked for {:?}", show(&player.buffer))),
    }
}

impl Player<'_> {
    fn say(&mut self, bytes: &[u8], byte_by_byte: bool) -> Result<(), String> {
        let pieces = if byte_by_byte { 1 } else { bytes.len().max(1) };
        self.due = Instant::now();
        let said = bytes.chunks(pieces).try_for_each(|piece| self.wire.write_all(piece));
        said.and_then(|()| self.wire.flush()).map_err(|error| format!("cannot write: {error}"))
    }

    fn hear(&mut self, heard: &Heard) -> Result<(), String> {
        match heard {
            Heard::Line(wanted) => self.reply(wanted),
            Heard::Bytes(wanted) => {
                while self.buffer.len() < wanted.len() && self.read(PATIENCE).map_err(ended)? > 0 {}
                match self.buffer.starts_with(wanted) {
                    true => drop(self.buffer.drain(..wanted.len())),
                    false => return Err(format!("wanted {:?}, got {:?}", show(wanted), show(&self.buffer))),
                }
                Ok(())
            }
            Heard::End => self.end(|end| matches!(end, Ok(0)), "an orderly end"),
            Heard::Cut => self.end(
                |end| matches!(end, Err(error) if error.kind() == ErrorKind::UnexpectedEof),
                "an end without close_notify",
            ),
            Heard::Tls { only, outcome, patience } => self.shake_hands(only.as_deref(), outcome, *patience),
            Heard::Reset => self.end(
                |end| matches!(end, Err(error) if error.kind() == ErrorKind::ConnectionReset),
                "a reset",
            ),
        }
    }

    fn reply(&mut self, wanted: &[String]) -> Result<(), String> {
        let line = self.line()?;
        let Some(found) = wanted.iter().find(|text| line.starts_with(text.as_bytes())) else {
            return Err(format!("wanted {:?}, got {:?}", wanted.join(" or "), show(&line)));
        };
        if !line.ends_with(b"\r\n") {
            return Err(format!("the line has no CR LF: {:?}", show(&line)));
        }
        let mut last = line;
        while found.len() == CODE && last.get(CODE) == Some(&b'-') {
            last = self.line()?;
            if !last.starts_with(found.as_bytes()) {
                return Err(format!("wanted another line of {found}, got {:?}", show(&last)));
            }
        }
        Ok(())
    }

    /// With its LF, if it came to that.
    fn line(&mut self) -> Result<Vec<u8>, String> {
        loop {
            if let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
                return Ok(self.buffer.drain(..=end).collect());
            }
            if self.read(PATIENCE).map_err(ended)? == 0 {
                return Err(format!("wanted a line, got {:?} and the end", show(&self.buffer)));
            }
        }
    }

    fn end(&mut self, is_wanted: fn(&io::Result<usize>) -> bool, name: &str) -> Result<(), String> {
        let end = self.read(PATIENCE);
        match is_wanted(&end) && self.buffer.is_empty() {
            true => Ok(()),
            false => Err(format!("wanted {name}, got {:?} and {end:?}", show(&self.buffer))),
        }
    }

    fn silence(&mut self, time: Duration) -> Result<(), String> {
        match self.read(time) {
            Err(error) if is_timeout(&error) && self.buffer.is_empty() => Ok(()),
            end => Err(format!("wanted silence, got {:?} and {end:?}", show(&self.buffer))),
        }
    }

    fn waited(&mut self, least: Duration) -> Result<(), String> {
        self.due += least;
        let now = Instant::now();
        let late = now.saturating_duration_since(self.due);
        if now < self.due {
            Err(format!("it came {:?} too early", self.due - now))
        } else if !least.is_zero() && late > LATE {
            Err(format!("it came {late:?} too late"))
        } else {
            Ok(())
        }
    }

    fn stuck(&mut self, most_bytes: u64) -> Result<(), String> {
        // What the client's own kernel holds back counts too, so it may not be much.
        set_socket_send_buffer_size(&self.socket, 4096).unwrap();
        self.socket.set_write_timeout(Some(STUCK)).unwrap();
        let mut taken_bytes = 0;
        while taken_bytes <= most_bytes {
            match self.wire.write(&[b'x'; 1024]) {
                Ok(bytes) => taken_bytes += bytes as u64,
                Err(error) if is_timeout(&error) => return Ok(()),
                Err(error) => return Err(format!("wanted to be stuck, got {error}")),
            }
        }
        Err(format!("{taken_bytes} bytes are gone and it takes more"))
    }

    fn shake_hands(
        &mut self,
        only: Option<&str>,
        wanted: &str,
        patience: Option<Duration>,
    ) -> Result<(), String> {
        let tls = self.tls.ok_or("the site has no TLS")?;
        let config = match only {
            None => &tls.any,
            Some("1.2") => &tls.only_12,
            Some("1.3") => &tls.only_13,
            Some(other) => return Err(format!("there is no TLS {other} here")),
        };
        self.socket.set_read_timeout(Some(patience.unwrap_or(PATIENCE))).unwrap();
        let name = ServerName::try_from("sink.test").unwrap();
        let client = ClientConnection::new(Arc::clone(config), name).unwrap();
        let mut stream = StreamOwned::new(client, self.socket.try_clone().unwrap());
        let done = stream.conn.complete_io(&mut stream.sock);
        let outcome = match done {
            Ok(_) if stream.conn.is_handshaking() => "stalled".to_owned(),
            Ok(_) => {
                let version = match stream.conn.protocol_version() {
                    Some(ProtocolVersion::TLSv1_2) => "1.2",
                    _ => "1.3",
                };
                let resumed = stream.conn.handshake_kind() == Some(HandshakeKind::Resumed);
                format!("ok {version} {}", if resumed { "resumed" } else { "full" })
            }
            Err(error) => failure(&error),
        };
        self.wire = Box::new(stream);
        match outcome.starts_with(wanted) && self.buffer.is_empty() {
            true => Ok(()),
            false => Err(format!("wanted {wanted}, got {outcome} after {:?}", show(&self.buffer))),
        }
    }

    /// Takes what there is; 0 at the end.
    fn read(&mut self, patience: Duration) -> io::Result<usize> {
        self.socket.set_read_timeout(Some(patience))?;
        let mut piece = [0; 16 * 1024];
        let bytes = self.wire.read(&mut piece)?;
        self.buffer.extend_from_slice(&piece[..bytes]);
        Ok(bytes)
    }
}

impl Tls {
    /// Trusts the certificates of these PEM texts.
    pub fn trusting(texts: &[String]) -> Tls {
        let mut roots = RootCertStore::empty();
        for text in texts {
            roots.add(CertificateDer::from_pem_slice(text.as_bytes()).unwrap()).unwrap();
        }
        let config = |versions: &[&'static rustls::SupportedProtocolVersion]| {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let builder =
                ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
            Arc::new(builder.with_root_certificates(roots.clone()).with_no_client_auth())
        };
        Tls { any: config(&[&TLS12, &TLS13]), only_12: config(&[&TLS12]), only_13: config(&[&TLS13]) }
    }
}

/// In the words of dialogue files.
fn failure(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::AlertReceived(alert)) => format!("alert {alert:?}"),
        Some(rustls::Error::InvalidCertificate(reason)) => format!("certificate {reason:?}"),
        Some(other) => format!("{other:?}"),
        None if is_timeout(error) => "stalled".to_owned(),
        None if error.kind() == ErrorKind::UnexpectedEof => "cut".to_owned(),
        None if error.kind() == ErrorKind::ConnectionReset => "reset".to_owned(),
        None => error.to_string(),
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn ended(error: io::Error) -> String {
    match is_timeout(&error) {
        true => format!("nothing came for {PATIENCE:?}"),
        false => error.to_string(),
    }
}

/// The beginning of what came.
fn show(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(200)].escape_ascii().to_string()
}

/// Digits of a reply code.
const CODE: usize = 3;
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);
/// A busy machine may be this late.
const LATE: Duration = Duration::from_millis(1500);
/// Nothing can be written for so long.
const STUCK: Duration = Duration::from_millis(80);
