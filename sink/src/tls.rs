//! TLS of the sites: their certificates, and handshakes that go well or badly on purpose.

mod authority;
mod handshake;

pub use handshake::{Fault, accept, fail};

use crate::error::Error;
use authority::Authority;
use behaviour::Sites;
use behaviour::offer::{Tls, TlsVersions};
use rustls::SupportedProtocolVersion;
use rustls::server::{NoServerSessionStorage, ServerConfig};
use rustls::version::{TLS12, TLS13};
use std::path::Path;
use std::sync::Arc;

/// The TLS of each site, by its place; `None` for a site without.
pub type Servers = Box<[Option<Arc<Server>>]>;

/// One site's TLS, ready for handshakes.
pub struct Server {
    pub config: Arc<ServerConfig>,
    pub close_notify: bool,
}

/// Makes certificates for all sites that have TLS. Those that are signed have one authority, whose certificate is
/// written to `authority_file`, so that clients can be told to trust it.
///
/// # Errors
/// A file that can't be read or written, or holds no certificate or key that goes with it.
pub fn servers(sites: &Sites, authority_file: Option<&Path>) -> Result<Servers, Error> {
    let mut authority = None;
    let made: Result<Vec<_>, Error> = sites
        .iter()
        .map(|site| match &site.offer.tls {
            None => Ok(None),
            Some(tls) => {
                if authority.is_none() {
                    authority = Some(Authority::new().map_err(|reason| wrong(&site.name, reason))?);
                }
                let authority = authority.as_ref().expect("made above");
                server(tls, &site.offer.smtp.name, authority)
                    .map(Some)
                    .map_err(|reason| wrong(&site.name, reason))
            }
        })
        .collect();
    if let (Some(path), Some(authority)) = (authority_file, &authority) {
        std::fs::write(path, authority.pem())
            .map_err(|source| Error::File { path: path.to_owned(), source })?;
    }
    made.map(Vec::into_boxed_slice)
}

fn server(tls: &Tls, name: &str, authority: &Authority) -> Result<Arc<Server>, String> {
    let (chain, key) = authority.certificate(&tls.certificate, name)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions(tls.versions))
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| error.to_string())?;
    let config = resumption(config, tls.tickets)?;
    Ok(Arc::new(Server { config: Arc::new(config), close_notify: tls.close_notify }))
}

/// Resumption by tickets or not at all: the sink keeps nothing for each client that was here.
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
