//! What in a site file could never have an effect: a mistake that would otherwise show as a site that behaves too well.

use crate::file::{Wrong, at};
use crate::raw;
use crate::rule::Scope;
use smtp::Stage;

/// Checks what stands outside the rules.
///
/// # Errors
/// The key that nothing would come of.
pub fn site(raw: &raw::Site) -> Result<(), Wrong> {
    if raw.trap.is_some() && !greets_late(raw) {
        return Err(at("trap")(
            "nobody can talk before a greeting that comes at once; give it a delay.banner".to_owned(),
        ));
    }
    if raw.recipients.is_empty() {
        return Ok(());
    }
    let of_connections = [
        ("listen", !raw.listen.is_empty()),
        ("weight", raw.weight.is_some()),
        ("hostname", raw.hostname.is_some()),
        ("protocol", raw.protocol.is_some()),
        ("max_recipients", raw.max_recipients.is_some()),
        ("max_message_size", raw.max_message_size.is_some()),
        ("max_errors", raw.max_errors.is_some()),
        ("window", raw.window.is_some()),
        ("trap", raw.trap.is_some()),
        ("extensions", raw.extensions.is_some()),
        ("users", !raw.users.is_empty()),
        ("tls", raw.tls.is_some()),
    ];
    if let Some((key, _)) = of_connections.into_iter().find(|(_, given)| *given) {
        return Err(at(key)(format!(
            "a site for certain recipients has transactions and no connections; give `{key}` to the site that has them"
        )));
    }
    let short =
        raw.delay.keys().map(|stage| ("delay", stage)).chain(raw.reply.keys().map(|stage| ("reply", stage)));
    for (key, name) in short {
        of_transaction(Scope::parse(name).ok(), &format!("{key}.{name}"))?;
    }
    for (place, rule) in raw.rule.iter().enumerate() {
        for name in rule.at.as_slice() {
            of_transaction(Scope::parse(name).ok(), &format!("rule.{place}.at"))?;
        }
    }
    Ok(())
}

/// Checks one rule at one of its stages.
///
/// # Errors
/// The key that nothing would come of.
pub fn rule(raw: &raw::Rule, scope: Scope) -> Result<(), Wrong> {
    let Scope::Stage(stage) = scope else { return no_after(raw) };
    for (key, given, known_from) in [
        ("hello", raw.when.hello.is_some(), Stage::Ehlo),
        ("sender", raw.when.sender.is_some(), Stage::Mail),
        ("recipient", raw.when.recipient.is_some(), Stage::Rcpt),
    ] {
        if given && stage < known_from {
            return Err(at(&format!("when.{key}"))(format!(
                "at `{stage}` nobody knows it yet; it can be asked for from `{known_from}` on"
            )));
        }
    }
    let never: &[(&str, bool)] = match stage {
        Stage::Connect => &[
            ("raw", raw.raw.is_some()),
            ("endless", raw.endless.is_some()),
            ("fault", raw.fault.is_some()),
            ("also", raw.also.is_some()),
            ("cut", raw.cut.is_some()),
            ("pace", raw.pace.is_some()),
            ("accepts", raw.accepts.is_some()),
        ],
        Stage::Handshake => &[
            ("endless", raw.endless.is_some()),
            ("also", raw.also.is_some()),
            ("pace", raw.pace.is_some()),
            ("accepts", raw.accepts.is_some()),
        ],
        Stage::Body => &[("pace", raw.pace.is_some())],
        _ => &[],
    };
    match never.iter().find(|(_, given)| *given) {
        Some((key, _)) => {
            let instead = match stage {
                Stage::Connect => "nothing is said before the greeting; write at = \"banner\"",
                Stage::Handshake => {
                    "the handshake is not SMTP; there are raw, cut, delay, then, and its faults"
                }
                _ => "what comes in has no pace of that kind; write chunk for the site and a delay here",
            };
            Err(at(key)(format!("`{key}` is not for `{stage}`: {instead}")))
        }
        None if stage == Stage::Body => Ok(()),
        None => no_after(raw),
    }
}

fn no_after(raw: &raw::Rule) -> Result<(), Wrong> {
    match raw.after {
        Some(_) => Err(at("after")("it counts bytes of the body; write at = \"body\"".to_owned())),
        None => Ok(()),
    }
}

/// Whether anything can hold the greeting back.
fn greets_late(raw: &raw::Site) -> bool {
    let banner = ["banner", "each"];
    banner.iter().any(|stage| raw.delay.contains_key(*stage))
        || raw.rule.iter().any(|rule| {
            rule.delay.is_some() && rule.at.as_slice().iter().any(|stage| banner.contains(&stage.as_str()))
        })
}

/// A site for certain recipients has its first say about RCPT.
fn of_transaction(scope: Option<Scope>, key: &str) -> Result<(), Wrong> {
    match scope {
        Some(Scope::Stage(stage)) if stage < Stage::Rcpt => Err(at(key)(format!(
            "a site for certain recipients comes in at `rcpt`; a rule for `{stage}` belongs to the site that has the \
             connections"
        ))),
        _ => Ok(()),
    }
}
