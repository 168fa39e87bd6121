//! One command line into a value, RFC 5321 §4.1.1. It must not know what came before, nor allocate for
//! anything but an address.

mod parameters;
mod verb;

pub use parameters::{BodyType, MailParameters, RcptParameters};

use crate::path::{ForwardPath, ReversePath};
use crate::stage::Stage;
use verb::Verb;

/// A command that is well-formed on its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command<'a> {
    /// EHLO and its argument as sent.
    Ehlo(&'a str),
    /// HELO and its argument as sent.
    Helo(&'a str),
    /// LHLO of LMTP, RFC 2033 §4.1, and its argument as sent.
    Lhlo(&'a str),
    /// STARTTLS.
    StartTls,
    /// AUTH, its arguments as sent.
    Auth { mechanism: &'a str, initial: Option<&'a str> },
    /// MAIL.
    Mail { reverse_path: ReversePath, parameters: MailParameters },
    /// RCPT.
    Rcpt { forward_path: ForwardPath, parameters: RcptParameters },
    /// DATA.
    Data,
    /// BDAT, RFC 3030 §2: so many bytes follow, perhaps the last of the message.
    Bdat { size: u64, last: bool },
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

/// Why a line is not a [`Command`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandError {
    /// No such command.
    Unknown,
    /// A command of RFC 5321 that is not done here, or one of an extension that is not in force.
    NotImplemented,
    /// A control character, or a byte over 126 where only ASCII may be.
    InvalidCharacter(Option<Stage>),
    /// Arguments where there must be none, or none where there must be one.
    Arguments(Stage),
    /// MAIL with something that is not a reverse-path.
    ReversePath,
    /// RCPT with something that is not a forward-path.
    ForwardPath,
    /// A character beyond ASCII without SMTPUTF8, which was offered.
    NotAscii(Stage),
    /// A parameter of MAIL or RCPT that nobody announced.
    UnknownParameter(Stage),
    /// A parameter with a bad value, or twice.
    Parameter(Stage),
}

impl CommandError {
    /// The stage that the command would have belonged to, where the command itself was understood.
    pub const fn stage(self) -> Option<Stage> {
        match self {
            CommandError::Unknown | CommandError::NotImplemented => None,
            CommandError::InvalidCharacter(stage) => stage,
            CommandError::Arguments(stage)
            | CommandError::NotAscii(stage)
            | CommandError::UnknownParameter(stage)
            | CommandError::Parameter(stage) => Some(stage),
            CommandError::ReversePath => Some(Stage::Mail),
            CommandError::ForwardPath => Some(Stage::Rcpt),
        }
    }
}

/// Which protocol is spoken, and the extensions whose verbs and parameters are in force. None by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Grammar {
    /// LHLO in the place of EHLO and HELO, RFC 2033 §4.1.
    pub lmtp: bool,
    /// STARTTLS, RFC 3207 §4.
    pub start_tls: bool,
    /// AUTH, RFC 4954 §4, and AUTH= of MAIL, §5.
    pub auth: bool,
    /// BDAT, RFC 3030 §2.
    pub chunking: bool,
    /// SIZE= of MAIL, RFC 1870 §3.
    pub size: bool,
    /// BODY= of MAIL, RFC 6152 §2.
    pub eight_bit_mime: bool,
    /// SMTPUTF8 of MAIL and VRFY, and characters beyond ASCII in addresses, RFC 6531 §3.
    pub smtp_utf8: bool,
    /// RET= and ENVID= of MAIL, NOTIFY= and ORCPT= of RCPT, RFC 3461 §4.
    pub dsn: bool,
    /// REQUIRETLS of MAIL, RFC 8689 §2.
    pub require_tls: bool,
}

impl Grammar {
    /// SMTP with every extension.
    pub const ALL: Grammar = Grammar {
        lmtp: false,
        start_tls: true,
        auth: true,
        chunking: true,
        size: true,
        eight_bit_mime: true,
        smtp_utf8: true,
        dsn: true,
        require_tls: true,
    };
}

/// Parses one line without its CR LF. Any bytes may be given; the length is for the caller to bound.
///
/// # Errors
/// [`CommandError`], which names the refusal that fits.
pub fn parse(line: &[u8], grammar: Grammar) -> Result<Command<'_>, CommandError> {
    // RFC 5321 §4.1.1: white space before the line end is tolerated
    let line = line.trim_ascii_end();
    let verb = Verb::parse(line, grammar);
    let stage = verb.and_then(|(verb, _)| verb.stage());
    let allowed = if grammar.smtp_utf8 && verb.is_some_and(|(verb, _)| verb.has_address()) {
        is_utf8_without_controls
    } else {
        is_printable_ascii
    };
    // RFC 5321 §2.4: 8-bit and control characters in a command are a syntax error
    let text = std::str::from_utf8(line).ok().filter(|text| allowed(text));
    let text = text.ok_or(CommandError::InvalidCharacter(stage))?;
    let (verb, verb_bytes) = verb.ok_or(CommandError::Unknown)?;
    let argument = text[verb_bytes..].trim_start_matches(' ');
    let alone = |command, stage| {
        if argument.is_empty() { Ok(command) } else { Err(CommandError::Arguments(stage)) }
    };
    match verb {
        Verb::Ehlo => hello_name(argument).map(Command::Ehlo),
        Verb::Helo => hello_name(argument).map(Command::Helo),
        Verb::Lhlo => hello_name(argument).map(Command::Lhlo),
        Verb::StartTls => alone(Command::StartTls, Stage::StartTls), // RFC 3207 §4: no parameters
        Verb::Auth => auth(argument),
        Verb::Mail => parameters::mail(argument, grammar),
        Verb::Rcpt => parameters::rcpt(argument, grammar),
        Verb::Data => alone(Command::Data, Stage::Data),
        Verb::Bdat => bdat(argument),
        Verb::Rset => alone(Command::Rset, Stage::Rset),
        Verb::Quit => alone(Command::Quit, Stage::Quit),
        Verb::Noop => Ok(Command::Noop), // RFC 5321 §4.1.1.9: an argument is ignored
        Verb::Help => Ok(Command::Help), // RFC 5321 §4.1.1.8
        Verb::Vrfy => vrfy(argument),
        Verb::NotImplemented => Err(CommandError::NotImplemented),
    }
}

/// Without an early way out, so that it is done in wide registers.
fn is_printable_ascii(text: &str) -> bool {
    text.bytes().fold(true, |good, byte| good & matches!(byte, b' '..=b'~'))
}

fn is_utf8_without_controls(text: &str) -> bool {
    is_printable_ascii(text) || !text.chars().any(char::is_control)
}

/// RFC 5321 §4.1.1.6: VRFY has an argument; RFC 6531 §3.1: which may be beyond ASCII, if it says so.
fn vrfy(argument: &str) -> Result<Command<'_>, CommandError> {
    let says_utf8 = || argument.rsplit(' ').next().is_some_and(|word| word.eq_ignore_ascii_case("SMTPUTF8"));
    match argument {
        "" => Err(CommandError::Arguments(Stage::Noop)),
        _ if !argument.is_ascii() && !says_utf8() => Err(CommandError::NotAscii(Stage::Noop)),
        _ => Ok(Command::Vrfy),
    }
}

/// RFC 3030 §2. A size that does not fit 64 bits is none: nobody can wait for its end.
fn bdat(argument: &str) -> Result<Command<'_>, CommandError> {
    let error = CommandError::Arguments(Stage::Body);
    let mut words = argument.split(' ').filter(|word| !word.is_empty());
    let size = words.next().filter(|size| size.bytes().all(|byte| byte.is_ascii_digit())).ok_or(error)?;
    let last = match words.next() {
        None => false,
        Some(marker) if marker.eq_ignore_ascii_case("LAST") => true,
        Some(_) => return Err(error),
    };
    match (size.parse(), words.next()) {
        (Ok(size), None) => Ok(Command::Bdat { size, last }),
        _ => Err(error),
    }
}

/// RFC 4954 §4: a mechanism, and perhaps the first response.
fn auth(argument: &str) -> Result<Command<'_>, CommandError> {
    let mut words = argument.split(' ').filter(|word| !word.is_empty());
    match (words.next(), words.next(), words.next()) {
        (Some(mechanism), initial, None) => Ok(Command::Auth { mechanism, initial }),
        _ => Err(CommandError::Arguments(Stage::Auth)),
    }
}

/// RFC 5321 §4.1.4: a name that does not resolve, or is not even a domain, is no reason to refuse mail; so
/// one word is all that is asked for.
fn hello_name(argument: &str) -> Result<&str, CommandError> {
    if argument.is_empty() || argument.contains(' ') {
        return Err(CommandError::Arguments(Stage::Ehlo));
    }
    Ok(argument)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dsn::{EnvelopeId, Notify, OriginalRecipient, Return};

    fn mail_command(
        address: &str,
        size: Option<u64>,
        body: Option<BodyType>,
    ) -> Result<Command<'static>, CommandError> {
        let reverse_path = ReversePath::parse_utf8(address).unwrap();
        let smtp_utf8 = !address.is_ascii();
        let parameters = MailParameters { size, body, smtp_utf8, ..MailParameters::default() };
        Ok(Command::Mail { reverse_path, parameters })
    }

    fn rcpt_command(address: &str) -> Result<Command<'static>, CommandError> {
        let forward_path = ForwardPath::parse_utf8(address).unwrap();
        Ok(Command::Rcpt { forward_path, parameters: RcptParameters::default() })
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
            ("RCPT TO:<Postmaster>", rcpt_command("postmaster")),
            ("NOOP whatever it is", Ok(Command::Noop)),
            ("VRFY a", Ok(Command::Vrfy)),
            ("HELP", Ok(Command::Help)),
            ("starttls", Ok(Command::StartTls)),
            ("AUTH PLAIN", Ok(Command::Auth { mechanism: "PLAIN", initial: None })),
            ("auth x  = ", Ok(Command::Auth { mechanism: "x", initial: Some("=") })),
            ("MAIL FROM:<a@b> AUTH=<> SIZE=1", mail_command("a@b", Some(1), None)),
            ("MAIL FROM:<a@b> AUTH=e+3Dmc2@b", mail_command("a@b", None, None)),
            ("BDAT 0", Ok(Command::Bdat { size: 0, last: false })),
            ("bdat 18446744073709551615  last", Ok(Command::Bdat { size: u64::MAX, last: true })),
            ("MAIL FROM:<\u{e4}@\u{e4}.b> smtputf8", mail_command("\u{e4}@\u{e4}.b", None, None)),
            ("RCPT TO:<\u{e4}@b>", rcpt_command("\u{e4}@b")),
            ("VRFY \u{e4} SMTPUTF8", Ok(Command::Vrfy)),
            ("QUIT\t", Ok(Command::Quit)),
        ] {
            assert_eq!(parse(line.as_bytes(), Grammar::ALL), command, "{line:?}");
        }
    }

    #[test]
    fn requests_of_the_sender_are_understood() {
        let line = b"MAIL FROM:<a@b> requiretls RET=HDRS ENVID=x+20y";
        let parameters = MailParameters {
            require_tls: true,
            ret: Some(Return::Headers),
            envelope_id: EnvelopeId::parse("x+20y"),
            ..MailParameters::default()
        };
        let reverse_path = ReversePath::parse("a@b").unwrap();
        assert_eq!(parse(line, Grammar::ALL), Ok(Command::Mail { reverse_path, parameters }));
        let line = b"RCPT TO:<a@b> orcpt=rfc822;a@b NOTIFY=never";
        let parameters = RcptParameters {
            notify: Some(Notify::Never),
            original_recipient: OriginalRecipient::parse("rfc822;a@b"),
        };
        let forward_path = ForwardPath::parse("a@b").unwrap();
        assert_eq!(parse(line, Grammar::ALL), Ok(Command::Rcpt { forward_path, parameters }));
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
            ("STARTTLS now", Arguments(Stage::StartTls)),
            ("STARTTLSX", Unknown),
            ("AUTH", Arguments(Stage::Auth)),
            ("AUTH PLAIN = =", Arguments(Stage::Auth)),
            ("MAIL FROM:<a@b> AUTH=a+3db", Parameter(Stage::Mail)),
            ("MAIL FROM:<a@b> AUTH=<> AUTH=<>", Parameter(Stage::Mail)),
            ("BDAT", Arguments(Stage::Body)),
            ("BDAT LAST", Arguments(Stage::Body)),
            ("BDAT +1", Arguments(Stage::Body)),
            ("BDAT 1 FIRST", Arguments(Stage::Body)),
            ("BDAT 1 LAST 1", Arguments(Stage::Body)),
            ("BDAT 18446744073709551616", Arguments(Stage::Body)),
            ("DATA now", Arguments(Stage::Data)),
            ("QUIT 1", Arguments(Stage::Quit)),
            ("VRFY", Arguments(Stage::Noop)),
            ("NOOP\nMAIL FROM:<a@b>", InvalidCharacter(None)),
            ("MAIL FROM:<a@b>\rRCPT", InvalidCharacter(Some(Stage::Mail))),
            ("RCPT TO:<a\0@b>", InvalidCharacter(Some(Stage::Rcpt))),
            ("RCPT TO:<\u{85}@b>", InvalidCharacter(Some(Stage::Rcpt))),
            ("EHLO \u{e4}", InvalidCharacter(Some(Stage::Ehlo))),
            ("MAIL FROM:<\u{e4}@b>", NotAscii(Stage::Mail)),
            ("MAIL FROM:<a@b> SMTPUTF8=", UnknownParameter(Stage::Mail)),
            ("MAIL FROM:<a@b> SMTPUTF8 SMTPUTF8", Parameter(Stage::Mail)),
            ("MAIL FROM:<a@b> SIZE=\u{0661}", Parameter(Stage::Mail)),
            ("VRFY \u{e4}", NotAscii(Stage::Noop)),
            ("MAIL", Arguments(Stage::Mail)),
            ("MAIL FROM", Arguments(Stage::Mail)),
            ("MAIL FROM:a@b", ReversePath),
            ("MAIL FROM:<a@b", ReversePath),
            ("MAIL FROM:<a@b>SIZE=1", ReversePath),
            ("MAIL FROM:<a>", ReversePath),
            ("MAIL FROM:<a@b> SIZE=", Parameter(Stage::Mail)),
            ("MAIL FROM:<a@b> SIZE=-1", Parameter(Stage::Mail)),
            ("MAIL FROM:<a@b> SIZE=100000000000000000000", Parameter(Stage::Mail)),
            ("MAIL FROM:<a@b> SIZE=1 SIZE=1", Parameter(Stage::Mail)),
            ("MAIL FROM:<a@b> BODY=BINARYMIME", Parameter(Stage::Mail)),
            ("MAIL FROM:<a@b> SIZE", UnknownParameter(Stage::Mail)),
            ("MAIL FROM:<a@b> RET=ALL", Parameter(Stage::Mail)),
            ("MAIL FROM:<a@b> RET=FULL RET=FULL", Parameter(Stage::Mail)),
            ("MAIL FROM:<a@b> ENVID=+00", Parameter(Stage::Mail)),
            ("MAIL FROM:<a@b> REQUIRETLS REQUIRETLS", Parameter(Stage::Mail)),
            ("MAIL FROM:<a@b> REQUIRETLS=", UnknownParameter(Stage::Mail)),
            ("MAIL FROM:<a@b> NOTIFY=NEVER", UnknownParameter(Stage::Mail)),
            ("RCPT TO:<>", ForwardPath),
            ("RCPT TO:<a@>", ForwardPath),
            ("RCPT TO:<a@b> NOTIFY=NEVER,DELAY", Parameter(Stage::Rcpt)),
            ("RCPT TO:<a@b> NOTIFY=DELAY NOTIFY=DELAY", Parameter(Stage::Rcpt)),
            ("RCPT TO:<a@b> ORCPT=a@b", Parameter(Stage::Rcpt)),
            ("RCPT TO:<a@b> ORCPT", UnknownParameter(Stage::Rcpt)),
            ("RCPT TO:<a@b> RET=FULL", UnknownParameter(Stage::Rcpt)),
        ] {
            assert_eq!(parse(line.as_bytes(), Grammar::ALL), Err(error), "{line:?}");
        }
    }

    #[test]
    fn what_is_not_in_force_is_not_understood() {
        use CommandError::*;
        for (line, error) in [
            ("STARTTLS", NotImplemented),
            ("STARTTLS now", NotImplemented),
            ("AUTH", NotImplemented),
            ("LHLO", Unknown),
            ("BDAT x", NotImplemented),
            ("RCPT TO:<\u{e4}@b>", InvalidCharacter(Some(Stage::Rcpt))),
            ("MAIL FROM:<a@b> SMTPUTF8", UnknownParameter(Stage::Mail)),
            ("MAIL FROM:<a@b> REQUIRETLS", UnknownParameter(Stage::Mail)),
            ("MAIL FROM:<a@b> RET=ALL", UnknownParameter(Stage::Mail)),
            ("MAIL FROM:<a@b> ENVID=+00", UnknownParameter(Stage::Mail)),
            ("RCPT TO:<a@b> NOTIFY=NEVER", UnknownParameter(Stage::Rcpt)),
            ("RCPT TO:<a@b> ORCPT=", UnknownParameter(Stage::Rcpt)),
            ("MAIL FROM:<a@b> AUTH=<>", UnknownParameter(Stage::Mail)),
            ("MAIL FROM:<a@b> SIZE=x", UnknownParameter(Stage::Mail)),
            ("MAIL FROM:<a@b> BODY=7BIT", UnknownParameter(Stage::Mail)),
        ] {
            assert_eq!(parse(line.as_bytes(), Grammar::default()), Err(error), "{line:?}");
        }
        let lmtp = Grammar { lmtp: true, ..Grammar::ALL };
        assert_eq!(parse(b"lhlo x", lmtp), Ok(Command::Lhlo("x")));
        assert_eq!(parse(b"EHLO x", lmtp), Err(Unknown));
        assert_eq!(parse(b"HELO", lmtp), Err(Unknown));
    }
}
