//! One command line into a value, RFC 5321 §4.1.1. It must not know what came before, nor allocate for anything
//! but an address.

use crate::path::{ForwardPath, ReversePath};
use crate::stage::Stage;

/// A command that is well-formed on its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command<'a> {
    /// EHLO and its argument as sent.
    Ehlo(&'a str),
    /// HELO and its argument as sent.
    Helo(&'a str),
    /// MAIL.
    Mail {
        reverse_path: ReversePath,
        /// SIZE=, RFC 1870 §3.
        size: Option<u64>,
        /// BODY=, RFC 6152 §2.
        body: Option<BodyType>,
    },
    /// RCPT.
    Rcpt { forward_path: ForwardPath },
    /// DATA.
    Data,
    /// RSET.
    Rset,
    /// NOOP.
    Noop,
    /// VRFY.
    Vrfy,
    /// HELP.
    Help,
    /// QUIT.
    Quit,
}

/// The argument of BODY=, RFC 6152 §2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyType {
    /// 7BIT.
    SevenBit,
    /// 8BITMIME.
    EightBitMime,
}

/// Why a line is not a [`Command`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandError {
    /// No such command.
    Unknown,
    /// A command of RFC 5321 that is not done here.
    NotImplemented,
    /// A control character, or a byte over 126.
    InvalidCharacter(Option<Stage>),
    /// Arguments where there must be none, or none where there must be one.
    Arguments(Stage),
    /// MAIL with something that is not a reverse-path.
    ReversePath,
    /// RCPT with something that is not a forward-path.
    ForwardPath,
    /// A parameter of MAIL or RCPT that nobody announced.
    UnknownParameter(Stage),
    /// A parameter of MAIL with a bad value, or twice.
    Parameter,
}

impl CommandError {
    /// The stage that the command would have belonged to, where the command itself was understood.
    pub const fn stage(self) -> Option<Stage> {
        match self {
            CommandError::Unknown | CommandError::NotImplemented => None,
            CommandError::InvalidCharacter(stage) => stage,
            CommandError::Arguments(stage) | CommandError::UnknownParameter(stage) => Some(stage),
            CommandError::ReversePath | CommandError::Parameter => Some(Stage::Mail),
            CommandError::ForwardPath => Some(Stage::Rcpt),
        }
    }
}

/// Parses one line without its CR LF. Any bytes may be given; the length is for the caller to bound.
///
/// # Errors
/// [`CommandError`], which names the refusal that fits.
pub fn parse(line: &[u8]) -> Result<Command<'_>, CommandError> {
    // RFC 5321 §4.1.1: white space before the line end is tolerated
    let line = line.trim_ascii_end();
    let verb = Verb::parse(line);
    // RFC 5321 §2.4: 8-bit and control characters in a command are a syntax error
    let text = match std::str::from_utf8(line) {
        // Without an early way out, so that it is done in wide registers.
        Ok(text) if line.iter().fold(true, |good, &byte| good & matches!(byte, b' '..=b'~')) => text,
        _ => return Err(CommandError::InvalidCharacter(verb.and_then(Verb::stage))),
    };
    let verb = verb.ok_or(CommandError::Unknown)?;
    let argument = text[VERB_BYTES..].trim_start_matches(' ');
    let alone = |command, stage| {
        if argument.is_empty() { Ok(command) } else { Err(CommandError::Arguments(stage)) }
    };
    match verb {
        Verb::Ehlo => hello_name(argument).map(Command::Ehlo),
        Verb::Helo => hello_name(argument).map(Command::Helo),
        Verb::Mail => mail(argument),
        Verb::Rcpt => rcpt(argument),
        Verb::Data => alone(Command::Data, Stage::Data),
        Verb::Rset => alone(Command::Rset, Stage::Rset),
        Verb::Quit => alone(Command::Quit, Stage::Quit),
        Verb::Noop => Ok(Command::Noop), // RFC 5321 §4.1.1.9: an argument is ignored
        Verb::Help => Ok(Command::Help), // RFC 5321 §4.1.1.8
        // RFC 5321 §4.1.1.6: VRFY has an argument
        Verb::Vrfy if argument.is_empty() => Err(CommandError::Arguments(Stage::Noop)),
        Verb::Vrfy => Ok(Command::Vrfy),
        Verb::NotImplemented => Err(CommandError::NotImplemented),
    }
}

#[derive(Clone, Copy)]
enum Verb {
    Ehlo,
    Helo,
    Mail,
    Rcpt,
    Data,
    Rset,
    Noop,
    Vrfy,
    Help,
    Quit,
    NotImplemented,
}

impl Verb {
    /// RFC 5321 §2.4: verbs are in any case. All that are known have four letters.
    fn parse(line: &[u8]) -> Option<Verb> {
        let (verb, rest) = line.split_first_chunk::<VERB_BYTES>()?;
        if !matches!(rest, [] | [b' ', ..]) {
            return None;
        }
        match &verb.map(|byte| byte.to_ascii_uppercase()) {
            b"EHLO" => Some(Verb::Ehlo),
            b"HELO" => Some(Verb::Helo),
            b"MAIL" => Some(Verb::Mail),
            b"RCPT" => Some(Verb::Rcpt),
            b"DATA" => Some(Verb::Data),
            b"RSET" => Some(Verb::Rset),
            b"NOOP" => Some(Verb::Noop),
            b"VRFY" => Some(Verb::Vrfy),
            b"HELP" => Some(Verb::Help),
            b"QUIT" => Some(Verb::Quit),
            // RFC 5321 §4.1.1.7 and appendix F; RFC 5321 §4.2.4: known and not done is 502
            b"EXPN" | b"SEND" | b"SOML" | b"SAML" | b"TURN" => Some(Verb::NotImplemented),
            _ => None,
        }
    }

    fn stage(self) -> Option<Stage> {
        match self {
            Verb::Ehlo | Verb::Helo => Some(Stage::Ehlo),
            Verb::Mail => Some(Stage::Mail),
            Verb::Rcpt => Some(Stage::Rcpt),
            Verb::Data => Some(Stage::Data),
            Verb::Rset => Some(Stage::Rset),
            Verb::Noop | Verb::Vrfy | Verb::Help => Some(Stage::Noop),
            Verb::Quit => Some(Stage::Quit),
            Verb::NotImplemented => None,
        }
    }
}

/// RFC 5321 §4.1.4: a name that does not resolve, or is not even a domain, is no reason to refuse mail; so one
/// word is all that is asked for.
fn hello_name(argument: &str) -> Result<&str, CommandError> {
    if argument.is_empty() || argument.contains(' ') {
        return Err(CommandError::Arguments(Stage::Ehlo));
    }
    Ok(argument)
}

/// RFC 5321 §4.1.1.2.
fn mail(argument: &str) -> Result<Command<'_>, CommandError> {
    let argument = strip_keyword(argument, "FROM:").ok_or(CommandError::Arguments(Stage::Mail))?;
    let (path, parameters) = split_path(argument).ok_or(CommandError::ReversePath)?;
    let reverse_path = ReversePath::parse(path).map_err(|_| CommandError::ReversePath)?;
    let (mut size, mut body) = (None, None);
    for parameter in parameters.split(' ').filter(|parameter| !parameter.is_empty()) {
        if let Some(value) = strip_keyword(parameter, "SIZE=") {
            if size.replace(size_value(value)?).is_some() {
                return Err(CommandError::Parameter);
            }
        } else if let Some(value) = strip_keyword(parameter, "BODY=") {
            if body.replace(body_value(value)?).is_some() {
                return Err(CommandError::Parameter);
            }
        } else {
            return Err(CommandError::UnknownParameter(Stage::Mail));
        }
    }
    Ok(Command::Mail { reverse_path, size, body })
}

/// RFC 5321 §4.1.1.3. No parameter of RCPT is announced.
fn rcpt(argument: &str) -> Result<Command<'_>, CommandError> {
    let argument = strip_keyword(argument, "TO:").ok_or(CommandError::Arguments(Stage::Rcpt))?;
    let (path, parameters) = split_path(argument).ok_or(CommandError::ForwardPath)?;
    let forward_path = ForwardPath::parse(path).map_err(|_| CommandError::ForwardPath)?;
    if !parameters.trim_start().is_empty() {
        return Err(CommandError::UnknownParameter(Stage::Rcpt));
    }
    Ok(Command::Rcpt { forward_path })
}

/// RFC 1870 §3: one to twenty digits. What does not fit 64 bits is larger than any limit.
fn size_value(value: &str) -> Result<u64, CommandError> {
    if value.is_empty() || value.len() > SIZE_DIGITS_MAX || !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(CommandError::Parameter);
    }
    Ok(value.parse().unwrap_or(u64::MAX))
}

/// RFC 6152 §2.
fn body_value(value: &str) -> Result<BodyType, CommandError> {
    if value.eq_ignore_ascii_case("7BIT") {
        Ok(BodyType::SevenBit)
    } else if value.eq_ignore_ascii_case("8BITMIME") {
        Ok(BodyType::EightBitMime)
    } else {
        Err(CommandError::Parameter)
    }
}

/// What comes after `keyword`, which is in any case.
fn strip_keyword<'a>(text: &'a str, keyword: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(keyword.len())?;
    start.eq_ignore_ascii_case(keyword).then_some(rest)
}

/// `<path> parameters` into the path without brackets and the parameters.
///
/// RFC 5321 §3.3: no space may stand before the bracket. Tolerated all the same, because it can mean only one
/// thing and is sent by many.
fn split_path(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start_matches(' ').strip_prefix('<')?;
    let (mut quoted, mut escaped) = (false, false);
    let end = text.bytes().position(|byte| {
        let closes = byte == b'>' && !quoted;
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            _ => {}
        }
        closes
    })?;
    let parameters = &text[end + 1..];
    (parameters.is_empty() || parameters.starts_with(' ')).then_some((&text[..end], parameters))
}

const VERB_BYTES: usize = 4;
const SIZE_DIGITS_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn mail_command(
        address: &str,
        size: Option<u64>,
        body: Option<BodyType>,
    ) -> Result<Command<'static>, CommandError> {
        Ok(Command::Mail { reverse_path: ReversePath::parse(address).unwrap(), size, body })
    }

    fn rcpt_command(address: &str) -> Result<Command<'static>, CommandError> {
        Ok(Command::Rcpt { forward_path: ForwardPath::parse(address).unwrap() })
    }

    #[test]
    fn what_is_well_formed_is_understood() {
        use BodyType::{EightBitMime, SevenBit};
        for (line, command) in [
            ("EHLO client.test", Ok(Command::Ehlo("client.test"))),
            ("ehlo [127.0.0.1]  ", Ok(Command::Ehlo("[127.0.0.1]"))),
            ("HeLo under_score", Ok(Command::Helo("under_score"))),
            ("MAIL FROM:<>", mail_command("", None, None)),
            ("mail from:<a@b> size=5 body=8bitmime", mail_command("a@b", Some(5), Some(EightBitMime))),
            ("MAIL FROM: <a@b>  BODY=7BIT ", mail_command("a@b", None, Some(SevenBit))),
            ("MAIL FROM:<a@b> SIZE=99999999999999999999", mail_command("a@b", Some(u64::MAX), None)),
            ("MAIL FROM:<@x,@y.z:a@b>", mail_command("a@b", None, None)),
            ("MAIL FROM:<\"a> b\\\"\"@b> SIZE=1", mail_command("\"a> b\\\"\"@b", Some(1), None)),
            ("RCPT TO:<a@[IPv6:::1]>", rcpt_command("a@[IPv6:::1]")),
            ("RCPT TO:<Postmaster>", Ok(Command::Rcpt { forward_path: ForwardPath::Postmaster })),
            ("NOOP whatever it is", Ok(Command::Noop)),
            ("VRFY a", Ok(Command::Vrfy)),
            ("HELP", Ok(Command::Help)),
            ("QUIT\t", Ok(Command::Quit)),
        ] {
            assert_eq!(parse(line.as_bytes()), command, "{line:?}");
        }
    }

    #[test]
    fn what_is_not_is_refused_by_name() {
        use CommandError::*;
        for (line, error) in [
            ("", Unknown),
            ("FOO", Unknown),
            ("EHL", Unknown),
            ("DATAX", Unknown),
            (" NOOP", Unknown),
            ("EXPN list", NotImplemented),
            ("EHLO", Arguments(Stage::Ehlo)),
            ("EHLO a b", Arguments(Stage::Ehlo)),
            ("DATA now", Arguments(Stage::Data)),
            ("QUIT 1", Arguments(Stage::Quit)),
            ("VRFY", Arguments(Stage::Noop)),
            ("NOOP\nMAIL FROM:<a@b>", InvalidCharacter(None)),
            ("MAIL FROM:<a@b>\rRCPT", InvalidCharacter(Some(Stage::Mail))),
            ("RCPT TO:<a\0@b>", InvalidCharacter(Some(Stage::Rcpt))),
            ("RCPT TO:<\u{e4}@b>", InvalidCharacter(Some(Stage::Rcpt))),
            ("MAIL", Arguments(Stage::Mail)),
            ("MAIL FROM", Arguments(Stage::Mail)),
            ("MAIL FROM:a@b", ReversePath),
            ("MAIL FROM:<a@b", ReversePath),
            ("MAIL FROM:<a@b>SIZE=1", ReversePath),
            ("MAIL FROM:<a>", ReversePath),
            ("MAIL FROM:<a@b> SIZE=", Parameter),
            ("MAIL FROM:<a@b> SIZE=-1", Parameter),
            ("MAIL FROM:<a@b> SIZE=100000000000000000000", Parameter),
            ("MAIL FROM:<a@b> SIZE=1 SIZE=1", Parameter),
            ("MAIL FROM:<a@b> BODY=BINARYMIME", Parameter),
            ("MAIL FROM:<a@b> SIZE", UnknownParameter(Stage::Mail)),
            ("MAIL FROM:<a@b> RET=FULL", UnknownParameter(Stage::Mail)),
            ("RCPT TO:<>", ForwardPath),
            ("RCPT TO:<a@>", ForwardPath),
            ("RCPT TO:<a@b> NOTIFY=NEVER", UnknownParameter(Stage::Rcpt)),
        ] {
            assert_eq!(parse(line.as_bytes()), Err(error), "{line:?}");
        }
    }
}
