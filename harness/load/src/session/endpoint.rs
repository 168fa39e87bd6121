//! Where a server is reached, and whether that is a place that may be loaded.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// The address of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Tcp(SocketAddr),
    /// A UNIX stream socket in the file system.
    Unix(PathBuf),
}

impl Endpoint {
    /// The address as IP knows it; none for a UNIX socket.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Endpoint::Tcp(address) => Some(address.ip().to_canonical()),
            Endpoint::Unix(_) => None,
        }
    }

    /// Whether it is on this host, as its address says.
    pub fn is_local(&self) -> bool {
        self.ip().is_none_or(|ip| ip.is_loopback())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp(address) => address.fmt(f),
            Endpoint::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for Endpoint {
    type Err = String;

    /// Reads `127.0.0.1:2525`, `[::1]:2525`, `localhost:2525` or `unix:/run/lmtp`. No names are looked up.
    fn from_str(text: &str) -> Result<Endpoint, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.is_empty() {
                true => Err("unix: needs the path of a socket, such as unix:/run/lmtp".to_owned()),
                false => Ok(Endpoint::Unix(path.into())),
            };
        }
        let numeric = match text.strip_prefix("localhost:") {
            Some(port) => format!("127.0.0.1:{port}"),
            None => text.to_owned(),
        };
        numeric.parse().map(Endpoint::Tcp).map_err(|_| {
            "not an address and a port, such as 127.0.0.1:2525, nor a socket, such as unix:/run/lmtp"
                .to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_and_knows_what_is_local() {
        for (text, local) in [
            ("127.0.0.1:25", true),
            ("127.9.9.9:25", true),
            ("[::1]:2525", true),
            ("unix:/run/lmtp", true),
            ("192.0.2.1:25", false),
            ("0.0.0.0:25", false),
            ("[2001:db8::1]:25", false),
            ("[::ffff:192.0.2.1]:25", false),
            ("[::ffff:127.0.0.1]:25", true),
        ] {
            let endpoint: Endpoint = text.parse().expect(text);
            assert_eq!((endpoint.to_string().as_str(), endpoint.is_local()), (text, local));
        }
        assert_eq!("localhost:25".parse(), Ok(Endpoint::Tcp("127.0.0.1:25".parse().expect("an address"))));
        for bad in ["", "127.0.0.1", "mail.example.org:25", "unix:", "127.0.0.1:99999"] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
        }
    }
}
