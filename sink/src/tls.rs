//! TLS of the sites: their certificates, and handshakes that go well or badly on purpose.

mod authority;
mod handshake;
mod identity;

pub use handshake::{Fault, accept, fail};
pub use identity::Identities;

use crate::error::Error;
use behaviour::Sites;
use behaviour::offer::{Tls, TlsVersions};
use identity::Identity;
use rustls::SupportedProtocolVersion;
use rustls::server::{NoServerSessionStorage, ServerConfig};
use rustls::version::{TLS12, TLS13};
use std::sync::Arc;

/// The TLS of each site, by its place; `None` for a site without.
pub type Servers = Box<[Option<Arc<Server>>]>;

/// One site's TLS, ready for handshakes.
pub struct Server {
    pub config: Arc<ServerConfig>,
    pub close_notify: bool,
}

/// Makes all sites that have TLS ready, with what they show of themselves.
///
/// # Errors
/// A certificate that is none, or a key that does not go with it.
pub fn servers(sites: &Sites, identities: &Identities) -> Result<Servers, Error> {
    let made = sites.iter().enumerate().map(|(place, site)| match (&site.offer.tls, identities.of(place)) {
        (Some(tls), Some(identity)) => {
            server(tls, identity).map(Some).map_err(|reason| wrong(&site.name, reason))
        }
        _ => Ok(None),
    });
    made.collect()
}

fn server(tls: &Tls, identity: &Identity) -> Result<Arc<Server>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let (chain, key) = identity.read()?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions(tls.versions))
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| error.to_string())?;
    let config = resumption(config, tls.tickets)?;
    Ok(Arc::new(Server { config: Arc::new(config), close_notify: tls.close_notify }))
}

/// Resumption by tickets or not at all: the sink keeps nothing for each client that was here. Each process has a
/// secret of its own for its tickets, so a client that resumes at another shard gets a full handshake.
fn resumption(mut config: ServerConfig, tickets: bool) -> Result<ServerConfig, String> {
    config.session_storage = Arc::new(NoServerSessionStorage {});
    if tickets {
        config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(|error| error.to_string())?;
    } else {
        config.send_tls13_tickets = 0;
    }
    Ok(config)
}

fn versions(versions: TlsVersions) -> &'static [&'static SupportedProtocolVersion] {
    static BOTH: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];
    match versions {
        TlsVersions::Both => &BOTH,
        TlsVersions::Only12 => &BOTH[..1],
        TlsVersions::Only13 => &BOTH[1..],
    }
}

fn wrong(site: &str, reason: String) -> Error {
    Error::Tls { site: site.to_owned(), reason }
}
