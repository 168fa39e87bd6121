//! What sites show of themselves in handshakes: made or read once, by the only process of a sink or by the parent of
//! shards, so that all of them show the same.

use super::authority::Authority;
use super::wrong;
use crate::error::Error;
use behaviour::Sites;
use behaviour::offer::{Pem, Tls};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// The identities of all sites, by place; as JSON on the way to a shard.
#[derive(Serialize, Deserialize)]
pub struct Identities {
    /// PEM.
    authority: Option<String>,
    sites: Vec<Option<Identity>>,
}

/// A certificate with its chain, and its key, in PEM.
#[derive(Serialize, Deserialize)]
pub struct Identity {
    chain: String,
    key: String,
}

impl Identities {
    /// Makes or reads those of all sites that have TLS. What is signed is signed by one authority.
    ///
    /// # Errors
    /// A text that holds no certificate or key, or a name that no certificate can have.
    pub fn make(sites: &Sites) -> Result<Identities, Error> {
        let mut authority = None;
        let made = sites.iter().map(|site| {
            let Some(tls) = &site.offer.tls else { return Ok(None) };
            identity(tls, &site.offer.smtp.name, &mut authority)
                .map(Some)
                .map_err(|reason| wrong(&site.name, reason))
        });
        let sites = made.collect::<Result<_, Error>>()?;
        Ok(Identities { authority: authority.map(|authority| authority.pem()), sites })
    }

    /// Writes the authority's certificate to `file`, for clients to trust, if both are there.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn publish(&self, file: Option<&Path>) -> Result<(), Error> {
        match (file, &self.authority) {
            (Some(path), Some(pem)) => {
                fs::write(path, pem).map_err(|source| Error::File { path: path.to_owned(), source })
            }
            _ => Ok(()),
        }
    }

    /// That of the site at this place; `None` for a site without TLS.
    pub fn of(&self, place: usize) -> Option<&Identity> {
        self.sites.get(place)?.as_ref()
    }
}

fn identity(tls: &Tls, name: &str, authority: &mut Option<Authority>) -> Result<Identity, String> {
    let authority = match authority {
        Some(authority) => authority,
        none => none.insert(Authority::new()?),
    };
    authority.certificate(&tls.certificate, name)
}

impl Identity {
    pub fn of_pem(chain: String, key: String) -> Identity {
        Identity { chain, key }
    }

    /// What a site brings of its own.
    ///
    /// # Errors
    /// A text that holds no certificate or key; its file is named.
    pub fn own(chain: &Pem, key: &Pem) -> Result<Identity, String> {
        let identity = Identity { chain: chain.text.clone(), key: key.text.clone() };
        identity.certificates().map_err(|reason| format!("{}: {reason}", chain.file))?;
        identity.private_key().map_err(|reason| format!("{}: {reason}", key.file))?;
        Ok(identity)
    }

    /// As handshakes need it.
    ///
    /// # Errors
    /// What is no certificate or key.
    pub fn read(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
        Ok((self.certificates()?, self.private_key()?))
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        let certificates = CertificateDer::pem_slice_iter(self.chain.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| error.to_string())?;
        match certificates.is_empty() {
            true => Err("no certificate in it".to_owned()),
            false => Ok(certificates),
        }
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>, String> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map_err(|error| error.to_string())
    }
}
