//! The sites that foreign clients meet, as a site file writes them.

/// Clients that connect to 127.0.0.1 call it by this name, and the certificates are for it.
pub const HOST_NAME: &str = "localhost";
/// How TLS may begin.
pub const TLS_MODES: [&str; 2] = ["starttls", "implicit"];
/// Certificates that a client must not be content with.
pub const BAD_CERTIFICATES: [&str; 3] = ["expired", "wrong-name", "self-signed"];
/// The ways to AUTH.
pub const MECHANISMS: [&str; 2] = ["plain", "login"];

/// Refuses one recipient, one message at DATA, and one client altogether.
pub const REFUSING: &str = r#"
rule = [
    { at = "rcpt", when = { recipient = "nobody@*" }, reply = "550" },
    { at = "data", when = { recipient = "later@*" }, reply = "451 4.3.0 Not now" },
    { at = "mail", when = { sender = "unwanted@*" }, reply = "421" },
]
"#;
/// LMTP that has no room for one of its users.
pub const LMTP: &str = r#"
protocol = "lmtp"
rule = [{ at = "dot", when = { recipient = "full@*" }, reply = "452" }]
"#;
/// Knows neither 8BITMIME nor SMTPUTF8.
pub const SEVEN_BITS: &str = "extensions = { 8bitmime = false, smtputf8 = false }";

pub fn tls(mode: &str, certificate: &str) -> String {
    format!("tls = {{ mode = \"{mode}\", certificate = \"{certificate}\" }}")
}

/// Knows `ann`, whose password is `secret`, and lets her AUTH by `mechanism` only.
pub fn users(mechanism: &str) -> String {
    format!("users = {{ ann = \"secret\" }}\nextensions = {{ auth = [\"{mechanism}\"] }}")
}
