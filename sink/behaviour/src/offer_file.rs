//! The part of a site file that says what a site is: name, extensions, limits, users, TLS.

use crate::delay::ReadFile;
use crate::file::{Wrong, at};
use crate::offer::{Certificate, Offer, Pem, Tls, TlsMode, TlsVersions};
use crate::raw;
use crate::refusal;
use smtp::server::{AdvertisedLimits, Extensions, Mechanisms, Options};
use smtp::{Protocol, Stage};
use std::sync::Arc;

/// What `raw` offers; `read` reads its certificates.
///
/// # Errors
/// A key and what is wrong with it.
pub fn offer(raw: &raw::Site, read: ReadFile<'_>) -> Result<Offer, Wrong> {
    let default = Offer::default();
    let mut smtp = Options::clone(&default.smtp);
    let nothing = raw::Extensions::default();
    let given = raw.extensions.as_ref().unwrap_or(&nothing);
    if let Some(name) = &raw.hostname {
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(at("hostname")(format!("`{}` is not a host name", name.escape_debug())));
        }
        smtp.name.clone_from(name);
    }
    smtp.limits.max_message_bytes = raw.max_message_size;
    smtp.limits.max_recipients = raw.max_recipients.unwrap_or(smtp.limits.max_recipients);
    smtp.limits.max_errors = raw.max_errors.unwrap_or(smtp.limits.max_errors);
    smtp.extensions = extensions(raw, given, smtp.extensions)?;
    smtp.protocol = match raw.protocol {
        None | Some(raw::Protocol::Smtp) => Protocol::Smtp,
        Some(raw::Protocol::Lmtp) => Protocol::Lmtp,
    };
    smtp.extra_keywords.clone_from(&given.keywords);
    let chunk_bytes = raw.chunk.map(|bytes| bytes as usize);
    if chunk_bytes == Some(0) {
        return Err(at("chunk")(
            "nothing would ever be read; write then = \"stall\" at a stage for that".to_owned(),
        ));
    }
    let trap = raw
        .trap
        .as_deref()
        .map(|text| refusal::parse(Stage::Banner, text))
        .transpose()
        .map_err(at("trap"))?;
    Ok(Offer {
        smtp: Arc::new(smtp),
        ehlo: given.ehlo.unwrap_or(default.ehlo),
        users: raw.users.clone().into_iter().collect(),
        tls: raw.tls.as_ref().map(|raw| tls(raw, read)).transpose()?,
        window_bytes: raw.window.map(|bytes| bytes as usize),
        chunk_bytes,
        trap: trap.map(Arc::new),
    })
}

fn extensions(raw: &raw::Site, given: &raw::Extensions, default: Extensions) -> Result<Extensions, Wrong> {
    let auth = match &given.auth {
        None if raw.users.is_empty() => Mechanisms::default(),
        None => Mechanisms { plain: true, login: true },
        Some(names) if names.is_empty() && !raw.users.is_empty() => {
            return Err(at("users")("they are for AUTH, and extensions.auth offers none".to_owned()));
        }
        Some(names) => mechanisms(names).map_err(at("extensions.auth"))?,
    };
    Ok(Extensions {
        pipelining: given.pipelining.unwrap_or(default.pipelining),
        size: given.size.unwrap_or(default.size),
        eight_bit_mime: given.eight_bit_mime.unwrap_or(default.eight_bit_mime),
        enhanced_status_codes: given.enhancedstatuscodes.unwrap_or(default.enhanced_status_codes),
        smtp_utf8: given.smtputf8.unwrap_or(default.smtp_utf8),
        chunking: given.chunking.unwrap_or(default.chunking),
        dsn: given.dsn.unwrap_or(default.dsn),
        require_tls: given.requiretls.unwrap_or(default.require_tls),
        limits: given.limits.as_ref().map(|limits| AdvertisedLimits {
            recipients_max: limits.rcptmax,
            transactions_max: limits.mailmax,
            domains_max: limits.rcptdomainmax,
        }),
        start_tls: raw.tls.as_ref().is_some_and(|tls| matches!(tls.mode, raw::TlsMode::StartTls)),
        auth,
    })
}

fn mechanisms(names: &[String]) -> Result<Mechanisms, String> {
    let mut mechanisms = Mechanisms::default();
    for name in names {
        match name.to_ascii_lowercase().as_str() {
            "plain" => mechanisms.plain = true,
            "login" => mechanisms.login = true,
            _ => return Err(format!("`{name}` is not a mechanism that is known here; write plain or login")),
        }
    }
    Ok(mechanisms)
}

fn tls(raw: &raw::Tls, read: ReadFile<'_>) -> Result<Tls, Wrong> {
    let default = Tls::default();
    let versions =
        raw.versions.as_ref().map(|names| versions(names)).transpose().map_err(at("tls.versions"))?;
    Ok(Tls {
        mode: match raw.mode {
            raw::TlsMode::StartTls => TlsMode::StartTls,
            raw::TlsMode::Implicit => TlsMode::Implicit,
        },
        versions: versions.unwrap_or(default.versions),
        certificate: certificate(raw, read)?,
        tickets: raw.tickets.unwrap_or(default.tickets),
        close_notify: raw.close_notify.unwrap_or(default.close_notify),
    })
}

fn certificate(raw: &raw::Tls, read: ReadFile<'_>) -> Result<Certificate, Wrong> {
    let pem = |name: &str, file: &str| match read(file) {
        Ok(text) => Ok(Pem { file: file.to_owned(), text }),
        Err(error) => Err(at(name)(error)),
    };
    Ok(match (raw.certificate.as_deref(), &raw.key) {
        (None | Some("generated"), None) => Certificate::Generated,
        (Some("expired"), None) => Certificate::Expired,
        (Some("wrong-name"), None) => Certificate::WrongName,
        (Some("self-signed"), None) => Certificate::SelfSigned,
        (Some(chain), Some(key)) => {
            Certificate::Own { chain: pem("tls.certificate", chain)?, key: pem("tls.key", key)? }
        }
        (Some(other), None) => {
            return Err(at("tls.certificate")(format!(
                "`{other}` is not one of generated, expired, wrong-name, self-signed; a PEM file needs `key` beside it"
            )));
        }
        (None, Some(_)) => {
            return Err(at("tls.key")(
                "a key belongs to a `certificate`, which is a PEM file too".to_owned(),
            ));
        }
    })
}

fn versions(names: &[String]) -> Result<TlsVersions, String> {
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.sort_unstable();
    match names.as_slice() {
        ["1.2", "1.3"] => Ok(TlsVersions::Both),
        ["1.2"] => Ok(TlsVersions::Only12),
        ["1.3"] => Ok(TlsVersions::Only13),
        _ => Err("write [\"1.2\"], [\"1.3\"] or both".to_owned()),
    }
}
