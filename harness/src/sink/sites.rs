//! The sites that a command line asks for: from a file, or from the flags for the simple ones.

use super::Args;
use behaviour::offer::{Offer, Tls, TlsMode as OfferMode};
use behaviour::{DelayRule, ReplyRule, Rule, Site, SiteFile, Sites};
use clap::ValueEnum;
use smtp::Protocol;
use smtp::server::{Mechanisms, Options};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

/// One `--listen`: an address, or all from one to another.
#[derive(Debug, Clone)]
pub struct Listen(pub Vec<SocketAddr>);

/// What is wrong with a command line or a site file, and what to do.
pub struct Problem {
    pub message: String,
    pub hint: Option<String>,
}

/// What EHLO lists unless it is told not to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Extension {
    Pipelining,
    Size,
    #[value(name = "8bitmime")]
    EightBitMime,
    Enhancedstatuscodes,
    Smtputf8,
    Chunking,
    Dsn,
    Requiretls,
}

/// When TLS begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TlsMode {
    /// After STARTTLS
    Starttls,
    /// From the first byte
    Implicit,
}

/// The sites of a file, and the addresses that they name.
pub fn from_file(path: &Path, seed: Option<u64>) -> Result<(Sites, Vec<SocketAddr>), Problem> {
    let text = settings::read_text(path).map_err(Problem::from)?;
    let beside = path.parent().unwrap_or(Path::new("."));
    let read = |name: &str| settings::read_text(&beside.join(name)).map_err(|error| error.to_string());
    let file = SiteFile::parse(&text, &path.display().to_string(), &read).map_err(Problem::from)?;
    let mut listen: Vec<SocketAddr> =
        file.sites.iter().flat_map(|site| site.listen.iter().copied()).collect();
    listen.sort_unstable();
    listen.dedup();
    let sites = Sites::new(seed.or(file.seed).unwrap_or(0), file.sites).map_err(Problem::from)?;
    Ok((sites, listen))
}

/// The one site that the flags describe.
pub fn from_flags(args: &Args) -> Result<Sites, Problem> {
    let read = |name: &str| settings::read_text(Path::new(name)).map_err(|error| error.to_string());
    let delays = args.delay.iter().map(|text| DelayRule::parse(text, &read).map(Rule::from));
    let replies = args.reply.iter().map(|text| ReplyRule::parse(text).map(Rule::from));
    let rules = delays.chain(replies).collect::<Result<Vec<Rule>, String>>()?;
    let mut site = Site::new("sink", &rules).map_err(|error| error.message)?;
    site.offer = offer(args);
    Ok(Sites::one(args.seed.unwrap_or(0), site))
}

fn offer(args: &Args) -> Offer {
    let default = Offer::default();
    let mut smtp = Options::clone(&default.smtp);
    if args.lmtp {
        smtp.protocol = Protocol::Lmtp;
    }
    let listed = &mut smtp.extensions;
    for extension in &args.without {
        match extension {
            Extension::Pipelining => listed.pipelining = false,
            Extension::Size => listed.size = false,
            Extension::EightBitMime => listed.eight_bit_mime = false,
            Extension::Enhancedstatuscodes => listed.enhanced_status_codes = false,
            Extension::Smtputf8 => listed.smtp_utf8 = false,
            Extension::Chunking => listed.chunking = false,
            Extension::Dsn => listed.dsn = false,
            Extension::Requiretls => listed.require_tls = false,
        }
    }
    if args.auth {
        listed.auth = Mechanisms { plain: true, login: true };
    }
    listed.start_tls = args.tls == Some(TlsMode::Starttls);
    let tls = args.tls.map(|mode| {
        let mode = match mode {
            TlsMode::Starttls => OfferMode::StartTls,
            TlsMode::Implicit => OfferMode::Implicit,
        };
        Tls { mode, ..Tls::default() }
    });
    Offer { smtp: Arc::new(smtp), tls, ..default }
}

/// Reads `127.0.0.1:2525` or `127.0.0.1-127.0.0.9:2525`.
pub fn parse_listen(text: &str) -> Result<Listen, String> {
    let wrong = || format!("`{text}` is not ADDR:PORT, such as 127.0.0.1:2525, nor FIRST-LAST:PORT");
    let Some((first, rest)) = text.split_once('-') else {
        return text.parse().map(|address| Listen(vec![address])).map_err(|_| wrong());
    };
    let first: Ipv4Addr = first.parse().map_err(|_| wrong())?;
    let last: SocketAddr = rest.parse().map_err(|_| wrong())?;
    let IpAddr::V4(last_address) = last.ip() else { return Err(wrong()) };
    let (from, to) = (first.to_bits(), last_address.to_bits());
    match to.checked_sub(from) {
        Some(more) if more < ADDRESSES_MAX => {
            Ok(Listen((from..=to).map(|bits| (Ipv4Addr::from_bits(bits), last.port()).into()).collect()))
        }
        _ => Err(format!("`{text}`: from 1 to {ADDRESSES_MAX} addresses, the lower one first")),
    }
}

impl From<settings::Error> for Problem {
    fn from(error: settings::Error) -> Problem {
        Problem { message: error.to_string(), hint: error.hint().map(str::to_owned) }
    }
}

impl From<String> for Problem {
    fn from(message: String) -> Problem {
        Problem { message, hint: None }
    }
}

/// A listening socket each: enough for a million connections from one client's address.
const ADDRESSES_MAX: u32 = 1024;
