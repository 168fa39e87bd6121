//! Certificates that are made at the start: good ones, and bad ones of every kind that clients should find out.

use super::identity::Identity;
use behaviour::offer::Certificate;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

/// Signs the sites' certificates.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// # Errors
    /// No key can be made.
    pub fn new() -> Result<Authority, String> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "mailrig sink authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(|error| error.to_string())?;
        let issuer = CertifiedIssuer::self_signed(params, key).map_err(|error| error.to_string())?;
        Ok(Authority { issuer })
    }

    /// Its own certificate, for clients to trust.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate of this kind for `name`, with its chain and key.
    ///
    /// # Errors
    /// A name that no certificate can have, or a text that holds no certificate or key.
    pub fn certificate(&self, kind: &Certificate, name: &str) -> Result<Identity, String> {
        let for_name = match kind {
            Certificate::Own { chain, key } => return Identity::own(chain, key),
            Certificate::WrongName => WRONG_NAME,
            Certificate::Generated | Certificate::Expired | Certificate::SelfSigned => name,
        };
        let mut params = CertificateParams::new([for_name.to_owned()]).map_err(|error| error.to_string())?;
        params.distinguished_name.push(DnType::CommonName, for_name);
        // RFC 5280 §4.2.1.1: only what signs itself may leave it out
        params.use_authority_key_identifier_extension = *kind != Certificate::SelfSigned;
        if *kind == Certificate::Expired {
            params.not_before = date_time_ymd(2001, 1, 1);
            params.not_after = date_time_ymd(2002, 1, 1);
        }
        let key = KeyPair::generate().map_err(|error| error.to_string())?;
        let certificate = match kind {
            Certificate::SelfSigned => params.self_signed(&key),
            _ => params.signed_by(&key, &self.issuer),
        };
        let certificate = certificate.map_err(|error| error.to_string())?;
        Ok(Identity::of_pem(certificate.pem(), key.serialize_pem()))
    }
}

/// RFC 6761 §6.4: a name that is never anybody's.
const WRONG_NAME: &str = "somebody-else.invalid";
