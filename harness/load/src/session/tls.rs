//! TLS for a run's sessions: when, and whom to trust.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::path::PathBuf;
use std::sync::Arc;

/// When a session is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    #[default]
    Never,
    /// After STARTTLS, RFC 3207; a server without it is not loaded.
    StartTls,
    /// From the first byte, RFC 8314 §3.3.
    Implicit,
}

/// How sessions are encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub mode: Mode,
    /// Certificates (PEM) of which one must have signed the server's; none: any certificate will do.
    pub authorities: Option<PathBuf>,
    /// The server's name in its certificate; none: the address.
    pub name: Option<String>,
    /// Take up earlier sessions where the server offers it.
    pub resumption: bool,
}

/// Makes the TLS side of connections.
pub struct Connector {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Connector {
    /// None where nothing is encrypted. `address` names the server that has no other name.
    ///
    /// # Errors
    /// A file without certificates or a name that is none, with the option to blame.
    pub fn new(options: &Options, address: &str) -> Result<Option<Connector>, (&'static str, String)> {
        if options.mode == Mode::Never {
            return Ok(None);
        }
        let name = options.name.as_deref().unwrap_or(address);
        let name = ServerName::try_from(name.to_owned())
            .map_err(|error| ("--tls-name", format!("{name:?}: {error}")))?;
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| ("--tls", error.to_string()))?;
        let verifier: Arc<dyn ServerCertVerifier> = match &options.authorities {
            None => Arc::new(AnyCertificate(provider)),
            Some(path) => {
                let bad = |problem: String| ("--tls-verify", format!("{}: {problem}", path.display()));
                let mut roots = RootCertStore::empty();
                let certificates =
                    CertificateDer::pem_file_iter(path).map_err(|error| bad(error.to_string()))?;
                for certificate in certificates {
                    let certificate = certificate.map_err(|error| bad(error.to_string()))?;
                    roots.add(certificate).map_err(|error| bad(error.to_string()))?;
                }
                let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.build().map_err(|error| bad(error.to_string()))?
            }
        };
        let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
        if !options.resumption {
            config.resumption = Resumption::disabled();
        }
        Ok(Some(Connector { config: Arc::new(config), name }))
    }

    /// The client's side of one connection; it has its first message to send.
    pub fn connect(&self) -> Result<ClientConnection, String> {
        let mut connection = ClientConnection::new(self.config.clone(), self.name.clone())
            .map_err(|error| error.to_string())?;
        // What is given to it is sealed and taken away at once.
        connection.set_buffer_limit(None);
        Ok(connection)
    }
}

/// Whoever the server is: its key must only be the one of the certificate that it shows.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
