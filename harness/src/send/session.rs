//! The options that say how sessions are held.

use load::session::source::Addresses;
use load::session::tls::{self, Mode};
use load::session::{Credentials, HELLO, Options, Protocol};
use std::path::PathBuf;
use std::time::Duration;

#[derive(clap::Args)]
#[command(next_help_heading = "How sessions are held")]
#[group(skip)]
pub struct Args {
    /// Say QUIT and connect again after this many messages (0: never)
    #[arg(long, value_name = "K", default_value_t = 0)]
    messages_per_connection: u64,
    /// Send commands in groups where the server offers it
    #[arg(long, value_name = "on|off", value_enum, default_value_t = Switch::On)]
    pipelining: Switch,
    /// Send messages by BDAT where the server offers CHUNKING
    #[arg(long)]
    bdat: bool,
    /// Speak LMTP
    #[arg(long)]
    lmtp: bool,
    /// Our name, the argument of EHLO
    #[arg(long, value_name = "NAME", default_value = HELLO)]
    hello: String,
    /// Encrypt each session by STARTTLS
    #[arg(long)]
    starttls: bool,
    /// Encrypt each session from its first byte
    #[arg(long, conflicts_with = "starttls")]
    tls: bool,
    /// Trust any certificate, or those signed by one of this file (PEM)
    #[arg(long, value_name = "none|ca=FILE", default_value = "none", value_parser = parse_verify)]
    tls_verify: Verify,
    /// Name that the server's certificate must have [default: its address]
    #[arg(long, value_name = "NAME")]
    tls_name: Option<String>,
    /// Take up earlier TLS sessions where the server offers it
    #[arg(long, value_name = "on|off", value_enum, default_value_t = Switch::On)]
    tls_resumption: Switch,
    /// Log in by AUTH (PLAIN, else LOGIN); everybody on this host can read command lines
    #[arg(long, value_name = "USER:PASSWORD", conflicts_with = "auth_file")]
    auth: Option<String>,
    /// The same from the first line of a file
    #[arg(long, value_name = "FILE")]
    auth_file: Option<PathBuf>,
    /// Connect from these addresses in turn, such as 127.0.0.2-127.0.0.9
    #[arg(long, value_name = "ADDRESS[-ADDRESS]")]
    source: Option<Addresses>,
    /// How long to wait for a connection and for each reply, such as 10s [default: as RFC 5321 says, minutes]
    #[arg(long, value_name = "TIME", value_parser = super::parse_time)]
    timeout: Option<Duration>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Switch {
    On,
    Off,
}

#[derive(Clone)]
enum Verify {
    Nothing,
    Authorities(PathBuf),
}

impl Args {
    /// # Errors
    /// A file with a password that can't be read, or has none.
    pub fn options(&self) -> Result<Options, String> {
        let mode = match (self.tls, self.starttls) {
            (true, _) => Mode::Implicit,
            (false, true) => Mode::StartTls,
            (false, false) => Mode::Never,
        };
        Ok(Options {
            hello: self.hello.clone(),
            protocol: if self.lmtp { Protocol::Lmtp } else { Protocol::Smtp },
            messages_per_connection: Some(self.messages_per_connection).filter(|&limit| limit > 0),
            pipelining: self.pipelining == Switch::On,
            chunking: self.bdat,
            tls: tls::Options {
                mode,
                authorities: match &self.tls_verify {
                    Verify::Nothing => None,
                    Verify::Authorities(path) => Some(path.clone()),
                },
                name: self.tls_name.clone(),
                resumption: self.tls_resumption == Switch::On,
            },
            auth: self.credentials()?,
            sources: self.source,
            timeout: self.timeout,
        })
    }

    fn credentials(&self) -> Result<Option<Credentials>, String> {
        let (text, place) = match (&self.auth, &self.auth_file) {
            (Some(text), _) => (text.clone(), "--auth".to_owned()),
            (None, Some(path)) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| format!("reading {}: {error}", path.display()))?;
                (text.lines().next().unwrap_or("").to_owned(), path.display().to_string())
            }
            (None, None) => return Ok(None),
        };
        match text.split_once(':') {
            Some((user, password)) if !user.is_empty() && !text.contains('\0') => {
                Ok(Some(Credentials { user: user.to_owned(), password: password.to_owned() }))
            }
            _ => Err(format!("{place}: write the user, a colon and the password")),
        }
    }
}

fn parse_verify(text: &str) -> Result<Verify, String> {
    match text.strip_prefix("ca=") {
        Some(path) if !path.is_empty() => Ok(Verify::Authorities(path.into())),
        _ if text == "none" => Ok(Verify::Nothing),
        _ => Err("write none, or ca= and a file of certificates (PEM)".to_owned()),
    }
}
