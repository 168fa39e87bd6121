//! The handshake, as it should be or as a broken site has it.

use super::Server;
use crate::conversation::TlsVersion;
use crate::wire::Wire;
use behaviour::{Act, Say};
use rustls::{ProtocolVersion, ServerConnection};
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

/// A connection after its handshake.
pub type Shaken = (Wire, TlsVersion);

/// What a site does instead of shaking hands.
pub enum Fault<'a> {
    /// Says nothing at all, not even after it has read.
    Mute,
    /// Says these bytes to the client's first ones.
    Says(&'a [u8]),
    /// Says only this much of its own first flight.
    Cut(usize),
}

impl<'a> Fault<'a> {
    /// What an act at the handshake means; `None`: the handshake goes as it should.
    pub fn of(act: &'a Act) -> Option<Fault<'a>> {
        match (&act.say, act.cut) {
            (Say::Usual, None) => None,
            (Say::Usual, Some(bytes)) => Some(Fault::Cut(bytes)),
            (Say::Raw(bytes), _) => Some(Fault::Says(bytes)),
            (Say::Nothing | Say::Reply(_) | Say::Endless { .. }, _) => Some(Fault::Mute),
        }
    }
}

/// Shakes hands. The caller bounds the time.
///
/// # Errors
/// The client's, or the socket's.
pub async fn accept(stream: TcpStream, server: &Server) -> io::Result<Shaken> {
    let stream = TlsAcceptor::from(Arc::clone(&server.config)).accept(stream).await?;
    let version = match stream.get_ref().1.protocol_version() {
        Some(ProtocolVersion::TLSv1_2) => TlsVersion::V12,
        _ => TlsVersion::V13,
    };
    Ok((Wire::Tls(Box::new(stream)), version))
}

/// Answers the client's first bytes as a broken site does. The caller bounds the time.
///
/// # Errors
/// The client's, or the socket's.
pub async fn fail(stream: &mut TcpStream, server: &Server, fault: &Fault<'_>) -> io::Result<()> {
    let said = match fault {
        Fault::Mute => return Ok(()),
        Fault::Says(bytes) => {
            let mut first = [0; HELLO_BYTES];
            match stream.read(&mut first).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                _ => bytes.to_vec(),
            }
        }
        Fault::Cut(bytes) => {
            let mut flight = first_flight(stream, server).await?;
            flight.truncate(*bytes);
            flight
        }
    };
    stream.write_all(&said).await
}

/// What the server answers to the client's hello.
async fn first_flight(stream: &mut TcpStream, server: &Server) -> io::Result<Vec<u8>> {
    let mut connection = ServerConnection::new(Arc::clone(&server.config)).map_err(io::Error::other)?;
    let mut flight = Vec::new();
    while flight.is_empty() {
        let mut bytes = [0; HELLO_BYTES];
        let length = stream.read(&mut bytes).await?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        connection.read_tls(&mut &bytes[..length])?;
        let understood = connection.process_new_packets();
        while connection.wants_write() {
            connection.write_tls(&mut flight)?;
        }
        understood.map_err(io::Error::other)?;
    }
    Ok(flight)
}

/// A client's hello is seldom longer; one that is takes several reads.
const HELLO_BYTES: usize = 4096;
